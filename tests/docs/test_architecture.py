"""docs/explanation/architecture.md has a line for each folder of app/, and an owner for each table of the service."""

from __future__ import annotations

import re

from .markdown import DOCS, ROOT, table

PAGE = DOCS / "explanation" / "architecture.md"
APP = ROOT / "app"
# Covered by the line of the folder that contains it.
DETAILS = {
    "app/pgdbm/migrations/lint/fixes/",
    "app/pgdbm/migrations/lint/rules/",
    "app/pgdbm_service/dashboard/assets/",
    "app/pgdbm_service/dashboard/templates/",
    "app/pgdbm_service/static/swagger-ui/",
}

_CREATED = re.compile(r"^CREATE TABLE {{tables\.(\w+)}}", re.MULTILINE)
_CODE = re.compile(r"`([^`]+)`")


def _folders_of_the_page() -> list[str]:
    lines = re.findall(
        r"^\| `(app/[\w/]+/)` \| .+ \|$", PAGE.read_text().partition("## What a request")[0], re.MULTILINE
    )
    return [str(line) for line in lines]


def test_each_folder_has_one_line() -> None:
    folders = {
        f"{path.relative_to(ROOT).as_posix()}/"
        for path in APP.rglob("*")
        if path.is_dir() and "__pycache__" not in path.parts and path.parent != APP and any(path.iterdir())
    }
    # A folder with only ignored files is left over from another commit.
    folders = {name for name in folders if any("__pycache__" not in one.parts for one in (ROOT / name).rglob("*.*"))}
    listed = _folders_of_the_page()
    assert len(listed) == len(set(listed))
    assert set(listed) - {"app/pgdbm_service/"} == folders - DETAILS


def test_each_table_of_the_service_schema_has_one_owner() -> None:
    created = {
        name
        for path in (APP / "pgdbm_service" / "migrations").glob("*.sql")
        for name in _CREATED.findall(path.read_text())
    }
    listed = [name for _, tables in table(PAGE, "owner") for name in _CODE.findall(tables)]
    assert len(listed) == len(set(listed))
    assert set(listed) - {"pgqueuer"} == created
