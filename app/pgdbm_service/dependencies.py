"""What handlers are given: parts of the service that are there from its start to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar.di import Provide
from litestar.routes import HTTPRoute

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar import Litestar


def provided(parts: Mapping[str, Any]) -> dict[str, Provide]:
    """``parts``, as Litestar takes them."""
    return {name: _provide(part) for name, part in parts.items()}


def hand_over_at_once(app: Litestar) -> None:
    """Let every handler of ``app`` have its parts one after the other.

    Litestar opens a task group, and a task for each part, wherever a handler takes more than one: they might have to
    be waited for. None of ours has to, and the tasks took longer than the rest of the way to a handler.
    """
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for _, taken in route.route_handler_map.values():
                taken.dependency_batches = [{part} for batch in taken.dependency_batches for part in batch]


def _provide(part: Any) -> Provide:
    return Provide(lambda: part, sync_to_thread=False, use_cache=True)
