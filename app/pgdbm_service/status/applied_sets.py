"""What is applied of each module in hundreds of schemas, read from the histories with a few statements.

Most schemas of a module have the same files applied. Such an applied set is read once for all of them: the server
sends its digest for each schema, and the set itself only if the digest is unknown.
"""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, cast

import msgspec

from pgdbm.core.lru import LRUCache
from pgdbm.core.templating import quote
from pgdbm.errors import QueryError
from pgdbm.migrations import HistoryRow, ModuleStatus
from pgdbm.migrations.engine.plan import previous_names
from pgdbm.migrations.engine.statuses import statuses
from pgdbm.migrations.results import ModuleState
from pgdbm.migrations.sources.migration import check_versions
from pgdbm.migrations.state.journal import TABLE as JOURNAL_TABLE

from ..database.logins import LoginError
from ..database.rows import numbered, reading_rows
from ..database.sql import statement
from ..errors import ServiceError
from .history_tables import HISTORY_TABLE, chunks, history_of, tables_among, was_dropped

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from pgdbm.core.connection import RowDict
    from pgdbm.core.queries import Queries
    from pgdbm.migrations import Migration
    from pgdbm.migrations.results import JournalEvent, OutOfOrder

    from .history_tables import Reader
    from .module_databases import ModuleDatabases, ModuleSchema

_SETS_KEPT = 500
# Modules with a login must not delay the lists of other modules.
_LOGIN_READ_S = 3.0


class AppliedSet(msgspec.Struct, frozen=True, dict=True):
    """The applied files, as (filename, checksum), and the last event of each other file, as (filename, event)."""

    applied: tuple[tuple[str, str], ...] = ()
    attempts: tuple[tuple[str, str], ...] = ()

    @cached_property
    def digest(self) -> str:
        """Computed as in the statement ``applied_set_digest``."""
        parts = ("\n".join(map(" ".join, pairs)) for pairs in (self.applied, self.attempts))
        return hashlib.sha256("\n\n".join(parts).encode()).hexdigest()


NOTHING = AppliedSet()
"""The applied set of a schema without a history table."""

UNREADABLE = AppliedSet(attempts=(("", "unreadable"),))
"""The applied set of a schema whose history table may not be read."""

SLOW = AppliedSet(attempts=(("", "slow"),))
"""The applied set of a schema whose history table is locked by a session or has too many rows."""

LOGIN_REFUSED = AppliedSet(attempts=(("", "login_refused"),))
"""The applied set of a schema of a login whose connections are refused."""

NOT_NOW = frozenset({SLOW, LOGIN_REFUSED})
"""Sets that do not show what is applied."""


