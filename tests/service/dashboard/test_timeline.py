"""The waterfall of a run, its remaining time, and what its locks block: computed from values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pgdbm_service.api.modules import ModuleDetail
from pgdbm_service.api.plans import Plan, PlannedLock, PlannedMigration, PlannedStatement
from pgdbm_service.api.rehearsals import Rehearsal, RehearsedMigration, RehearsedStatement, TakenLock
from pgdbm_service.api.runs import Progress, RunEvent
from pgdbm_service.dashboard.dependencies import dependency_tree
from pgdbm_service.dashboard.highlight import object_diff
from pgdbm_service.dashboard.lock_words import locked_relations
from pgdbm_service.dashboard.timeline import seconds_left, steps
from pgdbm_service.dashboard.wording import works_on

START = datetime(2026, 11, 29, tzinfo=UTC)


def event(kind: str, at: float, **fields: Any) -> RunEvent:
    return RunEvent(number=1, kind=kind, at=START + timedelta(seconds=at), schema="m", **fields)


def test_a_wait_and_a_pause_have_bars_of_their_own() -> None:
    blocker: list[dict[str, Any]] = [{"pid": 1}]
    (step,) = steps(
        [
            event("migration_started", 0, filename="a.sql", statements=2),
            event("progress", 1, filename="a.sql", statement=2, statements=2),
            event("blocked", 2, waiting_for=blocker),
            event("retrying", 4, filename="a.sql", statement=2, attempt=1, sqlstate="55P03", pause_s=1.0),
            event("migration_started", 5, filename="a.sql", statements=2),
            event("blocked", 6, waiting_for=blocker),
            event("progress", 8, filename="a.sql", statement=2, statements=2, phase="building index", percent=50.0),
            event("migration_ended", 9, filename="a.sql", execution_time_ms=4000.0),
        ],
        START,
    )
    assert [(bar.kind, bar.start, bar.end) for bar in step.bars] == [
        ("ok", 0, 2),
        ("wait", 2, 4),
        ("retry", 4, 5),
        ("ok", 5, 6),
        ("wait", 6, 8),
        ("ok", 8, 9),
    ]
    assert (step.attempts, step.state, step.seconds, step.waited) == (2, "succeeded", 9, 5)
    (statement,) = step.statements
    assert (statement.number, statement.state) == (2, "succeeded")
    assert {bar.kind for bar in statement.bars} == {"ok", "wait", "retry"}


def test_the_statement_that_failed_is_marked_and_those_not_reached_are_listed() -> None:
    found = steps(
        [
            event("migration_started", 0, filename="a.sql", statements=3),
            event("progress", 1, filename="a.sql", statement=1, statements=3),
            event("migration_failed", 2, filename="a.sql", statement=2, sqlstate="42703", message="no"),
        ],
        START,
        [("m", "a.sql"), ("m", "b.sql")],
    )
    assert [(step.filename, step.state) for step in found] == [("a.sql", "failed"), ("b.sql", "pending")]
    assert [(one.number, one.state) for one in found[0].statements] == [(1, "succeeded"), (2, "failed")]
    assert found[0].bars[-1].kind == "bad"
    assert found[1].bars == []


def test_what_is_left_is_extrapolated_within_a_phase() -> None:
    def progress(at: float, phase: str, percent: float | None) -> RunEvent:
        return event("progress", at, filename="a.sql", statement=1, phase=phase, percent=percent)

    assert seconds_left([]) is None
    assert seconds_left([progress(0, "scanning", 10.0)]) is None
    assert seconds_left([progress(0, "scanning", 10.0), progress(10, "scanning", 60.0)]) == 8
    # The previous phase has another speed.
    assert (
        seconds_left([progress(0, "scanning", 90.0), progress(9, "sorting", 10.0), progress(10, "sorting", 20.0)]) == 8
    )
    assert seconds_left([progress(0, "scanning", 10.0), progress(1, "waiting", None)]) is None


def test_locks_are_worded_with_the_table_and_its_use_and_how_long_they_were_held() -> None:
    def planned(number: int, mode: str, blocks: Any) -> PlannedStatement:
        since = datetime(2026, 1, 31, tzinfo=UTC)
        locks = [PlannedLock(mode, "orders.refunds", 41_000, 12_000_000, 40.0, 0.05, since)]
        return PlannedStatement(number=number, kind="x", line=1, column=1, sql="", locks=locks, blocks=blocks)

    def rehearsed(number: int, ms: float, mode: str) -> RehearsedStatement:
        locks = [TakenLock(mode=mode, relation="refunds", in_other_schema=False, on_new_object=False, held_ms=ms)]
        return RehearsedStatement(
            number=number,
            kind="x",
            line=1,
            column=1,
            execution_time_ms=ms,
            locks=locks,
            skipped=None,
            predicted=[],
            rewritten=[],
            wal_bytes=None,
        )

    statements = [planned(1, "SHARE", "writes"), planned(2, "ACCESS EXCLUSIVE", "reads and writes")]
    migration = PlannedMigration(
        filename="a.sql", version="1", checksum="", transactional=True, impact="", statements=statements, findings=[]
    )
    plan = Plan(module="orders", schema="orders", digest="", pending=[migration], skipped=0)
    done = RehearsedMigration(
        filename="a.sql",
        transactional=True,
        execution_time_ms=30,
        note=None,
        statements=[rehearsed(1, 1000.0, "SHARE"), rehearsed(2, 2000.0, "ACCESS EXCLUSIVE")],
    )
    rehearsal = Rehearsal(
        module="orders",
        schema="orders",
        succeeded=True,
        replayed=[],
        missing=[],
        migrations=[done],
        not_reached=[],
        failure=None,
        stopped=None,
        kept_open_since=None,
        left_behind=None,
        total_time_ms=3000,
    )
    (relation,) = locked_relations(plan, rehearsal)
    assert relation.mode == "ACCESS EXCLUSIVE"
    # From the first lock on it to the end of the transaction.
    assert relation.words == (
        "reads and writes wait; 41 k rows, 12 MB; 40 reads/s, 3 writes/min since 2026-01-31; "
        "the rehearsal held it for 3.0 s"
    )
    assert locked_relations(plan)[0].words.endswith(" since 2026-01-31")


def test_dependencies_are_a_tree_that_ends_where_it_repeats() -> None:
    def module(name: str, *depends_on: str) -> ModuleDetail:
        return ModuleDetail(name=name, schema=name, source="repo", state="up_to_date", depends_on=depends_on)

    modules = [module("a", "b@002", "gone"), module("b", "c"), module("c", "b")]
    first, second = dependency_tree(modules, "a")
    assert (first.name, first.version, first.state) == ("b", "002", "up_to_date")
    assert [(one.name, [deeper.name for deeper in one.below]) for one in first.below] == [("c", ["b"])]
    assert first.below[0].below[0].below == []
    assert (second.name, second.state) == ("gone", None)


def test_an_object_is_compared_line_by_line() -> None:
    assert object_diff("a\nb", "a\nc") == " a\n-b\n+c"
    assert object_diff(None, "integer") == "+integer"


def test_a_backfill_is_worded_with_its_rows_and_why_it_waits() -> None:
    progress = Progress(
        filename="004_fill.sql",
        statement=1,
        statements=1,
        command="BACKFILL",
        percent=25.0,
        rows=1_000_000,
        total_rows=4_000_000,
        rows_per_s=12_500.0,
    )
    shown = "004_fill.sql, statement 1 of 1, BACKFILL, 25 %, 1,000,000 of about 4,000,000 rows, 12,500 a second."
    assert works_on(progress) == shown
    progress.reason = "a batch took 900 ms, with a target of 500 ms"
    assert works_on(progress) == f"{shown} It waits: a batch took 900 ms, with a target of 500 ms."
