"""The command line as users run it: a process of its own against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from pgdbm.cli import app

from ...conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    Connect = Callable[[], AbstractAsyncContextManager[Any]]

COMMAND = (sys.executable, "-m", "pgdbm.cli")
DEADLINE_S = 60.0


def environment(**variables: str) -> dict[str, str]:
    """Our environment, without variables that choose a database."""
    kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL" and not name.startswith("PG")}
    return {**kept, "PYTHONPATH": str(ROOT / "app"), **variables}


class Project:
    """A folder with a pgdbm.toml of two modules, and the commands run in it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.variables = {"DATABASE_URL": url}
        (folder / "pgdbm.toml").write_text(
            '[database]\nurl = "${DATABASE_URL}"\n'
            '[modules.orders]\npath = "orders"\nschema = "orders"\ndepends_on = ["users"]\n'
            '[modules.users]\npath = "users"\nschema = "users"\n'
            '[environments.live.modules.users]\nschema = "users_live"\n'
        )
        self.write("users/001_users.sql", "CREATE TABLE users (id int PRIMARY KEY);\n")
        self.write("orders/001_orders.sql", "CREATE TABLE orders (user_id int REFERENCES users.users);\n")

    def write(self, name: str, sql: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(sql)
        return path

    def run(self, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=environment(**self.variables),
            input=given or "",
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def json(self, *arguments: str, exit_code: int = 0) -> Any:
        """The document that the command prints; without a process of its own, which saves most of the time."""
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as printed:
            patch.chdir(self.folder)
            for name, value in self.variables.items():
                patch.setenv(name, value)
            assert app.run([*arguments, "--json"]) == exit_code, printed.getvalue()
        return json.loads(printed.getvalue())

    def start(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=environment(**self.variables),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def project(tmp_path: Path, database: str) -> Project:
    return Project(tmp_path, database)


def fetch(connect: Connect, sql: str) -> list[Any]:
    async def fetched() -> list[Any]:
        async with connect() as connection:
            return [tuple(row) for row in await connection.fetch(sql)]

    return asyncio.run(fetched())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["migrate", "apply", "--help"], ["db", "--help"]])
def test_help_does_not_load_what_it_does_not_need(arguments: list[str]) -> None:
    probe = (
        "import sys\nfrom pgdbm.cli.app import run\n"
        f"code = run({arguments!r})\n"
        "heavy = {'asyncpg', 'asyncio', 'postgast', 'rich', 'tomllib', 'ssl'} & set(sys.modules)\n"
        "sys.exit(f'{code} {sorted(heavy)}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        # Measuring coverage loads some of these.
        env=environment(COVERAGE_PROCESS_CONFIG=""),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.stderr.strip() == "0 []"
    assert done.stdout


_NOT_FOR_NOTHING = {
    *("difflib", "importlib.resources", "msgspec", "postgast", "rich", "shutil", "structlog", "tempfile"),
    *("pgdbm.fixtures", "pgdbm.monitoring", "pgdbm.testing"),
    *(f"pgdbm.cli.{name}" for name in ("checks", "database", "dev", "fix", "importing", "init", "operations")),
    *(f"pgdbm.cli.{name}" for name in ("repair", "review", "schema")),
    *(f"pgdbm.migrations.{name}" for name in ("lint", "operations", "rehearsal", "sources.parser", "state.drift")),
    *(f"pgdbm.migrations.engine.{name}" for name in ("blockers", "execution_errors", "monitor", "script", "session")),
}


def test_nothing_pending_does_not_load_what_applies(project: Project) -> None:
    assert project.run("migrate", "apply").returncode == 0
    probe = (
        "import sys\nbefore = set(sys.modules)\nfrom pgdbm.cli.app import run\n"
        "code = run(['migrate', 'apply'])\n"
        f"unneeded = {_NOT_FOR_NOTHING!r} & (set(sys.modules) - before)\n"
        "sys.exit(f'{code} {sorted(unneeded)}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        cwd=project.folder,
        env=environment(**project.variables),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.stderr.strip() == "0 []"
    assert "up to date" in done.stdout


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


@pytest.fixture
def stopped() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that must not outlive the test."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


async def eventually(question: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not await question():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_interrupt_rolls_back_and_prints_one_line(
    project: Project, connect: Connect, stopped: list[subprocess.Popen[str]], number: signal.Signals, exit_code: int
) -> None:
    project.write("users/001_users.sql", "CREATE TABLE users (id int);\nSELECT pg_sleep(600);\n")
    process = project.start("migrate", "apply", "users")
    stopped.append(process)
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%sleep(600)%' AND pid <> pg_backend_pid()"
    async with connect() as connection:

        async def is_sleeping() -> bool:
            return bool(await connection.fetchval(sleeping + " AND state = 'active'"))

        async def is_over() -> bool:
            return not await is_sleeping()

        await eventually(is_sleeping)
        process.send_signal(number)
        _out, err = await asyncio.to_thread(process.communicate, timeout=DEADLINE_S)
        assert process.returncode == exit_code
        assert err.splitlines() == ["Interrupted. Uncommitted changes were rolled back."]
        await eventually(is_over)
        assert await connection.fetchval("SELECT to_regclass('users.users')") is None


def test_a_closed_pipe_does_not_stop_the_work(project: Project, stopped: list[subprocess.Popen[str]]) -> None:
    process = project.start("migrate", "apply")
    stopped.append(process)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(DEADLINE_S) == 0
    project.json("migrate", "status", "--check")


def test_progress_is_shown_on_a_terminal_only(project: Project) -> None:
    terminal, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [*COMMAND, "migrate", "apply"],
            cwd=project.folder,
            env=environment(**project.variables, TERM="xterm"),
            stdout=subprocess.PIPE,
            stderr=theirs,
            timeout=DEADLINE_S,
            check=False,
        )
        shown = os.read(terminal, 65536).decode()
    finally:
        os.close(theirs)
        os.close(terminal)
    assert done.returncode == 0
    assert b"001_orders.sql" in done.stdout
    assert b"\x1b" not in done.stdout
    assert "users" in shown
    assert "\x1b[" in shown


async def test_watch_applies_what_appears(project: Project, stopped: list[subprocess.Popen[str]]) -> None:
    process = project.start("dev", "watch", "users", "--json", "--interval", "0.05")
    stopped.append(process)
    assert process.stdout is not None

    async def applied() -> list[str]:
        document = json.loads(await asyncio.to_thread(process.stdout.readline))  # type: ignore[union-attr]
        return [one["filename"] for one in document["modules"][0]["applied"]]

    async with asyncio.timeout(DEADLINE_S):
        assert await applied() == ["001_users.sql"]
        project.write("users/002_two.sql", "")
        project.write("users/002_two.sql", "CREATE TABLE two (id int);")
        assert await applied() == ["002_two.sql"]
        project.write("users/003_three.sql", "CREATE TABLE nope (")
        failed = json.loads(await asyncio.to_thread(process.stdout.readline))
        assert failed["error"]["code"] == "migration_file_invalid"
        project.write("users/003_three.sql", "CREATE TABLE three (id int);")
        assert await applied() == ["003_three.sql"]
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_S) == 130


def test_watch_refuses_a_database_on_another_host(project: Project) -> None:
    project.variables["DATABASE_URL"] = "postgresql://u:p@db.example.com/app"
    assert project.json("dev", "watch", exit_code=2)["error"]["code"] == "refused"


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_a_question(
    project: Project, stopped: list[subprocess.Popen[str]], number: signal.Signals
) -> None:
    process = project.start("migrate", "revert", stdin=subprocess.PIPE)
    stopped.append(process)
    assert process.stderr is not None
    shown = ""
    while not shown.endswith("[y/N]: "):
        shown += process.stderr.read(1)
    # Its input is read after the question is shown.
    time.sleep(0.3)
    process.send_signal(number)
    assert process.wait(DEADLINE_S) == (130 if number is signal.SIGINT else -signal.SIGTERM)