class SchemaState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a module in a schema, given its files. The numbers count files.

    ``pending``: without backfills in the background and the files that require them.
    ``changed_files``: the names of those that have changed.
    ``renamed``: the names of files that are applied under a different name, each with that name.
    """

    state: ModuleState
    applied: int
    pending: int
    changed: int
    missing: int
    version: str | None
    changed_files: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()


def state_of(applied_set: AppliedSet, migrations: Sequence[Migration], out_of_order: OutOfOrder) -> SchemaState:
    """The state of a module with these ``migrations`` in a schema where ``applied_set`` is applied.

    Raises:
        MigrationFileError: a pending file has the version of another.
        ServiceError: insufficient_privilege, for a history that may not be read; lock_timeout, login_unavailable, for
            one that cannot be read now.
    """
    if applied_set == SLOW:
        raise ServiceError(
            "lock_timeout",
            f"A session has locked the table {HISTORY_TABLE} (GET /activity/blocking shows sessions that wait), or it "
            f"has over 100,000 rows, which are not read for lists.",
        )
    if applied_set == LOGIN_REFUSED:
        raise ServiceError(
            "login_unavailable",
            "The history is read by the database login of the module, which was refused, or whose connections are all "
            "in use. The log has the reason.",
        )
    if applied_set == UNREADABLE:
        raise ServiceError(
            "insufficient_privilege",
            f"The table {HISTORY_TABLE} may not be read: the service's database user needs SELECT on it, and must be a "
            f"member of the role that owns it.",
            sqlstate="42501",
            database_message=f"permission denied for table {HISTORY_TABLE}",
        )
    applied = {filename for filename, _ in applied_set.applied}
    pending = [one for one in migrations if one.filename not in applied]
    check_versions(migrations, {one.filename for one in pending})
    at = datetime.fromtimestamp(0, UTC)
    rows = [HistoryRow(0, filename, checksum, None, at, None, None) for filename, checksum in applied_set.applied]
    events = cast("dict[str, JournalEvent]", dict(applied_set.attempts))
    status = ModuleStatus("", "", statuses(migrations, rows, out_of_order, events))
    return SchemaState(
        state=status.state,
        applied=status.applied,
        pending=status.pending - sum(one.in_background for one in status.migrations),
        changed=status.counts["changed"],
        missing=status.counts["missing"],
        version=status.version,
        changed_files=tuple(one.filename for one in status.migrations if one.state == "changed"),
        renamed=tuple(previous_names(migrations, pending, dict(applied_set.applied)).items()),
    )


class AppliedSets:
    """Reads history tables. Sets that were read recently are not read again."""

    def __init__(self) -> None:
        self._known: LRUCache[str, AppliedSet] = LRUCache(_SETS_KEPT)
        self.keep(NOTHING)

    async def read(
        self, databases: ModuleDatabases, keys: Iterable[ModuleSchema], *, are_new: bool = False
    ) -> dict[ModuleSchema, AppliedSet]:
        """The applied set of each of ``keys``: three statements for a hundred of them, one more for unknown sets.

        A refused login affects only its own modules. ``are_new``: the sets are probably unknown, so they are read
        without comparing digests first.
        """
        groups = list(databases.grouped(keys))
        if len(groups) == 1:
            return await self._read_all(*groups[0], are_new=are_new)
        found: dict[ModuleSchema, AppliedSet] = {}
        for one in await asyncio.gather(*(self._read_all(*group) for group in groups)):
            found |= one
        return found

    async def _read_all(
        self, reader: Reader, keys: Sequence[ModuleSchema], *, are_new: bool = False
    ) -> dict[ModuleSchema, AppliedSet]:
        found: dict[ModuleSchema, AppliedSet] = {}
        try:
            async with asyncio.timeout(_LOGIN_READ_S if reader.is_login else None):
                for some in chunks(keys):
                    try:
                        found |= await self._read(reader, some, are_new=are_new)
                    except QueryError as error:
                        if not was_dropped(error):
                            raise
                        found |= await self._read(reader, some)
        except LoginError:
            pass
        except TimeoutError:
            if not reader.is_login:
                raise
        return dict.fromkeys(keys, LOGIN_REFUSED) | found

    def keep(self, applied_set: AppliedSet) -> AppliedSet:
        """Cache ``applied_set`` as recently read."""
        return self._known.put(applied_set.digest, applied_set)

    def _keep_row(self, row: RowDict) -> AppliedSet:
        return self.keep(AppliedSet(tuple(_pairs(row["applied"])), tuple(_pairs(row["attempts"]))))

    def kept(self, digest: str) -> AppliedSet | None:
        return self._known.get(digest)

    async def _read(
        self, reader: Reader, keys: Sequence[ModuleSchema], *, are_new: bool = False
    ) -> dict[ModuleSchema, AppliedSet]:
        tables = await tables_among(reader, {schema for _, schema in keys})
        journals = [schema for schema, table in tables.items() if table.has_journal]
        found: dict[ModuleSchema, AppliedSet] = {}
        left: list[ModuleSchema] = []
        for key in keys:
            table = tables.get(key[1])
            if table is None:
                found[key] = NOTHING
            elif not table.readable:
                found[key] = UNREADABLE
            elif table.slow:
                found[key] = SLOW
            else:
                left.append(key)
        if are_new and left:
            for key, row in await self._ask(reader.db, "applied_set", "as_array", left, journals):
                found[key] = self._keep_row(row)
            left = [key for key in left if key not in found]
        while left:
            digests = {
                key: row["digest"]
                for key, row in await self._ask(reader.db, "applied_set_digest", "as_text", left, journals)
            }
            unknown = {digest: key for key, digest in digests.items() if digest not in self._known}
            if unknown:
                examples = list(unknown.values())
                for key, row in await self._ask(reader.db, "applied_set", "as_array", examples, journals):
                    # It may have changed since its digest was computed: then it is the set of this schema only.
                    found[key] = self._keep_row(row)
            for key, digest in digests.items():
                known = self._known.get(digest)
                if key not in found and known is not None:
                    found[key] = known
            left = [key for key in left if key not in found]
        return found

    async def _ask(
        self, db: Queries, name: str, form: str, keys: Sequence[ModuleSchema], journals: Collection[str]
    ) -> list[tuple[ModuleSchema, RowDict]]:
        parts = []
        for number, (_, schema) in enumerate(keys, 1):
            slots = {"number": str(number), "history": history_of(schema)}
            applied = statement("histories", "applied", **slots)
            attempts = {"as_text": "''", "as_array": "ARRAY[]::text[]"}[form]
            if schema in journals:
                journal = f"{quote(schema)}.{quote(JOURNAL_TABLE)}"
                latest = statement("histories", "attempts", number=str(number), journal=journal, applied=applied)
                attempts = statement("histories", f"attempts_{form}", attempts=latest)
            parts.append(statement("histories", name, number=str(number), applied=applied, attempts=attempts))
        rows = await db.fetch_all(" UNION ALL ".join(parts), [module for module, _ in keys])
        with reading_rows():
            return [(numbered(keys, row, first=1), row) for row in rows]


def _pairs(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        filename, _, rest = text.rpartition(" ")
        yield filename, rest
