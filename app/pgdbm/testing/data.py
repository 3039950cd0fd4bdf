"""Files of test data, SQL or JSON."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.identifiers import check_identifier, quote
from ..core.queries import FAILURES
from ..core.templating import line_and_column
from ..errors import AsyncDBError, DatabaseTestError
from .tables import reference

if TYPE_CHECKING:
    from ..core.manager import AsyncDatabaseManager
    from ..core.transaction import TransactionManager


async def load(db: AsyncDatabaseManager, path: str | Path) -> dict[str, int]:
    """See AsyncTestDatabase.load_fixtures."""
    file = Path(path)
    loaders = {".sql": _load_sql, ".json": _load_json}
    loader = loaders.get(file.suffix.lower())
    if loader is None:
        raise DatabaseTestError(f"{file}: test data is in files that end in {' or '.join(loaders)}.")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatabaseTestError(f"{file} cannot be read: {error}") from error
    async with db.transaction() as transaction:
        return await loader(transaction, text, file)


async def _load_sql(transaction: TransactionManager, text: str, file: Path) -> dict[str, int]:
    import postgast  # here, since it takes a quarter of a second and most programs never need it

    try:
        sql = transaction.prepare_query(text)
        statements = postgast.parse(sql).stmts
    except (AsyncDBError, postgast.PgQueryError) as error:
        raise DatabaseTestError(f"{file} is not SQL that we can read: {error}") from error
    encoded = sql.encode()
    counts: Counter[str] = Counter()
    for raw in statements:
        end = raw.stmt_location + raw.stmt_len if raw.stmt_len else len(encoded)
        statement = encoded[raw.stmt_location : end].decode()
        try:
            status: str = await transaction.connection.execute(statement)
        except FAILURES as error:
            before = len(encoded[: raw.stmt_location].decode()) + len(statement) - len(statement.lstrip())
            line, _ = line_and_column(sql, before)
            raise DatabaseTestError(f"{file}, statement at line {line}: {error}", {"line": line}) from error
        if raw.stmt.WhichOneof("node") == "insert_stmt":
            counts[raw.stmt.insert_stmt.relation.relname] += int(status.rpartition(" ")[2])
    return dict(counts)


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
            # The server knows the types; the names are checked.
            insert = (
                f"INSERT INTO {target} ({names}) SELECT {names}"  # noqa: S608
                f" FROM pg_catalog.jsonb_populate_recordset(NULL::{target}, $1::text::jsonb)"
            )
            try:
                await transaction.connection.execute(insert, json.dumps(batch))
            except FAILURES as error:
                raise DatabaseTestError(f"{file}, table {table!r}: {error}", {"table": table}) from error
    return counts


def _tables(text: str, file: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise DatabaseTestError(f"{file} is not JSON: {error}") from error
    fits = isinstance(data, dict) and all(
        isinstance(rows, list) and all(isinstance(row, dict) for row in rows) for rows in data.values()
    )
    if not fits:
        raise DatabaseTestError(f'{file}: expected {{"table": [{{"column": value}}, ...]}}.')
    tables: dict[str, list[dict[str, Any]]] = data
    return tables
