"""A call of the API as data: what is sent, and what the answer becomes. Nothing here does any I/O."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar
from urllib.parse import quote

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    Scalar = str | int | float | bool

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Method = Literal["GET", "POST", "PUT", "DELETE"]
LARGEST_PAGE = 200


class Page(Protocol[T_co]):
    """A page of a list. ``next`` is the cursor of the one after it, None on the last."""

    @property
    def items(self) -> Sequence[T_co]: ...

    @property
    def next(self) -> str | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """``parts`` fill the template ``path``. What is None in ``query`` and ``headers`` is not sent.

    ``answer`` is what the answer becomes, ``goes_on`` what one of 202 does. ``waits_s`` is how long the service may
    take on purpose, None: for as long as it takes. ``is_repeatable``: sent twice, it does no more than once.
    """

    method: Method
    path: str
    answer: type[T]
    parts: Mapping[str, str | UUID] = field(default_factory=dict)
    query: Mapping[str, Scalar | Sequence[str] | None] = field(default_factory=dict)
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: msgspec.Struct | bytes | None = None
    goes_on: type[T] | None = None
    waits_s: float | None = 0.0
    is_repeatable: bool = False

    @property
    def url(self) -> str:
        return self.path.format_map({name: quote(str(part), safe="") for name, part in self.parts.items()})

    @property
    def may_be_repeated(self) -> bool:
        return self.is_repeatable or self.method in ("GET", "PUT")

    def content(self) -> tuple[bytes | None, str | None]:
        """The body as it is sent, and its media type."""
        if self.body is None:
            return None, None
        if isinstance(self.body, bytes):
            return self.body, "application/gzip"
        return msgspec.json.encode(_said(self.body)), "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[T]):
    """A list that is read page by page, ``limit`` items at most. Without a ``page_size`` it is one page."""

    path: str
    page: type[Page[T]]
    parts: Mapping[str, str | UUID] = field(default_factory=dict)
    query: Mapping[str, Scalar | None] = field(default_factory=dict)
    limit: int | None = None
    page_size: int | None = LARGEST_PAGE
    cursor: str | None = None

    @property
    def call(self) -> Call[Page[T]]:
        """The call for the next page."""
        query: dict[str, Any] = dict(self.query)
        if self.page_size is not None:
            query |= {"limit": min(self.page_size, self.limit or self.page_size), "next": self.cursor}
        return Call(method="GET", path=self.path, answer=self.page, parts=self.parts, query=query)

    def after(self, page: Page[T]) -> Listing[T] | None:
        """What is left behind ``page``; None: nothing."""
        left = None if self.limit is None else self.limit - len(page.items)
        if page.next is None or (left is not None and left <= 0):
            return None
        return replace(self, cursor=page.next, limit=left)


def _said(body: msgspec.Struct) -> dict[str, Any]:
    """What is not as it is by default: a service that is older than a field can do without it."""
    return {
        one.encode_name: value
        for one in msgspec.structs.fields(body)
        if (value := getattr(body, one.name)) != _default(one)
    }


def _default(one: msgspec.structs.FieldInfo) -> Any:
    return one.default if one.default_factory is msgspec.NODEFAULT else one.default_factory()
