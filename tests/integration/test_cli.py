"""The command line as its users meet it: a process of its own against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import pty
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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    Connect = Callable[[], AbstractAsyncContextManager[Any]]

COMMAND = (sys.executable, "-m", "pgdbm.cli")
PATIENCE_S = 60.0


def environment(**variables: str) -> dict[str, str]:
    """Ours, without what would choose a database."""
    kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL" and not name.startswith("PG")}
    return {**kept, "PYTHONPATH": str(Path(__file__).parents[2] / "app"), **variables}


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
            timeout=PATIENCE_S,
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

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=environment(**self.variables),
            stdin=subprocess.DEVNULL,
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
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.stderr.strip() == "0 []"
    assert done.stdout


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
    assert "1 applied, then it failed" in text.stdout
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


def test_check_tells_by_exit_code(project: Project) -> None:
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


def test_plan_names_statements_with_their_places(project: Project) -> None:
    sql = (
        "-- pgdbm:no-transaction\nCREATE TABLE {{tables.t}} (a int);\nCREATE INDEX CONCURRENTLY i ON {{tables.t}} (a);"
    )
    project.write("users/002_index.sql", sql)
    pending = project.json("migrate", "plan", "users")["modules"][0]["pending"]
    assert [one["filename"] for one in pending] == ["001_users.sql", "002_index.sql"]
    assert [one["transactional"] for one in pending] == [True, False]
    places = [(one["number"], one["kind"], one["line"], one["column"]) for one in pending[1]["statements"]]
    assert places == [(1, "CREATE TABLE", 2, 1), (2, "CREATE INDEX CONCURRENTLY", 3, 1)]
    assert pending[1]["statements"][1]["locks"] == [{"mode": "SHARE UPDATE EXCLUSIVE", "relation": "users.t"}]
    text = project.run("migrate", "plan", "-m", "users").stdout
    assert "002_index.sql  (no transaction)" in text
    assert "CREATE INDEX CONCURRENTLY" in text


def test_verify_finds_what_is_wrong(project: Project) -> None:
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


async def test_check_has_a_verdict_for_each(project: Project, connect: Connect) -> None:
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
    assert "fail  writable: read only" in text.stdout


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
    deadline = time.monotonic() + PATIENCE_S
    while not await question():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_interrupt_undoes_and_says_so_in_one_line(
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
        _out, err = await asyncio.to_thread(process.communicate, timeout=PATIENCE_S)
        assert process.returncode == exit_code
        assert err.splitlines() == ["Interrupted. What was not committed is undone."]
        await eventually(is_over)
        assert await connection.fetchval("SELECT to_regclass('users.users')") is None


def test_a_closed_pipe_does_not_stop_the_work(project: Project, stopped: list[subprocess.Popen[str]]) -> None:
    process = project.start("migrate", "apply")
    stopped.append(process)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(PATIENCE_S) == 0
    project.json("migrate", "status", "--check")


def test_progress_on_a_terminal_only(project: Project) -> None:
    terminal, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [*COMMAND, "migrate", "apply"],
            cwd=project.folder,
            env=environment(**project.variables, TERM="xterm"),
            stdout=subprocess.PIPE,
            stderr=theirs,
            timeout=PATIENCE_S,
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

    async with asyncio.timeout(PATIENCE_S):
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
    assert process.wait(PATIENCE_S) == 130


def test_watch_refuses_the_databases_of_others(project: Project) -> None:
    project.variables["DATABASE_URL"] = "postgresql://u:p@db.example.com/app"
    assert project.json("dev", "watch", exit_code=2)["error"]["code"] == "refused"


def test_bad_usage_is_an_error_of_two(project: Project, tmp_path: Path) -> None:
    assert project.json("migrate", "nonsense", exit_code=2)["error"]["code"] == "usage"
    assert project.json("migrate", "apply", "user", exit_code=2)["error"] == {
        "type": "CommandError",
        "code": "module_unknown",
        "message": "There is no module 'user'.",
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
