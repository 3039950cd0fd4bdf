"""Registers the pages below ``/ui`` with the first request for one.

They are almost half of the service's routes, and most replicas never get such a request: until then, they take neither
time at startup nor memory.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..registry.single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from litestar.types import ControllerRouterHandler


class PagesOnDemand:
    """``register_routes`` adds routes to the application."""

    def __init__(self, register_routes: Callable[[Sequence[ControllerRouterHandler]], None]) -> None:
        self._register_routes = register_routes
        self._are_registered = False
        self._registering = SingleFlight(self._register_once)

    def are_missing_for(self, path: str) -> bool:
        """Whether ``path`` may be that of a page, and the pages are not registered."""
        # Litestar ignores repeated slashes.
        return not self._are_registered and path.lstrip("/").startswith("ui")

    async def register(self) -> None:
        """Return when the pages are registered."""
        await self._registering()

    async def _register_once(self) -> None:
        if not self._are_registered:
            # It takes 0.1 s of CPU time, for which other requests would wait.
            await asyncio.to_thread(self._register_all)
            self._are_registered = True

    def _register_all(self) -> None:
        from .rendering import environment
        from .routes import ROUTES

        environment()
        self._register_routes(ROUTES)
