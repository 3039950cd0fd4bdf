"""What would happen: files compared with history. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ..errors import ChecksumMismatchError, MigrationError, MigrationFileError, OutOfOrderError
from .files import Migration, has_version, order_of, version_of
from .results import MigrationStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from .journal import Outcome
    from .results import HistoryRow, OutOfOrder, State


@dataclass(frozen=True, slots=True)
class Plan:
    """The migrations that apply would run, in order, those that the history has, and those behind the target."""

    pending: tuple[Migration, ...]
    skipped: tuple[Migration, ...]
    beyond_target: tuple[Migration, ...] = ()


def build_plan(
    migrations: Sequence[Migration],
    applied: Mapping[str, str],
    out_of_order: OutOfOrder = "allow",
    target: str | None = None,
) -> Plan:
    """The plan for ``migrations`` (in order) given ``applied``: file name to checksum.

    With ``target``, a version or a file name, nothing behind it is pending; repeatable migrations neither.

    Raises:
        ChecksumMismatchError: a file that was applied has another content now.
        OutOfOrderError: a pending file sorts before an applied one, and ``out_of_order`` is ``reject``.
        MigrationFileError: a pending file has the version of another; names both.
        MigrationError: there is no migration ``target``.
    """
    last = None if target is None else _find_target(migrations, target)
    pending: list[Migration] = []
    beyond: list[Migration] = []
    skipped: list[Migration] = []
    for migration in migrations:
        recorded = applied.get(migration.filename)
        if recorded is None or (recorded != migration.checksum and migration.is_repeatable):
            if last is not None and order_of(migration.filename) > last:
                beyond.append(migration)
            else:
                pending.append(migration)
        elif recorded != migration.checksum:
            raise ChecksumMismatchError(migration.filename, recorded, migration.checksum)
        else:
            skipped.append(migration)
    check_versions(migrations, {migration.filename for migration in (*pending, *beyond)})
    if out_of_order == "reject" and pending:
        newest = newest_of(filter(has_version, applied))
        if newest is not None and order_of(pending[0].filename) < order_of(newest):
            raise OutOfOrderError(pending[0].filename, newest)
    return Plan(tuple(pending), tuple(skipped), tuple(beyond))


def check_versions(migrations: Sequence[Migration], pending: Collection[str]) -> None:
    """Refuse two files with one version, whose order nobody can tell. Where both are applied, it no longer matters."""
    if not pending:
        return
    for one, other in pairwise(migrations):
        order, next_order = order_of(one.filename), order_of(other.filename)
        if order[0] != 0 or order[:2] != next_order[:2] or not (one.filename in pending or other.filename in pending):
            continue
        raise MigrationFileError(
            f"{one.filename} and {other.filename} have the same version {one.version}: rename one of them, so that "
            f"their order is clear.",
            other.filename if other.filename in pending else one.filename,
            line=1,
            version=one.version,
            hint=f"The other file is {one.filename if other.filename in pending else other.filename}.",
        )


def _find_target(migrations: Sequence[Migration], target: str) -> tuple[int, tuple[int, ...], str]:
    wanted = order_of(f"{target}_")
    for migration in migrations:
        order = order_of(migration.filename)
        same_number = wanted[0] == 0 and order[:2] == wanted[:2]
        if target in (migration.filename, migration.version) or same_number:
            return order
    known = ", ".join(migration.version for migration in migrations[-5:])
    raise MigrationError(f"There is no migration {target!r} to go up to; the newest are {known or 'none'}.")


def newest_of(filenames: Iterable[str]) -> str | None:
    """The last of ``filenames`` in the order in which migrations apply."""
    return max(filenames, key=order_of, default=None)


def statuses(
    migrations: Sequence[Migration],
    rows: Iterable[HistoryRow],
    out_of_order: OutOfOrder = "allow",
    outcomes: Mapping[str, Outcome] | None = None,
) -> tuple[MigrationStatus, ...]:
    """The state of every migration that is in the files or in the history, in the order in which they apply.

    ``outcomes`` is the journal's newest word on files.
    """
    outcomes = outcomes or {}
    by_name = {row.filename: row for row in rows}
    newest = newest_of(filter(has_version, by_name))
    found: list[MigrationStatus] = []
    for migration in migrations:
        row = by_name.pop(migration.filename, None)
        state: State
        if row is not None:
            if row.checksum != migration.checksum:
                state = "pending" if migration.is_repeatable else "changed"
            else:
                state = "baseline" if outcomes.get(migration.filename) == "baselined" else "applied"
        elif out_of_order == "reject" and newest and order_of(migration.filename) < order_of(newest):
            state = "out_of_order"
        else:
            state = _unfinished(migration, outcomes.get(migration.filename))
        found.append(_status(migration.filename, state, migration, row))
    newest_file = order_of(migrations[-1].filename) if migrations else None
    for row in by_name.values():
        ahead = newest_file is not None and order_of(row.filename) > newest_file
        found.append(_status(row.filename, "ahead" if ahead else "missing", None, row))
    return tuple(sorted(found, key=lambda status: order_of(status.filename)))


def _unfinished(migration: Migration, outcome: Outcome | None) -> State:
    if outcome == "failed":
        return "partial" if migration.wants_no_transaction else "failed"
    if outcome == "begun":
        return "unknown"
    return "partial" if outcome == "done" else "pending"


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
