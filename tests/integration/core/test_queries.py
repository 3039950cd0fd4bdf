"""The query methods, on a manager and in a transaction, and their errors."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgdbm import (
    AsyncDatabaseManager,
    ConnectionError,
    DatabaseConfig,
    QueryError,
    SchemaError,
    SchemaManager,
    TransactionManager,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Queries = AsyncDatabaseManager | TransactionManager

SECRET = "4111 1111 1111 1111 expires 12/29"
HOLDING_A_SECRET: list[tuple[str, tuple[Any, ...]]] = [
    ("INSERT INTO {{tables.items}} (name) VALUES ($1), ($1)", (SECRET,)),
    ("INSERT INTO {{tables.items}} (name, price) VALUES ($1, -1)", (SECRET,)),
    ("SELECT $1::text::int", (SECRET,)),
    ("SELECT $1::jsonb", (SECRET,)),
    ("SELECT $1::int", (SECRET,)),
    ("SELECT $1::uuid", (SECRET,)),
    ("SELECT $1::inet", (SECRET,)),
    ("SELECT $1::numeric", (SECRET,)),
    ("SELECT $1::text", (SECRET.encode(),)),
    ("SELECT $1::int[]", ([1, SECRET],)),
    ("SELECT $1::text[]::int[]", ([SECRET],)),
    ("SELECT $1::text::int[]", ("{1," + SECRET + "}",)),
    ("SELECT $1::text::regclass", (SECRET,)),
    ("SELECT $1::text", (SECRET, 1)),
    ("SELECT nothing FROM {{tables.items}} WHERE name = $1", (SECRET,)),
]


@pytest.fixture
async def shop(db: AsyncDatabaseManager) -> AsyncDatabaseManager:
    """A manager whose schema has a table ``items`` with three rows."""
    await SchemaManager(db).create_schema("app")
    await db.execute(
        "CREATE TABLE {{tables.items}} (id serial PRIMARY KEY, name text UNIQUE, price int CHECK (price > 0))"
    )
    await db.execute("INSERT INTO {{tables.items}} (name, price) VALUES ('tea', 3), ('milk', 2), ('rice', 5)")
    return db


@pytest.fixture(params=["manager", "transaction"])
async def queries(request: pytest.FixtureRequest, shop: AsyncDatabaseManager) -> AsyncIterator[Queries]:
    """The objects that have the query methods."""
    if request.param == "manager":
        yield shop
    else:
        async with shop.transaction() as transaction:
            yield transaction


@dataclass
class ItemClass:
    id: int
    name: str


class ItemStruct(msgspec.Struct):
    id: int
    name: str


class TestMethods:
    async def test_execute(self, queries: Queries) -> None:
        assert await queries.execute("UPDATE {{tables.items}} SET price = price + $1", 1) == "UPDATE 3"
        assert await queries.execute("DELETE FROM {{tables.items}} WHERE false") == "DELETE 0"

    @pytest.mark.parametrize("name", ["executemany", "execute_many"])
    async def test_executemany(self, queries: Queries, name: str) -> None:
        insert = "INSERT INTO {{tables.items}} (name, price) VALUES ($1, $2)"
        await getattr(queries, name)(insert, [("salt", 1), ("oil", 9)])
        await getattr(queries, name)(insert, ((f"x{number}", 1) for number in range(3)))
        await getattr(queries, name)(insert, [])
        assert await queries.fetch_value("SELECT count(*) FROM {{tables.items}}") == 8

    async def test_fetch_one(self, queries: Queries) -> None:
        found = await queries.fetch_one("SELECT name, price FROM {{tables.items}} ORDER BY price")
        assert found == {"name": "milk", "price": 2}
        assert type(found) is dict
        assert await queries.fetch_one("SELECT 1 FROM {{tables.items}} WHERE price = $1", 99) is None

    async def test_fetch_all(self, queries: Queries) -> None:
        found = await queries.fetch_all("SELECT name FROM {{tables.items}} WHERE price < $1 ORDER BY name", 5)
        assert found == [{"name": "milk"}, {"name": "tea"}]
        assert await queries.fetch_all("SELECT 1 FROM {{tables.items}} WHERE false") == []

    @pytest.mark.parametrize("name", ["fetch_value", "fetch_val"])
    async def test_fetch_value(self, queries: Queries, name: str) -> None:
        fetch = getattr(queries, name)
        assert await fetch("SELECT name, price FROM {{tables.items}} WHERE price = $1", 5) == "rice"
        assert await fetch("SELECT name, price FROM {{tables.items}} WHERE price = $1", 5, column=1) == 5
        assert await fetch("SELECT name FROM {{tables.items}} WHERE false") is None

    async def test_models(self, queries: Queries) -> None:
        pydantic = pytest.importorskip("pydantic")
        item_model = pydantic.create_model("ItemModel", id=(int, ...), name=(str, ...))
        for model in (ItemClass, ItemStruct, item_model, dict):
            one = "SELECT id, name FROM {{tables.items}} WHERE name = $1"
            assert await queries.fetch_as_model(model, one, "tea") == model(id=1, name="tea")
            assert await queries.fetch_as_model(model, one, "gold") is None
            every = "SELECT id, name FROM {{tables.items}} WHERE id < $1 ORDER BY id"
            assert await queries.fetch_all_as_model(model, every, 3) == [
                model(id=1, name="tea"),
                model(id=2, name="milk"),
            ]
        with pytest.raises(TypeError, match="price"):
            await queries.fetch_as_model(ItemClass, "SELECT id, name, price FROM {{tables.items}}")

    @pytest.mark.parametrize(
        "insert",
        [
            "INSERT INTO {{tables.items}} (name, price) VALUES ($1, 1)",
            "INSERT INTO {{tables.items}} (name, price) VALUES ($1, 1);",
            "INSERT INTO {{tables.items}} (name, price) VALUES ($1, 1) -- RETURNING nothing",
            "INSERT INTO {{tables.items}} (name, price) VALUES ($1 || ' returning;', 1)",
            "INSERT INTO {{tables.items}} (name, price) VALUES ($1, 1) RETURNING id",
            "INSERT INTO {{tables.items}} (name, price) VALUES ($1, 1) returning id, name; -- ü",
            "WITH x AS (UPDATE {{tables.items}} SET price = 1 RETURNING 99)"
            " INSERT INTO {{tables.items}} (name, price) VALUES ($1, 1)",
            "INSERT INTO {{tables.items}} (name, price) VALUES ($1, 1)"
            " ON CONFLICT (name) DO UPDATE SET name = 'returning'",
        ],
    )
    async def test_execute_and_return_id(self, queries: Queries, insert: str) -> None:
        assert await queries.execute_and_return_id(insert, "salt") == 4
        assert await queries.fetch_value("SELECT count(*) FROM {{tables.items}}") == 4

    async def test_execute_and_return_id_of_no_row(self, queries: Queries) -> None:
        assert await queries.execute_and_return_id("DELETE FROM {{tables.items}} WHERE false") is None
        assert await queries.execute_and_return_id("UPDATE {{tables.items}} SET price = 1 WHERE name = 'rice'") == 3

    async def test_copy_records_to_table(self, queries: Queries) -> None:
        assert await queries.copy_records_to_table("items", [(7, "salt", 1), (8, "oil", None)]) == 2
        assert (
            await queries.copy_records_to_table("items", (("x", 1) for _ in range(1)), columns=["name", "price"]) == 1
        )
        assert await queries.copy_records_to_table("items", []) == 0
        assert await queries.fetch_value("SELECT count(*) FROM app.items") == 6

    async def test_copy_takes_an_unqualified_name(self, queries: Queries) -> None:
        for table in ("app.items", 'items"', "", "{{tables.items}}", "items; --"):
            with pytest.raises(ValueError, match="unqualified"):
                await queries.copy_records_to_table(table, [(1,)])

    async def test_table_exists(self, queries: Queries) -> None:
        await queries.execute("CREATE TABLE public.items_of_others (id int)")
        await queries.execute("CREATE VIEW {{tables.a_view}} AS SELECT 1")
        await queries.execute("CREATE TABLE {{tables.parted}} (id int) PARTITION BY RANGE (id)")
        for name, exists in (
            ("items", True),
            ("app.items", True),
            ("parted", True),
            ("public.items_of_others", True),
            ("items_of_others", False),
            ("public.items", False),
            ("nothing.items", False),
            ("ITEMS", False),
            ("a_view", False),
            ("pg_catalog.pg_class", True),
        ):
            assert await queries.table_exists(name) is exists, name

    async def test_table_exists_takes_plain_names(self, queries: Queries) -> None:
        for name in ("", "a.b.c", ".items", "app.", "app.items; --", 'a"'):
            with pytest.raises(SchemaError):
                await queries.table_exists(name)

    async def test_a_pool_of_its_own_without_a_schema(self, database: str) -> None:
        config = DatabaseConfig(connection_string=database, min_connections=1, max_connections=1)
        async with AsyncDatabaseManager(config) as db:
            await db.execute("CREATE TABLE {{tables.items}} (id int)")
            assert await db.table_exists("items")
            assert await db.table_exists("public.items")
            assert await db.copy_records_to_table("items", [(1,)]) == 1


class TestFailures:
    async def test_attributes_of_a_query_error(self, queries: Queries) -> None:
        with pytest.raises(QueryError) as caught:
            async with queries.transaction() as inner:
                await inner.execute("INSERT INTO {{tables.items}} (name, price) VALUES ($1, $2)", "tea", 1)
        error = caught.value
        assert error.query == 'INSERT INTO "app".items (name, price) VALUES ($1, $2)'
        assert error.params == ("tea", 1)
        assert isinstance(error.original_error, asyncpg.UniqueViolationError)
        assert error.__cause__ is error.original_error
        assert error.details["sqlstate"] == "23505"
        assert "Key (name)=(tea) already exists" in str(error)
        assert error.query in str(error)

    async def test_long_parameters_are_masked(
        self, shop: AsyncDatabaseManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        for sql, args in HOLDING_A_SECRET:
            for method in (shop.execute, shop.fetch_one, shop.fetch_all, shop.fetch_value):
                with pytest.raises(QueryError) as caught:
                    await method(sql, *args)
                error = caught.value
                for part in ("4111", "1111 1111", "12/29"):
                    assert part not in f"{error} {error!r} {error.params} {error.details} {caplog.text}"

    async def test_long_parameters_of_many_rows_are_masked(self, shop: AsyncDatabaseManager) -> None:
        for sql in (
            "INSERT INTO {{tables.items}} (name) VALUES ($1)",
            "SELECT $1::text::int",
            "SELECT $1::int",
            "SELECT $1::uuid",
            "SELECT $1::inet",
        ):
            for rows in ([(SECRET,), (SECRET,)], ((SECRET,) for _ in range(2))):
                with pytest.raises(QueryError) as caught:
                    await shop.executemany(sql, rows)
                assert "4111" not in f"{caught.value} {caught.value!r}"

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
    @given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=17))
    def test_no_long_text_is_shown(self, secrets: Secrets, text: str) -> None:
        shown = secrets.shown_for(f"q7{text}q8")
        assert "q7" not in shown
        assert "q8" not in shown

    async def test_many_rows_are_written_all_or_none(self, shop: AsyncDatabaseManager) -> None:
        with pytest.raises(QueryError):
            await shop.executemany("INSERT INTO {{tables.items}} (name, price) VALUES ($1, $2)", [("a", 1), ("b", -1)])
        assert await shop.fetch_value("SELECT count(*) FROM {{tables.items}}") == 3

    @pytest.mark.parametrize(
        "record", [("x", SECRET), (SECRET, "x"), (1, 1), (b"x", 1), ("x", 2**70), (), 5, ("x", -1), ("\ud800", 1)]
    )
    async def test_records_that_do_not_fit(self, shop: AsyncDatabaseManager, record: Any) -> None:
        with pytest.raises(QueryError) as caught:
            await shop.copy_records_to_table("items", [("ok", 1), record], columns=["name", "price"])
        assert "COPY items" in str(caught.value)
        assert "4111" not in str(caught.value)
        assert caught.value.__cause__ is caught.value.original_error
        assert await shop.fetch_value("SELECT count(*) FROM {{tables.items}}") == 3

    async def test_records_that_cannot_be_made(self, shop: AsyncDatabaseManager) -> None:
        def records() -> Iterator[tuple[str, int]]:
            yield "ok", 1
            raise ValueError("mine")

        with pytest.raises(ValueError, match=r"^mine$"):
            await shop.copy_records_to_table("items", records(), columns=["name", "price"])
        with pytest.raises(TypeError):
            await shop.copy_records_to_table("items", 5)  # type: ignore[arg-type]
        assert await shop.fetch_value("SELECT count(*) FROM {{tables.items}}") == 3

    async def test_copying_to_nothing(self, shop: AsyncDatabaseManager) -> None:
        with pytest.raises(QueryError, match="nothing"):
            await shop.copy_records_to_table("nothing", [(1,)])
        with pytest.raises(QueryError, match="colour"):
            await shop.copy_records_to_table("items", [(1,)], columns=["colour"])

    async def test_an_unknown_placeholder(self, queries: Queries) -> None:
        with pytest.raises(QueryError, match="line 2, column 6") as caught:
            await queries.fetch_all("SELECT *\nFROM {{table.items}}")
        assert caught.value.details == {"line": 2, "column": 6, "placeholder": "{{table.items}}"}

    async def test_an_unqualified_table_says_how_to_write_it(self, shop: AsyncDatabaseManager) -> None:
        with pytest.raises(QueryError, match=r"Write \{\{tables\.items\}\} instead of items"):
            await shop.fetch_all("SELECT * FROM items")
        async with shop.transaction() as transaction:
            with pytest.raises(QueryError, match=r"Write \{\{tables\.items\}\} instead of items"):
                async with transaction.transaction() as savepoint:
                    await savepoint.fetch_all("SELECT * FROM items")

    async def test_a_qualified_table_does_not(self, shop: AsyncDatabaseManager) -> None:
        with pytest.raises(QueryError) as caught:
            await shop.fetch_all("SELECT * FROM {{tables.nothing}}")
        assert "Write {{" not in str(caught.value)


class Secrets:
    """Runs queries that fail in its own event loop: a hypothesis test is not a coroutine."""

    def __init__(self, dsn: str) -> None:
        self._runner = asyncio.Runner()
        self._db = AsyncDatabaseManager(
            DatabaseConfig(connection_string=dsn, min_connections=1, max_connections=1, retry_attempts=1)
        )
        self._runner.run(self._db.connect())

    def shown_for(self, secret: str) -> str:
        return self._runner.run(self._failures(secret))

    async def _failures(self, secret: str) -> str:
        shown = ""
        for sql, argument in (
            ("SELECT $1::int", secret),
            ("SELECT $1::text::int", secret),
            ("SELECT $1::inet", secret),
            ("SELECT $1::text", [secret]),
            ("SELECT $1::text", secret.encode()),
        ):
            for call in (self._db.execute(sql, argument), self._db.executemany(sql, [(argument,)])):
                with pytest.raises(QueryError) as caught:
                    await call
                shown += f"{caught.value} {caught.value.params}"
        return shown

    def close(self) -> None:
        self._runner.run(self._db.close())
        self._runner.close()


@pytest.fixture
def secrets(database: str) -> Iterator[Secrets]:
    found = Secrets(database)
    yield found
    found.close()


class TestTimeouts:
    async def test_each_method_takes_one(self, queries: Queries) -> None:
        sleep = "SELECT pg_sleep(60)"
        calls: tuple[Callable[[Queries], Awaitable[Any]], ...] = (
            lambda target: target.execute(sleep, timeout=0.01),
            lambda target: target.executemany("SELECT pg_sleep($1)", [(60,)], timeout=0.01),
            lambda target: target.fetch_one(sleep, timeout=0.01),
            lambda target: target.fetch_all(sleep, timeout=0.01),
            lambda target: target.fetch_value(sleep, timeout=0.01),
            lambda target: target.fetch_as_model(dict, sleep, timeout=0.01),
            lambda target: target.fetch_all_as_model(dict, sleep, timeout=0.01),
            lambda target: target.execute_and_return_id(
                "INSERT INTO {{tables.items}} (id) SELECT 9 FROM pg_sleep(60)", timeout=0.01
            ),
        )
        for call in calls:
            if isinstance(queries, TransactionManager):
                with pytest.raises(TimeoutError):
                    async with queries.transaction() as savepoint:
                        await call(savepoint)
            else:
                with pytest.raises(TimeoutError):
                    await call(queries)
        assert await queries.fetch_value("SELECT count(*) FROM {{tables.items}}") == 3

    async def test_the_configured_one(self, database: str) -> None:
        config = DatabaseConfig(connection_string=database, min_connections=1, command_timeout=0.5)
        async with AsyncDatabaseManager(config) as db:
            with pytest.raises(TimeoutError):
                await db.execute("SELECT pg_sleep(60)")
            assert await db.fetch_value("SELECT 1 FROM pg_sleep(0.6)", timeout=60) == 1

    async def test_the_servers_is_a_query_error(self, database: str) -> None:
        config = DatabaseConfig(connection_string=database, min_connections=1, statement_timeout_ms=300)
        async with AsyncDatabaseManager(config) as db:
            with pytest.raises(QueryError, match="statement timeout") as caught:
                await db.execute("SELECT pg_sleep(60)")
            assert caught.value.details["sqlstate"] == "57014"


async def test_a_connection_that_the_server_ends(shop: AsyncDatabaseManager) -> None:
    async with shop.acquire() as connection:
        pid = connection.get_server_pid()
        running = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
        await shop.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(asyncpg.PostgresError):
            await running
    with pytest.raises(ConnectionError):
        await shop.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert await shop.fetch_value("SELECT 1") == 1


async def test_a_cancelled_query_frees_its_connection(shop: AsyncDatabaseManager, pool: asyncpg.Pool[Any]) -> None:
    running = asyncio.create_task(shop.execute("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await shop.fetch_value("SELECT 1") == 1
    assert pool.get_idle_size() == pool.get_size()
