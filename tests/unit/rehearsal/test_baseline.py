"""A baseline is refused if the schema differs from what the files create; the error lists the differences."""

from __future__ import annotations

import pytest

from pgdbm import BaselineMismatchError, MigrationError
from pgdbm.migrations.rehearsal.baseline import require_same
from pgdbm.migrations.rehearsal.results import Failure, Rehearsal
from pgdbm.migrations.state.catalog import CatalogObject

BUILT = tuple(CatalogObject("table", f"t{number}", "heap") for number in range(8))


def test_the_same_listing_is_accepted() -> None:
    require_same(Rehearsal("s", catalog=BUILT), BUILT, "app", "002")


def test_each_difference_is_named_up_to_five() -> None:
    found = (CatalogObject("table", "t0", "other"), CatalogObject("view", "v", "SELECT 1"))
    with pytest.raises(BaselineMismatchError, match=r"'app' differs .* up to 002 .*; and 4 more") as caught:
        require_same(Rehearsal("s", catalog=BUILT), found, "app", "002")
    assert len(caught.value.changes) == 9


def test_a_rehearsal_that_failed_is_reported() -> None:
    failure = Failure("002_b.sql", 1, 3, 7, "42601", "syntax error", None, None, replaying=False)
    with pytest.raises(MigrationError, match=r"cannot be built to compare them: syntax error \(002_b\.sql, line 3\)"):
        require_same(Rehearsal("s", failure=failure), (), "app", "002")


def test_a_rehearsal_that_stopped_is_reported() -> None:
    with pytest.raises(MigrationError, match=r"could not be built completely .*: It took longer"):
        require_same(Rehearsal("s", stopped="It took longer than 3 s."), (), "app", "002")
