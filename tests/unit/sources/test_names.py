"""File names: versions and their order."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdbm import Migration, MigrationFileError
from pgdbm.migrations.engine.plan import build_plan
from pgdbm.migrations.sources.migration import in_order
from pgdbm.migrations.sources.names import order_of, version_of

LONG_AGO = 1_500_000_000


def names(found: tuple[Migration, ...]) -> list[str]:
    return [migration.filename for migration in found]


class TestVersions:
    @pytest.mark.parametrize(
        ("filename", "version"),
        [
            ("001_x.sql", "001"),
            ("1-x.sql", "1"),
            ("7.sql", "7"),
            ("V2__x.sql", "2"),
            ("v2__x.sql", "2"),
            ("V1_2__x.sql", "1_2"),
            ("V1.2.3__x.sql", "1.2.3"),
            ("1.2_x.sql", "1.2"),
            ("20240126120000_x.sql", "20240126120000"),
            ("2024_01_26_x.sql", "2024_01_26"),
            ("2024-01-26-1200-x.sql", "2024-01-26-1200"),
            ("2024_01_26_120000_x.sql", "2024_01_26_120000"),
            ("init.sql", "init"),
            ("add_2_columns.sql", "add_2_columns"),
            ("001x.sql", "001x"),
            ("R__views.sql", "R__views"),
            ("Vx__y.sql", "Vx__y"),
        ],
    )
    def test_versions_are_read_from_names(self, filename: str, version: str) -> None:
        assert version_of(filename) == version
        assert Migration(filename, "", "").version == version

    def test_numbers_sort_as_numbers_and_names_come_last(self) -> None:
        expected = [
            "0_a.sql", "001_a.sql", "V1.0.1__a.sql", "1.2_a.sql", "V1_10__a.sql", "2_a.sql", "9_a.sql", "10_a.sql",
            "2024_01_26_a.sql", "2024_01_26_1200_a.sql", "20240126120000_a.sql", "Zebra.sql", "apple.sql",
        ]  # fmt: skip
        for shuffled in (expected[::-1], sorted(expected), expected[::2] + expected[1::2]):
            assert sorted(shuffled, key=order_of) == expected

    def test_a_number_in_front_counts_whatever_follows_it(self) -> None:
        expected = ["001_init.sql", "001a_fix.sql", "001b_fix.sql", "002 add.sql", "003.more.sql", "004_last.sql"]
        expected += ["9 y.sql", "010 x.sql", "010x.sql", "2024-01-02 y.sql", "2024-02-01 x.sql"]
        expected += ["20240126T110000_a.sql", "20240126T120000_b.sql", "apple.sql"]
        assert sorted(sorted(expected), key=order_of) == expected

    def test_a_number_in_front_is_a_version(self) -> None:
        with pytest.raises(MigrationFileError, match=r"002 a\.sql and 002_b\.sql have the same version"):
            build_plan(in_order([Migration(name, "", "") for name in ("002 a.sql", "002_b.sql")]), {})
        files = in_order([Migration(name, "", "") for name in ("001a_fix.sql", "001_init.sql", "002.more.sql")])
        assert [one.filename for one in build_plan(files, {}, target="001a").pending] == [
            "001_init.sql",
            "001a_fix.sql",
        ]

    @given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99)), unique=True))
    def test_dotted_versions_sort_as_tuples(self, versions: list[tuple[int, int, int]]) -> None:
        filenames = {f"V{'.'.join(map(str, version))}__x.sql": version for version in versions}
        assert [filenames[name] for name in sorted(filenames, key=order_of)] == sorted(versions)

    @given(st.text(max_size=255))
    def test_any_name_can_be_ordered(self, filename: str) -> None:
        assert order_of(filename) == order_of(filename)
        assert order_of("1_x.sql") < order_of("x" + filename)

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("001_a.sql", "001_b.sql"),
            ("1_a.sql", "001_b.sql"),
            ("V1__a.sql", "1_b.sql"),
            ("1.0_a.sql", "1_b.sql"),
            ("V1_2__a.sql", "1.2-b.sql"),
            ("2024_01_26_a.sql", "2024-01-26-b.sql"),
        ],
    )
    def test_two_files_with_one_version_are_both_named(self, first: str, second: str) -> None:
        for pair in itertools.permutations((first, second)):
            with pytest.raises(MigrationFileError, match="same version") as caught:
                build_plan(in_order([Migration(name, "", "") for name in (*pair, "005_c.sql")]), {})
            assert first in str(caught.value)
            assert second in str(caught.value)
            assert caught.value.version is not None

    def test_two_applied_files_with_one_version_are_accepted(self) -> None:
        migrations = in_order([Migration(name, "sum", "") for name in ("001_a.sql", "001_b.sql", "002_c.sql")])
        applied = {"001_a.sql": "sum", "001_b.sql": "sum"}
        assert [one.filename for one in build_plan(migrations, applied).pending] == ["002_c.sql"]
        with pytest.raises(MigrationFileError, match=r"001_a\.sql and 001_b\.sql have the same version"):
            build_plan(migrations, {"001_a.sql": "sum"})

    def test_names_without_a_version_do_not_collide(self) -> None:
        found = in_order([Migration(name, "", "") for name in ("b.sql", "a.sql", "1_z.sql")])
        assert names(found) == ["1_z.sql", "a.sql", "b.sql"]
