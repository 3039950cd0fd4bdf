"""The operator's policy restricts the schemas and the role of modules, independent of their authors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm_service.settings import ModulePolicy, SettingsError, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = {"migrations": [{"filename": "001_a.sql", "content": "CREATE TABLE {{tables.t}} ()"}]}
POLICIES = {
    "billing*": ModulePolicy(schemas=("billing*",), role="billing"),
    "free": ModulePolicy(),
}


@pytest.fixture
def role(sql: Callable[..., Any]) -> None:
    sql("DO $$ BEGIN CREATE ROLE billing NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")


def code_of(answer: Any) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("code")


REFUSED = (403, "policy_violated")


@pytest.mark.usefixtures("role")
def test_registrations(start: Callable[..., Any]) -> None:
    service = start(module_policies=POLICIES)

    def register(module: str, **settings: Any) -> Any:
        return service.client.put(f"/modules/{module}", json=FILES | settings)

    assert register("billing", role="billing").status_code == 201
    assert register("billing2", role="billing", schemas=["billing_a", "billing_b"]).status_code == 201
    assert code_of(register("billing3", role="billing", schema="public")) == REFUSED
    assert code_of(register("billing3", role="billing", schemas=["billing_a", "team_b"])) == REFUSED
    assert code_of(register("billing3")) == REFUSED
    assert code_of(register("billing3", role="postgres")) == REFUSED
    refused = register("other").json()
    assert (refused["module"], "no policy" in refused["detail"]) == ("other", True)
    assert "PGDBM_MODULE_POLICIES" in refused["hint"]
    assert register("free", schema="anything").status_code == 201
    listed = {one["name"] for one in service.get("/modules").json()["items"]}
    assert listed == {"billing", "billing2", "free"}


@pytest.mark.usefixtures("role")
def test_every_call_that_executes_is_checked(start: Callable[..., Any], repo: Any, sql: Callable[..., Any]) -> None:
    """Modules of the repository are checked when they are to be executed."""
    repo.write("billing", 'schema = "team_b"\nrole = "billing"\n', _001_a="CREATE TABLE {{tables.t}} ()")
    service = start(module_policies=POLICIES)
    assert code_of(service.post("/modules/billing/migrate")) == REFUSED
    assert code_of(service.post("/migrate")) == REFUSED
    for operation, body in {
        "rehearse": {},
        "repair": {"accept": True},
        "revert": {},
        "baseline": {"version": "001", "check": False},
        "mark": {"filename": "001_a.sql", "applied": True},
    }.items():
        assert code_of(service.post(f"/modules/billing/{operation}", json=body)) == REFUSED, operation
    assert sql("SELECT FROM pg_namespace WHERE nspname = 'team_b'") == []
    # Reading is not restricted.
    assert service.get("/modules/billing/plan").status_code == 200


@pytest.mark.usefixtures("role")
def test_a_pattern_is_checked_for_each_schema(start: Callable[..., Any], repo: Any, sql: Callable[..., Any]) -> None:
    sql("CREATE SCHEMA billing_a")
    sql("CREATE SCHEMA team_b")
    sql("GRANT USAGE, CREATE ON SCHEMA billing_a, team_b TO billing")
    toml = 'schemas = "*_?"\nrole = "billing"\n'
    repo.write("billing", toml, _001_a="CREATE TABLE {{tables.t}} ()")
    service = start(module_policies=POLICIES)
    refused = service.post("/modules/billing/migrate")
    assert (code_of(refused), refused.json()["schema"]) == (REFUSED, "team_b")
    assert sql("SELECT FROM pg_tables WHERE tablename = 't'") == []
    assert service.post("/modules/billing/migrate", json={"schemas": ["billing_a"]}).status_code == 200


def test_the_setting() -> None:
    usual = {"DATABASE_URL": "postgresql://localhost/x"}
    text = json.dumps({"billing*": {"schemas": ["billing*"], "role": "billing"}})
    assert read_settings(usual | {"PGDBM_MODULE_POLICIES": text}).module_policies == {"billing*": POLICIES["billing*"]}
    for wrong in ("{", '{"a": {"schema": "b"}}', '{"a": {"schemas": ["[b]"]}}'):
        with pytest.raises(SettingsError, match="PGDBM_MODULE_POLICIES"):
            read_settings(usual | {"PGDBM_MODULE_POLICIES": wrong})
