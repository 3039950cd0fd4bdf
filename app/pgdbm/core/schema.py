"""SchemaManager: creating, listing and dropping schemas at run time, as a multi-tenant application does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SchemaError
from .creation import create_schema
from .identifiers import check_identifier, quote

if TYPE_CHECKING:
    from .manager import AsyncDatabaseManager

_NOT_OURS = ("pg_catalog", "information_schema", "public")


class SchemaManager:
    """The schemas of the database that ``db`` is connected to."""

    def __init__(self, db: AsyncDatabaseManager) -> None:
        self._db = db

    async def create_schema(self, schema: str) -> None:
        """Create ``schema`` where it is missing; several may do so at once."""
        await create_schema(self._db, schema)

    async def schema_exists(self, schema: str) -> bool:
        """Whether there is such a schema."""
        found: bool = await self._db.fetch_value(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)", check_identifier(schema)
        )
        return found

    async def list_schemas(self) -> list[str]:
        """Every schema but PostgreSQL's own, by name."""
        rows = await self._db.fetch_all(
            "SELECT nspname FROM pg_catalog.pg_namespace"
            " WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY nspname"
        )
        return [row["nspname"] for row in rows]

    async def drop_schema(self, schema: str, cascade: bool = False) -> None:
        """Drop ``schema``, with everything in it when ``cascade``; no error where it is missing.

        Raises:
            SchemaError: ``schema`` is one of PostgreSQL's own, or public.
            QueryError: it is not empty and ``cascade`` is False.
        """
        check_identifier(schema)
        if schema in _NOT_OURS or schema.startswith("pg_"):
            raise SchemaError(f"Refusing to drop schema {schema!r}.", schema=schema)
        await self._db.execute(f"DROP SCHEMA IF EXISTS {quote(schema)} {'CASCADE' if cascade else 'RESTRICT'}")
