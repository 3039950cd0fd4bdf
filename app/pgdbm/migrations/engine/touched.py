"""What the files of a run may have changed in the catalog, derived from their statements. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..sources.parser import ParsedMigration
    from ..state.snapshots import Touched
    from .run import Run

MOST_FILES = 100
"""A run of more files lists the whole schema."""
_MOST_TABLES = 100

Names = frozenset[tuple[str, str, bool]]
"""The schema of each table, or "" without one; its name; whether it is created."""


def note_tables(run: Run, parsed: Sequence[ParsedMigration]) -> None:
    """Record in ``run`` which tables each file touches."""
    run.tables.update((one.filename, _tables_of(one)) for one in parsed)


def _tables_of(migration: ParsedMigration) -> Names | None:
    """The tables of which a file changes only their own description; None if it may change anything."""
    if not migration.transactional:
        return None
    names: set[tuple[str, str, bool]] = set()
    for one in migration.distinct_traits:
        if one.touches is None:
            return None
        names.update((schema, name, bool(one.creates)) for schema, name in one.touches)
    return frozenset(names)


def touched_by(run: Run, schema: str) -> Touched | None:
    """What a successful run may have changed in ``schema``; None if that could be anything, or a lot."""
    if run.renamed or len(run.applied) > MOST_FILES:
        return None
    all_names: set[tuple[str, str, bool]] = set()
    for filename in run.applied:
        found = run.tables.get(filename)
        if found is None:
            return None
        all_names |= found
    from ..state.snapshots import Touched  # imported lazily: together with the rest that takes a snapshot

    if len(all_names) > _MOST_TABLES or not {of for of, _, _ in all_names} <= {"", schema}:
        return None
    return Touched(
        tuple(run.applied),
        frozenset(name for _, name, _ in all_names),
        frozenset(name for _, name, is_created in all_names if is_created),
        frozenset(name for of, name, _ in all_names if not of),
    )
