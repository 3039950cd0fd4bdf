"""What would happen: files compared with history. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ChecksumMismatchError, OutOfOrderError
from .files import Migration, order_of, version_of
from .results import MigrationStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .results import HistoryRow, OutOfOrder, State


@dataclass(frozen=True, slots=True)
class Plan:
    """The migrations that apply would run, in order, and those that the history has."""

    pending: tuple[Migration, ...]
    skipped: tuple[Migration, ...]


def build_plan(migrations: Sequence[Migration], applied: Mapping[str, str], out_of_order: OutOfOrder = "allow") -> Plan:
    """The plan for ``migrations`` (in order) given ``applied``: file name to checksum.

    Raises:
        ChecksumMismatchError: a file that was applied has another content now.
        OutOfOrderError: a pending file sorts before an applied one, and ``out_of_order`` is ``reject``.
    """
    pending: list[Migration] = []
    skipped: list[Migration] = []
    for migration in migrations:
        recorded = applied.get(migration.filename)
        if recorded is None:
            pending.append(migration)
        elif recorded != migration.checksum:
            raise ChecksumMismatchError(migration.filename, recorded, migration.checksum)
        else:
            skipped.append(migration)
    if out_of_order == "reject" and pending:
        newest = newest_of(applied)
        if newest is not None and order_of(pending[0].filename) < order_of(newest):
            raise OutOfOrderError(pending[0].filename, newest)
    return Plan(tuple(pending), tuple(skipped))


def newest_of(filenames: Iterable[str]) -> str | None:
    """The last of ``filenames`` in the order in which migrations apply."""
    return max(filenames, key=order_of, default=None)


def statuses(
    migrations: Sequence[Migration], rows: Iterable[HistoryRow], out_of_order: OutOfOrder = "allow"
) -> tuple[MigrationStatus, ...]:
    """The state of every migration that is in the files or in the history, in the order in which they apply."""
    by_name = {row.filename: row for row in rows}
    newest = newest_of(by_name)
    found: list[MigrationStatus] = []
    for migration in migrations:
        row = by_name.pop(migration.filename, None)
        state: State
        if row is not None:
            state = "applied" if row.checksum == migration.checksum else "changed"
        elif out_of_order == "reject" and newest and order_of(migration.filename) < order_of(newest):
            state = "out_of_order"
        else:
            state = "pending"
        found.append(_status(migration.filename, state, migration, row))
    found += [_status(row.filename, "missing", None, row) for row in by_name.values()]
    return tuple(sorted(found, key=lambda status: order_of(status.filename)))


def _status(filename: str, state: State, migration: Migration | None, row: HistoryRow | None) -> MigrationStatus:
    return MigrationStatus(
        filename=filename,
        version=version_of(filename),
        state=state,
        checksum=migration.checksum if migration else row.checksum if row else "",
        recorded_checksum=row.checksum if row else None,
        transactional=not (migration and migration.wants_no_transaction),
        applied_at=row.applied_at if row else None,
        applied_by=row.applied_by if row else None,
        execution_time_ms=row.execution_time_ms if row else None,
    )
