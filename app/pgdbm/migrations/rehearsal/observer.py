"""Observes over the connection of a rehearsal what each statement does: its locks, and the files that it rewrites."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ...pgparse.lock_modes import LockMode
from ...sql import statement
from .observation import RelationNames, checked
from .results import TakenLock

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ...core.connection import Connection
    from ...pgparse.lock_modes import StatementLock
    from .results import PredictedLock

Held = dict[tuple[int, LockMode], tuple[str | None, str | None, int | None]]
"""(schema, name, number of its file) by oid and mode."""

Files = dict[int, tuple[str, int | None]]
"""(name, number of its file) of relations of the scratch schema, by oid."""


class Seen(NamedTuple):
    """What a statement did, as in :class:`StatementRehearsal`."""

    locks: tuple[TakenLock, ...] | None = ()
    predicted: tuple[PredictedLock, ...] = ()
    rewritten: tuple[str, ...] = ()
    wal_bytes: int | None = None


@dataclass
class Watch:
    """The state before a statement, to compare with that after it. ``files``: the relations that existed before."""

    files: Files
    held: Held
    names: RelationNames
    wal_position: int


class Observer:
    """Compares the locks and files before and after each statement, in ``schema``, which stands for ``real``."""

    def __init__(self, connection: Connection, schema: str, real: str) -> None:
        self._connection = connection
        self._schema = schema
        self._real = real

    def is_outside(self, schema: str | None) -> bool:
        """Whether a relation of ``schema`` is outside the scratch schema; None stands for a dropped relation."""
        return schema is not None and schema != self._schema and not schema.startswith("pg_temp")

    async def watch(self) -> Watch:
        """The objects that exist before the statements of a transaction."""
        files, held = await self._files(), await self.held()
        watch = Watch(files, held, RelationNames(), await self._wal())
        for oid, (name, _) in files.items():
            watch.names.add(oid, self._schema, name)
        _learn(watch, held)
        return watch

    async def see(self, watch: Watch, predicted: Sequence[StatementLock]) -> Seen:
        """What the last statement did, and whether it took the locks that were ``predicted``."""
        before, after = watch.held, await self.held()
        _learn(watch, after)
        position = await self._wal()
        files = {oid: (name or "", filenode) for (oid, _), (_, name, filenode) in after.items()}
        seen = Seen(
            self._taken(before, after, watch.files),
            checked(predicted, watch.names, _strongest(before), _strongest(after), (self._schema, self._real)),
            self._rewritten(watch.files, files),
            position - watch.wal_position,
        )
        watch.held, watch.wal_position = after, position
        watch.files |= {oid: file for oid, file in files.items() if oid in watch.files and file[0]}
        return seen

    async def see_without_locks(self, watch: Watch) -> Seen:
        """What a statement outside a transaction did: its locks have already been released."""
        rewritten = self._rewritten(watch.files, await self._files())
        return Seen(None, rewritten=rewritten, wal_bytes=await self._wal() - watch.wal_position)

    async def held(self) -> Held:
        """The locks that the session holds on relations."""
        return {
            (row["oid"], LockMode.from_pg_locks(row["mode"])): (row["schema"], row["name"], row["filenode"])
            for row in await self._connection.fetch(statement("rehearsal", "held"))
        }

    async def drops(self) -> int:
        """The number of objects other than tables that the open transaction has dropped."""
        count: int = await self._connection.fetchval(statement("rehearsal", "drops"))
        return count

    def _rewritten(self, before: Files, after: Files) -> tuple[str, ...]:
        """The relations of the schema whose file has changed."""
        changed = [
            oid for oid, (_, filenode) in before.items() if oid in after and after[oid][1] not in (None, filenode)
        ]
        return tuple(sorted(f"{self._real}.{after[oid][0]}" for oid in changed))

    def _taken(self, before: Held, after: Held, known: Files) -> tuple[TakenLock, ...]:
        locks = []
        for (oid, mode), (schema, name, _) in after.items():
            if (oid, mode) in before:
                continue
            if schema is None and oid in known:
                schema, name = self._schema, known[oid][0]
            is_outside = self.is_outside(schema)
            shown = self._real if schema == self._schema else schema
            relation = None if schema is None else f"{shown}.{name}"
            locks.append(TakenLock(relation, mode, is_outside, on_new_object=not is_outside and oid not in known))
        return tuple(sorted(locks, key=lambda lock: (-lock.mode, lock.relation or "")))

    async def _files(self) -> Files:
        rows: Iterable[Any] = await self._connection.fetch(statement("rehearsal", "relations"), self._schema)
        return {row["oid"]: (row["name"], row["filenode"]) for row in rows}

    async def _wal(self) -> int:
        position: int = await self._connection.fetchval(statement("rehearsal", "wal"))
        return position


def _learn(watch: Watch, held: Held) -> None:
    for (oid, _), (schema, name, _) in held.items():
        if schema is not None and name is not None:
            watch.names.add(oid, schema, name)


def _strongest(held: Held) -> dict[int, LockMode]:
    modes: dict[int, LockMode] = {}
    for oid, mode in held:
        modes[oid] = max(mode, modes.get(oid, mode))
    return modes
