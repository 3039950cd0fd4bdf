"""What counts as a proof."""

from __future__ import annotations

from pgdbm.migrations.engine.migration_plan import PlannedMigration
from pgdbm.migrations.lint import Fix, FixFile
from pgdbm.migrations.rehearsal.fix_proof import proofs
from pgdbm.migrations.rehearsal.results import FileRehearsal, Rehearsal
from pgdbm.migrations.state.catalog import CatalogObject
from pgdbm.migrations.state.changes import Change

TABLE = CatalogObject("table", "t", "TABLE")
INDEX = CatalogObject("index", "i", "CREATE INDEX i")
FIX = Fix((FixFile("001_a.sql", "SELECT 1;\n"), FixFile("001.1_a.sql", "SELECT 2;\n")))
PLANNED = PlannedMigration("001_a.sql", "001", "x", True, (), (), (), "", FIX)


def rehearsal(**catalogs: tuple[CatalogObject, ...]) -> Rehearsal:
    files = [FileRehearsal(name.replace("__", ".") + "_a.sql", True) for name in catalogs]
    for file, catalog in zip(files, catalogs.values(), strict=True):
        file.catalog = catalog
    return Rehearsal("s", files=files)


def test_equal_catalogs_are_the_proof() -> None:
    (proof,) = proofs([PLANNED], rehearsal(**{"001": (TABLE,)}), rehearsal(**{"001": (), "001__1": (TABLE,)}))
    assert proof.proved
    assert proof.files == ("001_a.sql", "001.1_a.sql")


def test_a_difference_is_none() -> None:
    plain = rehearsal(**{"001": (TABLE, INDEX)})
    (proof,) = proofs([PLANNED], plain, rehearsal(**{"001": (TABLE, INDEX), "001__1": (TABLE,)}))
    assert not proof.proved
    assert proof.differences == (Change("removed", "index", "i", "CREATE INDEX i", None),)


def test_a_fix_that_stopped_half_way_is_not_proved() -> None:
    (proof,) = proofs([PLANNED], rehearsal(**{"001": (TABLE,)}), rehearsal(**{"001": (TABLE,)}))
    assert (proof.proved, proof.reason) == (False, "001.1_a.sql was not reached.")


def test_a_file_without_a_fix_needs_none() -> None:
    without = PlannedMigration("001_a.sql", "001", "x", True, (), (), (), "")
    assert proofs([without], rehearsal(), rehearsal()) == []
