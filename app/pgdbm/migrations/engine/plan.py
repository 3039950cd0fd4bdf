"""Compares files with the history. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from ...errors import ChecksumMismatchError, MigrationError, MigrationFileError, OutOfOrderError
from ..sources.migration import check_versions
from ..sources.names import Order, has_version, is_repeatable_name, order_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..results import OutOfOrder
    from ..sources.migration import Migration


@dataclass
class Plan:
    """The pending migrations in order, the applied ones, and those after the target.

    ``renamed`` gives the name in the history for each pending file that was applied under another one. Its SQL is not
    run again: its row gets the new name.
    """

    pending: tuple[Migration, ...]
    skipped: tuple[Migration, ...]
    beyond_target: tuple[Migration, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def to_run(self) -> tuple[Migration, ...]:
        """What is pending and was not renamed."""
        return tuple(one for one in self.pending if one.filename not in self.renamed) if self.renamed else self.pending

    def to_apply(self, defer_background: bool) -> tuple[Migration, ...]:
        """:attr:`to_run`; With ``defer_background``: without backfills in the background and the files that require
        them."""
        waiting = self.in_background if defer_background else ()
        return tuple(one for one in self.to_run if one.filename not in waiting) if waiting else self.to_run

    @cached_property
    def in_background(self) -> frozenset[str]:
        """The pending backfills in the background, and the pending files that require them."""
        return frozenset(in_background(self.pending))


class ReadPlan(NamedTuple):
    """A plan, and what it was made from: the files, the history (checksum by file name; None without a table), and the
    major version of the server."""

    plan: Plan
    migrations: tuple[Migration, ...]
    recorded: Mapping[str, str] | None
    server_version: int


def build_plan(
    migrations: Sequence[Migration],
    applied: Mapping[str, str],
    out_of_order: OutOfOrder = "allow",
    target: str | None = None,
) -> Plan:
    """The plan for ``migrations`` (in order) and the ``applied`` ones: checksum by file name.

    With ``target``, a version or a file name, nothing after it is pending, nor is any repeatable migration.

    Raises:
        ChecksumMismatchError: the content of an applied file has changed.
        OutOfOrderError: a pending file sorts before an applied one, and ``out_of_order`` is ``reject``.
        MigrationFileError: a pending file has the version of another, or requires a file that is not before it; the
            text names both.
        MigrationError: there is no migration ``target``.
    """
    last = None if target is None else _find_target(migrations, target)
    pending: list[Migration] = []
    beyond: list[Migration] = []
    skipped: list[Migration] = []
    for migration in migrations:
        recorded = applied.get(migration.filename)
        if recorded == migration.checksum or (recorded is not None and migration.matches(recorded)):
            skipped.append(migration)
        elif recorded is not None and not migration.is_repeatable:
            raise ChecksumMismatchError(migration.filename, recorded, migration.checksum)
        elif last is not None and order_of(migration.filename) > last:
            beyond.append(migration)
        else:
            pending.append(migration)
    renamed = previous_names(migrations, pending, applied)
    check_versions(migrations, {migration.filename for migration in (*pending, *beyond)})
    require_order(migrations, pending)
    if out_of_order == "reject" and pending:
        names = {previous: filename for filename, previous in renamed.items()}
        newest = newest_of(filter(has_version, (names.get(filename, filename) for filename in applied)))
        # A backfill in the background may be applied after files that follow it.
        left = renamed.keys() | in_background(pending)
        first = next((one for one in pending if one.filename not in left), None)
        if newest is not None and first is not None and order_of(first.filename) < order_of(newest):
            raise OutOfOrderError(first.filename, newest, renamed.get(newest))
    return Plan(tuple(pending), tuple(skipped), tuple(beyond), renamed)


def in_background(pending: Sequence[Migration]) -> dict[str, str | None]:
    """The files of ``pending`` that are backfills in the background, or wait for one, each with the name of the
    backfill."""
    found: dict[str, str | None] = {}
    for migration in pending:
        waits_for = next((name for name in found if _is_named(name, migration.requires)), None) if found else None
        if waits_for is not None or migration.is_background:
            found[migration.filename] = waits_for
    return found


def require_order(migrations: Sequence[Migration], pending: Sequence[Migration]) -> None:
    """Raise MigrationFileError if one of ``pending`` requires a file that is not before it in ``migrations``."""
    for migration in pending:
        for name in migration.requires:
            before = (one.filename for one in migrations if order_of(one.filename) < order_of(migration.filename))
            if not any(_is_named(filename, (name,)) for filename in before):
                raise MigrationFileError(
                    f"{migration.filename}: it requires {name!r}, but there is no such migration before it.",
                    migration.filename,
                    line=1,
                )


def _is_named(filename: str, names: Sequence[str]) -> bool:
    return filename in names or filename.removesuffix(".sql") in names


def up_to(migrations: Sequence[Migration], target: str) -> list[Migration]:
    """``migrations`` that are not after ``target``, a version or a file name.

    Raises:
        MigrationError: there is no migration ``target``.
    """
    last = _find_target(migrations, target)
    return [migration for migration in migrations if order_of(migration.filename) <= last]


def previous_names(
    migrations: Sequence[Migration], pending: Sequence[Migration], applied: Mapping[str, str]
) -> dict[str, str]:
    """The previous name of each of ``pending`` with the content of an applied file that no longer exists."""
    if not pending or not applied:
        return {}
    names = {migration.filename for migration in migrations}
    gone: dict[str, list[str]] = {}
    for filename, checksum in applied.items():
        if filename not in names and not is_repeatable_name(filename):
            gone.setdefault(checksum, []).append(filename)
    renamed: dict[str, str] = {}
    for migration in pending:
        candidates = gone.get(migration.checksum)
        if candidates and not migration.is_repeatable:
            renamed[migration.filename] = candidates.pop(0)
    return renamed


def _find_target(migrations: Sequence[Migration], target: str) -> Order:
    wanted = order_of(f"{target}_")
    for migration in migrations:
        order = order_of(migration.filename)
        if target in (migration.filename, migration.version) or wanted.same_version(order):
            return order
    known = ", ".join(migration.version for migration in migrations[-5:])
    raise MigrationError(f"There is no migration {target!r} to stop at; the newest are {known or 'none'}.")


def newest_of(filenames: Iterable[str]) -> str | None:
    """The last of ``filenames`` in the order of migrations."""
    return max(filenames, key=order_of, default=None)
