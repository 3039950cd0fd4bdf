"""Query parameters that a call does not know are refused, as unknown fields of a body are.

``POST /migrate?dry_run=true`` would otherwise migrate: ``dry_run`` belongs into the body.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from litestar.params import ParameterKwarg

from .errors import invalid_request, spelt_alike

if TYPE_CHECKING:
    from litestar import Request
    from litestar.handlers import BaseRouteHandler

_NOT_PARAMETERS = frozenset({"self", "data"})


def require_known_query_parameters(request: Request[Any, Any, Any]) -> None:
    """Refuse a query parameter that the handler of ``request`` does not take.

    Raises:
        Problem: invalid_request.
    """
    if not request.scope["query_string"]:
        return
    known = _names(request.route_handler) - request.path_params.keys()
    errors = [
        {"field": name, "message": f"there is no such query parameter. {spelt_alike(name, known) or _told(known)}"}
        for name in sorted(set(request.query_params) - known)
    ]
    # No text of PostgreSQL's holds one.
    errors += [
        {"field": name, "message": "has the character NUL"}
        for name, value in request.query_params.multi_items()
        if "\x00" in value
    ]
    if errors:
        raise invalid_request(errors)


@lru_cache(maxsize=256)
def _names(handler: BaseRouteHandler) -> frozenset[str]:
    names = set()
    for name, field in handler.parsed_fn_signature.parameters.items():
        given = field.kwarg_definition
        if isinstance(given, ParameterKwarg) and given.header:
            continue
        names.add(given.query if isinstance(given, ParameterKwarg) and given.query else name)
    return frozenset(names - handler.resolve_dependencies().keys() - _NOT_PARAMETERS)


def _told(known: frozenset[str]) -> str:
    return f"There is {', '.join(sorted(known))}" if known else "There is none"
