"""``pgdbm migrate status --check``: an exit code, and what is wrong, for each module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .project import Project, fetch

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Connect = Callable[[], AbstractAsyncContextManager[Any]]


def test_status_check_reports_by_its_exit_code(project: Project) -> None:
    project.json("migrate", "status")
    assert project.run("migrate", "status", "--check").returncode == 3
    dry = project.json("migrate", "apply", "--dry-run", "--check", exit_code=3)
    assert [one["pending"] for one in dry["modules"]] == [["001_users.sql"], ["001_orders.sql"]]
    assert project.json("migrate", "apply", "--check", exit_code=2)["error"]["code"] == "usage"
    project.json("migrate", "apply")
    project.json("migrate", "apply", "--dry-run", "--check")
    status = project.json("migrate", "status", "--check")
    assert status["state"] == "up_to_date"
    users = status["modules"][0]
    assert users["version"] == "001"
    assert users["migrations"][0]["applied_at"].endswith("Z")


class TestStatusCheck:
    """Exit code 3 while migrations are pending, 1 where apply would refuse, else 0."""

    def test_changed(self, project: Project) -> None:
        project.json("migrate", "apply")
        project.json("migrate", "status", "--check")
        project.write("users/002_more.sql", "SELECT 1;")
        assert project.json("migrate", "status", "--check", exit_code=3)["state"] == "pending"
        project.write("users/001_users.sql", "CREATE TABLE users (id bigint PRIMARY KEY);\n")
        assert project.json("migrate", "status", "--check", exit_code=1)["state"] == "changed"
        assert project.json("migrate", "apply", exit_code=1)["error"]["code"] == "checksum_changed"

    def test_missing(self, project: Project) -> None:
        project.write("users/002_more.sql", "SELECT 1;")
        project.json("migrate", "apply")
        (project.folder / "users/002_more.sql").unlink()
        assert project.json("migrate", "status", "--check")["state"] == "ahead"
        project.json("migrate", "apply")

    def test_out_of_order(self, project: Project) -> None:
        file = project.folder / "pgdbm.toml"
        file.write_text('[project]\nout_of_order = "reject"\n' + file.read_text())
        project.write("users/003_third.sql", "SELECT 1;")
        project.json("migrate", "apply")
        project.write("users/002_second.sql", "SELECT 1;")
        assert project.json("migrate", "status", "--check", exit_code=1)["state"] == "out_of_order"
        assert project.json("migrate", "apply", exit_code=1)["error"]["code"] == "out_of_order"

    def test_applied_in_part(self, project: Project) -> None:
        sql = "-- pgdbm:no-transaction\nCREATE TABLE a ();\nCREATE TABLE a ();\n"
        project.write("users/002_partial.sql", sql)
        assert project.json("migrate", "apply", exit_code=1)["error"]["statement"] == 2
        assert project.json("migrate", "status", "--check", exit_code=3)["state"] == "partial"

    def test_unknown(self, project: Project, connect: Connect) -> None:
        sql = "-- pgdbm:no-transaction\nCREATE TABLE a ();\nSELECT 1;\n"
        project.write("users/002_unknown.sql", sql)
        project.json("migrate", "apply")
        # As left by a runner that died while the second statement ran.
        fetch(connect, "DELETE FROM users.schema_migrations WHERE filename = '002_unknown.sql'")
        fetch(
            connect,
            "DELETE FROM users.pgdbm_journal WHERE filename = '002_unknown.sql' AND statement IS DISTINCT FROM 1"
            " AND (statement IS NULL OR ended_at IS NULL) RETURNING 1",
        )
        fetch(
            connect,
            "UPDATE users.pgdbm_journal SET event = 'started', ended_at = NULL"
            " WHERE filename = '002_unknown.sql' AND statement = 2",
        )
        assert project.json("migrate", "status", "--check", exit_code=3)["state"] == "unknown"

    def test_a_file_that_cannot_be_parsed(self, project: Project) -> None:
        project.json("migrate", "apply")
        project.write("users/002_more.sql", "SELEC 1;")
        assert project.run("migrate", "status", "--check").returncode == 3
        assert project.json("migrate", "apply", exit_code=1)["error"]["code"] == "migration_file_invalid"
