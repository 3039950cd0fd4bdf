"""Wire types that several features share. The client uses them too, so they do not import any of the service's
dependencies."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pgdbm.migrations.results import Blocked, OutOfOrder

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


class ServiceInfo(msgspec.Struct, kw_only=True):
    """The name and version of the service at an address; ``links`` are the paths of its resources by name."""

    name: str
    version: str
    links: dict[str, str]


class Approvals(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who has to approve the plan of a run before it starts: ``count`` people other than the one who requested it.

    ``when``: always, only if the plan has a finding of the severity warning or error, or never. ``require_reason``:
    they must give a reason.
    """

    count: Annotated[int, Meta(ge=1, le=20)] = 1
    when: Literal["always", "warning", "never"] = "always"
    require_reason: bool = False


class Blockers(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which sessions that block a migration are ended: those that are idle in a transaction for longer than
    ``idle_in_transaction_s``, and those of these applications and roles.

    ``action``: the session is terminated, or its statement is cancelled.
    """

    action: Literal["cancel", "terminate"] = "terminate"
    idle_in_transaction_s: Annotated[float, Meta(ge=0)] | None = None
    application_names: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


class Windows(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a module may be migrated: ``open`` has weekly windows such as ``Mon-Fri 22:00-06:00`` in ``time_zone``.

    The days are those on which a window opens; without days it opens every day.
    """

    open: tuple[str, ...]
    time_zone: str = "UTC"


class ModuleSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``schema`` is the module's name unless given; ``schemas``: several schemas, or a pattern with ``*`` and ``?``.

    ``depends_on`` names modules, as ``module`` or ``module@version``; ``role`` is the database role that the module's
    SQL runs as. ``max_rewrite`` (such as 1GB), ``max_blocked`` and ``findings`` limit what pending files may do: the
    largest table that a statement may rewrite, what may wait while one reads or rewrites a table, and whether files may
    have findings. ``windows``: the times at which its runs may start; by default any time. ``approvals``: the
    approvals that a run needs to start; by default none.
    """

    schema: str | None = None
    schemas: list[str] | str | None = None
    depends_on: list[str] = []
    description: str = ""
    out_of_order: OutOfOrder | None = None
    role: str | None = None
    max_rewrite: str | None = None
    max_blocked: Blocked | None = None
    findings: Literal["allow", "refuse"] | None = None
    windows: Windows | None = None
    approvals: Approvals | None = None


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
    """A token without its secret. ``last_used_at`` is up to a minute old; without ``expires_at`` it never expires."""

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
    """A token that was just created. ``token`` is only in this answer: the service stores just its SHA-256."""

    token: str


class ErrorKindItem(msgspec.Struct, kw_only=True):
    """An error code. ``type`` is the address of its page. ``retry_after``: seconds after which a retry may succeed."""

    code: str
    http_status: int
    title: str
    type: str
    retry_after: int | None = None


class ErrorKindList(msgspec.Struct):
    items: list[ErrorKindItem]
    next: str | None = None
