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

    from litestar.types import ControllerRouterHandler, Scope


class PagesOnDemand:
    """``register`` adds routes to the application."""

    def __init__(self, register: Callable[[Sequence[ControllerRouterHandler]], None]) -> None:
        self._register = register
        self._are_registered = False
        self._registering = SingleFlight(self._register_once)

    async def before(self, scope: Scope) -> None:
        """Return when the pages are registered, if the request is for one."""
        # Litestar ignores repeated slashes.
        if not self._are_registered and scope["path"].lstrip("/").startswith("ui"):
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
        self._register(ROUTES)
