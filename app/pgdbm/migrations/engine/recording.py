"""pgdbm's own rows about a file without a transaction: what fails there names the file, and hides no other failure."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import asyncpg

from ...core.asyncpg_errors import is_alive, is_lost
from .advice import JOURNALLING, advise
from .execution_errors import execution_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ..sources.parser import ParsedMigration
    from .session import Session

logger = logging.getLogger("pgdbm.migrations")


@asynccontextmanager
async def recording(
    session: Session, migration: ParsedMigration, stage: str = JOURNALLING, *, resumes_at: int | None = None
) -> AsyncIterator[None]:
    """A block that writes pgdbm's own rows: an error of the server names ``migration``, and says by ``stage`` what
    failed.

    Raises:
        MigrationExecutionError: without a statement. ``resumes_at``: where the next run resumes.
    """
    try:
        yield
    except asyncpg.PostgresError as error:
        if is_lost(error) or not is_alive(session.connection):
            raise
        await session.roll_back()
        advice = await advise(session, error, migration, stage)
        raise execution_error(error, migration, None, 0, advice, stage=stage, resumes_at=resumes_at) from error


@contextmanager
def recording_failure(migration: ParsedMigration) -> Iterator[None]:
    """A block that writes that ``migration`` failed. If that cannot be written, it is logged: the failure matters."""
    try:
        yield
    except asyncpg.PostgresError as error:
        if is_lost(error):
            raise
        logger.warning("The failure of %s could not be written to the journal: %s", migration.filename, error)
