"""The commands of the command line against a real server."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .project import Project, fetch

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Connect = Callable[[], AbstractAsyncContextManager[Any]]


def test_apply_in_the_order_of_dependencies_once(project: Project, connect: Connect) -> None:
    text = project.run("migrate", "apply", "users")
    assert text.returncode == 0, text.stderr
    assert text.stdout.startswith("users (schema users): 1 applied")
    assert "001_users.sql" in text.stdout
    assert " ms" in text.stdout

    document = project.json("migrate", "apply")
    assert document["status"] == "success"
    users, orders = document["modules"]
    assert (users["module"], users["status"], users["applied"], users["skipped"]) == ("users", "up_to_date", [], 1)
    assert (orders["schema"], orders["total"]) == ("orders", 1)
    assert [one["filename"] for one in orders["applied"]] == ["001_orders.sql"]
    tables = fetch(connect, "SELECT schemaname, tablename FROM pg_tables WHERE tablename IN ('users', 'orders')")
    assert sorted(tables) == [("orders", "orders"), ("users", "users")]
    assert project.json("migrate", "apply")["status"] == "up_to_date"


def test_a_failure_shows_the_line_and_stops(project: Project) -> None:
    broken = project.write("users/002_more.sql", "CREATE TABLE more (id int);\n\nSELECT 1,\n\tnope FROM more;\n")
    text = project.run("migrate", "apply")
    assert text.returncode == 1
    assert "1 applied, then one failed" in text.stdout
    message, line, caret, *rest = text.stderr.splitlines()
    assert message.startswith(f"error: {broken}:4:2: statement 2:")
    assert "42703" in message
    assert line == "  4 | \tnope FROM more;"
    assert caret == "    | \t^"
    assert rest[-1] == "Module users, schema users. Not reached: orders."

    error = project.json("migrate", "apply", exit_code=1)["error"]
    expected = {"code": "migration_failed", "module": "users", "filename": "002_more.sql", "line": 4, "column": 2}
    assert expected.items() <= error.items()
    assert (error["sqlstate"], error["not_reached"]) == ("42703", ["orders"])

    broken.write_text("CREATE TABLE x (;\n")
    invalid = project.json("migrate", "plan", exit_code=1)["error"]
    assert (invalid["code"], invalid["line"], invalid["column"]) == ("migration_file_invalid", 1, 17)


def test_plan_names_statements_with_line_and_column(project: Project) -> None:
    sql = (
        "-- pgdbm:no-transaction\nCREATE TABLE {{tables.t}} (a int);\nCREATE INDEX CONCURRENTLY i ON {{tables.t}} (a);"
    )
    project.write("users/002_index.sql", sql)
    pending = project.json("migrate", "plan", "users")["modules"][0]["pending"]
    assert [one["filename"] for one in pending] == ["001_users.sql", "002_index.sql"]
    assert [one["transactional"] for one in pending] == [True, False]
    places = [(one["number"], one["kind"], one["line"], one["column"]) for one in pending[1]["statements"]]
    assert places == [(1, "CREATE TABLE", 2, 1), (2, "CREATE INDEX CONCURRENTLY", 3, 1)]
    (lock,) = pending[1]["statements"][1]["locks"]
    # The table does not exist yet.
    assert {name: value for name, value in lock.items() if value is not None} == {
        "mode": "SHARE UPDATE EXCLUSIVE",
        "relation": "users.t",
    }
    assert pending[1]["impact"] == "nothing waits for it"
    text = project.run("migrate", "plan", "-m", "users").stdout
    assert "002_index.sql  (no transaction)\n    Nothing waits for it.\n" in text
    assert "CREATE INDEX CONCURRENTLY" in text


def test_plan_says_how_a_table_is_used(project: Project) -> None:
    project.json("migrate", "apply")
    project.write("users/002_more.sql", "ALTER TABLE {{tables.users}} ADD COLUMN more int;")
    text = project.run("migrate", "plan", "-m", "users").stdout
    assert "    Locks users.users (no rows) while reads and writes wait.\n    users.users: " in text
    assert re.search(r"users\.users: [^.]+ since 2[0-9-]{9}\.\n", text)


def test_verify_reports_changed_and_missing_files(project: Project) -> None:
    project.write("users/003_three.sql", "CREATE TABLE three (id int);")
    project.write("users/004_four.sql", "CREATE TABLE four (id int);")
    project.json("migrate", "apply")
    assert project.json("migrate", "verify")["status"] == "ok"
    project.write("users/001_users.sql", "CREATE TABLE changed (id int);")
    project.write("users/002_late.sql", "CREATE TABLE late (id int);")
    (project.folder / "users/003_three.sql").unlink()
    problems = project.json("migrate", "verify", exit_code=1)["problems"]
    assert [(one["filename"], one["state"]) for one in problems] == [
        ("001_users.sql", "changed"),
        ("002_late.sql", "out_of_order"),
        ("003_three.sql", "missing"),
    ]
    assert project.json("migrate", "apply", exit_code=1)["error"]["code"] == "checksum_changed"
    project.json("migrate", "status", "--check", exit_code=1)
    history = project.json("migrate", "history", "--limit", "2")["items"]
    assert [one["filename"] for one in history] == ["001_orders.sql", "004_four.sql"]


def test_create_then_apply_a_plain_folder(project: Project) -> None:
    (project.folder / "pgdbm.toml").unlink()
    plain = ("--dir", "sql", "--module", "shop", "--schema", "shop")
    sql = "CREATE TABLE things (id int);"
    created = project.run("migrate", "create", "Add things", *plain, "--from", "-", given=sql)
    assert created.returncode == 0, created.stderr
    (file,) = (project.folder / "sql").iterdir()
    assert file.name.endswith("_add_things.sql")
    assert file.read_text() == sql + "\n"
    document = project.json("migrate", "apply", *plain)
    assert (document["modules"][0]["module"], document["modules"][0]["schema"]) == ("shop", "shop")

    empty = project.json("migrate", "create", "later", *plain)["path"]
    error = project.json("migrate", "apply", *plain, exit_code=1)["error"]
    assert (error["code"], error["filename"]) == ("migration_file_invalid", Path(empty).name)


def test_environments_and_schemas_move_modules(project: Project, connect: Connect) -> None:
    assert project.json("migrate", "apply", "users", "--env", "live")["modules"][0]["schema"] == "users_live"
    assert project.json("migrate", "apply", "users", "--schema", "tenant_1")["modules"][0]["status"] == "success"
    found = fetch(connect, "SELECT schemaname FROM pg_tables WHERE tablename = 'users' ORDER BY 1")
    assert found == [("tenant_1",), ("users_live",)]


def test_schemas_and_database_are_shown(project: Project) -> None:
    project.json("migrate", "apply")
    items = {one["name"]: one for one in project.json("schema", "list")["items"]}
    assert items["users"]["modules"] == ["users"]
    assert items["users"]["tables"] == 3
    shown = project.json("schema", "show", "users")
    assert [(one["module"], one["applied"]) for one in shown["modules"]] == [("users", 1)]
    assert {"users", "schema_migrations", "pgdbm_snapshots"} == {one["name"] for one in shown["relations"]}
    assert project.json("schema", "show", "nope", exit_code=1)["error"]["code"] == "schema_unknown"
    info = project.json("db", "info")
    assert info["database"] == project.variables["DATABASE_URL"].rpartition("/")[2]
    assert info["server_version"]
    assert {"name": "users", "size_bytes": items["users"]["size_bytes"]} in info["schemas"]


async def test_db_check_reports_a_verdict_for_each_check(project: Project, connect: Connect) -> None:
    async with connect() as connection, connection.transaction():
        await connection.execute("SELECT 1")
        done = await asyncio.to_thread(project.run, "db", "check", "--long-transactions", "0", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    verdicts = {one["check"]: one["verdict"] for one in found["checks"]}
    assert found["status"] == "warn"
    assert verdicts["module users"] == verdicts["transactions"] == "warn"
    assert {verdicts[name] for name in ("connect", "writable", "pooler", "privileges")} == {"ok"}
    async with connect() as connection:
        await connection.execute(
            f"ALTER DATABASE {project.variables['DATABASE_URL'].rpartition('/')[2]} "
            "SET default_transaction_read_only = on"
        )
    text = project.run("db", "check")
    assert text.returncode == 1
    assert "fail  writable: read-only" in text.stdout


def test_create_and_drop_a_database(project: Project) -> None:
    project.variables["DATABASE_URL"] += "_made"
    name = project.variables["DATABASE_URL"].rpartition("/")[2]
    assert project.json("db", "create") == {"database": name, "status": "created"}
    assert project.json("db", "create") == {"database": name, "status": "exists"}
    refused = project.run("db", "drop")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert project.json("db", "drop", "--yes") == {"database": name, "status": "dropped"}
    assert project.json("db", "drop", "--yes") == {"database": name, "status": "absent"}


def test_a_password_is_never_shown(project: Project, database: str) -> None:
    parts = urlsplit(database)
    secret = parts.password or "s3cr3t-Pa55"
    server = parts.netloc.rpartition("@")[2] + parts.path
    for url, arguments, exit_code in (
        (f"postgresql://{parts.username}:{secret}@{server}", ("db", "info"), 0),
        (f"postgresql://{parts.username}:{secret}@127.0.0.1:1/nowhere", ("migrate", "apply", "-v", "--json"), 1),
        (f"postgresql://u:{secret}/#@h/d", ("db", "info"), 2),
    ):
        project.variables["DATABASE_URL"] = url
        done = project.run(*arguments)
        assert done.returncode == exit_code
        assert f":{secret}" not in done.stdout + done.stderr
        assert exit_code or ":****@" in done.stdout


def test_bad_usage_exits_with_code_2(project: Project, tmp_path: Path) -> None:
    assert project.json("migrate", "nonsense", exit_code=2)["error"]["code"] == "usage"
    assert project.json("migrate", "apply", "user", exit_code=2)["error"] == {
        "type": "CommandError",
        "code": "module_unknown",
        "message": "Module 'user' does not exist.",
        "module": "user",
        "hint": "Did you mean users?",
    }
    (tmp_path / "users/001_users.sql").unlink()
    (tmp_path / "users").rmdir()
    missing = project.json("migrate", "apply", exit_code=2)["error"]
    assert (missing["code"], missing["key"]) == ("config_invalid", "modules.users.path")
    (tmp_path / "pgdbm.toml").write_text("[modules.a]\npath = \n")
    text = project.run("migrate", "status")
    assert text.returncode == 2
    assert text.stderr.splitlines()[1] == "  2 | path = "
    assert f"{tmp_path / 'pgdbm.toml'}:2:" in text.stderr


async def test_a_role_that_may_not_create_in_public(
    project: Project, connect: Connect, database: str, tmp_path: Path
) -> None:
    """Not allowed by default since PostgreSQL 15. Both the check and the failure name the privilege to grant."""
    name = urlsplit(database).path[1:]
    files = tmp_path / "plain"
    files.mkdir()
    (files / "001_t.sql").write_text("CREATE TABLE t (id int);")
    async with connect() as connection:
        await connection.execute(f"CREATE ROLE \"{name}\" LOGIN PASSWORD 'secret'")
        try:
            parts = urlsplit(database)
            project.variables["DATABASE_URL"] = f"postgresql://{name}:secret@{parts.hostname}:{parts.port}/{name}"
            (project.folder / "pgdbm.toml").unlink()
            grant = f'GRANT CREATE ON SCHEMA "public" TO "{name}"'
            for arguments in (["db", "check"], ["db", "check", "-m", "app", "--dir", str(files), "--schema", "public"]):
                done = await asyncio.to_thread(project.run, *arguments)
                assert done.returncode == 1, done.stdout
                assert f"fail  privileges: may not create objects in schema public: {grant}" in done.stdout
            applied = await asyncio.to_thread(project.run, "migrate", "apply", "--dir", str(files))
            assert applied.returncode == 1
            assert "permission denied for schema public" in applied.stderr
            assert f'GRANT USAGE, CREATE ON SCHEMA "public" TO {name}' in applied.stderr
            await connection.execute(grant)
            assert (await asyncio.to_thread(project.run, "db", "check")).returncode == 0
            again = await asyncio.to_thread(project.run, "migrate", "apply", "--dir", str(files))
            assert again.returncode == 0, again.stderr
        finally:
            await connection.execute(f'DROP OWNED BY "{name}"; DROP ROLE "{name}"')


def test_notices_are_shown(project: Project) -> None:
    project.write(
        "noisy/1.sql",
        "DROP TABLE IF EXISTS {{tables.x}};\nDO $$ BEGIN RAISE WARNING 'three rows had no owner'; END $$;",
    )
    plain = ("--dir", "noisy", "--schema", "noisy", "-m", "noisy")
    applied = project.run("migrate", "apply", "-v", *plain)
    assert '1.sql: NOTICE: table "x" does not exist, skipping' in applied.stderr
    assert "1.sql: WARNING: three rows had no owner" in applied.stderr
    project.write("noisy/2.sql", "DO $$ BEGIN RAISE NOTICE 'kept quiet'; RAISE WARNING 'shown'; END $$;")
    applied = project.run("migrate", "apply", *plain)
    assert ("kept quiet" in applied.stderr, "2.sql: WARNING: shown" in applied.stderr) == (False, True)
    project.write("noisy/3.sql", "DROP TABLE IF EXISTS {{tables.x}};")
    document = project.json("migrate", "apply", *plain)
    assert document["modules"][0]["notices"] == [
        {
            "filename": "3.sql",
            "severity": "NOTICE",
            "sqlstate": "00000",
            "message": 'table "x" does not exist, skipping',
        }
    ]
    project.write("noisy/4.sql", "DO $$ BEGIN RAISE WARNING 'before the failure'; END $$; SELECT 1/0;")
    failed = project.json("migrate", "apply", *plain, exit_code=1)["error"]
    assert [one["message"] for one in failed["notices"]] == ["before the failure"]


def test_an_empty_folder_is_no_success(project: Project) -> None:
    (project.folder / "empty").mkdir()
    error = project.json("migrate", "apply", "--dir", "empty", "--module", "orders", exit_code=2)["error"]
    assert "There are no migrations (*.sql) in" in str(error)
