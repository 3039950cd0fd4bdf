"""GET calls: their answers, and the errors for objects that do not exist."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.support.problems import assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"


def test_a_module_is_listed_before_and_after_its_migration(service: Any, repo: Any) -> None:
    repo.write("orders", _001_a=TABLE, _002_b="SELECT 1")
    service.sync()
    before = service.get("/modules").json()
    assert before == {
        "items": [
            {
                "name": "orders",
                "schema": "orders",
                "source": "repo",
                "state": "pending",
                "applied": 0,
                "pending": 2,
                "version": None,
                "last_run": None,
                "last_run_status": None,
                "active_run": None,
                "active_run_status": None,
                "problem": None,
            }
        ],
        "next": None,
        "total": 1,
    }
    assert service.post("/modules/orders/migrate").status_code == 200
    after = service.get("/modules").json()["items"][0]
    assert (after["state"], after["applied"], after["pending"], after["version"]) == ("up_to_date", 2, 0, "002")


def test_a_module_has_its_details(service: Any, repo: Any) -> None:
    repo.write("base", _001_a="SELECT 1")
    repo.write(
        "shop", 'schema = "s"\ndepends_on = ["base"]\ndescription = "A shop"\nout_of_order = "allow"', _1_a="SELECT 1"
    )
    service.sync()
    module = service.get("/modules/shop").json()
    assert (module["schema"], module["depends_on"], module["description"]) == ("s", ["base"], "A shop")
    assert module["out_of_order"] == "allow"


def test_an_unknown_module_gets_a_hint(service: Any, repo: Any) -> None:
    repo.write("orders", _001_a="SELECT 1")
    service.sync()
    for path in ("/modules/order", "/modules/order/history", "/modules/order/migrations"):
        problem = assert_problem(service.get(path), 404, "module_unknown")
        assert problem["module"] == "order"
        assert "orders" in problem["hint"]
    assert_problem(service.post("/modules/order/migrate"), 404, "module_unknown")


def test_migrations_have_their_states(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE, _002_b="-- pgdbm:no-transaction\nSELECT 1")
    service.sync()
    service.post("/modules/m/migrate")
    repo.write("m", _002_b="-- pgdbm:no-transaction\nSELECT 2", _003_c="SELECT 3")
    (repo.path / "m" / "001_a.sql").unlink()
    items = service.get("/modules/m/migrations").json()["items"]
    assert [(item["filename"], item["state"]) for item in items] == [
        ("001_a.sql", "missing"),
        ("002_b.sql", "changed"),
        ("003_c.sql", "pending"),
    ]
    assert set(items[0]) == {
        "filename",
        "version",
        "checksum",
        "state",
        "transactional",
        "applied_at",
        "execution_time_ms",
        "waits_for",
    }
    assert items[1]["transactional"] is False
    assert items[2]["applied_at"] is None
    detail = service.get("/modules/m").json()
    assert (detail["state"], detail["changed"], detail["missing"], detail["pending"]) == ("changed", 1, 1, 1)


def test_a_file_is_shown_as_written_and_rendered(service: Any, repo: Any) -> None:
    repo.write("m", 'schema = "s"', _001_a=TABLE)
    service.sync()
    file = service.get("/modules/m/migrations/001_a.sql").json()
    assert file["sql"] == TABLE
    assert file["rendered"] == 'CREATE TABLE "s".t (id integer PRIMARY KEY)'
    assert_problem(service.get("/modules/m/migrations/002_a.sql"), 404, "migration_unknown")
    for escape in ("..%2F..%2Fmodule.toml", "%2Fetc%2Fpasswd", "module.toml"):
        response = service.get(f"/modules/m/migrations/{escape}")
        assert response.status_code == 404, response.text


def test_the_history_is_paged(service: Any, repo: Any) -> None:
    repo.write("m", **{f"_{number:03}_x": f"SELECT {number}" for number in range(1, 8)})
    service.sync()
    service.post("/modules/m/migrate")
    found, cursor, pages = [], None, 0
    while True:
        params = {"limit": 3} | ({"next": cursor} if cursor else {})
        page = service.get("/modules/m/history", params=params).json()
        found += [item["filename"] for item in page["items"]]
        pages += 1
        cursor = page["next"]
        if cursor is None:
            break
    assert found == [f"{number:03}_x.sql" for number in range(7, 0, -1)]
    assert pages == 3
    item = service.get("/modules/m/history", params={"limit": 1}).json()["items"][0]
    assert set(item) == {
        "filename",
        "checksum",
        "schema",
        "applied_at",
        "applied_by",
        "execution_time_ms",
        "run_id",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", item["applied_at"])


BAD_QUERIES = {
    "limit=0": "limit",
    "limit=201": "limit",
    "limit=many": "limit",
    "next=!!": "next",
    "next=AAAA": "next",
    "next=_____w": "next",
    "limt=3": "limt",
    "database=x": "database",
}


def test_invalid_query_parameters_are_refused(service: Any, repo: Any) -> None:
    repo.write("m", _001_a="SELECT 1")
    service.sync()
    for query, field in BAD_QUERIES.items():
        problem = assert_problem(service.get(f"/modules/m/history?{query}"), 400, "invalid_request")
        assert [error["field"] for error in problem["errors"]] == [field], query


def test_modules_known_only_to_the_history_are_listed(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("gone", 'schema = "legacy"', _001_a="SELECT 1", _002_b="SELECT 2")
    service.sync()
    service.post("/modules/gone/migrate")
    sql("CREATE SCHEMA other_tool")
    sql("CREATE TABLE other_tool.schema_migrations (version text PRIMARY KEY)")
    for path in (repo.path / "gone").iterdir():
        path.unlink()
    (repo.path / "gone").rmdir()
    repo.write("kept", _001_a="SELECT 1")
    service.sync()
    items = {item["name"]: item for item in service.get("/modules").json()["items"]}
    assert set(items) == {"gone", "kept"}
    gone = items["gone"]
    assert (gone["source"], gone["state"], gone["schema"]) == ("history", "unregistered", "legacy")
    assert (gone["applied"], gone["version"]) == (2, "002")
    assert service.get("/modules/gone").json()["state"] == "unregistered"
    assert len(service.get("/modules/gone/history").json()["items"]) == 2
    states = {item["state"] for item in service.get("/modules/gone/migrations").json()["items"]}
    assert states == {"missing"}
    assert_problem(service.post("/modules/gone/migrate"), 404, "module_unknown")


def test_schemas_are_listed(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("orders", _001_a=TABLE, _002_b="CREATE INDEX t_again ON {{tables.t}} (id)")
    service.sync()
    service.post("/modules/orders/migrate")
    sql("INSERT INTO orders.t SELECT generate_series(1, 100)")
    sql("ANALYZE orders.t")
    items = {item["name"]: item for item in service.get("/schemas").json()["items"]}
    assert set(items) == {"orders", "public"}
    assert items["orders"]["modules"] == ["orders"]
    assert items["orders"]["tables"] == 3
    assert items["orders"]["size_bytes"] > 0
    with_system = service.get("/schemas", params={"system": "true"}).json()["items"]
    assert "pg_catalog" in [item["name"] for item in with_system]
    detail = service.get("/schemas/orders").json()
    table = next(table for table in detail["tables"] if table["name"] == "t")
    assert (table["rows"], table["dead_rows"]) == (100, 0)
    assert [index["name"] for index in table["indexes"]] == ["t_again", "t_pkey"]
    assert table["size_bytes"] > table["indexes_bytes"] > 0
    problem = assert_problem(service.get("/schemas/order"), 404, "schema_unknown")
    assert "orders" in problem["hint"]
    assert_problem(service.get("/schemas/a%22b"), 404, "schema_unknown")


def test_a_locked_table_does_not_block_the_schema_calls(
    service: Any, repo: Any, sql: Callable[..., Any], database: str
) -> None:
    import asyncio

    import asyncpg

    repo.write("m", _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate")

    async def read_while_locked() -> tuple[Any, Any]:
        connection = await asyncpg.connect(database)
        async with connection.transaction():
            await connection.execute("LOCK TABLE m.t IN ACCESS EXCLUSIVE MODE")
            answers = await asyncio.to_thread(lambda: (service.get("/schemas"), service.get("/schemas/m")))
        await connection.close()
        return answers

    listed, detail = asyncio.run(read_while_locked())
    assert {item["name"]: item["size_bytes"] for item in listed.json()["items"]}["m"] is None
    sizes = {table["name"]: table["size_bytes"] for table in detail.json()["tables"]}
    assert sizes["t"] is None
    assert sizes["schema_migrations"] > 0
