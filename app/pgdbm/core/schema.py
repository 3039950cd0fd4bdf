"""SchemaManager: creating, listing and dropping schemas at run time, for multi-tenant applications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SchemaError
from .templating import check_identifier, quote

if TYPE_CHECKING:
    from .manager import AsyncDatabaseManager

_NOT_OURS = ("pg_catalog", "information_schema", "public")


class SchemaManager:
    """The schemas of the database that ``db`` is connected to."""

    def __init__(self, db: AsyncDatabaseManager) -> None:
        self._db = db

    async def create_schema(self, schema: str) -> None:
        """Create ``schema`` unless it exists; safe against concurrent sessions."""
        await self._db.ensure_schema(schema)

    async def schema_exists(self, schema: str) -> bool:
        """Whether ``schema`` exists."""
        found: bool = await self._db.fetch_value(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)", check_identifier(schema)
        )
        return found

    async def list_schemas(self) -> list[str]:
        """All schemas except PostgreSQL's own, by name."""
        rows = await self._db.fetch_all(
            "SELECT nspname FROM pg_catalog.pg_namespace"
            " WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY nspname"
        )
        return [row["nspname"] for row in rows]

    async def drop_schema(self, schema: str, cascade: bool = False) -> None:
        """Drop ``schema`` if it exists; with ``cascade`` including its objects.

        Raises:
            SchemaError: ``schema`` belongs to PostgreSQL, or is public.
            QueryError: it is not empty, and ``cascade`` is False.
        """
        check_identifier(schema)
        if schema in _NOT_OURS or schema.startswith("pg_"):
            raise SchemaError(f"Refusing to drop schema {schema!r}.", schema=schema)
        await self._db.execute(f"DROP SCHEMA IF EXISTS {quote(schema)} {'CASCADE' if cascade else 'RESTRICT'}")
