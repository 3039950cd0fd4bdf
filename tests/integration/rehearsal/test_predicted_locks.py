"""A rehearsal confirms the locks of the plan, or reports that they are wrong, and what else it observed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager
from pgdbm.migrations.importers import convert
from pgdbm.migrations.rehearsal.observation import RelationNames, checked
from pgdbm.pgparse.lock_modes import LockMode, StatementLock

from ...docs.cookbook import files as recipes
from ...support.schema_changes import CHANGES, SETUP

if TYPE_CHECKING:
    from pgdbm.migrations.rehearsal.results import Rehearsal, StatementRehearsal

HISTORIES = Path(__file__).parents[1] / "importers" / "histories"
TOOLS = ("dbmate", "flyway", "golang-migrate", "goose", "prisma", "supabase", "drizzle", "sqitch")


async def rehearsed(db: AsyncDatabaseManager, files: dict[str, str] | Path) -> Rehearsal:
    return await AsyncMigrationManager(db, files, "m", snapshots=False).rehearse()


def statements_of(rehearsal: Rehearsal) -> list[StatementRehearsal]:
    return [one for file in rehearsal.files for one in file.statements]


async def corpus(db: AsyncDatabaseManager, folder: Path) -> list[Rehearsal]:
    """Rehearsals of other projects' histories, the recipes of the documents, and schema changes of papers."""
    done = [await rehearsed(db, recipes())]
    done += [await rehearsed(db, {"001_setup.sql": SETUP, "002_change.sql": change}) for change in CHANGES.values()]
    for tool in TOOLS:
        project = HISTORIES / tool / "project"
        places = [project, *(path for path in project.rglob("*") if path.is_dir())]
        for number, place in enumerate(places):
            try:
                convert(tool, place, folder / f"{tool}{number}")
            except Exception:
                continue
            done.append(await rehearsed(db, folder / f"{tool}{number}"))
            break
    return done


async def test_the_locks_of_the_plan_are_those_that_are_taken(db: AsyncDatabaseManager, tmp_path: Path) -> None:
    done = await corpus(db, tmp_path)
    verdicts: Counter[bool] = Counter()
    wrong = []
    for rehearsal in done:
        for one in statements_of(rehearsal):
            for lock in one.predicted:
                verdicts[lock.confirmed] += 1
                if not lock.confirmed:
                    wrong.append(f"{one.kind}: {lock} of {one.locks}")
    assert len(done) > len(CHANGES) + 5
    assert verdicts.total() > 100
    assert not wrong, "\n".join(wrong)


async def test_what_is_rewritten_is_named(db: AsyncDatabaseManager) -> None:
    expected = {
        "change the type of a column": {"app.big"},
        "add a column with a volatile default": {"app.big", "app.big_name", "app.big_pkey"},
        "widen a column": set(),
        "add a column with a default": set(),
        "rebuild an index": {"app.big_name"},
        "rewrite a table": {"app.big", "app.big_name", "app.big_pkey"},
    }
    for change, names in expected.items():
        files = {"001_setup.sql": SETUP, "002_change.sql": CHANGES[change]}
        (_, file) = (await rehearsed(db, files)).files
        (one,) = file.statements
        assert set(one.rewritten) >= names if names else one.rewritten == (), change
        assert one.wal_bytes is not None
        assert one.wal_bytes > 0


async def test_a_lock_is_held_until_the_end_of_the_transaction(db: AsyncDatabaseManager) -> None:
    table = "CREATE TABLE {{tables.t}} (id integer)"
    files = {"001.sql": table, "002.sql": "ALTER TABLE {{tables.t}} ADD a integer; SELECT pg_sleep(0.2)"}
    (_, file) = (await rehearsed(db, files)).files
    (lock,) = [one for one in file.statements[0].locks or () if one.relation == "app.t"]
    assert lock.held_ms >= file.statements[1].milliseconds >= 200


@pytest.mark.parametrize(
    ("before", "after", "confirmed"),
    [
        (None, LockMode.SHARE, True),
        (None, LockMode.ACCESS_EXCLUSIVE, False),
        (None, None, False),
        (LockMode.ACCESS_EXCLUSIVE, LockMode.ACCESS_EXCLUSIVE, True),
        (LockMode.SHARE, LockMode.ACCESS_EXCLUSIVE, False),
    ],
)
def test_a_wrong_prediction_is_a_mismatch(before: LockMode | None, after: LockMode | None, confirmed: bool) -> None:
    names = RelationNames()
    names.add(1, "scratch", "t")
    held = [{1: mode} if mode is not None else {} for mode in (before, after)]
    (found,) = checked([StatementLock(LockMode.SHARE, "scratch.t")], names, *held, ("scratch", "app"))
    assert (found.relation, found.confirmed) == ("app.t", confirmed)


def test_a_relation_that_is_not_there_has_no_verdict() -> None:
    lock = StatementLock(LockMode.ACCESS_EXCLUSIVE, "scratch.none")
    assert checked([lock], RelationNames(), {}, {}, ("scratch", "app")) == ()


def test_locks_that_only_the_catalog_shows_are_no_stronger_than_said() -> None:
    names = RelationNames()
    for weaker, confirmed in ((LockMode.SHARE, True), (LockMode.ACCESS_EXCLUSIVE, False)):
        (found,) = checked([StatementLock(LockMode.SHARE, None)], names, {}, {9: weaker}, ("scratch", "app"))
        assert found.confirmed is confirmed
