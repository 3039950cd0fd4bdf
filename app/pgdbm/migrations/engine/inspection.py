"""What is pending, inspected: its locks, findings and fixes, and the tables that it locks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ...core.pool import without_reset
from ..results import BLOCKED, Renamed
from ..state.tables import read_facts, read_use
from .migration_plan import MigrationPlan, PlannedMigration
from .preparation import check_backfills

if TYPE_CHECKING:
    from ..results import PlanLimits
    from .engine import MigrationEngine


async def inspect_pending(
    engine: MigrationEngine, target: str | None, *, squawk: bool, limits: PlanLimits
) -> MigrationPlan:
    """What is pending up to ``target``. Creates nothing. Raises the same as apply for files that cannot run."""
    # Imported lazily: it doubles the import time, and few programs plan.
    from ..lint import (
        TableFacts,
        TableUse,
        asks_for_facts,
        impact_of,
        inspect,
        locked_relations,
        refusal_of,
        with_fix,
        without_empty_tables,
        without_proved,
    )

    plan, _, _, server_version = await engine.read_plan(target)
    schema = engine.history.schema
    files = engine.parse_each(plan.to_run, server_version)
    inspected = await asyncio.to_thread(inspect, files, server_version, schema=schema, squawk=squawk, suspected=True)
    await check_backfills(engine.db, [one.parsed for one in inspected])
    tables: dict[str, TableUse] = {}
    facts: dict[str, TableFacts] = {}
    if relations := locked_relations(inspected):
        with without_reset():
            async with engine.db.acquire() as connection:
                tables = {name: TableUse(*use) for name, use in (await read_use(connection, relations)).items()}
                inspected = [without_empty_tables(one, tables) for one in inspected]
                found = await read_facts(connection, asks_for_facts(inspected))
        facts = {name: TableFacts.of(*known) for name, known in found.items()}
    names = [one.filename for one in (*plan.pending, *plan.skipped, *plan.beyond_target)]
    inspected = [with_fix(without_proved(one, facts), names, facts) for one in inspected]
    return MigrationPlan(
        module=engine.history.module,
        schema=schema,
        pending=tuple(
            PlannedMigration(
                filename=one.filename,
                version=one.parsed.migration.version,
                checksum=one.parsed.migration.checksum,
                transactional=one.parsed.transactional,
                sql=tuple(map(one.parsed.text_of, one.parsed.statements)),
                statements=one.statements,
                findings=one.findings,
                impact=impact_of(one, tables),
                fix=one.fix,
            )
            for one in inspected
        ),
        skipped=tuple(one.filename for one in plan.skipped),
        tables=tables,
        renamed=tuple(Renamed(*names) for names in plan.renamed.items()),
        refusal=refusal_of(
            inspected,
            tables,
            max_rewrite=limits.max_rewrite,
            blocked=BLOCKED[: BLOCKED.index(limits.max_blocked) + 1],
            refuses_findings=limits.findings == "refuse",
        ),
    )


async def require_allowed(engine: MigrationEngine, target: str | None, limits: PlanLimits) -> None:
    """Raise PlanRefusedError if ``limits`` do not allow what is pending up to ``target``."""
    refusal = (await inspect_pending(engine, target, squawk=False, limits=limits)).refusal
    if refusal is not None:
        raise refusal
