"""Fixture files, SQL or JSON."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.asyncpg_errors import FAILURES
from ..core.templating import check_identifier, line_and_column, quote
from ..errors import AsyncDBError, DatabaseTestError
from ..pgparse.parse import SQLSyntaxError, parse_statements
from .tables import reference

if TYPE_CHECKING:
    from ..core.connection import RowDict
    from ..core.manager import AsyncDatabaseManager
    from ..core.transaction import TransactionManager
    from ..pgparse.parse import RawStatement

_INSERT = re.compile(r"\s*insert\s+into\s+(?:\S+\.)?(?:\"(?P<quoted>[^\"]+)\"|(?P<plain>\w+))", re.IGNORECASE)


async def load(db: AsyncDatabaseManager, path: str | Path) -> dict[str, int]:
    """See AsyncTestDatabase.load_fixtures."""
    given = Path(path)
    async with db.transaction() as transaction:
        if not given.is_dir():
            return await _load_file(transaction, given)
        counts: Counter[str] = Counter()
        for file in sorted(child for child in given.iterdir() if child.suffix.lower() in _LOADERS):
            loaded = await _load_file(transaction, file)
            counts.update({file.stem: sum(loaded.values())} if file.suffix.lower() == ".sql" else loaded)
        return dict(counts)


async def _load_file(transaction: TransactionManager, file: Path) -> dict[str, int]:
    loader = _LOADERS.get(file.suffix.lower())
    if loader is None:
        raise DatabaseTestError(f"{file}: the name of a fixture file must end in {' or '.join(_LOADERS)}.")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatabaseTestError(f"{file} cannot be read: {error}") from error
    return await loader(transaction, text, file)


async def _load_sql(transaction: TransactionManager, text: str, file: Path) -> dict[str, int]:
    try:
        sql = transaction.prepare_query(text)
        statements = parse_statements(sql)
    except (AsyncDBError, SQLSyntaxError) as error:
        raise DatabaseTestError(f"{file} is not valid SQL: {error}") from error
    counts: Counter[str] = Counter()
    for raw in statements:
        statement = sql[raw.start : raw.end]
        try:
            status: str = await transaction.connection.execute(statement)
        except FAILURES as error:
            line, _ = line_and_column(sql, raw.start + len(statement) - len(statement.lstrip()))
            raise DatabaseTestError(f"{file}, statement at line {line}: {error}", {"line": line}) from error
        table = _inserted_into(raw, statement)
        if table is not None:
            counts[table] += int(status.rpartition(" ")[2])
    return dict(counts)


def _inserted_into(raw: RawStatement, text: str) -> str | None:
    if raw.tree is not None:
        return raw.tree.insert_stmt.relation.relname if raw.tree.WhichOneof("node") == "insert_stmt" else None
    # Valid, but nested too deeply to be parsed into a tree.
    found = _INSERT.match(text)
    return found["quoted"] or found["plain"].lower() if found else None


async def _load_json(transaction: TransactionManager, text: str, file: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for table, rows in _tables(text, file).items():
        target = reference(transaction, table)
        counts[table] = len(rows)
        for columns, same in itertools.groupby(rows, key=tuple):
            batch = list(same)
            if not columns:
                raise DatabaseTestError(f"{file}: a row of {table!r} has no columns.")
            names = ", ".join(quote(check_identifier(column, "column")) for column in columns)
            # The server converts the values; the names are checked here.
            insert = (
                f"INSERT INTO {target} ({names}) SELECT {names}"  # noqa: S608
                f" FROM pg_catalog.jsonb_populate_recordset(NULL::{target}, $1::text::jsonb)"
            )
            try:
                await transaction.connection.execute(insert, json.dumps(batch))
            except FAILURES as error:
                raise DatabaseTestError(f"{file}, table {table!r}: {error}", {"table": table}) from error
    return counts


def _tables(text: str, file: Path) -> dict[str, list[RowDict]]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise DatabaseTestError(f"{file} is not JSON: {error}") from error
    fits = isinstance(data, dict) and all(
        isinstance(rows, list) and all(isinstance(row, dict) for row in rows) for rows in data.values()
    )
    if not fits:
        raise DatabaseTestError(f'{file}: expected {{"table": [{{"column": value}}, ...]}}.')
    tables: dict[str, list[RowDict]] = data
    return tables


_LOADERS = {".sql": _load_sql, ".json": _load_json}
