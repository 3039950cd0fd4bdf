"""Connections through a transaction pooler whose search_path is set in each transaction."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import asyncpg

from .asyncpg_errors import FAILURES, is_alive
from .config import search_path_entries
from .templating import literal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# Matches what asyncpg sends at the start of a transaction() block, but not a message with several statements.
_BEGIN = r"(?i)\s*BEGIN[A-Z ]*;?\s*\Z"


class _SearchPathConnection(asyncpg.Connection):
    """A connection whose queries with the extended protocol, and COPY, run in transactions with a search_path.

    A query outside a transaction is put into one. Messages of ``execute`` without arguments are sent as they are,
    unless they only begin a transaction. ``search_path`` is a list of SQL strings.
    """

    __slots__ = ()

    search_path = ""

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        async with self._in_transaction():
            return await super().fetch(query, *args, **options)

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        async with self._in_transaction():
            return await super().fetchrow(query, *args, **options)

    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        async with self._in_transaction():
            return await super().fetchval(query, *args, **options)

    async def fetchmany(self, query: str, args: Any, **options: Any) -> Any:
        async with self._in_transaction():
            return await super().fetchmany(query, args, **options)

    async def executemany(self, command: str, args: Any, **options: Any) -> Any:
        async with self._in_transaction():
            return await super().executemany(command, args, **options)

    async def copy_from_table(self, table_name: str, **options: Any) -> str:
        async with self._in_transaction():
            return await super().copy_from_table(table_name, **options)

    async def copy_from_query(self, query: str, *args: Any, **options: Any) -> str:
        async with self._in_transaction():
            return await super().copy_from_query(query, *args, **options)

    async def copy_to_table(self, table_name: str, **options: Any) -> str:
        async with self._in_transaction():
            return await super().copy_to_table(table_name, **options)

    async def copy_records_to_table(self, table_name: str, **options: Any) -> str:
        async with self._in_transaction():
            return await super().copy_records_to_table(table_name, **options)

    async def execute(self, query: str, *args: Any, **options: Any) -> str:
        if args:
            async with self._in_transaction():
                return await super().execute(query, *args, **options)
        if re.match(_BEGIN, query):
            query = f"{query.rstrip().rstrip(';')};\nSET LOCAL search_path = {self.search_path}"
        return await super().execute(query, **options)

    @asynccontextmanager
    async def _in_transaction(self) -> AsyncIterator[None]:
        if self.is_in_transaction():
            yield
            return
        await self.execute("BEGIN")
        try:
            yield
        except BaseException:
            if is_alive(self):
                # A failed rollback must not hide the error that caused it.
                with suppress(*FAILURES):
                    await super().execute("ROLLBACK")
            raise
        await super().execute("COMMIT")


@lru_cache(maxsize=16)
def connection_class(search_path: str | None) -> type[asyncpg.Connection[asyncpg.Record]]:
    """The connection class whose transactions have ``search_path``; without one, asyncpg's."""
    if search_path is None:
        return asyncpg.Connection
    # Strings, because SET does not accept reserved words, such as order, as names.
    schemas = ", ".join(map(literal, search_path_entries(search_path)))
    return type("SearchPathConnection", (_SearchPathConnection,), {"__slots__": (), "search_path": schemas})
