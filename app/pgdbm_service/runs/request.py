"""A request to migrate, as it is passed from the controller to the run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from ..api.runs import ALL_MODULES, RunOptions

if TYPE_CHECKING:
    from ..api.runs import MigrateAllBody, MigrateBody


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request comes from. ``key`` is its Idempotency-Key."""

    principal: str
    request_id: str | None = None
    traceparent: str | None = None
    key: str | None = None


class MigrationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to migrate one module, or all of them.

    ``wait_s``: seconds to wait for the end of the run; None waits without a limit. ``bundle``: the digest that the
    module's bundle must have. ``stored``: the stored bundles, by module, whose files are used instead of the
    current ones, including those of dependencies. ``retry_of``: the run whose undone work this repeats.
    """

    module: str
    origin: Origin
    options: RunOptions = RunOptions()
    bundle: str | None = None
    stored: Mapping[str, str] = {}
    dry_run: bool = False
    with_dependencies: bool = False
    wait_s: float | None = None
    retry_of: UUID | None = None

    @classmethod
    def of_module(cls, module: str, body: MigrateBody, origin: Origin, wait_s: float) -> MigrationRequest:
        options = RunOptions(**{name: getattr(body, name) for name in RunOptions.__struct_fields__})
        return cls(
            module=module,
            origin=origin,
            options=options,
            bundle=body.bundle,
            dry_run=body.dry_run,
            with_dependencies=body.with_dependencies,
            wait_s=wait_s,
        )

    @classmethod
    def of_all(cls, body: MigrateAllBody, origin: Origin, wait_s: float) -> MigrationRequest:
        options = RunOptions(not_before=body.not_before, if_closed=body.if_closed)
        return cls(module=ALL_MODULES, origin=origin, options=options, dry_run=body.dry_run, wait_s=wait_s)

    @property
    def digest(self) -> str:
        """A digest that is equal for requests with which an Idempotency-Key may be repeated."""
        if self.retry_of is not None:
            return digest_of(["retry", self.retry_of])
        return digest_of([self.module, self.options, self.bundle, self.with_dependencies])


def digest_of(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()
