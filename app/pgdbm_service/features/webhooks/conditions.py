"""Finds what webhooks report about modules: files that have been pending for a long time, changed files, drift; each
one once while it lasts."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ...database.service_schema import SERVICE_SCHEMA
from ...database.sql import statement

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence

    from ...api.operations import Drift
    from ...database.pool import Database

_OF_SAMPLES = ["module.pending", "module.changed"]
_OF_DRIFT = ["module.drifted"]
_CHANGES_NAMED = 20


class Sample(Protocol):
    """The state of a module in all of its schemas: how many are ``behind``, and how many migrations are pending in
    them."""

    @property
    def behind(self) -> int: ...
    @property
    def pending(self) -> int: ...
    @property
    def changed_files(self) -> Sequence[str]: ...


class Condition(msgspec.Struct, frozen=True):
    """``schema`` is empty for a condition of all schemas; with a different ``digest`` it is reported again."""

    module: str
    schema: str
    event: str
    digest: str
    data: dict[str, Any]


class ModuleConditions:
    """Pending migrations are reported once they have been pending for ``pending_after_s``.

    ``is_migrating``: whether a run of the module is in progress.
    """

    def __init__(
        self, database: Database, *, pending_after_s: float, is_migrating: Callable[[str], Awaitable[bool]]
    ) -> None:
        self._database = database
        self._is_migrating = is_migrating
        self._pending_after_s = pending_after_s

    async def sampled(self, samples: Mapping[str, Sample], registered: Collection[str]) -> None:
        """Report what is new in ``samples``, by module; nothing is known about other ``registered`` modules."""
        found = [one for name, sample in samples.items() for one in _conditions(name, sample)]
        await self._report(found, _OF_SAMPLES, unknown=[name for name in registered if name not in samples])

    async def compared(self, module: str, schema: str, drift: Drift) -> None:
        """Report the drift of the schema that ``module`` is in, unless the same drift was already reported."""
        found = []
        if drift.changes:
            if await self._is_migrating(module):
                # Changes by an unfinished run are not drift.
                return
            changes = [{"kind": one.kind, "object_kind": one.object_kind, "name": one.name} for one in drift.changes]
            digest = hashlib.sha256(msgspec.json.encode(drift.changes)).hexdigest()
            data = {"schema": schema, "change_count": len(changes), "changes": changes[:_CHANGES_NAMED]}
            found.append(Condition(module, schema, "module.drifted", digest, data))
        await self._report(found, _OF_DRIFT, place=(module, schema))

    async def is_drift_due(self, every_s: float) -> bool:
        """Whether no replica has started to compare all schemas within ``every_s``; if so, this one has now started."""
        return bool(await self._rows("start_drift_watch", every_s))

    async def _report(
        self,
        found: Sequence[Condition],
        events: Sequence[str],
        *,
        place: tuple[str | None, str | None] = (None, None),
        unknown: Sequence[str] = (),
    ) -> None:
        columns = (
            [one.module for one in found],
            [one.schema for one in found],
            [one.event for one in found],
            [one.digest for one in found],
            [msgspec.json.encode(one.data).decode() for one in found],
        )
        await self._rows("report", *columns, list(events), *place, list(unknown), self._pending_after_s)

    async def _rows(self, name: str, *values: Any) -> list[Any]:
        db = self._database.manager(SERVICE_SCHEMA)
        return await self._database.with_timeout(db.fetch_all(statement("webhooks", name), *values))


def _conditions(name: str, sample: Sample) -> Iterator[Condition]:
    if sample.pending:
        yield Condition(name, "", "module.pending", "", {"pending": sample.pending, "schema_count": sample.behind})
    if sample.changed_files:
        files = sorted(sample.changed_files)
        digest = hashlib.sha256("\n".join(files).encode()).hexdigest()
        yield Condition(name, "", "module.changed", digest, {"filenames": files[:_CHANGES_NAMED]})
