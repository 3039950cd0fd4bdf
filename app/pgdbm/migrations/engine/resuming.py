"""Restores the session in which a no-transaction file stopped, for the run that resumes it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import asyncpg

from ...core.asyncpg_errors import is_lost
from ...core.templating import quote
from ...errors import MigrationError
from ...sql import statement as sql
from ..state.journal import hash_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..sources.parser import ParsedMigration
    from ..state.journal import StatementRecord
    from .session import Session
    from .steps import Step

# The view pg_settings lacks roles, and the settings of extensions and applications, whose names have a dot.
_NOT_IN_PG_SETTINGS = re.compile(
    r"(?:SET|RESET)\s+(?:SESSION\s+)?(?:ROLE\b|SESSION\s+AUTHORIZATION\b|AUTHORIZATION\b|ALL\b|[\w\"]+\.)",
    re.IGNORECASE,
)


def require_unchanged(migration: ParsedMigration, steps: Sequence[Step], known: Mapping[int, StatementRecord]) -> None:
    """Raise MigrationError if a step that an earlier run has started or applied was changed in the file."""
    texts = {step.number: step.content for step in steps}
    for record in known.values():
        if record.event != "failed" and hash_of(texts.get(record.statement, "")) != record.statement_hash:
            raise MigrationError(
                f"{migration.filename}: statement {record.statement} was {record.event} by an earlier run and has "
                f"since been changed in the file. Restore its text; the statements after it may be changed.",
                migration.filename,
                details={"statement": record.statement},
            )


async def restore_session(
    session: Session, migration: ParsedMigration, steps: Sequence[Step], known: Mapping[int, StatementRecord]
) -> None:
    """Give the session the role of the module, and the settings that the applied steps left in their session.

    Raises:
        MigrationError: that session had temporary tables, prepared statements or cursors, which ended with it.
    """
    if session.script.role is not None:
        await session.send(sql("runner", "enter_role_of_session", role=quote(session.script.role)))
    applied = [step for step in steps if step.number in known and known[step.number].event == "applied"]
    if len(applied) == len(steps):
        return
    states = [known[step.number].session_state for step in applied]
    state: dict[str, Any] = next((json.loads(one) for one in reversed(states) if one), {})
    lost = state.get("objects")
    if lost:
        raise MigrationError(
            f"{migration.filename}: an earlier run stopped after statement {applied[-1].statements[-1].number}, and "
            f"its session has ended, and with it {', '.join(lost)}, which the rest of the file may need. Run the rest "
            f"in one session with psql, then mark the file as applied. In a file without a transaction, use an "
            f"ordinary table instead of a temporary one.",
            migration.filename,
            details={"statement": applied[-1].number},
        )
    try:
        if state.get("settings"):
            await session.connection.fetch(sql("journal", "restore_settings"), json.dumps(state["settings"]))
        for step in applied:
            if step.traits.kind == "variable_set_stmt" and _NOT_IN_PG_SETTINGS.match(step.text):
                await session.send(step.text)
    except asyncpg.PostgresError as error:
        if is_lost(error):
            raise
        raise MigrationError(
            f"{migration.filename}: the settings that its applied statements made cannot be restored: {error}",
            migration.filename,
        ) from error
