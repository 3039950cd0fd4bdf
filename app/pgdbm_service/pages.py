"""What is for people: the way from / to the docs, and the page of each error code."""

from __future__ import annotations

from typing import Annotated

from litestar import MediaType, get
from litestar.params import Parameter
from litestar.response import Redirect

from .error_codes import ERROR_KINDS
from .errors import Problem, documented, spelt_alike


@get("/", opt={"needs": None}, include_in_schema=False, sync_to_thread=False)
def to_docs() -> Redirect:
    return Redirect("/docs")


@get(
    "/errors/{code:str}",
    media_type=MediaType.TEXT,
    tags=["errors"],
    sync_to_thread=False,
    opt={"needs": None},
    responses=documented("not_found", open_to_all=True),
)
def error_page(code: Annotated[str, Parameter(description="The `code` of a problem.")]) -> str:
    """What an error code means and what to do, as Markdown. The `type` of every problem leads here."""
    kind = ERROR_KINDS.get(code)
    if kind is None:
        raise Problem("not_found", f"There is no error code {code!r}.", hint=spelt_alike(code, ERROR_KINDS))
    return kind.page()
