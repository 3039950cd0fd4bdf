"""Each table of the service is read and written by its owner only."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pgdbm_service

PACKAGE = Path(pgdbm_service.__file__).parent
# The owner of the statements of a file, if the file has another name.
OWNERS = {
    "tokens": "auth",
    "dashboard_sessions": "auth",
    "stream_tickets": "auth",
    "replicas": "runs",
    "recent_runs": "runs",
    "run_children": "runs",
    "run_queries": "runs",
    "run_approvals": "runs",
    "freezes": "runs",
}
TABLE = re.compile(r"\{\{tables\.(\w+)\}\}")


def test_each_table_has_one_owner() -> None:
    owners: dict[str, set[str]] = defaultdict(set)
    for file in (PACKAGE / "database" / "sql").glob("*.sql"):
        for table in TABLE.findall(file.read_text()):
            owners[table].add(OWNERS.get(file.stem, file.stem))
    created = {
        table
        for file in (PACKAGE / "migrations").glob("*.sql")
        for table in re.findall(r"CREATE TABLE \{\{tables\.(\w+)\}\}", file.read_text())
    }
    # PgQueuer creates its own.
    assert {table for table in owners if not table.startswith("pgqueuer")} == created
    assert {table: names for table, names in owners.items() if len(names) > 1} == {}


def test_statements_are_in_files() -> None:
    assert [file.name for file in PACKAGE.rglob("*.py") if TABLE.search(file.read_text())] == []


def test_the_page_names_every_owner() -> None:
    page = (Path(__file__).parents[3] / "docs" / "explanation" / "architecture.md").read_text()
    created = [
        table
        for file in (PACKAGE / "migrations").glob("*.sql")
        for table in re.findall(r"CREATE TABLE \{\{tables\.(\w+)\}\}", file.read_text())
    ]
    assert [table for table in created if f"`{table}`" not in page] == []
