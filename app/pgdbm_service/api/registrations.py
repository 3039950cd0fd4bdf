"""Requests and answers of the registration calls."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pgdbm.migrations.results import OutOfOrder

from .common import Approvals, ModuleSettings, Windows

RegistrationStatus = Literal["registered", "unchanged", "dry_run"]
Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]


class SubmittedMigration(msgspec.Struct, forbid_unknown_fields=True):
    filename: Annotated[str, Meta(min_length=1, max_length=255)]
    content: str


class RegistrationBody(ModuleSettings, forbid_unknown_fields=True, kw_only=True):
    """``migrations`` are all files of the module, including down migrations; the other fields are as in
    ``module.toml``."""

    migrations: list[SubmittedMigration]


class Registration(msgspec.Struct, kw_only=True):
    """The module as it is registered now. ``status`` is unchanged if the same content was already registered, dry_run
    if it would change.

    ``pending`` lists the ``migrations`` that are not applied in at least one of its schemas. ``warnings`` are present
    if some of its files are applied there under another module's name.
    """

    module: str
    status: RegistrationStatus
    digest: str
    schema: str | None
    schemas: list[str] | str
    depends_on: tuple[str, ...]
    description: str
    out_of_order: OutOfOrder
    role: str | None
    windows: Windows | None = None
    approvals: Approvals | None = None
    migrations: list[str]
    pending: list[str]
    warnings: list[str] = []


class Unregistered(msgspec.Struct, kw_only=True):
    """``digest`` is the bundle that the module had."""

    module: str
    status: Literal["unregistered"] = "unregistered"
    digest: str


class BundleItem(msgspec.Struct, kw_only=True):
    """A change of a module's bundle; ``current``: whether this is the module's current bundle."""

    digest: str
    registered_at: datetime
    registered_by: str
    current: bool


class BundlePage(msgspec.Struct):
    """The newest first. ``next`` is the cursor of the next page, None on the last."""

    items: list[BundleItem]
    next: str | None = None


class BundleChange(msgspec.Struct, kw_only=True):
    """A file that differs between two bundles; ``filename`` is ``settings`` for the settings of the module."""

    kind: Literal["added", "removed", "changed"]
    filename: str
    diff: str


class BundleDiff(msgspec.Struct, kw_only=True):
    """The differences between the bundles ``before`` and ``after``, which are given by their digests."""

    module: str
    before: str
    after: str
    changes: list[BundleChange]


class RepositoryChanges(msgspec.Struct, kw_only=True):
    """The names of modules, compared with the previous read of the repository.

    ``invalid`` are those that cannot be used, ``hidden`` those hidden by a registered module of the same name.
    """

    added: list[str]
    changed: list[str]
    removed: list[str]
    unchanged: list[str]
    invalid: list[str]
    hidden: list[str]
