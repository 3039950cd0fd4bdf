"""What the registration calls take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ..structs import ModuleSettings

RegistrationStatus = Literal["registered", "unchanged", "dry_run"]
Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]


class SubmittedMigration(msgspec.Struct, forbid_unknown_fields=True):
    filename: Annotated[str, Meta(min_length=1, max_length=255)]
    content: str


class RegistrationBody(ModuleSettings, forbid_unknown_fields=True, kw_only=True):
    """``migrations`` are all files of the module, ways back (``*.down.sql``) too; the others as in ``module.toml``."""

    migrations: list[SubmittedMigration]


class Registration(msgspec.Struct, kw_only=True):
    """What the module has now. ``status`` is unchanged where it had the same before, dry_run where it would change.

    ``pending`` are those of the ``migrations`` that one of its schemas does not have yet.
    """

    module: str
    status: RegistrationStatus
    digest: str
    schema: str | None
    schemas: list[str] | str
    depends_on: tuple[str, ...]
    description: str
    out_of_order: Literal["allow", "reject"]
    role: str | None
    migrations: list[str]
    pending: list[str]


class Unregistered(msgspec.Struct, kw_only=True):
    """``digest`` is the bundle that the module had."""

    module: str
    status: Literal["unregistered"] = "unregistered"
    digest: str


class BundleItem(msgspec.Struct, kw_only=True):
    """A change of a module's bundle; ``current`` says whether the module has this bundle now."""

    digest: str
    registered_at: datetime
    registered_by: str
    current: bool


class BundlePage(msgspec.Struct):
    """The newest first. ``next`` is the cursor of the next page, None on the last."""

    items: list[BundleItem]
    next: str | None = None


class RepositoryChanges(msgspec.Struct, kw_only=True):
    """The names of the modules that came, changed or went since the repository was last read.

    ``invalid`` are those of now that cannot be used, ``hidden`` those that a registered module of the same name hides.
    """

    added: list[str]
    changed: list[str]
    removed: list[str]
    unchanged: list[str]
    invalid: list[str]
    hidden: list[str]
