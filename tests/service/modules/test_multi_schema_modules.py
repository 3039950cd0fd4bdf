"""Modules with several schemas: a list, a pattern, and so many that only summaries answer in time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from asyncpg.pool import PoolConnectionProxy

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig
from pgdbm.core.queries import Queries
from pgdbm.migrations.sources.source import source_of
from pgdbm_service.database.pool import Database
from pgdbm_service.errors import ServiceError
from pgdbm_service.registry.modules import Module
from pgdbm_service.registry.policies import ModulePolicies
from pgdbm_service.settings import Settings
from pgdbm_service.status import history_tables
from pgdbm_service.status.history_tables import IN_STATEMENT, Reader, count_applied, schemas_with_pending
from pgdbm_service.status.module_databases import ModuleDatabases
from pgdbm_service.status.summaries import FEW, Summaries

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
FILES = {"001.sql": TABLE, "002.sql": "SELECT 2"}
TENANTS = 1200
MANY = 2000


def body(files: dict[str, str], **settings: Any) -> dict[str, Any]:
    return {"migrations": [{"filename": name, "content": content} for name, content in files.items()]} | settings


def put(service: Any, name: str, files: dict[str, str], **settings: Any) -> Any:
    answer = service.client.put(f"/modules/{name}", json=body(files, **settings))
    assert answer.status_code in (200, 201), answer.text
    return answer


def migrate(database: str, module: str, schema: str, files: dict[str, str]) -> None:
    """Migrate without the service."""

    async def run() -> None:
        async with AsyncDatabaseManager(DatabaseConfig(connection_string=database, schema=schema)) as db:
            await AsyncMigrationManager(db, files, module, snapshots=False).apply_pending_migrations()

    asyncio.run(run())


def clone(database: str, names: list[str], template: str = "template_tenant") -> None:
    """Schemas with the history that ``template`` has."""

    async def run() -> None:
        connection = await asyncpg.connect(database)
        for start in range(0, len(names), 250):
            await connection.execute(
                f"""
                DO $do$ DECLARE name text; BEGIN
                  FOREACH name IN ARRAY '{{{",".join(names[start : start + 250])}}}'::text[] LOOP
                    EXECUTE format('CREATE SCHEMA %I', name);
                    EXECUTE format('CREATE TABLE %I.schema_migrations
                                    (LIKE {template}.schema_migrations INCLUDING DEFAULTS)', name);
                    EXECUTE format('INSERT INTO %I.schema_migrations SELECT * FROM {template}.schema_migrations', name);
                  END LOOP;
                END $do$"""
            )
        await connection.close()

    asyncio.run(run())


def all_pages(service: Any, path: str, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = service.get(path, params=params | ({"next": cursor} if cursor else {})).json()
        found += page["items"]
        cursor = page["next"]
        if cursor is None:
            return found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each query that the service has made."""
    counted: list[int] = []
    fetch_all = Queries.fetch_all

    async def counting(self: Queries, *args: Any, **options: Any) -> Any:
        rows = await fetch_all(self, *args, **options)
        counted.append(len(rows))
        return rows

    monkeypatch.setattr(Queries, "fetch_all", counting)
    return counted


@pytest.mark.parametrize("setting", ['schema = "a"', 'schemas = ["a", "b"]', 'schemas = "a"', 'schemas = "t_*"'])
def test_schemas_of_module_toml_are_migrated(service: Any, repo: Any, sql: Callable[..., Any], setting: str) -> None:
    sql("CREATE SCHEMA t_1")
    sql("CREATE SCHEMA t_2")
    sql("CREATE SCHEMA other")
    repo.write("m", setting, _001_a=TABLE)
    service.sync()
    expected = ["a", "b"] if "[" in setting else ["t_1", "t_2"] if "*" in setting else ["a"]
    detail = service.get("/modules/m").json()
    assert detail["schema_count"] == len(expected)
    assert detail["schemas"] == ("t_*" if "*" in setting else expected)
    assert detail["schema"] == (expected[0] if len(expected) == 1 else None)
    assert detail["states"] == {"pending": len(expected)}
    assert [item["schema"] for item in all_pages(service, "/modules/m/schemas", limit=1)] == expected


@pytest.mark.parametrize("setting", ['schema = "a"\nschemas = ["b"]', "schemas = []", 'schemas = "t-*"', "schemas = 3"])
def test_invalid_schemas_are_refused(service: Any, repo: Any, setting: str) -> None:
    repo.write("m", setting, _001_a=TABLE)
    service.sync()
    problem = service.get("/modules/m").json()["problem"]
    assert (problem["key"], problem["filename"]) == ("schemas", "module.toml")
    assert problem["line"]


def test_many_histories_are_compared_as_they_are_now(
    service: Any, database: str, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    migrate(database, "m", "template_tenant", FILES)
    names = [f"tenant_{number}" for number in range(2 * IN_STATEMENT)]
    clone(database, names)
    put(service, "m", FILES, schemas="tenant_*")

    def migrated() -> tuple[str, int]:
        result = service.post("/modules/m/migrate").json()
        return result["status"], len(result["applied"])

    # Twice: the second time, the connection has cached plans.
    assert [migrated(), migrated()] == [("up_to_date", 0)] * 2
    sql("DELETE FROM tenant_150.schema_migrations WHERE filename = '002.sql'")
    assert migrated() == ("success", 1)
    assert migrated() == ("up_to_date", 0)
    # A row of an earlier release has no module. It does not count for another file.
    sql("DELETE FROM tenant_7.schema_migrations WHERE filename = '002.sql'")
    sql(
        "INSERT INTO tenant_7.schema_migrations (id, filename, checksum, module_name) "
        "SELECT 9, filename, checksum, NULL FROM tenant_7.schema_migrations"
    )
    assert migrated() == ("success", 1)
    migrate(database, "m", "tenant_new", FILES)
    sql("DROP SCHEMA tenant_3 CASCADE")
    assert migrated() == ("up_to_date", 0)
    sql("UPDATE tenant_8.schema_migrations SET checksum = 'other' WHERE filename = '002.sql'")
    assert service.post("/modules/m/migrate").json()["code"] == "checksum_changed"


def test_a_schema_without_a_history_has_applied_nothing(database: str) -> None:
    """A run counts the files that it has applied from the beginning, before the history is created."""
    migrate(database, "m", "tenant_1", FILES)

    async def counts() -> list[int]:
        async with AsyncDatabaseManager(DatabaseConfig(connection_string=database)) as db:
            return [await count_applied(db, schema, "m", list(FILES)) for schema in ("tenant_1", "public", "nowhere")]

    assert asyncio.run(counts()) == [len(FILES), 0, 0]


@pytest.mark.parametrize(
    ("many", "second"), [(2 * IN_STATEMENT, IN_STATEMENT), (MANY, IN_STATEMENT + 1)], ids=["two parts", "one part"]
)
def test_tables_of_other_tools_among_those_of_the_user(
    database: str, sql: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, many: int, second: int
) -> None:
    monkeypatch.setattr(history_tables, "_MANY", many)
    migrate(database, "m", "template_tenant", FILES)
    names = [f"tenant_{number}" for number in range(2 * IN_STATEMENT)]
    clone(database, names)
    sql("DELETE FROM tenant_9.schema_migrations WHERE filename = '002.sql'")
    sql("ALTER TABLE tenant_20.schema_migrations DROP COLUMN checksum")
    # A hundred histories are read together, here without that of tenant_20. Where it fails, all of them are pending.
    sql("ALTER TABLE tenant_130.schema_migrations ALTER COLUMN filename TYPE integer USING 1")
    started: set[str] = set()

    async def pending() -> list[str]:
        # One connection: none is waited for while another is held.
        config = DatabaseConfig(connection_string=database, min_connections=1, max_connections=1)
        async with AsyncDatabaseManager(config) as db:
            return await schemas_with_pending(Reader(db), "m", names, source_of(FILES).collect(), started=started)

    assert asyncio.run(pending()) == ["tenant_9", "tenant_20", *names[second:]]
    assert started == {"tenant_9"}


def test_a_pattern_matches_as_in_the_shell(service: Any, sql: Callable[..., Any]) -> None:
    for schema in ("t_1", "t_12", "tx1", "at_1", "T_1"):
        sql(f'CREATE SCHEMA "{schema}"')
    put(service, "m", FILES, schemas="t_?")
    put(service, "n", FILES, schemas="*_1*")
    put(service, "every", FILES, schemas="*")
    assert [item["schema"] for item in all_pages(service, "/modules/m/schemas")] == ["t_1"]
    assert [item["schema"] for item in all_pages(service, "/modules/n/schemas")] == ["T_1", "at_1", "t_1", "t_12"]
    every = ["T_1", "at_1", "public", "t_1", "t_12", "tx1"]
    assert [item["schema"] for item in all_pages(service, "/modules/every/schemas")] == every


def test_each_schema_has_its_own_status(service: Any, database: str, sql: Callable[..., Any]) -> None:
    put(service, "m", FILES, schemas=["done", "half", "none", "other"])
    migrate(database, "m", "done", FILES)
    migrate(database, "m", "half", {"001.sql": TABLE})
    migrate(database, "m", "other", {"001.sql": "SELECT 'something else'", "002.sql": "SELECT 2"})
    detail = service.get("/modules/m").json()
    assert detail["states"] == {"up_to_date": 1, "pending": 2, "changed": 1}
    # 2 + 1 + 0 + 1 applied, 0 + 1 + 2 + 0 pending.
    assert (detail["state"], detail["applied"], detail["pending"], detail["changed"]) == ("changed", 4, 3, 1)
    assert detail["version"] is None
    items = {item["schema"]: item for item in all_pages(service, "/modules/m/schemas")}
    assert {name: (item["state"], item["version"]) for name, item in items.items()} == {
        "done": ("up_to_date", "002"),
        "half": ("pending", "001"),
        "none": ("pending", None),
        "other": ("changed", "002"),
    }
    pending = all_pages(service, "/modules/m/schemas", state="pending", limit=1)
    assert [item["schema"] for item in pending] == ["half", "none"]
    in_half = service.get("/modules/m/migrations", params={"schema": "half"}).json()["items"]
    assert [item["state"] for item in in_half] == ["applied", "pending"]
    history = service.get("/modules/m/history", params={"schema": "done"}).json()["items"]
    assert [(item["filename"], item["schema"]) for item in history] == [("002.sql", "done"), ("001.sql", "done")]
    assert service.get("/modules/m/history", params={"schema": "unknown"}).json()["code"] == "invalid_request"
    put(service, "p", FILES, schemas="d*")
    problem = service.get("/modules/p/history").json()
    assert [error["field"] for error in problem["errors"]] == ["schema"]
    assert "name one of them" in problem["detail"]
    modules = {item["name"]: item["modules"] for item in service.get("/schemas").json()["items"]}
    assert modules["done"] == ["m", "p"]
    assert modules["half"] == ["m"]


def test_a_failed_attempt_is_listed(service: Any, database: str) -> None:
    files = {"001.sql": TABLE, "002.sql": "SELECT 1/0"}
    put(service, "m", files, schemas=["a", "b"])
    migrate(database, "m", "a", {"001.sql": TABLE})
    with pytest.raises(Exception, match="division"):
        migrate(database, "m", "b", files)
    states = {item["schema"]: item["state"] for item in all_pages(service, "/modules/m/schemas")}
    assert states == {"a": "pending", "b": "failed"}


def test_a_module_of_many_schemas_is_summarized(
    start: Callable[..., Any],
    database: str,
    sql: Callable[..., Any],
    eventually: Callable[..., Any],
    asked: list[int],
) -> None:
    migrate(database, "app", "template_tenant", FILES)
    clone(database, [f"tenant_{number:05}" for number in range(TENANTS)])
    sql("DELETE FROM tenant_00003.schema_migrations WHERE filename = '002.sql'")
    sql("DROP TABLE tenant_00004.schema_migrations")
    sql("DELETE FROM tenant_00005.schema_migrations WHERE filename = '001.sql'")
    sql("UPDATE tenant_01000.schema_migrations SET checksum = 'x' WHERE filename = '002.sql'")
    service = start(reconcile_s=86400)
    wrong = service.client.put("/modules/app", json=body(FILES, schemas="tenant_*")).json()
    assert (wrong["code"], wrong["schema"], wrong["filename"]) == ("checksum_changed", "tenant_01000", "002.sql")
    eventually(lambda: sql("SELECT ended_at FROM pgdbm_service.reconciliation")[0][0])
    assert service.client.put("/modules/app", json=body(FILES, schemas="tenant_*")).json() == wrong
    # Repaired without the service.
    sql(
        "UPDATE tenant_01000.schema_migrations t SET checksum = o.checksum "
        "FROM tenant_00000.schema_migrations o WHERE o.filename = t.filename"
    )
    put(service, "app", FILES, schemas="tenant_*")
    done = {"up_to_date": TENANTS - 3, "pending": 2, "out_of_order": 1}
    eventually(lambda: service.get("/modules/app").json()["states"] == done)
    asked.clear()
    detail = service.get("/modules/app").json()
    assert detail["schema_count"] == TENANTS
    assert (detail["state"], detail["version"]) == ("out_of_order", None)
    assert len(asked) < 10
    assert sum(asked) < FEW + 20

    asked.clear()
    assert [item["schema"] for item in service.get("/modules/app/schemas", params={"limit": 7}).json()["items"]] == [
        f"tenant_{number:05}" for number in range(7)
    ]
    assert len(asked) < 10
    pages = all_pages(service, "/modules/app/schemas", limit=200)
    assert [item["schema"] for item in pages] == [f"tenant_{number:05}" for number in range(TENANTS)]
    # A module without a history that was added after the last reconciliation has no summary yet.
    assert [item["schema"] for item in pages if item["checked_at"] is None] == ["tenant_00004"]
    pending = all_pages(service, "/modules/app/schemas", state="pending", limit=1)
    assert [(item["schema"], item["applied"]) for item in pending] == [("tenant_00003", 1), ("tenant_00004", 0)]

    # New files need no read of any history.
    put(service, "app", FILES | {"003.sql": "SELECT 3"}, schemas="tenant_*")
    asked.clear()
    states = service.get("/modules/app").json()["states"]
    assert states == {"pending": TENANTS - 1, "out_of_order": 1}
    assert sum(asked) < FEW + 20

    # An applied set that thousands of schemas share is stored once.
    digests = sql("SELECT DISTINCT digest FROM pgdbm_service.schema_summaries WHERE module = 'app'")
    assert len(digests) <= 4

    asked.clear()
    listed = service.get("/modules").json()["items"]
    assert [(item["name"], item["schema"], item["pending"]) for item in listed] == [
        ("app", None, (TENANTS - 3) + 2 + 3 + 2)
    ]
    assert sum(asked) < FEW + 150
    page = service.get("/schemas", params={"limit": 5}).json()
    assert (len(page["items"]), page["items"][1]["modules"]) == (5, ["app"])
    assert len(all_pages(service, "/schemas", limit=1000)) == TENANTS + 2

    # Once unregistered, it is listed as one module, found in the histories.
    assert service.client.delete("/modules/app").status_code == 200
    asked.clear()
    (unregistered,) = service.get("/modules").json()["items"]
    assert (unregistered["name"], unregistered["state"], unregistered["schema"]) == ("app", "unregistered", None)
    assert service.get("/modules/app").json()["schema_count"] == TENANTS
    assert sum(asked) < 4 * FEW


def test_summaries_follow_the_histories(database: str, sql: Callable[..., Any], start: Callable[..., Any]) -> None:
    migrate(database, "app", "template_tenant", FILES)
    names = [f"tenant_{number:03}" for number in range(FEW + 20)]
    clone(database, names)
    service = start(reconcile_s=86400)
    put(service, "app", FILES | {"003.sql": "SELECT 3"}, schemas="tenant_*")
    module = Module(name="app")

    async def with_summaries(work: Callable[[Summaries], Any]) -> Any:
        database_of_test = Database(Settings(database_url=database))
        database_of_test.begin(database)
        await database_of_test.connected.wait()
        try:
            return await work(Summaries(database_of_test, ModuleDatabases(database_of_test, ModulePolicies({}))))
        finally:
            await database_of_test.close()

    def states() -> dict[str, int]:
        return dict(service.get("/modules/app").json()["states"])

    asyncio.run(with_summaries(lambda summaries: summaries.reconcile([], 0)))
    assert states() == {"pending": len(names)}
    migrate(database, "app", names[7], FILES | {"003.sql": "SELECT 3"})
    assert states() == {"pending": len(names)}
    asyncio.run(with_summaries(lambda summaries: summaries.refresh(module, [names[7]], "run-1")))
    assert states() == {"pending": len(names) - 1, "up_to_date": 1}
    (done,) = all_pages(service, "/modules/app/schemas", state="up_to_date")
    assert (done["schema"], done["last_run"]) == (names[7], "run-1")
    assert service.get("/modules/app").json()["last_run"] == "run-1"
    # Nothing is read again within the interval; after it, changes by others are found and dropped schemas removed.
    migrate(database, "app", names[8], FILES | {"003.sql": "SELECT 3"})
    sql(f"DROP SCHEMA {names[9]} CASCADE")
    assert asyncio.run(with_summaries(lambda summaries: summaries.reconcile([], 3600))) is False
    assert asyncio.run(with_summaries(lambda summaries: summaries.reconcile([], 0))) is True
    assert states() == {"pending": len(names) - 3, "up_to_date": 2}
    assert sql("SELECT count(*) FROM pgdbm_service.schema_summaries WHERE schema = $1", names[9])[0][0] == 0
    assert service.get("/modules/app").json()["last_run"] == "run-1"


def test_modules_are_paged(service: Any, repo: Any, database: str) -> None:
    for number in range(5):
        repo.write(f"m{number}", _001_a="SELECT 1")
    for number in range(3):
        migrate(database, f"a_old{number}", f"old{number}", FILES)
    service.sync()
    for limit in (1, 2, 5, 200):
        items = all_pages(service, "/modules", limit=limit)
        assert [item["name"] for item in items] == [*(f"m{n}" for n in range(5)), *(f"a_old{n}" for n in range(3))]
    for cursor in ("!!", "AAAA", "W10", "bnVsbA"):
        assert service.get("/modules", params={"next": cursor}).json()["code"] == "invalid_request"
        assert service.get("/modules/m1/schemas", params={"next": cursor}).json()["code"] == "invalid_request"
        assert service.get("/schemas", params={"next": cursor}).json()["code"] == "invalid_request"


@pytest.mark.slow
def test_a_migrate_of_many_schemas_compares_each_history_once(
    start: Callable[..., Any], repo: Any, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(database, "m", "template_tenant", {"001.sql": TABLE})
    clone(database, [f"tenant_{number}" for number in range(MANY)])
    repo.write("m", 'schemas = "tenant_*"', **{"001": TABLE, "002": "SELECT 2"})
    service = start(watch_repo=False)
    compared: list[str] = []
    fetch = PoolConnectionProxy.fetch

    async def counting(self: Any, query: str, *args: Any, **options: Any) -> Any:
        # Histories are compared with the names and the checksums of files, a hundred at a time.
        if "AS f (filename, checksum)" in query:
            compared.append(query)
        return await fetch(self, query, *args, **options)

    monkeypatch.setattr(PoolConnectionProxy, "fetch", counting)
    answer = service.post("/modules/m/migrate", headers={"Prefer": "respond-async"})
    statements = len(compared)
    service.post(f"{answer.headers['location']}/cancel")
    assert answer.status_code == 202, answer.text
    assert statements == MANY // IN_STATEMENT


async def test_the_time_limit_grows_with_the_schemas() -> None:
    database = Database(Settings(database_timeout_s=0.05))
    await database.with_timeout(asyncio.sleep(0.2), schemas=1_000_000)
    with pytest.raises(ServiceError, match=r"within 0\.05 s"):
        await database.with_timeout(asyncio.sleep(3600), schemas=999)
