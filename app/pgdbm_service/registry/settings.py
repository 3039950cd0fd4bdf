"""The settings of a module: from ``module.toml``, the body of a registration, or its query parameters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import UNSET, UnsetType

from pgdbm.core.templating import is_identifier
from pgdbm.migrations.results import Blocked, OutOfOrder, PlanLimits, bytes_of

from ..api.common import Approvals, Windows
from ..database.service_schema import SERVICE_SCHEMA
from ..settings.windows import check_windows

if TYPE_CHECKING:
    from ..api.common import ModuleSettings

MODULE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\Z")

_PATTERN = re.compile(r"[A-Za-z0-9_*?]{1,63}\Z")
_MOST_SCHEMAS = 10_000
_LONGEST_ROLE = 63
_LONGEST_DESCRIPTION = 2_000


class SettingError(Exception):
    """The value of the setting ``key`` is invalid."""

    def __init__(self, key: str, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.key = key
        self.reason = reason
        self.hint = hint


class CheckedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Valid settings in their canonical form, so that equivalent settings are equal.

    ``schemas`` is None for the schema with the module's name, or a string if it is a pattern. A limit that is not set
    is not part of the digest.
    """

    schemas: tuple[str, ...] | str | None = None
    depends_on: tuple[str, ...] = ()
    description: str = ""
    out_of_order: OutOfOrder = "reject"
    role: str | None = None
    max_rewrite: int | UnsetType = UNSET
    max_blocked: Blocked | UnsetType = UNSET
    findings: Literal["allow", "refuse"] | UnsetType = UNSET
    windows: Windows | None = None
    approvals: Approvals | None = None

    @property
    def limits(self) -> PlanLimits:
        """What pending files may do."""
        return PlanLimits(
            None if self.max_rewrite is UNSET else self.max_rewrite,
            "reads and writes" if self.max_blocked is UNSET else self.max_blocked,
            "allow" if self.findings is UNSET else self.findings,
        )


def checked(settings: ModuleSettings) -> CheckedSettings:
    """The settings in their canonical form.

    Raises:
        SettingError: one of them is invalid, or two of them contradict each other.
    """
    for dependency in settings.depends_on:
        name, at, version = dependency.partition("@")
        if not MODULE_NAME.match(name) or (at and not (version and version.isprintable())):
            raise SettingError("depends_on", f"{dependency!r} must have the form module or module@version")
    role = settings.role
    if role is not None and not (0 < len(role.encode(errors="replace")) <= _LONGEST_ROLE and role.isprintable()):
        raise SettingError("role", f"{role!r} cannot be the name of a role")
    if len(settings.description) > _LONGEST_DESCRIPTION or not _is_text(settings.description):
        raise SettingError("description", f"must be a text of up to {_LONGEST_DESCRIPTION} characters")
    if settings.windows is not None:
        try:
            check_windows(settings.windows)
        except ValueError as error:
            raise SettingError("windows", str(error)) from None
    return CheckedSettings(
        schemas=_schemas(settings),
        depends_on=tuple(dict.fromkeys(settings.depends_on)),
        description=settings.description,
        out_of_order=settings.out_of_order or "reject",
        role=role,
        max_rewrite=UNSET if settings.max_rewrite is None else _bytes(settings.max_rewrite),
        max_blocked=settings.max_blocked or UNSET,
        findings=settings.findings or UNSET,
        windows=settings.windows,
        approvals=settings.approvals,
    )


def _bytes(size: str) -> int:
    try:
        return bytes_of(size)
    except ValueError as error:
        raise SettingError("max_rewrite", str(error)) from None


def check_schema(name: str, key: str = "schema") -> None:
    """Raise SettingError if ``name`` cannot be the name of a module's schema."""
    if not is_identifier(name):
        raise SettingError(
            key,
            f"{name!r} cannot be the name of a schema: use up to 63 letters, digits and underscores, not beginning "
            f"with a digit",
        )
    if name.lower() == SERVICE_SCHEMA:
        raise SettingError(key, f"{SERVICE_SCHEMA} is the service's own schema")
    if name.startswith("pg_") or name.lower() == "information_schema":
        raise SettingError(key, f"{name} is a system schema: PostgreSQL reserves it, and every name with pg_")


def _schemas(settings: ModuleSettings) -> tuple[str, ...] | str | None:
    several = settings.schemas
    if settings.schema is not None:
        if several is not None:
            raise SettingError("schemas", "schema and schemas cannot both be given")
        check_schema(settings.schema)
        return (settings.schema,)
    if several is None:
        return None
    if isinstance(several, str):
        if "*" in several or "?" in several:
            if not _PATTERN.match(several):
                raise SettingError(
                    "schemas", f"{several!r} is not a pattern: use up to 63 letters, digits, underscores, * and ?"
                )
            return several
        several = [several]
    for name in several:
        check_schema(name, "schemas")
    if not 0 < len(several) <= _MOST_SCHEMAS:
        raise SettingError("schemas", f"name 1 to {_MOST_SCHEMAS} schemas, or give a pattern such as 'tenant_*'")
    return tuple(dict.fromkeys(several))


def _is_text(value: str) -> bool:
    try:
        return b"\x00" not in value.encode()
    except UnicodeEncodeError:
        return False
