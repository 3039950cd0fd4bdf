"""What a statement of a rehearsal did, compared with what its text says. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .results import PredictedLock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...pgparse.lock_modes import LockMode, StatementLock
    from .results import StatementRehearsal


class RelationNames:
    """The names of relations by oid, current and previous, as pairs of schema and name."""

    def __init__(self) -> None:
        self._names: dict[int, set[tuple[str, str]]] = {}

    def add(self, oid: int, schema: str, name: str) -> None:
        self._names.setdefault(oid, set()).add((schema, name))

    def named(self, relation: str) -> set[int]:
        """The relations that ``relation``, with or without a schema, may refer to."""
        schema, _, name = relation.rpartition(".")
        return {
            oid for oid, names in self._names.items() if any(name == one[1] and schema in ("", one[0]) for one in names)
        }


def checked(
    predicted: Sequence[StatementLock],
    names: RelationNames,
    before: Mapping[int, LockMode],
    after: Mapping[int, LockMode],
    real: tuple[str, str],
) -> tuple[PredictedLock, ...]:
    """Each of ``predicted`` with whether it was taken, given the strongest lock on each relation, by oid.

    ``real``: the scratch schema, and the one that it stands for. A lock on a relation that does not exist, as with IF
    EXISTS, is omitted. A lock that the transaction already held counts as confirmed.
    """
    found: list[PredictedLock] = []
    listed: set[int] = set()
    scratch, schema = real
    for one in predicted:
        if one.relation is None:
            continue
        oids = names.named(one.relation)
        listed |= oids
        if oids:
            taken = max((_as_predicted(one.mode, before.get(oid), after.get(oid)) for oid in oids), default=False)
            found.append(PredictedLock(_shown(one.relation, scratch, schema), one.mode, confirmed=taken))
    for one in predicted:
        if one.relation is None:
            others = [mode for oid, mode in after.items() if oid not in listed and mode > before.get(oid, 0)]
            found.append(PredictedLock(None, one.mode, confirmed=all(mode <= one.mode for mode in others)))
    return tuple(found)


def _as_predicted(predicted: LockMode, before: LockMode | None, after: LockMode | None) -> bool:
    if before is not None and before >= predicted:
        return after == before
    return after == predicted


def _shown(relation: str, scratch: str, schema: str) -> str:
    head, dot, name = relation.rpartition(".")
    return f"{schema if head == scratch else head}{dot}{name}"


def with_held_times(statements: Sequence[StatementRehearsal]) -> list[StatementRehearsal]:
    """The statements of one transaction, whose locks are held from the statement that takes them until the transaction
    ends."""
    remaining = sum(one.milliseconds for one in statements)
    timed = []
    for one in statements:
        locks = None if one.locks is None else tuple(replace(lock, held_ms=remaining) for lock in one.locks)
        timed.append(replace(one, locks=locks))
        remaining -= one.milliseconds
    return timed
