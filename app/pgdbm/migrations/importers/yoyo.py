"""yoyo: a row per migration, by name; ``id.sql`` with ``id.rollback.sql``, ordered by ``-- depends:``.

Its migration_hash is a hash of the name: its tables do not show whether a file was changed.
"""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ...core.templating import quote
from ...sql import statement
from ..sources.names import order_of
from .records import Record, ToolHistory, unconverted
from .rewrite import Converted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...core.connection import Connection, Row
    from ..sources.migration import Migration

TABLE: str = "_yoyo_migration"
SCHEMA: str | None = None
COLUMNS = frozenset({"migration_hash", "migration_id", "applied_at_utc"})

_LOG = "_yoyo_log"
# The name that `yoyo new` gives: several from one day differ in the second number, which is written after a dot.
_DATED = re.compile(r"(\d{8})_(\d{2})_")
_NUMBERED = re.compile(r"\d+_")
_DIRECTIVE = re.compile(r"^\s*--\s*(?P<key>depends|transactional)\s*:\s*(?P<value>.*?)\s*$", re.MULTILINE)


async def read(connection: Connection, schema: str, table: str) -> Sequence[Row]:
    """Each migration that is applied, with its time, and who applied it if the log exists."""
    source, log = f"{quote(schema)}.{quote(table)}", f"{quote(schema)}.{quote(_LOG)}"
    users: dict[str, str] = {}
    if await connection.fetchval(statement("importers", "is_there"), log):
        rows = await connection.fetch(statement("importers", "yoyo_users", log=log))
        users = {row[0]: row[1] for row in rows}
    rows = await connection.fetch(statement("importers", "yoyo", source=source))
    return [{**row, "username": users.get(row["migration_id"])} for row in rows]


def match(rows: Sequence[Row], migrations: Sequence[Migration]) -> ToolHistory:
    """Matches migrations and files by name, as yoyo or :func:`convert` writes it.

    Raises:
        ImportRefusedError: there is a file that only yoyo can execute, or only ``depends`` determines the order.
    """
    names = [migration.filename for migration in migrations]
    foreign = [name for name in names if name.endswith(".rollback.sql") or name.startswith("post-apply")]
    if foreign:
        raise unconverted("yoyo", foreign, "rollbacks and post-apply hooks would be executed as migrations.")
    ids = [row["migration_id"] for row in rows]
    by_id = _by_id(ids, migrations)
    disordered = _disordered(migrations)
    if disordered:
        raise unconverted("yoyo", disordered, "depends on a file that sorts after it.")
    return ToolHistory(
        tuple(
            Record(by_id[row["migration_id"]], row["applied_at"], row["username"])
            for row in rows
            if row["migration_id"] in by_id
        ),
        unmatched=tuple(one for one in ids if one not in by_id),
        notes=("yoyo keeps no checksums, so it is not known whether the files are the ones that it applied.",)
        if by_id
        else (),
    )


def convert(files: Mapping[str, str]) -> Converted:
    """``id.sql`` keeps its name if that determines the order, and otherwise gets a number in front.

    ``20240131_01_x.sql`` becomes ``20240131.01_x.sql``, ``id.rollback.sql`` becomes ``….down.sql``.
    """
    converted = Converted()
    sql: dict[str, str] = {}
    downs: dict[str, str] = {}
    for path, text in files.items():
        name = PurePosixPath(path).name
        if name.endswith(".rollback.sql"):
            downs[name.removesuffix(".rollback.sql")] = text
        elif name.endswith(".sql") and not name.startswith("post-apply"):
            sql[name.removesuffix(".sql")] = text
        elif name.endswith(".py") or name.startswith("post-apply"):
            converted.notes.append(f"{path}: skipped; pgdbm runs only SQL, and has no post-apply hooks.")
    ids = _in_order(sql, converted)
    for one, stem in zip(ids, _stems(ids), strict=True):
        untransacted = _directives(sql[one]).get("transactional", "").lower() == "false"
        converted.add(f"{stem}.sql", sql[one], no_transaction=untransacted)
        if downs.get(one, "").strip():
            converted.add(f"{stem}.down.sql", downs[one], no_transaction=untransacted)
    return converted


def _in_order(sql: Mapping[str, str], converted: Converted) -> list[str]:
    """The ids, each after its dependencies, otherwise by name."""
    known = {one: {other for other in _depends(text) if other in sql} for one, text in sql.items()}
    sorter = TopologicalSorter(known)
    try:
        sorter.prepare()
    except CycleError as error:
        converted.notes.append(f"{', '.join(error.args[1])}: depend on each other; they were ordered by name instead.")
        return sorted(sql)
    ordered: list[str] = []
    ready: list[str] = []
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()])
        ordered.append(ready.pop(0))
        sorter.done(ordered[-1])
    return ordered


def _stems(ids: Sequence[str]) -> list[str]:
    """Names for ``ids`` (in order), so that pgdbm sorts them in the same order and no version occurs twice."""
    stems = [_dated(one) for one in ids]
    keys = [order_of(f"{stem}.sql") for stem in stems]
    if keys == sorted(keys) and len({key[:3] if key.group == 0 else key for key in keys}) == len(keys):
        return stems
    width = max(4, len(str(len(ids))))
    return [f"{number:0{width}}_{one}" for number, one in enumerate(ids, 1)]


def _dated(one: str) -> str:
    return _DATED.sub(r"\1.\2_", one, count=1) if _DATED.match(one) else one


def _by_id(ids: Sequence[str], migrations: Sequence[Migration]) -> dict[str, Migration]:
    by_stem = {migration.filename.removesuffix(".sql"): migration for migration in migrations}
    unnumbered = {_NUMBERED.sub("", stem, count=1): migration for stem, migration in by_stem.items()}
    found: dict[str, Migration] = {}
    for one in ids:
        migration = by_stem.get(one) or by_stem.get(_dated(one)) or unnumbered.get(one)
        if migration is not None:
            found[one] = migration
    return found


def _disordered(migrations: Sequence[Migration]) -> list[str]:
    """The files that depend on a later one."""
    needed = [_depends(migration.content) for migration in migrations]
    by_id = _by_id([one for ids in needed for one in ids], migrations)
    places = {migration.filename: place for place, migration in enumerate(migrations)}
    return [
        migration.filename
        for migration, ids in zip(migrations, needed, strict=True)
        if any(places[by_id[one].filename] > places[migration.filename] for one in ids if one in by_id)
    ]


def _depends(text: str) -> list[str]:
    return _directives(text).get("depends", "").split()


def _directives(text: str) -> dict[str, str]:
    """The directives in the comments at the top of a file."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("--"):
            break
        directive = _DIRECTIVE.match(line)
        if directive:
            found[directive["key"]] = f"{found.get(directive['key'], '')} {directive['value']}".strip()
    return found
