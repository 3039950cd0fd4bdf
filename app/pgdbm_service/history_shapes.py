"""What history tables say of modules, of hundreds of schemas with a few statements.

A shape is read once for all schemas that have the same: the server answers with a fingerprint for each of them.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from pgdbm.core.identifiers import quote
from pgdbm.errors import QueryError
from pgdbm.migrations import HistoryRow, ModuleStatus
from pgdbm.migrations.journal import TABLE as JOURNAL_TABLE
from pgdbm.migrations.plan import check_versions, statuses

from .errors import Problem
from .history_tables import DROPPED_MEANWHILE, HISTORY_TABLE, may_be_read

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pgdbm.core.queries import Queries
    from pgdbm.migrations import Migration
    from pgdbm.migrations.journal import Outcome
    from pgdbm.migrations.results import ModuleState

    from .structs import Policy

IN_STATEMENT = 100
"""Schemas that one statement looks at."""

Place = tuple[str, str]
"""A module's name and a schema."""

_KNOWN_SHAPES = 500
_JOIN = "pg_catalog.string_agg(filename || ' ' || {what}, E'\\n' ORDER BY {order})"
_APPLIED = "FROM {history} WHERE module_name = ($1::text[])[{number}] OR module_name IS NULL"
_APPLIED_ORDER = 'filename COLLATE "C", checksum COLLATE "C"'
# Of files that are applied by now, it does not matter how an attempt ended.
_OUTCOMES = """
FROM (SELECT DISTINCT ON (filename) filename, outcome FROM {journal}
      WHERE module = ($1::text[])[{number}] ORDER BY filename, id DESC) latest
WHERE outcome IN ('failed', 'begun', 'done')
  AND filename NOT IN (SELECT filename FROM {history}
                       WHERE module_name = ($1::text[])[{number}] OR module_name IS NULL)
"""
_FINGERPRINT = f"""
SELECT {{number}} AS number, pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(
    COALESCE((SELECT {_JOIN.format(what="checksum", order=_APPLIED_ORDER)} {_APPLIED}), '')
    || E'\\n\\n' || {{outcomes}}, 'UTF8')), 'hex') AS fingerprint
"""
_OUTCOMES_TEXT = f"""
COALESCE((SELECT {_JOIN.format(what="outcome", order='filename COLLATE "C"')} {_OUTCOMES}), '')
"""
_SHAPE = f"""
SELECT {{number}} AS number,
       ARRAY(SELECT filename || ' ' || checksum {_APPLIED} ORDER BY {_APPLIED_ORDER}) AS applied,
       {{outcomes}} AS outcomes
"""
_OUTCOMES_LIST = f"""ARRAY(SELECT filename || ' ' || outcome {_OUTCOMES} ORDER BY filename COLLATE "C")"""
_WITH_JOURNAL = """
WITH wanted AS MATERIALIZED (SELECT oid, nspname FROM pg_catalog.pg_namespace WHERE nspname = ANY ($2::text[]::name[]))
SELECT n.nspname AS schema
FROM wanted n
CROSS JOIN LATERAL (SELECT * FROM pg_catalog.pg_class WHERE relname = $1 AND relnamespace = n.oid OFFSET 0) AS c
WHERE c.relkind = 'r' AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
"""


