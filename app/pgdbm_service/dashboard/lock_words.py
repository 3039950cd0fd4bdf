"""Describes the locks of pending migrations: who waits, how large the tables are, how long a rehearsal held the lock.
Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .wording import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..api.plans import Plan, PlannedLock, PlannedMigration
    from ..api.rehearsals import Rehearsal, RehearsedMigration

# From the weakest to the strongest.
_MODES = (
    *("ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE"),
    *("SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"),
)
_BLOCKS = {"reads and writes": "reads and writes wait", "writes": "writes wait", "schema changes": "no other DDL"}


class LockedRelation(NamedTuple):
    """The strongest lock on ``relation`` in all pending files. ``held_ms``: how long the rehearsal held it, if there
    was one.

    A lock is held from its statement to the end of the transaction.
    """

    relation: str
    mode: str
    blocks: str
    lock: PlannedLock
    held_ms: float | None

    @property
    def words(self) -> str:
        from pgdbm.migrations.lint import use_of

        parts = [_BLOCKS.get(self.blocks, "what it blocks is unknown")]
        parts += [words for words in (content_of(self.lock), use_of(self.lock)) if words]
        if self.held_ms is not None:
            parts.append(f"the rehearsal held it for {duration(self.held_ms / 1000)}")
        return "; ".join(parts)


def content_of(lock: PlannedLock) -> str:
    """The rows and bytes of a locked table; empty if they are unknown."""
    from pgdbm.migrations.lint import content_in_words

    return "" if lock.size_bytes is None else content_in_words(lock.rows, lock.size_bytes)


def used_tables(migration: PlannedMigration) -> dict[str, str]:
    """How much the tables are used whose locks make others wait, by table."""
    from pgdbm.migrations.lint import used_tables

    return used_tables(migration.statements)


def locked_relations(plan: Plan, rehearsal: Rehearsal | None = None) -> list[LockedRelation]:
    """The relations whose locks make other sessions wait, strongest lock first."""
    held = {} if rehearsal is None else _held(rehearsal)
    found: dict[str, LockedRelation] = {}
    for migration in plan.pending:
        for statement in migration.statements:
            if statement.blocks == "nothing":
                continue
            for lock in statement.locks:
                relation = lock.relation or "relations that only the catalog shows"
                known = found.get(relation)
                if known is not None and _strength(known.mode) >= _strength(lock.mode):
                    continue
                name = relation.rpartition(".")[2]
                own = relation == name or relation == f"{plan.schema}.{name}"
                held_ms = held.get(name) if own else None
                found[relation] = LockedRelation(relation, lock.mode, statement.blocks, lock, held_ms)
    return sorted(found.values(), key=lambda one: (-_strength(one.mode), one.relation))


def _held(rehearsal: Rehearsal) -> dict[str, float]:
    """The longest time in milliseconds that a lock was held, by relation."""
    longest: dict[str, float] = {}
    for migration in rehearsal.migrations:
        for relation, held_ms in _held_in(migration):
            longest[relation] = max(longest.get(relation, 0.0), held_ms)
    return longest


def _held_in(migration: RehearsedMigration) -> Iterator[tuple[str, float]]:
    for position, statement in enumerate(migration.statements):
        behind = migration.statements[position:] if migration.transactional else [statement]
        held_ms = sum(one.execution_time_ms for one in behind)
        for lock in statement.locks or ():
            if lock.relation is not None and not lock.on_new_object:
                yield lock.relation.rpartition(".")[2], held_ms


def _strength(mode: str) -> int:
    return _MODES.index(mode) if mode in _MODES else len(_MODES)
