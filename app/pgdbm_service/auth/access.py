"""What each handler needs, as its ``opt`` says; the package's docstring lists the words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from litestar.handlers import HTTPRouteHandler

from .callers import require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from litestar import Litestar

    from ..scopes import Need
    from ..settings import Settings
    from .callers import Caller

_OF_A_MODULE = frozenset({"migrate", "register"})
_OF_SOME = {"migrate_some": "migrate", "register_some": "register"}
_WORDS = frozenset({None, "read", "admin", "health", "metrics"}) | _OF_A_MODULE | _OF_SOME.keys()


class Access:
    """Denies what is not allowed, and everything that does not say what it needs."""

    def __init__(self, settings: Settings) -> None:
        self._settled: dict[str, str | None] = {
            "health": "read" if settings.auth_for_health else None,
            "metrics": "read" if settings.auth_for_metrics else None,
        }

    def need_of(self, handler: Any) -> str | None:
        """What callers of ``handler`` need; None for nothing. A handler that says nothing is for admins."""
        if _answers_options(handler):
            return None
        word: str | None = handler.opt.get("needs", "admin")
        return self._settled.get(word, word) if word is not None else None

    def require(self, caller: Caller, need: str | None, path_params: Mapping[str, Any]) -> None:
        """Refuse a ``caller`` who lacks ``need``, as :meth:`need_of` gives it, for the module that the path names.

        Raises:
            Problem: forbidden.
        """
        if need is None:
            return
        module = path_params.get("module") if need in _OF_A_MODULE else None
        require(caller, cast("Need", _OF_SOME.get(need, need)), module)

    def check(self, app: Litestar) -> None:
        """Raise unless every handler of ``app`` says what it needs, in words that there are.

        Raises:
            TypeError: the text lists those that do not.
        """
        wrong = sorted(set(_wrong(app)))
        if wrong:
            raise TypeError(f'Handlers have to say who may call them, as opt={{"needs": …}}: {"; ".join(wrong)}.')


def _wrong(app: Litestar) -> Iterator[str]:
    for route in app.routes:
        handlers = getattr(route, "route_handlers", None) or [route.route_handler]  # type: ignore[union-attr]
        for handler in handlers:
            if _answers_options(handler):
                continue
            where = f"{handler} at {route.path}"
            if "needs" not in handler.opt:
                yield f"{where} says nothing"
                continue
            needs = handler.opt["needs"]
            if needs not in _WORDS:
                yield f"{where} says {needs!r}"
            elif needs in _OF_A_MODULE and "{module:str}" not in route.path:
                yield f"{where} needs {needs!r}, and its path has no {{module:str}}"


def _answers_options(handler: Any) -> bool:
    """Whether it is one of those that Litestar adds by itself: they tell the methods of a path."""
    return isinstance(handler, HTTPRouteHandler) and handler.http_methods == {"OPTIONS"}
