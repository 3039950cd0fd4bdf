"""The principal who views a page, and what the page may offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..api.scopes import allows
from ..auth.origins import origin_of
from ..web.request import public_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..auth.sign_in import SignIns
    from ..web.request import HTTPRequest, Principal

_THEMES = frozenset({"light", "dark"})


@dataclass(frozen=True, slots=True)
class Viewer:
    """``theme`` is the value of the cookie; None follows the system. ``origin`` is how the browser reaches the service,
    ``prefix`` the path under which a reverse proxy publishes it. ``needs_token``: programs have to send one.
    """

    principal: Principal
    theme: str | None
    origin: str
    signed_in: bool
    prefix: str
    needs_token: bool = False

    @property
    def name(self) -> str:
        return self.principal.name

    @property
    def address(self) -> str:
        """The start of addresses in commands."""
        return self.origin + self.prefix

    @property
    def curl(self) -> str:
        """What commands begin with."""
        return 'curl -H "Authorization: Bearer $PGDBM_TOKEN"' if self.needs_token else "curl"

    @property
    def rights(self) -> tuple[str, ...]:
        """The scopes, sorted: pages are rendered once for all viewers with the same ones."""
        return tuple(sorted(self.principal.scopes))

    @property
    def is_admin(self) -> bool:
        return allows(self.principal.scopes, "admin")

    @property
    def may_read(self) -> bool:
        """Whether pages can be opened; also true before the sign-in, to which they then lead."""
        return not self.principal.scopes or allows(self.principal.scopes, "read")

    def may_migrate_each(self, modules: Iterable[str]) -> bool:
        """Whether all of ``modules``, of which there is at least one, may be migrated."""
        asked = [self.may_migrate(module) for module in modules]
        return bool(asked) and all(asked)

    def may_approve(self, module: str) -> bool:
        return allows(self.principal.scopes, "approve", module)

    def may_migrate(self, module: str) -> bool:
        return allows(self.principal.scopes, "migrate", module)


def viewer_of(request: HTTPRequest, principal: Principal) -> Viewer:
    sign_ins: SignIns = request.app.state["sign_ins"]
    theme = request.cookies.get("pgdbm_theme")
    return Viewer(
        principal=principal,
        theme=theme if theme in _THEMES else None,
        origin=origin_of(request),
        signed_in=request.scope.get("auth") == "session",
        prefix=public_path(request, ""),
        needs_token=sign_ins.is_needed,
    )
