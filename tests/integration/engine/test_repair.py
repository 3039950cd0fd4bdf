"""Applied files that were changed: the previous content, found in a git repository, is shown before it is accepted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager
from pgdbm.cli import app
from pgdbm.migrations.sources.migration import checksum_of
from pgdbm.migrations.sources.previous import from_git

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAME = "001_[odd] name.sql"
FIRST = "CREATE TABLE {{tables.a}} (\n    id int\n);\n"
SECOND = FIRST.replace("id int", "id bigint")
THIRD = SECOND + "-- why\n"
DIFF = """\
--- 001_[odd] name.sql (applied, {})
+++ 001_[odd] name.sql (now, {})
@@ -1,3 +1,3 @@
 CREATE TABLE {{{{tables.a}}}} (
-    id int
+    id bigint
 );
"""


def diff_of(before: str, after: str) -> str:
    return DIFF.format(checksum_of(before)[:12], checksum_of(after)[:12])


_WHO = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")


class Repository:
    """A git repository with migrations in a folder of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.migrations = folder / "some" / "migrations"
        self.migrations.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> None:
        subprocess.run(
            [
                "git",
                "-c",
                "user.name=x",
                "-c",
                "user.email=x@example.org",
                "-c",
                "commit.gpgsign=false",
                "-C",
                str(self._folder),
                *arguments,
            ],
            check=True,
            capture_output=True,
            env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull},
        )

    def write(self, content: str, *, name: str = NAME) -> None:
        (self.migrations / name).write_bytes(content.encode())

    def commit(self, content: str) -> None:
        self.write(content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=x")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    return Repository(tmp_path / "repository")


async def apply(db: AsyncDatabaseManager, folder: Path) -> AsyncMigrationManager:
    migrations = AsyncMigrationManager(db, folder, "m")
    await migrations.apply_pending_migrations()
    return migrations


@pytest.mark.parametrize("commits_after", [[], [SECOND], [SECOND, THIRD]])
async def test_the_previous_content_is_found_in_git(
    db: AsyncDatabaseManager, repository: Repository, commits_after: list[str]
) -> None:
    for number in range(3):
        repository.commit(f"-- not yet {number}")
    repository.commit(FIRST)
    migrations = await apply(db, repository.migrations)
    for content in commits_after:
        repository.commit(content)
    repository.write(SECOND)
    (found,) = await migrations.repair(previous=from_git(repository.migrations))
    assert found.diff == diff_of(FIRST, SECOND)
    assert await migrations.repair(accept=True, previous=from_git(repository.migrations)) == [found]
    assert await migrations.repair(previous=from_git(repository.migrations)) == []
    assert (await migrations.apply_pending_migrations())["status"] == "up_to_date"
    (entry, *_) = await migrations.journal()
    assert (entry.event, entry.filename) == ("repaired", NAME)
    assert entry.message == f"checksum {checksum_of(FIRST)} became {checksum_of(SECOND)}"


async def test_other_branches_and_deleted_files_are_searched(db: AsyncDatabaseManager, repository: Repository) -> None:
    repository.commit(SECOND)
    repository.git("checkout", "--quiet", "-b", "other")
    repository.commit(FIRST.replace("\n", "\r\n"))
    repository.git("rm", "--quiet", "--", ":(literal)some/migrations/" + NAME)
    repository.git("commit", "--quiet", "--message=gone")
    repository.git("checkout", "--quiet", "main")
    migrations = AsyncMigrationManager(db, {NAME: FIRST}, "m")
    await migrations.apply_pending_migrations()
    (found,) = await AsyncMigrationManager(db, repository.migrations, "m").repair(
        previous=from_git(repository.migrations)
    )
    assert found.diff == diff_of(FIRST, SECOND)


async def test_a_file_of_the_same_name_in_another_folder_is_ignored(
    db: AsyncDatabaseManager, repository: Repository
) -> None:
    repository.commit(SECOND)
    repository.write(FIRST, name="../" + NAME)
    repository.git("add", "--all")
    repository.git("commit", "--quiet", "--message=elsewhere")
    await AsyncMigrationManager(db, {NAME: FIRST}, "m").apply_pending_migrations()
    (found,) = await AsyncMigrationManager(db, repository.migrations, "m").repair(
        previous=from_git(repository.migrations)
    )
    assert found.diff is None


@pytest.mark.parametrize("where", ["no repository", "no commit", "no git"])
async def test_an_unknown_previous_content_leaves_the_diff_out(
    db: AsyncDatabaseManager, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch, request: Any
) -> None:
    folder = tmp_path / "plain"
    if where == "no commit":
        folder = request.getfixturevalue("repository").migrations
    folder.mkdir(exist_ok=True)
    (folder / NAME).write_text(FIRST)
    migrations = await apply(db, folder)
    (folder / NAME).write_text(SECOND)
    if where == "no git":
        monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = await migrations.repair(previous=from_git(folder))
    assert (found.filename, found.diff) == (NAME, None)


@pytest.mark.parametrize(
    "previous", [{checksum_of(FIRST): FIRST}, lambda name, checksum: FIRST if name == NAME else None]
)
async def test_the_caller_can_supply_the_previous_content(
    db: AsyncDatabaseManager, previous: dict[str, str] | Callable[[str, str], str | None]
) -> None:
    await AsyncMigrationManager(db, {NAME: FIRST}, "m").apply_pending_migrations()
    changed = AsyncMigrationManager(db, {NAME: SECOND}, "m")
    assert [one.diff for one in await changed.repair(previous=previous)] == [diff_of(FIRST, SECOND)]
    assert [one.diff for one in await changed.repair(previous={})] == [None]


def test_the_repair_command_shows_the_diff(
    database: str, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:

    repository.commit(FIRST)
    given = ["m", "--dir", str(repository.migrations), "--schema", "app", "--database-url", database]
    assert app.run(["migrate", "apply", *given]) == 0
    repository.write(SECOND)
    capsys.readouterr()

    assert app.run(["migrate", "repair", *given, "--json"]) == 0
    document = {
        "module": "m",
        "schema": "app",
        "accepted": False,
        "changed": [
            {
                "filename": NAME,
                "recorded": checksum_of(FIRST),
                "current": checksum_of(SECOND),
                "diff": diff_of(FIRST, SECOND),
            }
        ],
    }
    assert json.loads(capsys.readouterr().out) == {"modules": [document]}
    assert app.run(["migrate", "verify", *given]) == 1
    capsys.readouterr()

    assert app.run(["migrate", "repair", *given, "--accept"]) == 0
    printed = capsys.readouterr().out
    assert "m (schema app): 1 modified since applied\n" in printed
    assert "".join(f"    {line}\n" for line in diff_of(FIRST, SECOND).splitlines()) in printed
    assert printed.endswith("m: 1 accepted.\n")
    assert app.run(["migrate", "verify", *given]) == 0

    repository.write(THIRD + "SELECT 1;")
    assert app.run(["migrate", "repair", *given]) == 0
    assert "in no commit of the git repository" in capsys.readouterr().out


async def test_an_error_of_the_function_for_previous_contents_is_raised_as_it_is(db: AsyncDatabaseManager) -> None:
    """Not as one of the connection, though it is an OSError."""

    def missing(filename: str, checksum: str) -> str:
        raise FileNotFoundError(filename)

    await AsyncMigrationManager(db, {"1.sql": "SELECT 1"}, "m").apply_pending_migrations()
    changed = AsyncMigrationManager(db, {"1.sql": "SELECT 2"}, "m")
    with pytest.raises(FileNotFoundError, match=r"1\.sql"):
        await changed.repair(previous=missing)


async def test_the_content_of_a_checksum_with_a_byte_order_mark_is_found(
    db: AsyncDatabaseManager, repository: Repository
) -> None:
    """As pgdbm recorded it before 0.6."""
    repository.commit("\ufeff" + FIRST)
    migrations = await apply(db, repository.migrations)
    await db.execute("UPDATE {{tables.schema_migrations}} SET checksum = $1", checksum_of("\ufeff" + FIRST))
    repository.write(SECOND)
    (found,) = await migrations.repair(previous=from_git(repository.migrations))
    assert found.diff is not None
    assert "-    id int\n+    id bigint\n" in found.diff
