"""A login that cannot be used: the answer, and that other modules are not affected. The fix needs no restart."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig, MigrationExecutionError
from pgdbm_service.settings import ModulePolicy, SettingsError, read_settings

from .test_login import put

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = {"_001_a": "CREATE TABLE {{tables.t}} ()"}


def refused(service: Any, module: str = "billing") -> dict[str, Any]:
    answer = service.post(f"/modules/{module}/migrate")
    assert (answer.status_code, answer.json()["code"]) == (503, "login_unavailable"), answer.text
    assert int(answer.headers["retry-after"]) > 0
    found: dict[str, Any] = answer.json()
    return found


def terminate_sessions(sql: Callable[..., Any], login: str) -> None:
    sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = $1", login)


def test_a_rotated_password(with_logins: Any, sql: Callable[..., Any], roles: Any, billing: str) -> None:
    put(with_logins, "billing", FILES)
    put(with_logins, "orders", FILES)
    sql(f"ALTER ROLE {billing} PASSWORD 'rotated-in-the-database'")
    terminate_sessions(sql, billing)
    problem = refused(with_logins)
    assert (problem["login"], problem["sqlstate"]) == (billing, "28P01")
    assert f'password authentication failed for user "{billing}"' in problem["database_message"]
    # Nothing else is affected.
    assert with_logins.post("/modules/orders/migrate").json()["status"] == "success"
    states = {one["name"]: one for one in with_logins.get("/modules").json()["items"]}
    assert states["orders"]["state"] == "up_to_date"
    assert states["billing"]["problem"]["code"] == "login_unavailable"
    ready = with_logins.get("/health/ready")
    assert ready.status_code == 200
    (check,) = [one for one in ready.json()["checks"] if one["name"] == "logins"]
    assert billing in check["detail"]
    metrics = with_logins.get("/metrics").text
    assert f'pgdbm_login_up{{login="{billing}"}} 0.0' in metrics
    assert "pgdbm_database_up 1.0" in metrics
    roles.file(billing).write_text("rotated-in-the-database")
    assert with_logins.post("/modules/billing/migrate").json()["status"] == "success"
    assert f'pgdbm_login_up{{login="{billing}"}} 1.0' in with_logins.get("/metrics").text
    assert [one["name"] for one in with_logins.get("/health/ready").json()["checks"] if one["name"] == "logins"] == []


def test_what_the_server_refuses(with_logins: Any, sql: Callable[..., Any], roles: Any, billing: str) -> None:
    put(with_logins, "billing", FILES)
    (database,) = sql("SELECT current_database()")[0]
    sql(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
    sql(f"GRANT CONNECT ON DATABASE {database} TO {roles.names[0]}")
    terminate_sessions(sql, billing)
    problem = refused(with_logins)
    assert (problem["sqlstate"], problem["hint"]) == ("42501", f'GRANT CONNECT ON DATABASE … TO "{billing}".')
    sql(f"GRANT CONNECT ON DATABASE {database} TO {billing}")
    sql(f"ALTER ROLE {billing} NOLOGIN")
    terminate_sessions(sql, billing)
    assert refused(with_logins)["sqlstate"] == "28000"
    sql(f"ALTER ROLE {billing} LOGIN CONNECTION LIMIT 0")
    terminate_sessions(sql, billing)
    assert refused(with_logins)["sqlstate"] == "53300"
    sql(f"ALTER ROLE {billing} CONNECTION LIMIT -1")
    password = roles.file(billing).read_text()
    roles.file(billing).unlink()
    terminate_sessions(sql, billing)
    assert "password file cannot be read" in refused(with_logins)["database_message"]
    roles.file(billing).write_text(password)
    assert with_logins.post("/modules/billing/migrate").json()["status"] == "success"


def test_a_login_that_does_not_isolate_its_module(
    with_logins: Any, sql: Callable[..., Any], roles: Any, billing: str
) -> None:
    """The service uses no login whose sessions could reach what belongs to others."""
    put(with_logins, "billing", FILES)
    service = roles.names[0]
    (database,) = sql("SELECT current_database()")[0]
    owner = sql("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()")[0][0]
    for give, take, reason in (
        (f"ALTER ROLE {billing} SUPERUSER", f"ALTER ROLE {billing} NOSUPERUSER", "it is a superuser"),
        (f"ALTER ROLE {billing} CREATEROLE", f"ALTER ROLE {billing} NOCREATEROLE", "it has CREATEROLE"),
        (f"ALTER ROLE {billing} REPLICATION", f"ALTER ROLE {billing} NOREPLICATION", "it has REPLICATION"),
        (f"GRANT {service} TO {billing}", f"REVOKE {service} FROM {billing}", f"it is a member of {service}"),
        (
            f"GRANT pg_read_all_data TO {billing}",
            f"REVOKE pg_read_all_data FROM {billing}",
            "it is a member of pg_read_all_data",
        ),
        (
            f"GRANT pg_signal_backend TO {billing}",
            f"REVOKE pg_signal_backend FROM {billing}",
            "it is a member of pg_signal_backend",
        ),
        (
            f"ALTER DATABASE {database} OWNER TO {billing}",
            f"ALTER DATABASE {database} OWNER TO {owner}",
            "it owns the database",
        ),
        (
            f"GRANT USAGE ON SCHEMA pgdbm_service TO {billing}",
            f"REVOKE USAGE ON SCHEMA pgdbm_service FROM {billing}",
            "it has USAGE on the schema pgdbm_service",
        ),
    ):
        sql(give)
        terminate_sessions(sql, billing)
        assert reason in refused(with_logins)["database_message"], reason
        sql(take)
    terminate_sessions(sql, billing)
    assert with_logins.post("/modules/billing/migrate").json()["status"] == "success"


def test_missing_privileges_are_named(with_logins: Any, sql: Callable[..., Any], roles: Any, billing: str) -> None:
    (database,) = sql("SELECT current_database()")[0]

    def detail(module: str) -> str:
        answer = with_logins.post(f"/modules/{module}/migrate").json()
        assert answer["status"] >= 400, answer
        return f"{answer['detail']} {answer.get('hint')}"

    put(with_logins, "billing_a", FILES)
    assert f"GRANT CREATE ON DATABASE {database} TO {billing}" in detail("billing_a")
    sql("CREATE SCHEMA billing_a")
    assert f'GRANT USAGE, CREATE ON SCHEMA "billing_a" TO {billing}' in detail("billing_a")
    sql(f"GRANT USAGE, CREATE ON SCHEMA billing_a TO {billing}")
    assert with_logins.post("/modules/billing_a/migrate").json()["status"] == "success"


def test_a_module_that_was_migrated_by_the_service(
    roles: Any, service_user: str, billing: str, start: Callable[..., Any], sql: Callable[..., Any]
) -> None:
    """The hand-over of the history: refused with the statements that are missing, which are then enough."""
    sql(f"GRANT CREATE, USAGE ON SCHEMA billing TO {roles.names[0]}")

    async def before() -> None:
        config = DatabaseConfig(connection_string=service_user, min_connections=1)
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        db = AsyncDatabaseManager(pool=pool, schema="billing")
        files = {"001_a.sql": FILES["_001_a"], "002_b.sql": "SELECT 1/0"}
        with pytest.raises(MigrationExecutionError):
            await AsyncMigrationManager(db, files, "billing").apply_pending_migrations()
        await pool.close()

    asyncio.run(before())
    after = start(database_url=service_user, module_policies={"billing": roles.policy(billing, "billing")})
    put(after, "billing", FILES | {"_002_b": "ALTER TABLE {{tables.t}} ADD COLUMN b integer"})
    refusal = after.post("/modules/billing/migrate").json()
    assert "schema_migrations" in refusal["detail"]
    statements = [
        part.strip()
        for part in refusal["detail"].partition("make it the owner of the tables: ")[2].split(";")
        if part.strip().startswith("ALTER TABLE")
    ]
    assert statements == [
        f"ALTER TABLE billing.{table} OWNER TO {billing}"
        for table in ("pgdbm_journal", "pgdbm_snapshots", "schema_migrations")
    ]
    for statement in (*statements, f"ALTER TABLE billing.t OWNER TO {billing}"):
        sql(statement)
    assert after.post("/modules/billing/migrate").json()["applied"][0]["filename"] == "002_b.sql"
    assert after.get("/modules/billing").json()["state"] == "up_to_date"


def test_modules_without_the_login_stay_out_of_its_schemas(
    with_logins: Any, sql: Callable[..., Any], roles: Any, billing: str, repo: Any
) -> None:
    """Such modules would execute, as the service's user, code that the login has created there."""
    (database,) = sql("SELECT current_database()")[0]
    answer = with_logins.client.put("/modules/orders", json={"migrations": [], "schema": "billing"})
    assert answer.status_code in (403, 422)
    body = {"migrations": [{"filename": "001_a.sql", "content": "SELECT 1"}], "schema": "billing"}
    assert with_logins.client.put("/modules/orders", json=body).json()["code"] == "policy_violated"
    # A pattern that covers them.
    put(with_logins, "every", FILES, schemas="b*")
    assert with_logins.post("/modules/every/migrate").json()["code"] == "policy_violated"
    assert with_logins.get("/modules/every/history?schema=billing").json()["code"] == "policy_violated"
    # Schemas that the login has created under other names.
    sql(f"GRANT CREATE ON DATABASE {database} TO {billing}")
    put(with_logins, "billing", {"_001_a": "CREATE SCHEMA orders; CREATE TABLE orders.schema_migrations ()"})
    assert with_logins.post("/modules/billing/migrate").json()["status"] == "success"
    put(with_logins, "orders", FILES)
    for call in ("migrate", "rehearse", "revert"):
        assert with_logins.post(f"/modules/orders/{call}").json()["code"] == "policy_violated"
    for path in ("history", "migrations", "drift", "journal", "plan", "ready"):
        assert with_logins.get(f"/modules/orders/{path}").json()["code"] == "policy_violated", path


