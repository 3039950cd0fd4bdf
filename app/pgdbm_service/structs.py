"""What several features take and answer. The client reads these too: nothing here may need the service's packages."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

Policy = Literal["allow", "reject"]
TokenState = Literal["active", "expired", "revoked"]


class ProblemDocument(msgspec.Struct, omit_defaults=True, kw_only=True):
    """RFC 9457. ``type`` is the address of a page about ``code``; further fields depend on the code."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    module: str | None = None
    filename: str | None = None
    statement: int | None = None
    line: int | None = None
    column: int | None = None
    sqlstate: str | None = None
    hint: str | None = None
    run_id: str | None = None
    retry_after: int | None = None
    scope: str | None = None


class ModuleSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``schema`` is the module's name unless given; ``schemas`` are several, or a pattern with ``*`` and ``?``.

    ``depends_on`` names modules, as ``module`` or ``module@version``. ``policy`` is another name of ``out_of_order``,
    and ``role`` the database role that the module's SQL runs as.
    """

    schema: str | None = None
    schemas: list[str] | str | None = None
    depends_on: list[str] = []
    description: str = ""
    out_of_order: Policy | None = None
    policy: Policy | None = None
    role: str | None = None


class ModuleProblem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a module cannot be used. ``line`` and ``column`` count from 1 in ``filename``."""

    detail: str
    code: str = "module_invalid"
    filename: str | None = None
    key: str | None = None
    line: int | None = None
    column: int | None = None
    hint: str | None = None


class Token(msgspec.Struct, kw_only=True):
    """A token, without what makes it one. ``last_used_at`` is exact to a minute or so; no ``expires_at``: never."""

    id: str
    name: str
    scopes: list[str]
    state: TokenState
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None


class NewToken(Token, kw_only=True):
    """A token that was just made. ``token`` is shown this once: the service keeps its SHA-256 only."""

    token: str
