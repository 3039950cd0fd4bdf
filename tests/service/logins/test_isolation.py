"""Attempts of SQL to exceed the privileges of its login. After each, other modules can still be migrated."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm_service.settings import ModulePolicy

from .test_login import put

if TYPE_CHECKING:
    from collections.abc import Callable

# Each is refused by the server. {service} and {other} are the users of the service and of another module's login.
REFUSED = {
    "reads the tokens": "SELECT * FROM pgdbm_service.tokens",
    "plants a token": "INSERT INTO pgdbm_service.tokens (id, name, digest, scopes, created_by) "
    "VALUES ('abcdefabcdef', 'x', '\\x00', '{{admin}}', 'x')",
    "deletes from the audit": "DELETE FROM pgdbm_service.audit",
    "writes into the queue": "INSERT INTO pgdbm_service.pgqueuer (priority, status, entrypoint) "
    "VALUES (1, 'queued', 'x')",
    "changes a run": "UPDATE pgdbm_service.runs SET status = 'failed'",
    "drops the service schema": "DROP SCHEMA pgdbm_service CASCADE",
    "creates in the service schema": "CREATE TABLE pgdbm_service.mine ()",
    "reads another schema": "SELECT * FROM orders.t",
    "reads another history": "SELECT * FROM orders.schema_migrations",
    "writes another history": "INSERT INTO orders.schema_migrations (filename, checksum, module_name) "
    "VALUES ('002_b.sql', 'x', 'orders')",
    "deletes another history": "DELETE FROM orders.schema_migrations",
    "writes another journal": "INSERT INTO orders.pgdbm_journal (module, filename, event) "
    "VALUES ('orders', 'x', 'failed')",
    "drops another table": "DROP TABLE orders.t",
    "creates in another schema": "CREATE TABLE orders.mine ()",
    "drops another schema": "DROP SCHEMA orders CASCADE",
    "reads the schema of another login": "SELECT * FROM shop.t",
    "writes the history of another login": "DELETE FROM shop.schema_migrations",
    "becomes the service's user": "SET ROLE {service}",
    "becomes another login": "SET ROLE {other}",
    "becomes the superuser": "SET ROLE postgres",
    "starts a session as the service's user": "SET SESSION AUTHORIZATION {service}",
    "starts a session as the superuser": "SET SESSION AUTHORIZATION postgres",
    "sets the role in a body": "DO $$ BEGIN EXECUTE 'SET ' || 'ROLE {service}'; END $$",
    "sets the role by a function": "SELECT set_config('role', '{service}', true)",
    "sets the session by a function": "SELECT set_config('session_authorization', '{service}', false)",
    "gives itself the role": "GRANT {service} TO CURRENT_USER",
    "changes the service's user": "ALTER ROLE {service} PASSWORD 'mine'",
    "makes the service's user run a function": "CREATE FUNCTION billing.f() RETURNS void LANGUAGE sql SECURITY DEFINER "
    "AS 'SELECT 1'; ALTER FUNCTION billing.f() OWNER TO {service}",
    "ends the service's sessions": "DO $$ BEGIN PERFORM pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE usename = '{service}'; END $$",
    "cancels the service's statements": "DO $$ BEGIN PERFORM pg_cancel_backend(pid) FROM pg_stat_activity "
    "WHERE usename = '{service}'; END $$",
    "ends the sessions of another login": "DO $$ BEGIN PERFORM pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE usename IN ('{service}', '{other}'); END $$",
    "changes the database": "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = billing', "
    "current_database()); END $$",
    "changes settings of the service's user": "ALTER ROLE {service} SET search_path = billing",
    "makes an event trigger": "CREATE FUNCTION billing.e() RETURNS event_trigger LANGUAGE plpgsql AS "
    "'BEGIN END'; CREATE EVENT TRIGGER mine ON ddl_command_end EXECUTE FUNCTION billing.e()",
    "starts a program": "COPY (SELECT 1) TO PROGRAM 'true'",
    "reads a file": "SELECT pg_read_file('/etc/passwd')",
    "writes a file": "COPY (SELECT 1) TO '/tmp/mine'",
    "makes a schema": "CREATE SCHEMA squatted",
    "creates operators in public": "CREATE FUNCTION public.f(a varchar) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    "locks another table": "LOCK TABLE orders.t",
    "locks the service's table": "LOCK TABLE pgdbm_service.runs",
}
# Each succeeds, but gains nothing.
HARMLESS = {
    "resets the role": "RESET ROLE; SET ROLE NONE; SET SESSION AUTHORIZATION DEFAULT; RESET SESSION AUTHORIZATION",
    "resets it in a body": "DO $$ BEGIN EXECUTE 'RES' || 'ET ROLE'; EXECUTE 'RESET/**/SESSION AUTHORIZATION'; END $$",
    "discards": "DO $$ BEGIN PERFORM set_config('role', 'none', false); END $$",
    "sets a search_path": "SET search_path = {schema}, pg_catalog",
    "keeps another user": "SET SESSION search_path = pg_temp; CREATE TEMP TABLE schema_migrations (x integer)",
    "answers for the server": "DROP DOMAIN IF EXISTS {schema}.text; "
    "CREATE DOMAIN {schema}.text AS varchar; SET search_path = {schema}, pg_catalog",
    "floods the channels": "DO $$ BEGIN FOR i IN 1..2000 LOOP PERFORM pg_notify(c, 'garbage ' || i) FROM "
    "unnest(ARRAY['pgdbm_service_queue', 'pgdbm_service_events', 'pgdbm_service_cancel', 'pgdbm_service_registry', "
    "'ch_pgqueuer']) AS c; END LOOP; END $$",
    "speaks the queue's language": 'NOTIFY pgdbm_service_queue, \'{{"type": "table_changed_event", "channel": 5}}\'',
}


@pytest.fixture
def other(roles: Any, sql: Callable[..., Any]) -> str:
    name: str = roles.make("shop")
    sql(f"CREATE SCHEMA shop AUTHORIZATION {name}")
    return name


@pytest.fixture
def isolated(
    roles: Any, service_user: str, billing: str, other: str, start: Callable[..., Any], sql: Callable[..., Any]
) -> Any:
    sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    policies = {
        "billing*": roles.policy(billing, "billing*"),
        "shop": roles.policy(other, "shop"),
        "*": ModulePolicy(),
    }
    service = start(database_url=service_user, module_policies=policies, reconcile_s=1, metrics_sample_s=0.05)
    for module in ("orders", "shop"):
        put(service, module, {"_001_a": "CREATE TABLE {{tables.t}} AS SELECT 1 AS id"})
        assert service.post(f"/modules/{module}/migrate").json()["status"] == "success"
    return service


def test_attempts(isolated: Any, sql: Callable[..., Any], roles: Any, other: str) -> None:
    names = {"service": roles.names[0], "other": other}
    assert names["service"].startswith("service_")
    before = sql("SELECT filename, checksum FROM orders.schema_migrations")
    wrong = {}
    for number, (attempt, statement) in enumerate(REFUSED.items(), 1):
        # Both ways to run a file: in a transaction, and without.
        for kind, marker in (("in", ""), ("without", "-- pgdbm:no-transaction\n")):
            name = f"billing_{kind}_{number}"
            text = statement.format(**names).replace("{{", "{").replace("}}", "}")
            put(isolated, name, {"_001_a": marker + text}, schema="billing")
            answer = isolated.post(f"/modules/{name}/migrate").json()
            if (answer.get("code"), answer.get("sqlstate")) != ("migration_failed", "42501"):
                wrong[attempt, kind] = answer
    assert wrong == {}, json.dumps({str(key): one for key, one in wrong.items()}, indent=1)
    assert sql("SELECT filename, checksum FROM orders.schema_migrations") == before
    assert sql("SELECT count(*) FROM pgdbm_service.tokens")[0][0] == 0
    put(isolated, "after", {"_001_a": "CREATE TABLE {{tables.t}} ()"})
    assert isolated.post("/modules/after/migrate").json()["status"] == "success"


def test_a_forged_cancellation(isolated: Any, sql: Callable[..., Any], eventually: Callable[..., Any]) -> None:
    """Every database user can send notifications: the row of the run decides."""
    put(isolated, "slow", {"_001_a": "CREATE TABLE {{tables.t}} (); SELECT pg_sleep(3)"})
    run = isolated.post("/modules/slow/migrate", headers={"Prefer": "respond-async"}).json()["id"]
    eventually(lambda: sql("SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
    put(isolated, "billing", {"_001_a": f"NOTIFY pgdbm_service_cancel, '{run}'; NOTIFY pgdbm_service_cancel, 'x'"})
    assert isolated.post("/modules/billing/migrate").json()["status"] == "success"
    eventually(lambda: isolated.get(f"/runs/{run}").json()["status"] not in ("queued", "running"))
    assert isolated.get(f"/runs/{run}").json()["status"] == "succeeded"


def test_what_is_not_refused_gains_nothing(isolated: Any, sql: Callable[..., Any], billing: str) -> None:
    for number, (attempt, statement) in enumerate(HARMLESS.items(), 1):
        name = f"billing_{number}"
        sql(f"CREATE SCHEMA {name} AUTHORIZATION {billing}")
        text = statement.format(schema=name)
        files = {
            "_001_a": text,
            "_002_b": text
            + ";\nCREATE TABLE "
            + name
            + ".who AS SELECT current_user::varchar AS c, session_user::varchar",
            "_003_c": "-- pgdbm:no-transaction\n" + text,
            "_004_d": "-- pgdbm:no-transaction\nINSERT INTO " + name + ".who SELECT current_user, session_user",
        }
        put(isolated, name, files)
        answer = isolated.post(f"/modules/{name}/migrate").json()
        assert answer.get("status") == "success", (attempt, answer)
        assert {tuple(row) for row in sql(f"SELECT * FROM {name}.who")} == {(billing, billing)}, attempt
        assert {row[0] for row in sql(f"SELECT applied_by FROM {name}.schema_migrations")} == {billing}, attempt
    put(isolated, "after", {"_001_a": "CREATE TABLE {{tables.t}} ()"})
    assert isolated.post("/modules/after/migrate").json()["status"] == "success"
    assert isolated.get("/health/ready").status_code == 200
