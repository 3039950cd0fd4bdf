"""A run of a module that needs approvals: from the plan to the end, and what makes approvals void."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm_service.api.common import Approvals
from pgdbm_service.runs.plan_binding import PlanBinding
from pgdbm_service.settings import ModulePolicy

from ..running_service import eventually, serving
from .conftest import APPROVALS, TABLE, WITH_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import People, Person

pytestmark = WITH_TOKENS


def code_of(answer: Any) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("code")


def events(person: Person, run: Any) -> list[str]:
    with person.service.client.stream("GET", f"/runs/{run['id']}/events", headers=person.headers) as stream:
        return [line.removeprefix("event: ") for line in stream.iter_lines() if line.startswith("event: ")]


def test_from_the_plan_to_the_approved_run(repo: Any, people: People, sql: Callable[..., Any]) -> None:
    """The whole way."""
    dev, lead, owner = people.dev, people.lead, people.owner
    repo.write("orders", 'approvals = {count = 2, when = "always", require_reason = true}', _001_a=TABLE)
    people.admin.post("/repo/sync")
    assert dev.get("/modules/orders").json()["approvals"] == {"count": 2, "when": "always", "require_reason": True}
    plan = dev.get("/modules/orders/plan").json()
    assert [one["filename"] for one in plan["pending"]] == ["001_a.sql"]

    run = dev.migrate(plan=plan["digest"])
    assert (run["status"], run["created_by"]) == ("waiting_for_approval", "token:dev")
    assert run["approval"] == {"plan": plan["digest"], "required_count": 2, "require_reason": True, "approved_by": []}
    # The same request joins the run, and does not bypass the approval.
    assert dev.migrate(plan=plan["digest"])["id"] == run["id"]
    assert lead.get("/runs?status=waiting_for_approval").json()["items"][0]["id"] == run["id"]

    assert code_of(lead.approve(run)) == (400, "invalid_request")
    first = lead.approve(run, reason="read it")
    assert (first.status_code, first.json()["status"]) == (200, "waiting_for_approval")
    # Approving twice counts once.
    assert len(lead.approve(run, reason="again").json()["approval"]["approved_by"]) == 1
    second = owner.approve(run, reason="so did I").json()
    assert [(one["principal"], one["reason"]) for one in second["approval"]["approved_by"]] == [
        ("token:lead", "read it"),
        ("token:owner", "so did I"),
    ]
    ended = dev.ended(run)
    assert (ended["status"], ended["problem"]) == ("succeeded", None)
    assert sql("SELECT to_regclass('orders.t')")[0][0] is not None
    assert events(dev, run)[:5] == ["run_queued", "waiting_for_approval", "approved", "approved", "schema_started"]
    # Nothing is pending now, which needs no one.
    assert dev.post("/modules/orders/migrate").json()["status"] == "up_to_date"
    entries = eventually(
        lambda: (
            len(
                found := [one for one in people.admin.get("/audit").json()["items"] if one["path"].endswith("/approve")]
            )
            == 4
            and found
        )
    )
    assert [(one["principal"], one["reason"], one["http_status"]) for one in reversed(entries)] == [
        ("token:lead", None, 400),
        ("token:lead", "read it", 200),
        ("token:lead", "again", 200),
        ("token:owner", "so did I", 200),
    ]


def test_a_run_is_rejected(repo: Any, people: People, sql: Callable[..., Any]) -> None:
    repo.write("orders", APPROVALS, _001_a=TABLE)
    people.admin.post("/repo/sync")
    run = people.dev.migrate()
    assert people.lead.post(f"/runs/{run['id']}/reject", {"reason": "not on a Friday"}).json()["status"] == "cancelled"
    ended = people.dev.run(run)
    assert ended["problem"]["code"] == "run_rejected"
    assert "not on a Friday" in ended["problem"]["detail"]
    assert events(people.dev, run)[-2:] == ["rejected", "run_ended"]
    assert sql("SELECT to_regclass('orders.t')")[0][0] is None
    assert code_of(people.lead.approve(run)) == (409, "run_not_waiting")
    assert code_of(people.lead.post(f"/runs/{run['id']}/reject")) == (409, "run_not_waiting")
    # A retry is a new run, and waits again.
    again = people.dev.post(f"/runs/{run['id']}/retry", Prefer="respond-async").json()
    assert again["status"] == "waiting_for_approval"


def test_only_plans_with_warnings(repo: Any, people: People, sql: Callable[..., Any]) -> None:
    table = "CREATE TABLE {{tables.t}} (id bigint PRIMARY KEY)"
    repo.write("orders", 'approvals = {when = "warning"}', _001_a=table)
    people.admin.post("/repo/sync")
    answer = people.dev.post("/modules/orders/migrate")
    assert answer.json()["status"] == "success", answer.text
    sql("INSERT INTO orders.t VALUES (1)")
    repo.write("orders", _002_b="ALTER TABLE {{tables.t}} ALTER COLUMN id TYPE numeric")
    people.admin.post("/repo/sync")
    findings = people.dev.get("/modules/orders/plan").json()["pending"][0]["findings"]
    assert "warning" in {one["severity"] for one in findings}
    run = people.dev.migrate()
    assert run["status"] == "waiting_for_approval"
    assert people.lead.approve(run).status_code == 200
    assert people.dev.ended(run)["status"] == "succeeded"


def test_the_files_move(repo: Any, people: People, sql: Callable[..., Any]) -> None:
    repo.write("orders", "approvals = {count = 2}", _001_a=TABLE)
    people.admin.post("/repo/sync")
    run = people.dev.migrate()
    assert people.lead.approve(run).status_code == 200
    repo.write("orders", _002_b="SELECT 1")
    people.admin.post("/repo/sync")
    assert code_of(people.owner.approve(run)) == (409, "plan_moved")
    ended = people.dev.run(run)
    assert (ended["status"], ended["problem"]["code"]) == ("failed", "plan_moved")
    assert ended["approval"]["approved_by"] == []
    assert "approvals_voided" in events(people.dev, run)
    assert sql("SELECT to_regclass('orders.t')")[0][0] is None
    # A new request has a plan of its own.
    again = people.dev.migrate()
    assert again["approval"]["plan"] != run["approval"]["plan"]


def test_the_history_moves(repo: Any, people: People, sql: Callable[..., Any]) -> None:
    repo.write("orders", APPROVALS, _001_a=TABLE, _002_b="SELECT 1")
    people.admin.post("/repo/sync")
    run = people.dev.migrate()
    assert people.dev.post("/modules/orders/mark", {"filename": "001_a.sql", "applied": True}).status_code == 200
    assert code_of(people.lead.approve(run)) == (409, "plan_moved")
    assert people.dev.run(run)["status"] == "failed"
    assert sql("SELECT count(*) FROM orders.schema_migrations")[0][0] == 1


@pytest.mark.parametrize("is_planned", [False, True])
def test_the_plan_is_applied_while_a_request_arrives(
    repo: Any, people: People, monkeypatch: pytest.MonkeyPatch, is_planned: bool
) -> None:
    """An earlier run ends while the request reads what is pending. An empty plan needs no approval."""
    repo.write("orders", APPROVALS, _001_a=TABLE)
    people.admin.post("/repo/sync")
    # Until the service keeps the files, so that the plan of a request is handed on to its run.
    time.sleep(0.5)
    earlier = people.dev.migrate()
    bind = PlanBinding.bind

    def end_earlier() -> None:
        people.lead.approve(earlier)
        assert people.dev.ended(earlier)["status"] == "succeeded"

    async def bind_late(*arguments: Any) -> Any:
        if not is_planned:
            await asyncio.to_thread(end_earlier)
        bound = await bind(*arguments)
        if is_planned:
            monkeypatch.setattr(PlanBinding, "bind", bind)
            await asyncio.to_thread(end_earlier)
        return bound

    monkeypatch.setattr(PlanBinding, "bind", bind_late)
    for _ in range(2):
        answer = people.owner.post("/modules/orders/migrate?require_done=true", **{"Idempotency-Key": "k"})
        assert (answer.status_code, answer.json()["status"]) == (200, "up_to_date")
    waiting = people.admin.get("/runs?status=waiting_for_approval").json()["items"]
    assert waiting == []


def test_what_moves_after_the_approval(repo: Any, people: People, sql: Callable[..., Any]) -> None:
    """An approved run that is held is compared again when it starts."""
    repo.write("orders", APPROVALS, _001_a=TABLE, _002_b="SELECT 1")
    repo.write("orders_too", APPROVALS, _001_a=TABLE)
    people.admin.post("/repo/sync")
    runs = [people.dev.migrate("orders"), people.dev.migrate("orders_too")]
    assert people.admin.send("PUT", "/freeze", {"reason": "x"}).status_code == 200
    for run in runs:
        assert people.lead.approve(run).status_code == 200
    for run in runs:
        eventually(lambda: people.dev.run(run)["status"] == "held")  # noqa: B023
    # Applied by a runner other than the service, which could not refuse it.
    sql("CREATE SCHEMA orders")
    sql(
        "CREATE TABLE orders.schema_migrations (id serial PRIMARY KEY, filename text NOT NULL, checksum text NOT NULL, "
        "applied_at timestamptz DEFAULT now(), applied_by text, module_name text, execution_time_ms integer)"
    )
    from pgdbm.migrations.sources.migration import checksum_of

    sql(
        "INSERT INTO orders.schema_migrations (filename, checksum, module_name) VALUES ('001_a.sql', $1, 'orders')",
        checksum_of(TABLE),
    )
    repo.write("orders_too", _002_b="SELECT 2")
    people.admin.post("/repo/sync")
    assert people.admin.send("DELETE", "/freeze").status_code == 200
    for run in runs:
        ended = people.dev.ended(run)
        assert (ended["status"], ended["problem"]["code"]) == ("failed", "plan_moved")
    assert sql("SELECT to_regclass('orders_too.t')")[0][0] is None


def test_several_schemas(repo: Any, people: People, sql: Callable[..., Any]) -> None:
    repo.write("orders", f'schemas = ["a", "b", "c"]\n{APPROVALS}', _001_a=TABLE)
    people.admin.post("/repo/sync")
    run = people.dev.migrate(canary=1)
    assert run["status"] == "waiting_for_approval"
    assert people.lead.approve(run).status_code == 200
    ended = people.dev.ended(run)
    assert (ended["status"], ended["schema_counts"]["succeeded"]) == ("succeeded", 3)


def test_every_module_waits_for_the_one_that_needs_approval(repo: Any, people: People) -> None:
    repo.write("a", _001_a=TABLE)
    repo.write("orders", f'{APPROVALS}\ndepends_on = ["a"]', _001_a=TABLE)
    people.admin.post("/repo/sync")
    parent = people.dev.post("/migrate", Prefer="respond-async").json()
    waiting = eventually(lambda: people.lead.get("/runs?status=waiting_for_approval").json()["items"])
    assert [one["module"] for one in waiting] == ["orders"]
    assert people.dev.run(parent)["status"] == "running"
    assert people.lead.approve(people.lead.run(waiting[0])).status_code == 200
    assert people.dev.ended(parent)["status"] == "succeeded"


def test_a_rejected_child_fails_its_parent(repo: Any, people: People) -> None:
    repo.write("orders", APPROVALS, _001_a=TABLE)
    people.admin.post("/repo/sync")
    parent = people.dev.post("/migrate", Prefer="respond-async").json()
    waiting = eventually(lambda: people.lead.get("/runs?status=waiting_for_approval").json()["items"])
    assert people.lead.post(f"/runs/{waiting[0]['id']}/reject").status_code == 200
    assert people.dev.ended(parent)["problem"]["code"] == "run_rejected"


@pytest.fixture
def failing_once(sql: Callable[..., Any]) -> Iterator[None]:
    """The connection is lost once, when a parent records that its child has started."""
    sql("CREATE SEQUENCE public.starts")
    sql(
        "CREATE FUNCTION public.fail_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF nextval('public.starts') = 1 THEN RAISE EXCEPTION 'lost' USING ERRCODE = '08006'; END IF; "
        "RETURN NEW; END $$"
    )
    sql(
        "CREATE TRIGGER fail_once BEFORE UPDATE ON pgdbm_service.run_children FOR EACH ROW "
        "WHEN (NEW.status = 'running') EXECUTE FUNCTION public.fail_once()"
    )
    yield
    sql("DROP FUNCTION public.fail_once() CASCADE")
    sql("DROP SEQUENCE public.starts")


@pytest.mark.usefixtures("failing_once")
def test_a_child_that_ended_before_its_parent_knew_of_it_is_not_created_again(repo: Any, people: People) -> None:
    repo.write("orders", APPROVALS, _001_a=TABLE)
    people.admin.post("/repo/sync")
    parent = people.dev.post("/migrate", Prefer="respond-async").json()
    (waiting,) = eventually(lambda: people.lead.get("/runs?status=waiting_for_approval").json()["items"])
    assert people.lead.post(f"/runs/{waiting['id']}/reject").status_code == 200
    assert people.dev.ended(parent)["problem"]["code"] == "run_rejected"
    runs = people.lead.get("/runs?module=orders").json()["items"]
    assert [run["id"] for run in runs] == [waiting["id"]]


def test_an_emergency(repo: Any, people: People, sql: Callable[..., Any]) -> None:
    """Break-glass: an admin, a reason, an event, and an entry of its own in the audit."""
    repo.write("orders", f'{APPROVALS}\nwindows = {{open = ["Mon 00:00-00:01"]}}', _001_a=TABLE)
    people.admin.post("/repo/sync")
    assert people.admin.send("PUT", "/freeze", {"reason": "x"}).status_code == 200
    run = people.dev.migrate()
    path = f"/runs/{run['id']}/break-glass"
    for person in (people.dev, people.lead, people.owner):
        assert code_of(person.post(path, {"reason": "production is down"})) == (403, "forbidden")
    assert code_of(people.admin.post(path, {"reason": ""})) == (400, "invalid_request")
    assert code_of(people.admin.post(path)) == (400, "invalid_request")
    assert people.dev.run(run)["status"] == "waiting_for_approval"
    broken = people.admin.post(path, {"reason": "production is down"})
    assert broken.status_code == 200, broken.text
    ended = people.dev.ended(run)
    assert ended["status"] == "succeeded"
    assert (ended["break_glass"]["principal"], ended["break_glass"]["reason"]) == ("token:admin", "production is down")
    assert "break_glass" in events(people.dev, run)
    entries = eventually(
        lambda: (
            len(
                found := [
                    one for one in people.admin.get("/audit").json()["items"] if one["path"].endswith("break-glass")
                ]
            )
            == 6
            and found
        )
    )
    assert [(one["principal"], one["http_status"], one["reason"]) for one in entries if one["http_status"] == 200] == [
        ("token:admin", 200, "production is down")
    ]
    assert code_of(people.admin.post(path, {"reason": "again"})) == (409, "run_not_waiting")


def test_the_operator_demands_more(start: Callable[..., Any], repo: Any, people_of: Callable[[Any], People]) -> None:
    repo.write("orders", 'approvals = {count = 1, when = "never"}', _001_a=TABLE)
    policy = ModulePolicy(approvals=Approvals(count=2, require_reason=True))
    people = people_of(start(auth="tokens", module_policies={"*": policy}))
    run = people.dev.migrate()
    assert (run["approval"]["required_count"], run["approval"]["require_reason"]) == (2, True)


def test_a_policy_that_comes_later(
    start: Callable[..., Any], repo: Any, database: str, watch: Any, people_of: Callable[[Any], People]
) -> None:
    """A run that was accepted before is bound to its plan, and waits, once a replica knows the policy."""
    repo.write("orders", _001_a=TABLE)
    with serving(watch, database_url=database, migrations_repo=repo.path, auth="tokens") as service:
        first = people_of(service)
        assert first.admin.send("PUT", "/freeze", {"reason": "x"}).status_code == 200
        run = first.dev.migrate()
        eventually(lambda: first.dev.run(run)["status"] == "held")
    second = people_of(start(auth="tokens", module_policies={"*": ModulePolicy(approvals=Approvals())}))
    assert second.admin.send("DELETE", "/freeze").status_code == 200
    waiting = eventually(lambda: (now := second.dev.run(run))["status"] == "waiting_for_approval" and now)
    assert code_of(second.lead.approve(waiting)) == (200, None)
    assert second.dev.ended(run)["status"] == "succeeded"


@pytest.mark.parametrize("text", ["count = 0", 'when = "sometimes"', "people = 3"])
def test_settings_that_are_wrong(repo: Any, people: People, text: str) -> None:
    repo.write("orders", f"approvals = {{{text}}}", _001_a=TABLE)
    people.admin.post("/repo/sync")
    assert people.dev.get("/modules/orders").json()["state"] == "invalid"
    assert code_of(people.dev.post("/modules/orders/migrate")) == (422, "module_invalid")
