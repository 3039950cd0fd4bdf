"""Files compared with the history."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdbm import ChecksumMismatchError, Migration, MigrationError, OutOfOrderError
from pgdbm.migrations.engine.plan import Plan, build_plan, newest_of, up_to
from pgdbm.migrations.engine.statuses import ModuleStatus, statuses
from pgdbm.migrations.results import HistoryRow
from pgdbm.migrations.sources.migration import in_order
from pgdbm.migrations.sources.names import order_of

APPLIED_AT = datetime(2024, 2, 29, tzinfo=UTC)


def migration(number: int, content: str = "SELECT 1;") -> Migration:
    return Migration(f"{number}_x.sql", f"sum of {number}", content)


def row(number: int, checksum: str | None = None, name: str | None = None) -> HistoryRow:
    return HistoryRow(
        id=number,
        filename=name or f"{number}_x.sql",
        checksum=checksum or f"sum of {number}",
        module_name="shop",
        applied_at=APPLIED_AT,
        applied_by="me",
        execution_time_ms=7,
    )


FILES = tuple(map(migration, range(1, 13)))


def applied(*numbers: int) -> dict[str, str]:
    return {f"{number}_x.sql": f"sum of {number}" for number in numbers}


@pytest.mark.parametrize("target", ["3", "003", "3_x.sql"])
def test_the_files_up_to_a_target_are_those_of_a_plan(target: str) -> None:
    assert tuple(up_to(FILES, target)) == build_plan(FILES, {}, target=target).pending == FILES[:3]


def test_a_target_without_a_file_is_refused() -> None:
    with pytest.raises(MigrationError, match="There is no migration '99'"):
        up_to(FILES, "99")


class TestPlan:
    def test_nothing_applied(self) -> None:
        assert build_plan(FILES, {}) == Plan(FILES, ())

    def test_everything_applied(self) -> None:
        assert build_plan(FILES, applied(*range(1, 13)), "reject") == Plan((), FILES)

    def test_no_files(self) -> None:
        assert build_plan((), applied(1, 2), "reject") == Plan((), ())

    def test_a_gap_is_pending(self) -> None:
        plan = build_plan(FILES[:4], applied(1, 3))
        assert [found.filename for found in plan.pending] == ["2_x.sql", "4_x.sql"]
        assert [found.filename for found in plan.skipped] == ["1_x.sql", "3_x.sql"]

    def test_a_gap_may_be_refused(self) -> None:
        with pytest.raises(OutOfOrderError) as caught:
            build_plan(FILES[:4], applied(1, 3), "reject")
        assert (caught.value.migration_file, caught.value.newest_applied) == ("2_x.sql", "3_x.sql")
        assert "out_of_order='allow'" in str(caught.value)

    def test_the_newest_version_is_found_by_number(self) -> None:
        assert len(build_plan(FILES, applied(*range(1, 10)), "reject").pending) == 3
        with pytest.raises(OutOfOrderError):
            build_plan(FILES, applied(*range(1, 9), 10), "reject")

    def test_the_newest_applied_version_counts_without_its_file(self) -> None:
        with pytest.raises(OutOfOrderError, match=r"20_x\.sql"):
            build_plan(FILES, applied(1, 20), "reject")

    def test_a_changed_file(self) -> None:
        with pytest.raises(ChecksumMismatchError, match="has been modified after being applied") as caught:
            build_plan(FILES, {"2_x.sql": "another"})
        assert (caught.value.migration_file, caught.value.recorded, caught.value.current) == (
            "2_x.sql",
            "another",
            "sum of 2",
        )
        assert "another" in str(caught.value)
        assert "sum of 2" in str(caught.value)

    @given(st.sets(st.integers(1, 12)), st.sampled_from(["allow", "reject"]))
    def test_every_file_is_either_pending_or_skipped(self, numbers: set[int], policy: str) -> None:
        history = applied(*numbers)
        try:
            plan = build_plan(FILES, history, policy)  # type: ignore[arg-type]
        except OutOfOrderError:
            assert policy == "reject"
            assert min(set(range(1, 13)) - numbers) < max(numbers)
        else:
            assert in_order([*plan.pending, *plan.skipped]) == FILES
            assert {found.filename for found in plan.skipped} == set(history)
            assert policy == "allow" or not plan.pending or numbers == set(range(1, len(numbers) + 1))


def test_the_newest_version_is_the_highest() -> None:
    assert newest_of([]) is None
    assert newest_of(["9_x.sql", "10_x.sql"]) == "10_x.sql"
    assert newest_of(["9_x.sql", "init.sql"]) == "init.sql"


class TestStatuses:
    def test_every_state(self) -> None:
        found = statuses(FILES[:5], [row(1), row(2, "another"), row(4), row(99)], "reject")
        assert [(status.filename, status.state) for status in found] == [
            ("1_x.sql", "applied"),
            ("2_x.sql", "changed"),
            ("3_x.sql", "out_of_order"),
            ("4_x.sql", "applied"),
            ("5_x.sql", "out_of_order"),
            ("99_x.sql", "ahead"),
        ]

    def test_each_status_has_its_details(self) -> None:
        pending, changed, missing = statuses(
            [migration(1, "-- pgdbm:no-transaction\nVACUUM;"), migration(2)], [row(2, "another"), row(3)]
        )
        assert (pending.version, pending.transactional, pending.applied_at, pending.recorded_checksum) == (
            "1",
            False,
            None,
            None,
        )
        assert (changed.checksum, changed.recorded_checksum, changed.applied_at) == ("sum of 2", "another", APPLIED_AT)
        assert (missing.checksum, missing.applied_by, missing.execution_time_ms) == ("sum of 3", "me", 7)
        assert (changed.transactional, missing.transactional) == (True, True)

    def test_nothing_is_out_of_order_where_it_is_allowed(self) -> None:
        assert [status.state for status in statuses(FILES[:2], [row(2)])] == ["pending", "applied"]

    def test_a_missing_migration_is_listed_in_version_order(self) -> None:
        found = statuses([migration(1), migration(3)], [row(2), row(7, name="init.sql")])
        assert [status.filename for status in found] == ["1_x.sql", "2_x.sql", "3_x.sql", "init.sql"]

    @given(st.sets(st.integers(1, 12)), st.sets(st.integers(1, 15)), st.sampled_from(["allow", "reject"]))
    def test_nothing_is_lost(self, in_files: set[int], in_history: set[int], policy: str) -> None:
        found = statuses(
            [migration(number) for number in sorted(in_files)],
            map(row, in_history),
            policy,  # type: ignore[arg-type]
        )
        assert {status.filename for status in found} == {f"{number}_x.sql" for number in in_files | in_history}
        assert list(found) == sorted(found, key=lambda status: order_of(status.filename))
        module = ModuleStatus("shop", "public", found)
        assert sum(module.counts.values()) == len(found)
        assert module.counts["applied"] == len(in_files & in_history)
        assert module.counts["missing"] + module.counts["ahead"] == len(in_history - in_files)
        assert module.version == (str(max(in_history)) if in_history else None)


@pytest.mark.parametrize(
    ("in_files", "in_history", "state"),
    [
        ([], [], "up_to_date"),
        ([1], [1], "up_to_date"),
        ([1, 2], [1], "pending"),
        ([2], [1, 2], "missing"),
        ([1], [1, 2], "ahead"),
        ([1, 3], [1, 2], "pending"),
        ([1, 2, 4], [1, 3], "out_of_order"),
    ],
)
def test_the_state_of_a_module_is_its_most_urgent(in_files: list[int], in_history: list[int], state: str) -> None:
    found = statuses([migration(number) for number in in_files], map(row, in_history), "reject")
    assert ModuleStatus("shop", "public", found).state == state


def test_a_changed_file_is_the_most_urgent_state() -> None:
    found = statuses(FILES[:3], [row(1, "another"), row(3)], "reject")
    assert ModuleStatus("shop", "public", found).state == "changed"


def test_a_renamed_file_counts_by_its_new_name_for_the_order() -> None:
    files = in_order([Migration("002_other.sql", "b", ""), Migration("003_seed.sql", "a", "")])
    plan = build_plan(files, {"001_seed.sql": "a"})
    assert (plan.renamed, [one.filename for one in plan.to_run]) == (
        {"003_seed.sql": "001_seed.sql"},
        ["002_other.sql"],
    )
    with pytest.raises(OutOfOrderError, match=r"002_other\.sql .* before 003_seed\.sql"):
        build_plan(files, {"001_seed.sql": "a"}, "reject")
