"""The library as its users install it: a wheel, built and installed outside the source tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from .conftest import Programs

    Connect = Callable[[], AbstractAsyncContextManager[Any]]

# Two libraries on one pool: each in a schema of its own, and both together in a third.
TWO_LIBRARIES = """
import asyncio, os
from linkkeeper import LinkKeeper
from notekeeper import NoteKeeper
from pgdbm import AsyncDatabaseManager, DatabaseConfig

async def main():
    config = DatabaseConfig(connection_string=os.environ["DATABASE_URL"], min_connections=2, max_connections=2)
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    dbs = {name: AsyncDatabaseManager(pool=pool, schema=name) for name in ("notes", "links", "both")}
    places = ((NoteKeeper, "notes"), (LinkKeeper, "links"), (NoteKeeper, "both"), (LinkKeeper, "both"))
    for library, schema in places:
        async with library(db=dbs[schema]) as keeper:
            await keeper.add(f"{library.__name__} in {schema}")
    for library, schema in places:
        async with library(db=dbs[schema]) as keeper:
            print(*[kept.text for kept in await keeper.search()])
    print(pool.get_size(), "connections")
    await pool.close()

asyncio.run(main())
"""


def build_wheel(project: Path, target: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=project,
        check=True,
        capture_output=True,
    )
    (wheel,) = target.glob(f"{project.name}-*.whl")
    return wheel


def path_with(*places: Path) -> str:
    return os.pathsep.join([*map(str, places), os.environ.get("PYTHONPATH", "")])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notekeeper-build")
    examples = Path(__file__).resolve().parents[2] / "examples"
    project = folder / "notekeeper"
    shutil.copytree(examples / "dual_mode_library", project, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    return build_wheel(project, folder)


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """A folder with the wheel's content, as an installer would lay it out."""
    target = wheel.parent / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def test_the_wheel_has_the_migrations(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if name.startswith("notekeeper/")} == {
            "notekeeper/__init__.py",
            "notekeeper/__main__.py",
            "notekeeper/notekeeper.py",
            "notekeeper/py.typed",
            "notekeeper/migrations/001_create_notes.sql",
            "notekeeper/migrations/002_written_at.sql",
        }


@pytest.mark.parametrize("form", ["unpacked", "zipped"])
async def test_alone(
    programs: Programs, installed: Path, wheel: Path, tmp_path: Path, connect: Connect, form: str
) -> None:
    path = path_with(installed if form == "unpacked" else wheel)
    assert programs.run(tmp_path, "-m", "notekeeper", "add", "Call Ada", PYTHONPATH=path) == "1\n"
    assert programs.run(tmp_path, "-m", "notekeeper", "search", "ADA", PYTHONPATH=path) == "1 Call Ada\n"
    async with connect() as connection:
        history = await connection.fetch("SELECT module_name, filename FROM notekeeper.schema_migrations ORDER BY id")
    assert [tuple(row) for row in history] == [
        ("notekeeper", "001_create_notes.sql"),
        ("notekeeper", "002_written_at.sql"),
    ]


async def test_within_an_application(programs: Programs, examples: Path, installed: Path, connect: Connect) -> None:
    output = programs.run(examples / "dual_mode_library", "host.py", PYTHONPATH=path_with(installed))
    assert output == "sales: Call Ada\nsupport: Ada cannot log in\n"
    async with connect() as connection:
        schemas = await connection.fetch("SELECT schemaname FROM pg_tables WHERE tablename = 'notes' ORDER BY 1")
    assert [row["schemaname"] for row in schemas] == ["sales", "support"]


async def test_two_libraries_on_one_pool(
    programs: Programs, wheel: Path, installed: Path, tmp_path: Path, connect: Connect
) -> None:
    # The second library is the first under another name: LinkKeeper, which keeps links.
    second = tmp_path / "linkkeeper"
    shutil.copytree(wheel.parent / "notekeeper", second)
    for path in sorted(second.rglob("*note*"), reverse=True):
        path.rename(path.with_name(path.name.replace("note", "link")))
    for path in second.rglob("*.*"):
        if path.is_file():
            path.write_text(path.read_text().replace("note", "link").replace("Note", "Link"))
    with zipfile.ZipFile(build_wheel(second, tmp_path)) as archive:
        archive.extractall(tmp_path / "installed")

    output = programs.run(tmp_path, "-c", TWO_LIBRARIES, PYTHONPATH=path_with(installed, tmp_path / "installed"))

    assert output.splitlines() == [
        "NoteKeeper in notes",
        "LinkKeeper in links",
        "NoteKeeper in both",
        "LinkKeeper in both",
        "2 connections",
    ]
    async with connect() as connection:
        modules = await connection.fetch('SELECT module_name FROM "both".schema_migrations ORDER BY module_name')
    assert [row["module_name"] for row in modules] == ["linkkeeper", "linkkeeper", "notekeeper", "notekeeper"]


def test_a_connection_string_and_a_manager_are_exclusive(programs: Programs, installed: Path, tmp_path: Path) -> None:
    program = programs.start(
        tmp_path, "-c", "from notekeeper import NoteKeeper; NoteKeeper()", PYTHONPATH=path_with(installed)
    )
    assert program.wait() == 1
    assert "either a connection_string or a db" in program.output
