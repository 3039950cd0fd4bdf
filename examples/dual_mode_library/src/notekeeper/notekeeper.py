"""NoteKeeper: uses its own pool, or the host's."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Self

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

if TYPE_CHECKING:
    from datetime import datetime
    from types import TracebackType


@dataclass(frozen=True, slots=True)
class Note:
    id: int
    text: str
    written_at: datetime


class NoteKeeper:
    """Notes in one schema: ``async with NoteKeeper(...) as notes``.

    With ``connection_string`` it opens its own pool, uses the schema ``notekeeper``, and closes the pool at the end.
    With ``db``, an application's connected manager, it uses that manager and its schema, and leaves it open. In both
    cases it applies its migrations first.

    Raises:
        TypeError: not exactly one of the two was given.
    """

    def __init__(self, connection_string: str | None = None, *, db: AsyncDatabaseManager | None = None) -> None:
        if db is not None and connection_string is None:
            self._db = db
            self._owns_db = False
        elif connection_string is not None and db is None:
            self._db = AsyncDatabaseManager(
                DatabaseConfig(
                    connection_string=connection_string, schema="notekeeper", min_connections=1, max_connections=5
                )
            )
            self._owns_db = True
        else:
            raise TypeError("NoteKeeper takes either a connection_string or a db")

    async def __aenter__(self) -> Self:
        if self._owns_db:
            await self._db.connect()
        try:
            # The host may have other libraries in this schema: the module name separates their histories.
            migrations = AsyncMigrationManager(self._db, files("notekeeper") / "migrations", module_name="notekeeper")
            await migrations.apply_pending_migrations()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close()

    async def add(self, text: str) -> int:
        """Add a note and return its id."""
        note_id: int = await self._db.execute_and_return_id("INSERT INTO {{tables.notes}} (text) VALUES ($1)", text)
        return note_id

    async def search(self, word: str = "") -> list[Note]:
        """The notes that contain ``word``, case-insensitively, oldest first."""
        return await self._db.fetch_all_as_model(
            Note,
            "SELECT id, text, written_at FROM {{tables.notes}} WHERE strpos(lower(text), lower($1)) > 0 ORDER BY id",
            word,
        )

    async def _close(self) -> None:
        if self._owns_db:
            await self._db.close()