class Shape(msgspec.Struct, frozen=True, dict=True):
    """What is applied, as (filename, checksum), and how attempts at other files ended, as (filename, outcome)."""

    applied: tuple[tuple[str, str], ...] = ()
    outcomes: tuple[tuple[str, str], ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """The server computes the same."""
        parts = ("\n".join(map(" ".join, pairs)) for pairs in (self.applied, self.outcomes))
        return hashlib.sha256("\n\n".join(parts).encode()).hexdigest()


NOTHING = Shape()
"""Of a schema that has no history table."""

UNREADABLE = Shape(outcomes=(("", "unreadable"),))
"""Of a schema whose history table we may not read."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a module stands in a schema, given its files."""

    state: ModuleStateName
    applied: int
    pending: int
    changed: int
    missing: int
    version: str | None


ModuleStateName = Literal[
    "unknown", "partial", "failed", "changed", "out_of_order", "pending", "missing", "ahead", "up_to_date"
]


def standing_of(shape: Shape, migrations: Sequence[Migration], policy: Policy) -> Standing:
    """Where a module with these ``migrations`` stands in a schema of this ``shape``.

    Raises:
        MigrationFileError: a pending file has the version of another.
        Problem: database_error, for a history that may not be read.
    """
    if shape == UNREADABLE:
        message = f"permission denied for table {HISTORY_TABLE}"
        raise Problem("database_error", f"The database refused: {message}.", sqlstate="42501", database_message=message)
    applied = {filename for filename, _ in shape.applied}
    check_versions(migrations, {one.filename for one in migrations if one.filename not in applied})
    at = datetime.fromtimestamp(0, UTC)
    rows = [HistoryRow(0, filename, checksum, None, at, None, None) for filename, checksum in shape.applied]
    outcomes = cast("dict[str, Outcome]", dict(shape.outcomes))
    status = ModuleStatus("", "", statuses(migrations, rows, policy, outcomes))
    state: ModuleState = status.state
    return Standing(
        state=state,
        applied=status.applied,
        pending=status.pending,
        changed=status.counts["changed"],
        missing=status.counts["missing"],
        version=status.version,
    )


class HistoryShapes:
    """Looks at history tables. Shapes that were seen lately are not read again."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Shape] = OrderedDict({NOTHING.fingerprint: NOTHING})

    async def look(self, db: Queries, places: Iterable[Place]) -> dict[Place, Shape]:
        """The shape of each of ``places``: two statements for a hundred of them, and one more for new shapes."""
        found: dict[Place, Shape] = {}
        wanted = list(dict.fromkeys(places))
        for start in range(0, len(wanted), IN_STATEMENT):
            some = wanted[start : start + IN_STATEMENT]
            try:
                found |= await self._look(db, some)
            except QueryError as error:
                # Tenants come and go: a schema may vanish between two looks.
                if error.details.get("sqlstate") not in DROPPED_MEANWHILE:
                    raise
                found |= await self._look(db, some)
        return found

    def know(self, shape: Shape) -> Shape:
        """Keep ``shape`` among those that were seen lately."""
        self._known[shape.fingerprint] = shape
        self._known.move_to_end(shape.fingerprint)
        while len(self._known) > _KNOWN_SHAPES:
            self._known.popitem(last=False)
        return shape

    def known(self, fingerprint: str) -> Shape | None:
        return self._known.get(fingerprint)

    async def _look(self, db: Queries, places: Sequence[Place]) -> dict[Place, Shape]:
        schemas = list({schema for _, schema in places})
        there = await may_be_read(db, schemas)
        journals = {row["schema"] for row in await db.fetch_all(_WITH_JOURNAL, JOURNAL_TABLE, schemas)}
        found = {place: NOTHING if place[1] not in there else UNREADABLE for place in places if not there.get(place[1])}
        waiting = [place for place in places if there.get(place[1])]
        while waiting:
            rows = await self._ask(db, _FINGERPRINT, (_OUTCOMES_TEXT, "''"), waiting, journals)
            fingerprints = {place: row["fingerprint"] for place, row in rows}
            unknown = {one: place for place, one in fingerprints.items() if one not in self._known}
            if unknown:
                examples = list(unknown.values())
                nothing = "ARRAY[]::text[]"
                for place, row in await self._ask(db, _SHAPE, (_OUTCOMES_LIST, nothing), examples, journals):
                    # It may have changed since its fingerprint was taken: then it stands for itself only.
                    found[place] = self.know(Shape(tuple(_pairs(row["applied"])), tuple(_pairs(row["outcomes"]))))
            for place, one in fingerprints.items():
                if place not in found and one in self._known:
                    found[place] = self._known[one]
            waiting = [place for place in waiting if place not in found]
        return found

    async def _ask(
        self, db: Queries, query: str, outcomes: tuple[str, str], places: Sequence[Place], journals: set[str]
    ) -> list[tuple[Place, dict[str, Any]]]:
        parts = []
        for number, (_, schema) in enumerate(places, 1):
            names = {
                "number": number,
                "history": f"{quote(schema)}.{quote(HISTORY_TABLE)}",
                "journal": f"{quote(schema)}.{quote(JOURNAL_TABLE)}",
            }
            names["outcomes"] = outcomes[0 if schema in journals else 1].format(**names)
            parts.append(query.format(**names))
        rows = await db.fetch_all(" UNION ALL ".join(parts), [module for module, _ in places])
        return [(places[row.pop("number") - 1], row) for row in rows]


def _pairs(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        filename, _, rest = text.rpartition(" ")
        yield filename, rest
