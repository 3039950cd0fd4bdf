"""Checks the scope that each handler requires, from its ``opt``. The package's docstring lists the values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from litestar.handlers import HTTPRouteHandler

from ..api.scopes import Need, allows, wanted
from ..web.problems import HTTPError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from litestar import Litestar

    from ..settings import Settings
    from ..web.request import Principal

_OF_A_MODULE = frozenset({"migrate", "register"})
_OF_SOME = {"migrate_some": "migrate", "register_some": "register", "approve_some": "approve"}
_SIGNED_IN = "signed_in"
_UNDECLARED = ""
_WORDS = frozenset({None, _SIGNED_IN, "read", "admin", "health", "metrics"}) | _OF_A_MODULE | _OF_SOME.keys()


class Access:
    """Checks principals against handlers. Only admins may call a handler that declares nothing."""

    def __init__(self, settings: Settings) -> None:
        self._settled: dict[str, str | None] = {
            "health": "read" if settings.auth_for_health else None,
            "metrics": "read" if settings.auth_for_metrics else None,
        }

    def need_of(self, handler: Any) -> str | None:
        """The need of ``handler``; None: it is open to all clients."""
        word: str | None = handler.opt.get("needs", _UNDECLARED)
        if word is _UNDECLARED:
            return None if _answers_options(handler) else "admin"
        return self._settled.get(word, word) if word is not None else None

    def require(self, principal: Principal, need: str | None, path_params: Mapping[str, Any]) -> None:
        """Refuse a principal that lacks ``need``, which :meth:`need_of` returned, for the module in the path.

        Raises:
            ServiceError: forbidden.
        """
        if need is None or need == _SIGNED_IN:
            return
        module = path_params.get("module") if need in _OF_A_MODULE else None
        require(principal, cast("Need", _OF_SOME.get(need, need)), module)

    def check(self, app: Litestar) -> None:
        """Check that every handler of ``app`` declares a valid need.

        Raises:
            TypeError: some do not; the text lists them.
        """
        wrong = sorted(set(_wrong(app)))
        if wrong:
            raise TypeError(f'Every handler must declare opt={{"needs": …}}: {"; ".join(wrong)}.')


def require(principal: Principal, need: Need, module: str | None = None) -> None:
    """Refuse a principal without ``need``; without a ``module``, ``migrate`` or ``register`` for any module is enough.

    Raises:
        ServiceError: forbidden, with the missing scope.
    """
    if not allows(principal.scopes, need, module):
        scope = wanted(need, module)
        raise HTTPError(
            "forbidden",
            f"{principal.name} lacks the scope {scope}.",
            headers={"WWW-Authenticate": 'Bearer realm="pgdbm", error="insufficient_scope"'},
            module=module,
            scope=scope,
        )


def _wrong(app: Litestar) -> Iterator[str]:
    for route in app.routes:
        handlers = getattr(route, "route_handlers", None) or [route.route_handler]  # type: ignore[union-attr]
        for handler in handlers:
            if _answers_options(handler):
                continue
            where = f"{handler} at {route.path}"
            if "needs" not in handler.opt:
                yield f"{where} declares nothing"
                continue
            needs = handler.opt["needs"]
            if needs not in _WORDS:
                yield f"{where} declares {needs!r}"
            elif needs in _OF_A_MODULE and "{module:str}" not in route.path:
                yield f"{where} needs {needs!r}, and its path has no {{module:str}}"


def _answers_options(handler: Any) -> bool:
    """Whether Litestar added ``handler`` to answer OPTIONS."""
    return isinstance(handler, HTTPRouteHandler) and handler.http_methods == {"OPTIONS"}
