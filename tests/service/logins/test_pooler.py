"""Modules with logins of their own, in a service behind PgBouncer in transaction mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pgdbm_service.settings import ModulePolicy
from tests.support.problems import assert_problem

from ...support.pgbouncer import IGNORED, pgbouncer

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = {
    "_001_a": "CREATE TABLE {{tables.t}} (id integer); CREATE TABLE other (who text DEFAULT current_user);",
    "_002_b": "-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY t_id ON {{tables.t}} (id)",
    "_003_c": "INSERT INTO other DEFAULT VALUES;",
}


def test_a_module_is_migrated_by_its_login(
    roles: Any, service_user: str, billing: str, start: Callable[..., Any], repo: Any, sql: Callable[..., Any]
) -> None:
    repo.write("billing", **FILES)
    repo.write("plain", **FILES)
    service = urlsplit(service_user)
    passwords = {
        billing: roles.file(billing).read_text().strip(),
        service.username or "": unquote(service.password or ""),
    }
    with pgbouncer(service_user, ignored=IGNORED, passwords=passwords) as base:
        running = start(
            database_url=base + service.path,
            direct_url=service_user,
            module_policies={"billing": roles.policy(billing, "billing"), "plain": ModulePolicy(schemas=("plain",))},
        )
        for module, user in (("billing", billing), ("plain", service.username)):
            answer = running.post(f"/modules/{module}/migrate")
            assert answer.status_code == 200, answer.text
            assert len(answer.json()["applied"]) == len(FILES)
            owners = sql("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = $1", module)
            assert [row[0] for row in owners] == [user]
            assert sql(f"SELECT who FROM {module}.other")[0][0] == user
            assert running.get(f"/modules/{module}").json()["state"] == "up_to_date"
        assert running.get("/modules/billing/history").json()["items"][0]["applied_by"] == billing


def test_a_pooler_that_gives_every_client_the_same_user_is_named(
    roles: Any, service_user: str, billing: str, start: Callable[..., Any], repo: Any, sql: Callable[..., Any]
) -> None:
    repo.write("billing", **FILES)
    repo.write("plain", **FILES)
    service = urlsplit(service_user)
    with pgbouncer(service_user, ignored=IGNORED) as base:
        running = start(
            database_url=base + service.path,
            direct_url=service_user,
            module_policies={"billing": roles.policy(billing, "billing"), "plain": ModulePolicy(schemas=("plain",))},
        )
        problem = assert_problem(running.post("/modules/billing/migrate"), 503, "login_unavailable")
        assert f"its sessions have the user {service.username}" in problem["database_message"]
        assert running.post("/modules/plain/migrate").status_code == 200
        assert sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'billing'")[0][0] == 0