def test_what_the_tables_of_a_login_would_execute(
    with_logins: Any, sql: Callable[..., Any], roles: Any, billing: str, eventually: Callable[..., Any]
) -> None:
    """What indexes, policies and constraints of a login call is not called by the service's user."""
    service = roles.names[0]
    sql(f"GRANT {billing} TO {service}")
    for name in (service, billing):
        # What a function that is declared as immutable can still do.
        sql(f"CREATE SEQUENCE public.ran_{name}")
        sql(f"GRANT USAGE ON SEQUENCE public.ran_{name} TO PUBLIC")
    plant = """
        CREATE FUNCTION billing.f(x text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS
        $$ BEGIN PERFORM nextval('public.ran_' || current_user); RETURN true; END $$;
        CREATE POLICY p ON billing.schema_migrations USING (billing.f(filename));
        ALTER TABLE billing.schema_migrations ENABLE ROW LEVEL SECURITY;
        ALTER TABLE billing.schema_migrations FORCE ROW LEVEL SECURITY;
        CREATE INDEX i ON billing.schema_migrations ((billing.f('x')));
        ALTER TABLE billing.schema_migrations ADD CHECK (billing.f('y'))
    """
    put(with_logins, "billing", {"_001_a": "SELECT 1", "_002_b": plant})
    assert with_logins.post("/modules/billing/migrate").json()["status"] == "success"
    assert sql(f"SELECT is_called FROM public.ran_{billing}")[0][0]
    reconciled = "SELECT ended_at FROM pgdbm_service.reconciliation"
    before = sql(reconciled)
    for path in ("/modules", "/modules/billing", "/schemas", "/schemas/billing", "/overview"):
        assert with_logins.get(path).status_code == 200, path
    put(with_logins, "orders", FILES)
    assert with_logins.post("/modules/orders/migrate").json()["status"] == "success"
    eventually(lambda: sql(reconciled) != before)
    assert not sql(f"SELECT is_called FROM public.ran_{service}")[0][0]
    assert with_logins.get("/modules/billing").json()["problem"]["code"] == "insufficient_privilege"


