"""A module with a login: what it does is done by that database user, in every call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def bundle(**files: str) -> dict[str, Any]:
    migrations = [{"filename": f"{name.strip('_')}.sql", "content": content} for name, content in files.items()]
    return {"migrations": migrations}


def put(service: Any, module: str, files: dict[str, str], **settings: Any) -> None:
    answer = service.client.put(f"/modules/{module}", json=bundle(**files) | settings)
    assert answer.status_code == 201, answer.text


def test_sql_history_and_journal_belong_to_the_login(with_logins: Any, sql: Callable[..., Any], billing: str) -> None:
    files = {"_001_a": "CREATE TABLE {{tables.t}} AS SELECT current_user::text AS who, session_user::text AS session"}
    assert with_logins.client.put("/modules/billing", json=bundle(**files)).status_code == 201
    answer = with_logins.post("/modules/billing/migrate").json()
    assert (answer["status"], [one["filename"] for one in answer["applied"]]) == ("success", ["001_a.sql"]), answer
    assert [tuple(row) for row in sql("SELECT * FROM billing.t")] == [(billing, billing)]
    files["_002_b"] = "SELECT 1/0"
    assert with_logins.client.put("/modules/billing", json=bundle(**files)).status_code == 201
    assert with_logins.post("/modules/billing/migrate").json()["code"] == "migration_failed"
    owners = sql("SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'billing'")
    assert dict(owners) == dict.fromkeys(("t", "schema_migrations", "pgdbm_journal", "pgdbm_snapshots"), billing)
    assert sql("SELECT DISTINCT applied_by FROM billing.schema_migrations")[0][0] == billing
    assert sql("SELECT DISTINCT started_by FROM billing.pgdbm_journal")[0][0] == billing
    assert with_logins.get("/modules/billing").json()["state"] == "failed"
    (item,) = with_logins.get("/modules/billing/history").json()["items"]
    assert (item["filename"], item["applied_by"], item["run_id"]) == ("001_a.sql", billing, answer["run_id"])


def test_every_other_call(with_logins: Any, sql: Callable[..., Any], billing: str) -> None:
    """Plan, drift, journal, rehearse, baseline, repair, mark, revert, resolve and retry are done by the login, too."""
    sql(f"GRANT CREATE ON DATABASE {sql('SELECT current_database()')[0][0]} TO {billing}")
    files = {
        "_001_a": "CREATE TABLE {{tables.a}} (id integer)",
        "_001_a.down": "DROP TABLE {{tables.a}}",
        "_002_b": "-- pgdbm:no-transaction\nSELECT 1;\nCREATE INDEX CONCURRENTLY b ON {{tables.a}} (id)",
    }
    put(with_logins, "billing", files)

    def call(operation: str, **body: Any) -> Any:
        answer = with_logins.post(f"/modules/billing/{operation}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert len(with_logins.get("/modules/billing/plan").json()["pending"]) == 2
    assert call("rehearse")["succeeded"]
    assert call("migrate", dry_run=True)["pending"] == ["001_a.sql", "002_b.sql"]
    assert call("migrate", target="001")["status"] == "success"
    assert call("revert")["reverted"][0]["filename"] == "001_a.sql"
    assert call("mark", filename="001_a.sql", applied=True)["applied"]
    assert call("mark", filename="001_a.sql", applied=False)["applied"] is False
    assert call("migrate")["status"] == "success"
    assert with_logins.get("/modules/billing/drift").json()["clean"]
    put(with_logins, "billing2", {"_001_a": "CREATE TABLE {{tables.a}} (id integer)"}, schema="billing")
    assert call("migrate")["status"] == "up_to_date"
    baselined = with_logins.post("/modules/billing2/baseline", json={"version": "001", "check": False})
    assert baselined.json()["baselined"] == ["001_a.sql"], baselined.text
    assert with_logins.post("/modules/billing/repair", json={"accept": True}).json()["items"] == []
    put(with_logins, "billing", files | {"_003_c": "-- pgdbm:no-transaction\nSELECT 1;\nSELECT 1/0"})
    failed = with_logins.post("/modules/billing/migrate").json()
    assert (failed["code"], failed["statement"]) == ("migration_failed", 2)
    assert with_logins.post(f"/runs/{failed['run_id']}/retry").json()["code"] == "migration_failed"
    sql("UPDATE billing.pgdbm_journal SET event = 'started' WHERE filename = '003_c.sql' AND statement = 2")
    assert call("resolve", filename="003_c.sql", statement=2, done=True)["done"]
    assert call("migrate")["status"] == "success"
    assert with_logins.get("/modules/billing/ready").status_code == 200
    assert {one["started_by"] for one in with_logins.get("/modules/billing/journal").json()["items"]} == {billing}
    assert {row[0] for row in sql("SELECT applied_by FROM billing.schema_migrations")} == {billing}
    owners = sql("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'billing'")
    assert [row[0] for row in owners] == [billing]


def test_a_run_is_watched_and_cancelled(
    with_logins: Any, sql: Callable[..., Any], billing: str, eventually: Callable[..., Any]
) -> None:
    """Notices, blockers, progress and cancellation need no privilege of the service's user over the login."""
    put(
        with_logins,
        "billing",
        {"_001_a": "DO $$ BEGIN RAISE NOTICE 'hello'; END $$; CREATE TABLE {{tables.a}} (); SELECT pg_sleep(600)"},
    )
    run = with_logins.post("/modules/billing/migrate", headers={"Prefer": "respond-async"}).json()["id"]

    def backend() -> Any:
        return sql("SELECT pid, usename FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND usename = $1", billing)

    eventually(backend)
    assert with_logins.post(f"/runs/{run}/cancel").status_code in (200, 202)
    eventually(lambda: with_logins.get(f"/runs/{run}").json()["status"] == "cancelled")
    eventually(lambda: not backend())
    events = sql(
        "SELECT data ->> 'message' FROM pgdbm_service.run_events WHERE kind = 'notice' AND run::text = $1", run
    )
    assert "hello" in {row[0] for row in events}


