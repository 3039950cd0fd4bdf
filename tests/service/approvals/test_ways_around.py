"""Every way around approvals, windows, freezes and policies is tried, and is subject to the same checks."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager
from pgdbm_service.api.common import Approvals
from pgdbm_service.settings import ModulePolicy

from ..running_service import eventually
from .conftest import APPROVALS, TABLE, WITH_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import People

pytestmark = WITH_TOKENS

FILES = {"migrations": [{"filename": "001_a.sql", "content": TABLE}]}
NEEDED = {"approvals": {"count": 2, "when": "always", "require_reason": False}}


def code_of(answer: Any) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("code")


@pytest.fixture
def orders(repo: Any, people: People) -> People:
    """A module that needs an approval, with a down migration."""
    repo.write("orders", APPROVALS, _001_a=TABLE)
    (repo.path / "orders" / "001_a.down.sql").write_text("DROP TABLE {{tables.t}}")
    people.admin.post("/repo/sync")
    return people


@pytest.fixture
def applied(sql: Callable[..., Any]) -> Callable[[], list[str]]:
    """``applied()``: the schemas that have the table of the module."""
    return lambda: [row[0] for row in sql("SELECT schemaname::text FROM pg_tables WHERE tablename = 't' ORDER BY 1")]


class TestApprovals:
    def test_by_the_one_who_asked(self, orders: People, applied: Callable[[], list[str]]) -> None:
        """Not even with the scope for it, or as an admin."""
        for person in (orders.owner, orders.admin):
            run = person.migrate(lock_timeout_ms=1000 if person is orders.owner else 2000)
            assert code_of(person.approve(run)) == (403, "self_approval")
            assert code_of(person.post(f"/runs/{run['id']}/reject")) == (403, "self_approval")
            assert person.run(run)["status"] == "waiting_for_approval"
        assert applied() == []

    def test_without_the_scope(self, orders: People, repo: Any, applied: Callable[[], list[str]]) -> None:
        run = orders.dev.migrate()
        assert code_of(orders.dev.approve(run)) == (403, "forbidden")
        repo.write("payouts", APPROVALS, _001_a=TABLE)
        orders.admin.post("/repo/sync")
        other = orders.dev.migrate("payouts")
        # The scope of lead is approve:orders*.
        assert code_of(orders.lead.approve(other)) == (403, "forbidden")
        assert code_of(orders.lead.post(f"/runs/{other['id']}/reject")) == (403, "forbidden")
        assert orders.dev.run(other)["status"] == "waiting_for_approval"
        assert applied() == []

    def test_by_other_calls_that_migrate(self, orders: People, applied: Callable[[], list[str]]) -> None:
        """Every one of them leads to a run that waits."""
        dev = orders.dev
        run = dev.migrate()
        parent = dev.post("/migrate", Prefer="respond-async").json()
        child = eventually(lambda: dev.run(parent)["modules"][0]["run_id"])
        assert child == run["id"]
        assert (
            dev.post("/modules/orders/migrate", {"with_dependencies": True}, Prefer="respond-async").status_code == 202
        )
        for body in ({"target": "001"}, {"atomic": "all"}, {"schemas": ["orders"]}, {"on_failure": "continue"}):
            assert dev.migrate(**body)["status"] == "waiting_for_approval"
        waited = dev.post("/modules/orders/migrate?require_done=true", {"wait_s": 0.2})
        assert code_of(waited) == (504, "run_not_ended")
        assert applied() == []

    def test_by_a_retry(self, orders: People, applied: Callable[[], list[str]]) -> None:
        run = orders.dev.migrate()
        assert code_of(orders.dev.post(f"/runs/{run['id']}/retry")) == (409, "run_not_retryable")
        assert orders.dev.post(f"/runs/{run['id']}/cancel").json()["status"] == "cancelled"
        again = orders.dev.post(f"/runs/{run['id']}/retry", Prefer="respond-async").json()
        assert again["status"] == "waiting_for_approval"
        # A key leads to the run that waits.
        first = orders.dev.post("/modules/orders/migrate", None, Prefer="respond-async", **{"Idempotency-Key": "k"})
        second = orders.dev.post("/modules/orders/migrate", None, Prefer="respond-async", **{"Idempotency-Key": "k"})
        assert first.json()["id"] == second.json()["id"]
        assert second.json()["status"] == "waiting_for_approval"
        assert applied() == []

    def test_by_an_old_plan(self, orders: People, repo: Any, applied: Callable[[], list[str]]) -> None:
        run = orders.dev.migrate()
        old = run["approval"]["plan"]
        repo.write("orders", _002_b="SELECT 1")
        orders.admin.post("/repo/sync")
        assert code_of(orders.dev.post("/modules/orders/migrate", {"plan": old})) == (409, "plan_moved")
        new = orders.dev.migrate()
        assert code_of(orders.lead.post(f"/runs/{new['id']}/approve", {"plan": old})) == (409, "plan_moved")
        assert orders.dev.run(new)["approval"]["approved_by"] == []
        assert code_of(orders.lead.approve(run)) == (409, "plan_moved")
        assert applied() == []

    def test_by_reverting(self, orders: People, applied: Callable[[], list[str]]) -> None:
        """Down migrations are SQL that no one could approve. An admin can run them in an emergency."""
        run = orders.dev.migrate()
        assert orders.lead.approve(run).status_code == 200
        assert orders.dev.ended(run)["status"] == "succeeded"
        assert code_of(orders.dev.post("/modules/orders/revert")) == (409, "approval_required")
        assert code_of(orders.admin.post("/modules/orders/revert")) == (409, "approval_required")
        refused = orders.dev.post("/modules/orders/revert", {"break_glass": "please"})
        assert code_of(refused) == (403, "forbidden")
        assert applied() == ["orders"]
        reverted = orders.admin.post("/modules/orders/revert", {"break_glass": "production is down"})
        assert reverted.status_code == 200, reverted.text
        assert applied() == []
        entries = orders.admin.get("/audit?module=orders").json()["items"]
        assert "production is down" in [one["reason"] for one in entries if one["path"].endswith("/revert")]

    def test_by_changing_the_history(self, orders: People, repo: Any, applied: Callable[[], list[str]]) -> None:
        """An applied file that is marked as pending is not applied again by a run that was approved without it."""
        run = orders.dev.migrate()
        assert orders.lead.approve(run).status_code == 200
        assert orders.dev.ended(run)["status"] == "succeeded"
        repo.write("orders", _002_b="SELECT 1")
        orders.admin.post("/repo/sync")
        run = orders.dev.migrate()
        mark = {"filename": "001_a.sql", "applied": False}
        assert orders.dev.post("/modules/orders/mark", mark).status_code == 200
        assert code_of(orders.lead.approve(run)) == (409, "plan_moved")
        assert orders.dev.run(run)["status"] == "failed"

    def test_by_registering_again(self, people: People) -> None:
        """A registrant cannot lower the approvals that a registration requires, not even by unregistering first."""
        dev, admin = people.dev, people.admin
        assert dev.send("PUT", "/modules/orders", FILES | NEEDED).status_code == 201
        for weaker in (
            {},
            {"approvals": {"count": 1}},
            {"approvals": {"count": 2, "when": "warning"}},
            {"approvals": {"count": 3, "when": "never"}},
        ):
            assert code_of(dev.send("PUT", "/modules/orders", FILES | weaker)) == (403, "approvals_weakened"), weaker
        assert dev.send("DELETE", "/modules/orders").status_code == 200
        assert code_of(dev.send("PUT", "/modules/orders", FILES)) == (403, "approvals_weakened")
        assert code_of(dev.send("PUT", '/modules/orders?approvals={"when":"never"}', FILES | NEEDED)) == (
            403,
            "approvals_weakened",
        )
        # Requiring more is always possible, and takes effect.
        stricter = {"approvals": {"count": 3, "when": "always", "require_reason": True}}
        assert dev.send("PUT", "/modules/orders", FILES | stricter).status_code == 201
        assert code_of(dev.send("PUT", "/modules/orders", FILES | NEEDED)) == (403, "approvals_weakened")
        assert admin.send("PUT", "/modules/orders", FILES | NEEDED).status_code == 201

    def test_by_registering_while_a_run_waits(self, people: People, applied: Callable[[], list[str]]) -> None:
        """The registered files are then no longer those that were approved."""
        assert people.dev.send("PUT", "/modules/orders", FILES | NEEDED).status_code == 201
        run = people.dev.migrate()
        assert people.lead.approve(run).status_code == 200
        more = {"migrations": [*FILES["migrations"], {"filename": "002_b.sql", "content": "SELECT 1"}]}
        assert people.dev.send("PUT", "/modules/orders", more | NEEDED).status_code == 201
        assert code_of(people.owner.approve(run)) == (409, "plan_moved")
        again = people.dev.migrate()
        assert again["approval"]["approved_by"] == []
        assert applied() == []

    def test_by_another_module_for_the_same_schema(
        self, start: Callable[..., Any], repo: Any, people_of: Callable[[Any], People]
    ) -> None:
        """The policies of the operator decide: they say which schemas a module may have."""
        policies = {
            "orders": ModulePolicy(schemas=("orders",), approvals=Approvals(count=1)),
            "*": ModulePolicy(schemas=("other",)),
        }
        people = people_of(start(auth="tokens", module_policies=policies))
        answer = people.dev.send("PUT", "/modules/orders2", FILES | {"schema": "orders"})
        assert code_of(answer) == (403, "policy_violated")
        assert people.dev.send("PUT", "/modules/orders", FILES | {"approvals": {"when": "never"}}).status_code == 201
        assert people.dev.migrate()["approval"]["required_count"] == 1

    def test_by_two_approvals_at_the_same_time(self, repo: Any, people: People) -> None:
        """Two approvals of one person count once; those of two people both count, and the run starts once."""
        repo.write("orders", "approvals = {count = 2}", _001_a=TABLE, _002_b="SELECT pg_sleep(0.1)")
        people.admin.post("/repo/sync")
        run = people.dev.migrate()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: people.lead.approve(run), range(8)))
        assert {answer.status_code for answer in answers} == {200}
        now = people.dev.run(run)
        assert (now["status"], len(now["approval"]["approved_by"])) == ("waiting_for_approval", 1)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: people.owner.approve(run), range(8)))
        assert 200 in {answer.status_code for answer in answers}
        ended = people.dev.ended(run)
        assert (ended["status"], ended["attempts"], len(ended["approval"]["approved_by"])) == ("succeeded", 1, 2)

    def test_by_an_approval_and_a_rejection_at_the_same_time(self, repo: Any, people: People) -> None:
        """One of the two is refused."""
        for number in range(5):
            repo.write(f"orders{number}", APPROVALS, _001_a=TABLE)
        people.admin.post("/repo/sync")
        for number in range(5):
            run = people.dev.migrate(f"orders{number}")
            with ThreadPoolExecutor(2) as pool:
                approved = pool.submit(people.lead.approve, run)
                rejected = pool.submit(people.owner.post, f"/runs/{run['id']}/reject")
            codes = {approved.result().status_code, rejected.result().status_code}
            assert codes == {200, 409}
            status = people.dev.ended(run)["status"]
            assert status == ("succeeded" if approved.result().status_code == 200 else "cancelled")

    def test_by_the_database_of_the_queue(self, orders: People, sql: Callable[..., Any]) -> None:
        """An item that another release, or a mistake, puts into the queue starts nothing."""
        run = orders.dev.migrate()
        payload = f'{{"run":"{run["id"]}","chunk":1,"of_all":false}}'
        sql(
            "INSERT INTO pgdbm_service.pgqueuer (priority, entrypoint, payload, status, dedupe_key) "
            "VALUES (10, 'run', convert_to($1, 'UTF8'), 'queued', $2)",
            payload,
            f"{run['id']}:1",
        )
        eventually(lambda: not sql("SELECT FROM pgdbm_service.pgqueuer"))
        assert orders.dev.run(run)["status"] == "waiting_for_approval"

    def test_by_the_command_line(
        self,
        orders: People,
        tmp_path: Any,
        make_token: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        applied: Callable[[], list[str]],
    ) -> None:
        """``pgdbm deploy`` registers and migrates: its run waits, and the deployment times out."""
        from ..commands.test_deploy import Pipeline

        monkeypatch.setenv("PGDBM_SERVER", orders.dev.service.url)
        monkeypatch.setenv("PGDBM_TOKEN", make_token("read", "register:*", "migrate:*"))
        pgdbm = Pipeline(tmp_path / "project", capsys, monkeypatch)
        folder = tmp_path / "payouts"
        folder.mkdir()
        (folder / "001_a.sql").write_text(TABLE)
        (folder / "module.toml").write_text(APPROVALS)
        answer = pgdbm("deploy", "payouts", "--dir", str(folder), "--timeout", "10")
        assert answer.code == 7
        assert "waits for 1 approval" in answer.out
        assert applied() == []


def closed_for_days() -> dict[str, Any]:
    return {"open": [f"{(datetime.now(UTC) + timedelta(days=3)).strftime('%a')} 01:00-02:00"]}


class TestTimes:
    def test_windows_by_registering_again(self, people: People) -> None:
        windows = {"windows": closed_for_days()}
        assert people.dev.send("PUT", "/modules/orders", FILES | windows).status_code == 201
        for other in ({}, {"windows": {"open": ["00:00-24:00"]}}):
            assert code_of(people.dev.send("PUT", "/modules/orders", FILES | other)) == (403, "approvals_weakened")
        assert people.admin.send("PUT", "/modules/orders", FILES).status_code == 201

    def test_a_freeze_by_every_call_that_changes_something(
        self, repo: Any, people: People, applied: Callable[[], list[str]]
    ) -> None:
        dev = people.dev
        repo.write("orders", _001_a=TABLE)
        (repo.path / "orders" / "001_a.down.sql").write_text("DROP TABLE {{tables.t}}")
        people.admin.post("/repo/sync")
        assert dev.post("/modules/orders/migrate").json()["status"] == "success"
        repo.write("orders", _002_b="CREATE TABLE {{tables.u}} ()")
        people.admin.post("/repo/sync")
        assert people.admin.send("PUT", "/freeze", {"reason": "x", "modules": "or*"}).status_code == 200
        for path, body in (
            ("revert", {}),
            ("mark", {"filename": "002_b.sql", "applied": True}),
            ("repair", {"accept": True}),
            ("baseline", {"version": "001", "check": False}),
            ("resolve", {"filename": "002_b.sql", "statement": 1, "done": True}),
        ):
            assert code_of(dev.post(f"/modules/orders/{path}", body)) == (409, "closed"), path
            # An admin lifts the freeze first.
            assert code_of(people.admin.post(f"/modules/orders/{path}", body)) == (409, "closed"), path
        run = dev.migrate()
        parent = dev.post("/migrate", Prefer="respond-async").json()
        eventually(lambda: dev.run(run)["status"] == "held")
        eventually(lambda: dev.run(parent)["modules"][0]["run_id"] == run["id"])
        assert dev.post(f"/runs/{run['id']}/cancel").json()["status"] == "cancelled"
        dev.ended(parent)
        again = dev.post(f"/runs/{run['id']}/retry", Prefer="respond-async").json()
        eventually(lambda: dev.run(again)["status"] == "held")
        # What only reads is answered.
        assert dev.post("/modules/orders/rehearse").json()["succeeded"]
        assert dev.get("/modules/orders/changes").status_code == 200
        assert dev.post("/modules/orders/migrate", {"dry_run": True}).json()["pending"] == ["002_b.sql"]
        assert applied() == ["orders"]

    def test_reverting_outside_the_windows(self, repo: Any, people: People) -> None:
        repo.write("orders", _001_a=TABLE)
        (repo.path / "orders" / "001_a.down.sql").write_text("DROP TABLE {{tables.t}}")
        people.admin.post("/repo/sync")
        assert people.dev.post("/modules/orders/migrate").json()["status"] == "success"
        days = closed_for_days()["open"][0]
        repo.write("orders", f'windows = {{open = ["{days}"]}}')
        people.admin.post("/repo/sync")
        assert code_of(people.dev.post("/modules/orders/revert")) == (409, "closed")

    def test_a_freeze_by_many_requests_at_the_same_time(
        self, repo: Any, people: People, sql: Callable[..., Any]
    ) -> None:
        """From the answer of PUT /freeze on, no run starts, however many are asked for at that moment."""
        for number in range(10):
            repo.write(f"orders{number}", _001_a=TABLE)
        people.admin.post("/repo/sync")
        with ThreadPoolExecutor(11) as pool:
            migrating = [
                pool.submit(people.dev.post, f"/modules/orders{number}/migrate", None, Prefer="respond-async")
                for number in range(10)
            ]
            frozen = pool.submit(people.admin.send, "PUT", "/freeze", {"reason": "x"})
            answer = frozen.result()
            at = datetime.now(UTC)
            runs = [one.result().json() for one in migrating]
        assert answer.status_code == 200
        active = [run for run in runs if "id" in run]
        eventually(lambda: all(people.dev.run(run)["status"] in ("held", "succeeded") for run in active))
        started = sql("SELECT started_at FROM pgdbm_service.runs WHERE started_at IS NOT NULL")
        assert all(row[0] <= at for row in started)

    def test_a_policy_by_registering_windows(
        self, start: Callable[..., Any], people_of: Callable[[Any], People]
    ) -> None:
        """A registrant cannot widen the windows of the operator."""
        from pgdbm_service.api.common import Windows

        windows = Windows(open=tuple(closed_for_days()["open"]))
        people = people_of(start(auth="tokens", module_policies={"*": ModulePolicy(windows=windows)}))
        wide = {"windows": {"open": ["00:00-24:00"]}}
        assert people.dev.send("PUT", "/modules/orders", FILES | wide).status_code == 201
        run = people.dev.migrate()
        eventually(lambda: people.dev.run(run)["status"] == "held")


class TestTheCommandLine:
    def test_between_the_check_of_an_approved_plan_and_its_run(
        self, repo: Any, people: People, database: str, sql: Callable[..., list[Any]]
    ) -> None:
        """It applies a file of the plan while the approved run, which has compared the plan, waits for it."""
        files = {"_001_a": "INSERT INTO public.gate DEFAULT VALUES", "_002_b": TABLE, "_003_c": "SELECT 1"}
        repo.write("orders", APPROVALS, **files)
        people.admin.post("/repo/sync")
        sql("CREATE TABLE public.gate (id int)")
        run = people.dev.migrate()
        with psycopg.connect(database) as gate, ThreadPoolExecutor(1) as process:
            gate.execute("LOCK TABLE public.gate IN ACCESS EXCLUSIVE MODE")
            other = process.submit(lambda: asyncio.run(_apply(database, "001_a.sql", files["_001_a"])))
            eventually(lambda: sql("SELECT FROM pg_locks WHERE NOT granted AND relation = 'public.gate'::regclass"))
            assert people.lead.approve(run).status_code == 200
            waits = "SELECT FROM pgdbm_service.run_events WHERE kind = 'waiting_for_runner'"
            eventually(lambda: sql(waits))
            gate.commit()
            other.result()
        ended = people.dev.ended(run)
        assert (ended["status"], ended["problem"]["code"]) == ("failed", "plan_moved")
        assert [row[0] for row in sql("SELECT filename FROM orders.schema_migrations")] == ["001_a.sql"]


async def _apply(database: str, filename: str, sql: str) -> None:
    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        db = AsyncDatabaseManager(pool=pool, schema="orders")
        await AsyncMigrationManager(db, {filename: sql}, "orders").apply_pending_migrations()