def test_the_setting(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    usual = {"DATABASE_URL": "postgresql://localhost/x"}

    def read(policies: Any, **variables: str) -> Any:
        return read_settings(usual | {"PGDBM_MODULE_POLICIES": json.dumps(policies)} | variables)

    settings = read({"b*": {"schemas": ["b*"], "login": "billing", "password_file": str(secret)}})
    assert settings.module_policies["b*"] == ModulePolicy(schemas=("b*",), login="billing", password_file=secret)
    assert [login.password_file for login in settings.logins.values()] == [secret]
    monkeypatch.delenv("PGPASSWORD", raising=False)
    assert read({"b*": {"login": "billing"}}).logins.keys() == {"billing"}
    for wrong, reason in (
        ({"b*": {"login": "", "password_file": str(secret)}}, "1 to 63 bytes"),
        ({"b*": {"login": "b", "password_file": "/nowhere"}}, "there is no file '/nowhere'"),
        ({"b*": {"login": "b", "password_variable": "NO_SUCH_VARIABLE"}}, "NO_SUCH_VARIABLE is not set"),
        ({"b*": {"login": "b", "password_variable": "HOME", "password_file": str(secret)}}, "not both"),
        ({"b*": {"password_file": str(secret)}}, "without a login"),
        ({"b*": {"login": "b", "password": "x"}}, "unknown field password"),
        ({"a": {"login": "b"}, "b": {"login": "b", "password_file": str(secret)}}, "with a different password"),
    ):
        with pytest.raises(SettingsError, match="PGDBM_MODULE_POLICIES.*" + reason):
            read(wrong)
    with pytest.raises(SettingsError, match="names a service"):
        read({"b*": {"login": "b"}}, DATABASE_URL="postgresql:///?service=x")
    monkeypatch.setenv("PGPASSWORD", "of-the-service")
    with pytest.raises(SettingsError, match="PGPASSWORD would be sent for the login b"):
        read({"b*": {"login": "b"}})


def test_sources_of_the_password(
    roles: Any,
    service_user: str,
    billing: str,
    start: Callable[..., Any],
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    password = roles.file(billing).read_text().strip()
    monkeypatch.setenv("THE_PASSWORD_OF_BILLING", password)
    file = tmp_path / "pgpass"
    file.write_text(f"*:*:*:{billing}:{password}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    monkeypatch.delenv("PGPASSWORD", raising=False)
    for number, policy in enumerate(
        (
            ModulePolicy(schemas=("billing",), login=billing, password_variable="THE_PASSWORD_OF_BILLING"),
            ModulePolicy(schemas=("billing",), login=billing),
        ),
        1,
    ):
        service = start(database_url=service_user, module_policies={"billing*": policy})
        put(service, f"billing{number}", FILES | {"_001_a": "SELECT 1"}, schema="billing")
        answer = service.post(f"/modules/billing{number}/migrate").json()
        assert answer["status"] == "success", answer