def test_many_schemas(with_logins: Any, sql: Callable[..., Any], billing: str, roles: Any) -> None:
    """A fan-out stays within the connections of the login, and is read with them."""
    for number in range(40):
        sql(f"CREATE SCHEMA billing_{number:02} AUTHORIZATION {billing}")
    sql(f"ALTER ROLE {billing} CONNECTION LIMIT 5")
    put(with_logins, "billing", {"_001_a": "CREATE TABLE {{tables.t}} ()"}, schemas="billing_*")
    answer = with_logins.post("/modules/billing/migrate").json()
    assert (answer["status"], len(answer["applied"])) == ("success", 40), answer
    detail = with_logins.get("/modules/billing").json()
    assert (detail["state"], detail["schema_count"]) == ("up_to_date", 40)
    assert with_logins.post("/modules/billing/migrate").json()["status"] == "up_to_date"
    assert len(with_logins.get("/modules/billing/schemas?limit=50").json()["items"]) == 40


def test_two_replicas_and_a_program_take_turns(
    with_logins: Any, start: Callable[..., Any], service_user: str, roles: Any, billing: str, sql: Callable[..., Any]
) -> None:
    """All runners share the lock, whichever user they connect as."""
    other = start(database_url=service_user, module_policies={"*": roles.policy(billing, "*")})
    put(with_logins, "billing", {"_001_a": "CREATE TABLE {{tables.t}} (); SELECT pg_sleep(0.5)"})
    runs = [
        one.client.post("/modules/billing/migrate", headers={"Prefer": "respond-async"}).json()["id"]
        for one in (with_logins, other)
    ]
    assert len(set(runs)) == 1
    assert with_logins.post("/modules/billing/migrate").json()["status"] in ("success", "up_to_date")
    assert sql("SELECT count(*) FROM billing.schema_migrations")[0][0] == 1
