"""DatabaseTestCase: common operations of tests."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from ..core.templating import check_identifier, quote
from .tables import check_condition, reference

if TYPE_CHECKING:
    from ..core.connection import RowDict
    from ..core.manager import AsyncDatabaseManager

_numbers = itertools.count(1)


class DatabaseTestCase:
    """Operations on the database of a connected manager.

    A table is ``name`` in the manager's schema, or ``schema.name``. Other names raise SchemaError.
    """

    def __init__(self, db: AsyncDatabaseManager) -> None:
        self.db = db

    async def create_test_user(self, email: str | None = None, **columns: Any) -> RowDict:
        """Insert a row into the table ``users`` and return it; without ``email``, a new address is used.

        Raises:
            QueryError: the table does not exist, or needs more columns.
        """
        values = {"email": f"user{next(_numbers)}@example.com" if email is None else email, **columns}
        names = ", ".join(quote(check_identifier(name, "column")) for name in values)
        parameters = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        table = reference(self.db, "users")
        insert = f"INSERT INTO {table} ({names}) VALUES ({parameters}) RETURNING *"  # noqa: S608 - checked names
        row = await self.db.fetch_one(insert, *values.values())
        assert row is not None
        return row

    async def count_rows(self, table: str, where: str | None = None, *args: object) -> int:
        """The number of rows; ``where`` is a condition, and ``args`` are its parameters ``$1``, ``$2``...

        Raises:
            ValueError: ``where`` is not a single condition.
        """
        # The line break ends a comment at the end of the condition.
        condition = "" if where is None else f" WHERE ({check_condition(where)}\n)"
        query = f"SELECT count(*) FROM {reference(self.db, table)}{condition}"  # noqa: S608 - checked, both
        count: int = await self.db.fetch_value(query, *args)
        return count

    async def table_exists(self, table: str) -> bool:
        """Whether the table exists."""
        reference(self.db, table)
        return await self.db.table_exists(table)

    async def truncate_table(self, table: str, cascade: bool = False) -> None:
        """Truncate the table, and with ``cascade`` those that reference it, and restart its sequences.

        Raises:
            QueryError: other tables reference it, and ``cascade`` is False.
        """
        await self.db.execute(
            f"TRUNCATE TABLE {reference(self.db, table)} RESTART IDENTITY {'CASCADE' if cascade else 'RESTRICT'}"
        )
