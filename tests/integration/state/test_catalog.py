"""The listing of a schema: every kind of object and every change."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager
from pgdbm.migrations.state.catalog import (
    CatalogObject,
    deserialize,
    fingerprint_of,
    read_catalog,
    serialize,
)
from pgdbm.migrations.state.changes import difference
from pgdbm.migrations.state.snapshots import own_tables

from ...benchmarks.databases import psql_binary
from ...conftest import ROOT
from .schema_changes import BASE, CHANGES, NOTHING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ...conftest import Databases

REPO = ROOT / "migrations_repo"


async def build(connection: Any, schema: str, sql: str = BASE) -> None:
    await connection.execute(f'CREATE SCHEMA "{schema}"; SET search_path = "{schema}", public; {sql}')


Built = tuple[str, tuple[CatalogObject, ...]]


@pytest.fixture(scope="module")
def built(databases: Databases) -> Iterator[Built]:
    """The DSN of a database with :data:`BASE` in schema ``app``, and its listing; tests undo what they change."""

    async def make(dsn: str) -> tuple[CatalogObject, ...]:
        connection = await asyncpg.connect(dsn)
        await build(connection, "app")
        listing = await read_catalog(connection, "app")
        await connection.close()
        return listing

    with databases.fresh() as dsn:
        yield dsn, asyncio.run(make(dsn))


@pytest.fixture
async def connection(built: Built) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(built[0], server_settings={"search_path": "app"})
    yield connection
    await connection.close()


@pytest.fixture
async def empty(database: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


@pytest.mark.parametrize(("change", "expected"), CHANGES, ids=[change for change, _ in CHANGES])
async def test_each_change_is_listed(built: Built, connection: Any, change: str, expected: set[str]) -> None:
    before = built[1]
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(change.replace("{schema}", "app"))
    after = await read_catalog(connection, "app")
    await transaction.rollback()
    changes = difference(before, after)
    assert {f"{one.kind} {one.object_kind} {one.name}" for one in changes} == expected
    assert fingerprint_of(serialize(before)) != fingerprint_of(serialize(after))
    for one in changes:
        assert (one.before is None, one.after is None) == (one.kind == "added", one.kind == "removed")
    assert len(difference(after, before)) == len(changes)


@pytest.mark.parametrize("statements", NOTHING)
async def test_changes_without_effect_are_not_listed(built: Built, connection: Any, statements: str) -> None:
    for statement in statements.split("; "):
        await connection.execute(statement)
    after = await read_catalog(connection, "app")
    assert difference(built[1], after) == ()
    assert fingerprint_of(serialize(built[1])) == fingerprint_of(serialize(after))


async def test_two_schemas_built_alike_are_listed_alike(empty: Any) -> None:
    # Names of the schema's own objects, of PostgreSQL's, and keywords: none of them may change the result.
    names = ("one", "Two", "t", "user", "integer")
    more = """
        CREATE TABLE self (LIKE t INCLUDING ALL);
        CREATE FUNCTION where_am_i() RETURNS text LANGUAGE sql SET search_path = "{name}", pg_temp
            AS $$ SELECT name FROM "{name}".t $$;
        CREATE FUNCTION lower(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1';
        CREATE FUNCTION many(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1';
        CREATE FUNCTION many(integer, integer) RETURNS integer LANGUAGE sql AS 'SELECT 1';
        CREATE AGGREGATE over_many(integer) (SFUNC = many, STYPE = integer);
        CREATE TABLE path (id integer DEFAULT lower(1), seen "{name}".mood DEFAULT 'sad',
                           number bigint DEFAULT nextval('"{name}".s'), past text DEFAULT '"{name}".t');
        CREATE FUNCTION of_path(path) RETURNS integer LANGUAGE sql RETURN 1;
        CREATE VIEW hiding AS WITH t AS (SELECT * FROM "{name}".t WHERE id > 1)
            SELECT t.id FROM t JOIN "{name}".child c ON c.id = t.id;
    """
    listings = {}
    for name in names:
        await build(empty, name, BASE + more.replace("{name}", name))
        listings[name] = await read_catalog(empty, name)
        assert len(listings[name]) > 60
    first = listings["one"]
    for name, listing in listings.items():
        assert difference(first, listing) == (), name


async def test_the_sample_modules_build_the_same_in_any_schema(pool: asyncpg.Pool[Any]) -> None:
    for module in ("identity", "catalog", "orders"):
        for schema in (module, f"{module}_again"):
            manager = AsyncDatabaseManager(pool=pool, schema=schema)
            await AsyncMigrationManager(manager, REPO / module, module).apply_pending_migrations()
        async with pool.acquire() as connection:
            listing = await read_catalog(connection, module, own_tables(["schema_migrations"]))
            again = await read_catalog(connection, f"{module}_again", own_tables(["schema_migrations"]))
        assert difference(listing, again) == ()
        assert len(listing) > 50


async def test_a_dump_that_is_restored_is_not_drift(empty: Any, database: str) -> None:
    await build(empty, "app")
    before = await read_catalog(empty, "app")
    await empty.execute("SET search_path = public")
    dump = Path(psql_binary()).with_name("pg_dump")
    if not dump.exists():
        pytest.skip("the embedded server has no pg_dump")
    options = {"check": True, "capture_output": True, "env": {**os.environ, "LC_ALL": "C"}}
    text = subprocess.run([dump, "-d", database, "-n", "app"], **options).stdout
    # An older server than this pg_dump does not know the setting.
    text = text.replace(b"SET transaction_timeout = 0;", b"")
    await empty.execute("DROP SCHEMA app CASCADE")
    subprocess.run([psql_binary(), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database], input=text, **options)
    assert difference(before, await read_catalog(empty, "app")) == ()


async def test_excluded_tables_are_not_listed(empty: Any) -> None:
    await build(empty, "app", "CREATE TABLE kept (id integer)")
    before = await read_catalog(empty, "app")
    await empty.execute(
        "CREATE TABLE ours (id serial PRIMARY KEY, other bigint GENERATED ALWAYS AS IDENTITY, name text UNIQUE);"
        "CREATE INDEX ours_index ON ours (name); COMMENT ON TABLE ours IS 'x'; GRANT SELECT ON ours TO pg_monitor"
    )
    assert await read_catalog(empty, "app") != before
    assert await read_catalog(empty, "app", ["ours"]) == before


async def test_objects_of_extensions_are_not_listed(empty: Any) -> None:
    await build(empty, "app", "CREATE EXTENSION hstore")
    kinds = {one.kind for one in await read_catalog(empty, "app")}
    assert kinds == {"schema", "owner", "extension"}


async def test_references_to_the_schema_it_stands_for_are_equal(empty: Any) -> None:
    table = "CREATE TABLE t (tags hstore)"
    await build(empty, "app", f"CREATE EXTENSION hstore; {table}")
    await build(empty, "scratch", table.replace("hstore", "app.hstore"))
    listing, scratch = await read_catalog(empty, "app"), await read_catalog(empty, "scratch", stands_for="app")
    assert {one.object_kind for one in difference(listing, scratch)} == {"extension"}


async def test_a_listing_of_no_schema_is_empty(empty: Any) -> None:
    assert await read_catalog(empty, "nothing") == ()


async def test_reading_leaves_the_settings_of_the_session_alone(empty: Any) -> None:
    async def settings() -> dict[str, str]:
        return dict(await empty.fetch("SELECT name, setting FROM pg_settings WHERE name <> 'transaction_isolation'"))

    await build(empty, "app")
    before = await settings()
    await read_catalog(empty, "app")
    assert await settings() == before
    async with empty.transaction():
        await empty.execute("SET LOCAL work_mem = '9MB'; CREATE TABLE fresh ()")
        within = await settings()
        assert "fresh" in {one.name for one in await read_catalog(empty, "app")}
        assert await settings() == within


async def test_nothing_in_the_schema_runs_while_it_is_listed(empty: Any) -> None:
    trap = """
        CREATE TABLE sprung ();
        CREATE FUNCTION spring() RETURNS boolean LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'sprung'; END $$;
    """
    for left, right in (("oid", "oid"), ("name", "name"), ("oid", "regclass"), ("text", "text"), ('"char"', '"char"')):
        trap += f"""
            CREATE FUNCTION spring({left}, {right}) RETURNS boolean LANGUAGE sql AS 'SELECT app.spring()';
            CREATE OPERATOR = (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = spring);
        """
    trap += "CREATE FUNCTION quote_ident(name) RETURNS text LANGUAGE sql AS 'SELECT app.spring()::text';"
    await build(empty, "app", "CREATE TABLE t (id integer); CREATE VIEW v AS SELECT * FROM t;" + trap)
    await empty.execute("SET search_path = pg_catalog")
    kinds = {one.kind for one in await read_catalog(empty, "app")}
    assert {"view", "operator", "function", "table"} <= kinds


async def test_a_listing_can_be_written_and_read(connection: Any) -> None:
    objects = await read_catalog(connection, "app")
    assert deserialize(serialize(objects)) == objects
    assert fingerprint_of(serialize(reversed(objects))) == fingerprint_of(serialize(objects))
