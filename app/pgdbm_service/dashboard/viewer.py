"""The principal who views a page, and what the page may offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..api.scopes import allows
from ..web.request import public_path

if TYPE_CHECKING:
    from ..web.request import HTTPRequest, Principal

_THEMES = frozenset({"light", "dark"})


@dataclass(frozen=True, slots=True)
class Viewer:
    """``theme`` is the value of the cookie; None follows the system. ``origin`` is the address of the service,
    ``prefix`` the path under which a reverse proxy publishes it.
    """

    principal: Principal
    theme: str | None
    origin: str
    signed_in: bool
    prefix: str

    @property
    def name(self) -> str:
        return self.principal.name

    @property
    def rights(self) -> tuple[str, ...]:
        """The scopes, sorted: pages are rendered once for all viewers with the same ones."""
        return tuple(sorted(self.principal.scopes))

    @property
    def is_admin(self) -> bool:
        return allows(self.principal.scopes, "admin")

    @property
    def may_migrate_all(self) -> bool:
        return allows(self.principal.scopes, "migrate")

    def may_approve(self, module: str) -> bool:
        return allows(self.principal.scopes, "approve", module)

    def may_migrate(self, module: str) -> bool:
        return allows(self.principal.scopes, "migrate", module)


def viewer_of(request: HTTPRequest, principal: Principal) -> Viewer:
    theme = request.cookies.get("pgdbm_theme")
    return Viewer(
        principal=principal,
        theme=theme if theme in _THEMES else None,
        origin=str(request.base_url).rstrip("/"),
        signed_in=request.scope.get("auth") == "session",
        prefix=public_path(request, ""),
    )
