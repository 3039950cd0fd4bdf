"""Refuses unknown query parameters, as unknown fields of a body are refused.

``POST /migrate?dry_run=true`` would otherwise migrate: ``dry_run`` is a field of the body. A parameter that is given
twice is refused, too, unless it takes several values: one of the two would be ignored.
"""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from litestar.params import Parameter, ParameterKwarg

from ..errors import did_you_mean, invalid_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .request import HTTPRequest

InSchema = Annotated[
    str | None, Parameter(min_length=1, description="One of the module's schemas. Default: the first.")
]
# Litestar reserves the name "state" for the application's state.
InState = Annotated[str, Parameter(query="state")]

_NOT_PARAMETERS = frozenset({"self", "request", "data"})


def several_of(legal: Any, description: str, query: str | None = None) -> Any:
    """The declaration of a parameter ``list[str] | None`` with values of ``legal``, a Literal or a union of them.

    It may be repeated, and each occurrence may have several values separated by commas.
    """
    one = f"({'|'.join(_values(legal))})"
    items = {"type": "string", "pattern": f"^{one}(,{one})*$"}
    note = f"{description} Separate several with commas, or repeat the parameter."
    return Parameter(query=query, description=note, schema_extra={"one_of": None, "type": "array", "items": items})


def read_several(given: list[str] | None, field: str, legal: Any = None) -> tuple[str, ...] | None:
    """The values of a parameter that was declared with :func:`several_of`; without ``legal``, any values.

    Raises:
        ServiceError: invalid_request; it lists the legal values.
    """
    if given is None:
        return None
    found = tuple(dict.fromkeys(value.strip() for text in given for value in text.split(",")))
    known = None if legal is None else _values(legal)
    wrong = [value for value in found if known is not None and value not in known]
    if wrong and known is not None:
        raise invalid_request([unknown_value(field, wrong[0], known)])
    return found


def in_utc(time: datetime | None, field: str) -> datetime | None:
    """``time`` in UTC; a time without a time zone is taken as UTC.

    Raises:
        ServiceError: invalid_request, if it is before the year 1, or after the year 9999.
    """
    if time is None or time.tzinfo is None:
        return None if time is None else time.replace(tzinfo=UTC)
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise invalid_request([{"field": field, "message": "is outside the years 1 to 9999"}]) from None


def unknown_value(field: str, value: str, known: Iterable[str]) -> dict[str, str]:
    """The entry of invalid_request for a value that is not one of ``known``."""
    return {"field": field, "message": f"{value!r} is not one of {', '.join(known)}"}


def _values(legal: Any) -> tuple[str, ...]:
    if get_origin(legal) is Literal:
        return get_args(legal)
    return tuple(value for part in get_args(legal) for value in _values(part))


class QueryParameters:
    """The query parameters of each handler, read from its signature when they are first needed.

    ``dependencies`` are the names of what the application injects into handlers.
    """

    def __init__(self, dependencies: Iterable[str]) -> None:
        self._others = _NOT_PARAMETERS | set(dependencies)
        self._known: dict[object, dict[str, bool]] = {}

    def require_known(self, request: HTTPRequest) -> None:
        """Refuse a query parameter that the handler of ``request`` does not have.

        Raises:
            ServiceError: invalid_request.
        """
        # Litestar's own handlers answer OPTIONS.
        # With ``any_query`` in its opt a handler reads the query itself.
        if (
            not request.scope["query_string"]
            or request.method == "OPTIONS"
            or request.route_handler.opt.get("any_query")
        ):
            return
        takes = self.of(request.route_handler.fn)
        known = frozenset(takes.keys() - request.path_params.keys())
        errors = [
            {
                "field": name,
                "message": f"there is no such query parameter. {did_you_mean(name, known) or _listed(known)}",
            }
            for name in sorted(set(request.query_params) - known)
        ]
        # PostgreSQL's text cannot hold NUL.
        errors += [
            {"field": name, "message": "contains the character NUL"}
            for name, value in request.query_params.multi_items()
            if "\x00" in value
        ]
        errors += [
            {"field": name, "message": "is given more than once"}
            for name in sorted(known)
            if not takes[name] and len(request.query_params.getall(name, [])) > 1
        ]
        if errors:
            raise invalid_request(errors)

    def of(self, handler: Callable[..., Any]) -> dict[str, bool]:
        """The parameters of ``handler``, including those in its path, and whether each one accepts several values."""
        names = self._known.get(handler)
        if names is None:
            parameters = inspect.signature(handler, eval_str=True).parameters.values()
            found = ((_query_name(one), one) for one in parameters if one.name not in self._others)
            names = self._known[handler] = {
                name: _takes_several(one.annotation) for name, one in found if name is not None
            }
        return names


def _query_name(parameter: inspect.Parameter) -> str | None:
    """The name of ``parameter`` in a URL; None for one that is read from a header."""
    if get_origin(parameter.annotation) is Annotated:
        for one in get_args(parameter.annotation)[1:]:
            if isinstance(one, ParameterKwarg):
                return None if one.header else one.query or parameter.name
    return parameter.name


def _takes_several(annotation: Any) -> bool:
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return any(_takes_several(one) for one in get_args(annotation))
    return get_origin(annotation) is list


def _listed(known: frozenset[str]) -> str:
    return f"Known are: {', '.join(sorted(known))}." if known else "This call takes none."
