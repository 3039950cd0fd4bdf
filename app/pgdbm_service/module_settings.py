"""What is said of a module besides its files: in ``module.toml``, in the body of a registration, or with it."""

from __future__ import annotations

import re

import msgspec

from pgdbm.core.identifiers import is_identifier

from .own_schema import OWN_SCHEMA
from .structs import ModuleSettings, Policy

MODULE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\Z")

_PATTERN = re.compile(r"[A-Za-z0-9_*?]{1,63}\Z")
_MOST_SCHEMAS = 10_000
_LONGEST_ROLE = 63
_LONGEST_DESCRIPTION = 2_000


class SettingError(Exception):
    """A setting has a value that means nothing. ``key`` is its name."""

    def __init__(self, key: str, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.key = key
        self.reason = reason
        self.hint = hint


class CheckedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that mean something, each said in one way only: equal settings are equal.

    ``schemas`` is None for the one of the module's name, a string for a pattern.
    """

    schemas: tuple[str, ...] | str | None = None
    depends_on: tuple[str, ...] = ()
    description: str = ""
    out_of_order: Policy = "reject"
    role: str | None = None


def checked(settings: ModuleSettings) -> CheckedSettings:
    """The settings in one form.

    Raises:
        SettingError: one of them, or two together, mean nothing.
    """
    if settings.policy and settings.out_of_order and settings.policy != settings.out_of_order:
        raise SettingError("policy", "policy and out_of_order say the same thing, and here they differ. Give one")
    for dependency in settings.depends_on:
        name, at, version = dependency.partition("@")
        if not MODULE_NAME.match(name) or (at and not (version and version.isprintable())):
            raise SettingError("depends_on", f"{dependency!r} is neither module nor module@version")
    role = settings.role
    if role is not None and not (0 < len(role.encode(errors="replace")) <= _LONGEST_ROLE and role.isprintable()):
        raise SettingError("role", f"{role!r} cannot be the name of a role")
    if len(settings.description) > _LONGEST_DESCRIPTION or not _is_text(settings.description):
        raise SettingError("description", f"not a text of up to {_LONGEST_DESCRIPTION} characters")
    return CheckedSettings(
        schemas=_schemas(settings),
        depends_on=tuple(dict.fromkeys(settings.depends_on)),
        description=settings.description,
        out_of_order=settings.policy or settings.out_of_order or "reject",
        role=role,
    )


def check_schema(name: str, key: str = "schema") -> None:
    """Raise SettingError if ``name`` cannot be the name of a module's schema."""
    if not is_identifier(name):
        raise SettingError(
            key,
            f"{name!r} cannot be the name of a schema: use letters, digits and underscores, at most 63 of them, and no "
            f"digit in front",
        )
    if name == OWN_SCHEMA:
        raise SettingError(key, f"{OWN_SCHEMA} is the service's own schema")


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
                    "schemas", f"{several!r} is no pattern: use letters, digits, underscores, * and ?, at most 63"
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
