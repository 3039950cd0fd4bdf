"""DatabaseTestCase: what tests ask of a database again and again."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from ..core.identifiers import check_identifier, quote
from .tables import check_condition, reference

if TYPE_CHECKING:
    from ..core.manager import AsyncDatabaseManager

_numbers = itertools.count(1)


class DatabaseTestCase:
    """Over a connected manager. A table is ``name``, in the manager's schema, or ``schema.name``; what is not a plain
    identifier is a SchemaError."""

    def __init__(self, db: AsyncDatabaseManager) -> None:
        self.db = db

    async def create_test_user(self, email: str | None = None, **columns: Any) -> dict[str, Any]:
        """Insert into the table ``users`` of your own and return the row; None makes up an address.

        Raises:
            QueryError: there is no such table, or it wants more columns.
        """
        values = {"email": f"user{next(_numbers)}@example.com" if email is None else email, **columns}
        names = ", ".join(quote(check_identifier(name, "column")) for name in values)
        parameters = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        table = reference(self.db, "users")
        insert = f"INSERT INTO {table} ({names}) VALUES ({parameters}) RETURNING *"  # noqa: S608 - checked names
        row = await self.db.fetch_one(insert, *values.values())
        assert row is not None
        return row

    async def count_rows(self, table: str, where: str | None = None, *args: Any) -> int:
        """How many rows there are; ``where`` is one condition, ``args`` are its ``$1``, ``$2``...

        Raises:
            ValueError: ``where`` is more than a condition.
        """
        # The line break ends a comment in the condition.
        condition = "" if where is None else f" WHERE ({check_condition(where)}\n)"
        query = f"SELECT count(*) FROM {reference(self.db, table)}{condition}"  # noqa: S608 - checked, both
        count: int = await self.db.fetch_value(query, *args)
        return count

    async def table_exists(self, table: str) -> bool:
        """Whether there is such a table."""
        reference(self.db, table)
        return await self.db.table_exists(table)

    async def truncate_table(self, table: str, cascade: bool = False) -> None:
        """Empty the table, and with ``cascade`` those that refer to it; its numbers begin anew.

        Raises:
            QueryError: other tables refer to it and ``cascade`` is False.
        """
        await self.db.execute(
            f"TRUNCATE TABLE {reference(self.db, table)} RESTART IDENTITY {'CASCADE' if cascade else 'RESTRICT'}"
        )
