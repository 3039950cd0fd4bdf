"""Retries of migrations whose locks were not available, and the report of attempts that failed."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, TypeVar

import asyncpg

from ...core.asyncpg_errors import FAILURES
from ...core.backoff import exponential
from ...errors import AsyncDBError, MigrationError, MigrationExecutionError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from .session import Session

Result = TypeVar("Result")

logger = logging.getLogger("pgdbm.migrations")

RETRYABLE = ("55P03", "40P01", "40001")
"""lock_not_available, deadlock_detected, serialization_failure: caused by another session, so a retry may succeed."""

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 15.0


def retry_pauses() -> Iterator[float]:
    """Seconds between attempts: from 250 ms, doubling up to 15 s, each 25 % longer or shorter at random. Endless."""
    return exponential(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, jitter=0.25)


async def until_reachable(work: Callable[[], Awaitable[Result]], limit_s: float) -> Result:
    """The result of ``work``, which is repeated while it fails because the server cannot be reached, or refuses it.

    After a crash a server accepts no connections for some time.

    Raises:
        AsyncDBError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError: the last failure, after ``limit_s``
            seconds.
    """
    started = time.monotonic()
    for pause in retry_pauses():
        try:
            return await work()
        except (AsyncDBError, *FAILURES):
            if time.monotonic() - started + pause > limit_s:
                raise
        await asyncio.sleep(pause)
    raise AssertionError("the pauses have no end")


async def with_retries(
    session: Session, attempt: Callable[[int], Awaitable[None]], *, attempts_before: int = 0, journalled: bool = False
) -> None:
    """Call ``attempt`` with the number of the attempt until it succeeds or a retry would not help.

    ``journalled``: ``attempt`` writes its failures to the journal by itself.

    Raises:
        MigrationExecutionError: the error of the last attempt.
    """
    started = time.monotonic()
    session.run.blockers = []
    for number, pause in enumerate(retry_pauses(), attempts_before + 1):
        try:
            await attempt(number)
        except MigrationExecutionError as error:
            again = error.sqlstate in RETRYABLE and time.monotonic() - started + pause <= session.retry_for
            error.attempts = number
            session.run.is_pausing = again
            if error.sqlstate in RETRYABLE:
                session.run.watch_locks()
                if not again:
                    error.add_blockers(session.run.blockers, time.monotonic() - started)
            await report_failure(session, error, number, pause_s=pause if again else None, journalled=journalled)
            if not again:
                raise
            await asyncio.sleep(pause)
            session.run.is_pausing = False
        else:
            return


async def report_failure(
    session: Session,
    error: MigrationExecutionError,
    attempt: int,
    *,
    pause_s: float | None = None,
    journalled: bool = False,
) -> None:
    """Emit the event of a failed attempt and write it to the journal. ``pause_s``: the pause before the next attempt;
    None if there is none.

    If the journal cannot be written, that is logged: the failure itself is what matters.
    """
    filename = error.migration_file
    assert filename is not None
    if pause_s is None:
        session.announcer.emit(
            "migration_failed", filename, error.statement, sqlstate=error.sqlstate, message=error.sql_error
        )
    else:
        logger.info("Attempt %d at %s: %s; retrying in %.1f s", attempt, filename, error.sql_error, pause_s)
        session.announcer.emit(
            "retrying",
            filename,
            error.statement,
            attempt=attempt,
            sqlstate=error.sqlstate,
            message=error.sql_error,
            pause_s=pause_s,
        )
    if journalled:
        return
    try:
        await session.journal.record(
            session.connection,
            filename,
            "failed" if pause_s is None else "retried",
            statement=error.statement,
            attempt=attempt,
            sqlstate=error.sqlstate,
            message=error.sql_error,
        )
    except (asyncpg.PostgresError, MigrationError) as refused:
        logger.warning("The failure of %s could not be written to the journal: %s", filename, refused)
