"""Tables that other users made to resemble histories: nothing in them is executed or counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COLUMNS = """
id integer GENERATED ALWAYS AS IDENTITY, filename text, checksum text, module_name text, applied_at timestamptz
"""


@pytest.fixture
def service_user(database: str, sql: Callable[..., Any], watch: Any) -> Iterator[str]:
    """The URL of a database user that is not a superuser, and may create schemas."""
    parts = urlsplit(database)
    role, untrusted = (f"{kind}_{parts.path.strip('/')}" for kind in ("service", "untrusted"))
    sql("DROP SCHEMA pgdbm_service CASCADE")
    sql(f"CREATE ROLE {role} LOGIN PASSWORD 'service-password'")
    sql(f"GRANT CREATE ON DATABASE {parts.path.strip('/')} TO {role}")
    sql(f"CREATE ROLE {untrusted}")
    sql(f"CREATE SCHEMA st AUTHORIZATION {untrusted}")
    watch.plant("a password", "service-password")
    yield urlunsplit(parts._replace(netloc=f"{role}:service-password@{parts.hostname}:{parts.port}"))
    for one in (role, untrusted):
        sql(f"REASSIGN OWNED BY {one} TO CURRENT_USER")
        sql(f"DROP OWNED BY {one}")
        sql(f"DROP ROLE {one}")


def test_row_security_of_others(
    start: Callable[..., Any], service_user: str, database: str, sql: Callable[..., Any], repo: Any
) -> None:
    untrusted = f"untrusted_{urlsplit(database).path.strip('/')}"
    for statement in (
        "CREATE TABLE st.ran (by text)",
        "CREATE FUNCTION st.pf() RETURNS boolean LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO st.ran VALUES (current_user); RETURN true; END $$",
        f"CREATE TABLE st.schema_migrations ({COLUMNS})",
        "INSERT INTO st.schema_migrations (filename, checksum, module_name) VALUES ('001_a.sql', 'x', 'orders')",
        "ALTER TABLE st.schema_migrations ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY p ON st.schema_migrations USING (st.pf())",
        "GRANT USAGE ON SCHEMA st TO PUBLIC",
        "GRANT ALL ON ALL TABLES IN SCHEMA st TO PUBLIC",
        f"ALTER TABLE st.schema_migrations OWNER TO {untrusted}",
        f"ALTER TABLE st.ran OWNER TO {untrusted}",
        f"ALTER FUNCTION st.pf() OWNER TO {untrusted}",
    ):
        sql(statement)
    repo.write("orders", _001_a="SELECT 1")
    repo.write("of_another_user", 'schema = "st"', _001_a="SELECT 1")
    service = start(database_url=service_user, reconcile_s=1, metrics_sample_s=0.05)
    for path in ("/modules", "/modules/orders", "/modules/orders/schemas", "/schemas", "/schemas/st", "/overview"):
        assert service.get(path).status_code == 200
    body = {"migrations": [{"filename": "001_a.sql", "content": "SELECT 2"}]}
    # A history that the untrusted user wrote does not decide what is applied elsewhere with different content.
    assert service.client.put("/modules/registered", json=body).status_code == 201
    names = {item["name"]: item for item in service.get("/modules").json()["items"]}
    assert names["orders"]["state"] == "pending"
    assert names["of_another_user"]["problem"]["code"] == "insufficient_privilege"
    assert service.post("/modules/orders/migrate").json()["status"] == "success"
    assert sql("SELECT * FROM st.ran") == []


def test_columns_of_types_of_others(
    start: Callable[..., Any], service_user: str, sql: Callable[..., Any], repo: Any
) -> None:
    """A superuser reads every table, even one of an owner whose types have conversion functions."""
    for statement in (
        "CREATE TABLE st.ran (by text)",
        "CREATE TYPE st.name AS (value text)",
        "CREATE FUNCTION st.as_text(st.name) RETURNS text LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO st.ran VALUES (current_user); RETURN 'x'; END $$",
        "CREATE CAST (st.name AS text) WITH FUNCTION st.as_text(st.name) AS IMPLICIT",
        f"CREATE TABLE st.schema_migrations ({COLUMNS.replace('filename text', 'filename st.name')})",
        "INSERT INTO st.schema_migrations (filename, checksum, module_name) VALUES (ROW('a.sql'), 'x', 'planted')",
    ):
        sql(statement)
    repo.write("orders", _001_a="SELECT 1")
    service = start()
    assert [item["name"] for item in service.get("/modules").json()["items"]] == ["orders"]
    assert sql("SELECT * FROM st.ran") == []
