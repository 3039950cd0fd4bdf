"""What pages offer after things have moved on: nothing that would be refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.waiting import eventually

from ..blocked_runs import holding
from ..conftest import bearer
from .people import place_of
from .test_pages import BAD, TABLE, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2


def migrated(service: Any, repo: Any, **files: str) -> str:
    """The id of a run that migrated the module ``m``."""
    repo.write("m", **files)
    service.sync()
    run: str = service.post("/modules/m/migrate").json()["run_id"]
    return run


def offered(page: httpx2.Response) -> set[str]:
    """The buttons in the main part of a page."""
    main = page.text.partition("<main")[2].partition("</main>")[0]
    found = re.findall(r'<button[^>]*>(.*?)</button>|<a class="button[^"]*"[^>]*>(.*?)</a>', main)
    return {one or other for one, other in found} - {"copy"}


def test_nothing_is_asked_if_nothing_is_pending(service: Any, repo: Any) -> None:
    migrated(service, repo, _001_a=TABLE)
    page = service.get("/ui/modules/m/migrate")
    assert "Nothing is pending in schema m" in text_of(page)
    assert offered(page) == {"Back"}
    assert offered(service.get("/ui/migrate")) == {"Back"}


def test_what_the_limits_of_a_module_refuse_is_said_before_it_is_sent(
    service: Any, repo: Any, sql: Callable[..., list[Any]]
) -> None:
    repo.write("m", 'max_blocked = "nothing"', _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate")
    sql("INSERT INTO m.t VALUES (1)")
    repo.write("m", 'max_blocked = "nothing"', _002_b="CREATE INDEX ON {{tables.t}} (id)")
    service.sync()
    page = service.get("/ui/modules/m/migrate")
    assert "A migrate is refused: 002_b.sql:1:1" in text_of(page)
    assert offered(page) == {"Rehearse first", "Back"}


def test_a_module_with_a_changed_file_offers_the_difference_only(service: Any, repo: Any) -> None:
    migrated(service, repo, _001_a=TABLE)
    repo.write("m", _001_a=f"{TABLE} -- changed", _002_b="SELECT 2")
    service.sync()
    page = service.get("/ui/modules/m")
    assert "1 migration pending" in text_of(page)
    assert not offered(page) & {"Dry run", "Rehearse", "Migrate…"}
    assert 'href="/ui/modules/m?tab=changed"' in page.text


def test_a_run_that_has_ended_is_neither_cancelled_nor_decided_about(service: Any, repo: Any) -> None:
    run = migrated(service, repo, _001_a=TABLE)
    assert place_of(service.get(f"/ui/runs/{run}/cancel", follow_redirects=False)) == f"/ui/runs/{run}"
    for action in ("approve", "reject", "break-glass"):
        refused = service.get(f"/ui/runs/{run}/{action}")
        assert refused.status_code == 409
        assert "The run does not wait for a decision" in refused.text
        assert offered(refused) == {"Show the run", "What this error means"}


def test_a_failure_that_was_resolved_is_not_offered_again(service: Any, repo: Any) -> None:
    run = migrated(service, repo, _001_a=BAD)
    page = f"/ui/runs/{run}"
    assert {"Retry", "Mark 001_a.sql as applied…"} <= offered(service.get(page))
    assert service.post("/modules/m/mark", json={"filename": "001_a.sql", "applied": True}).status_code == 200
    # Another file is pending: a retry migrates it.
    repo.write("m", _002_b="SELECT 2")
    service.sync()
    assert offered(service.get(page)) == {"Retry", "Show the plan"}
    service.post("/modules/m/migrate")
    assert offered(service.get(page)) == {"Show the history"}
    assert "Since then, everything was applied." in text_of(service.get(page))


@pytest.mark.settings(auth="tokens", auth_failures_per_minute=10000)
def test_all_modules_are_offered_to_those_who_may_migrate_each(
    service: Any, repo: Any, make_token: Callable[..., str]
) -> None:
    repo.write("m", _001_a=BAD)
    repo.write("other", _001_a=TABLE)
    service.sync()
    some, every = (bearer(make_token("read", f"migrate:{glob}")) for glob in ("m", "*"))
    assert "Migrate all…" in offered(service.get("/ui", headers=every))
    assert "Migrate all…" not in offered(service.get("/ui", headers=some))
    assert service.get("/ui/migrate", headers=some).status_code == 403
    assert offered(service.get("/ui/migrate", headers=every)) == {"Migrate all", "Back"}
    run = service.post("/migrate", headers=every).json()["run_id"]
    assert "Retry" in offered(service.get(f"/ui/runs/{run}", headers=every))
    assert offered(service.get(f"/ui/runs/{run}", headers=some)) == set()


@pytest.mark.settings(auth="tokens", auth_failures_per_minute=10000)
def test_someone_without_the_scope_read_is_not_led_to_pages(service: Any, make_token: Callable[..., str]) -> None:
    page = service.get("/ui", headers=bearer(make_token("migrate:m")))
    assert page.status_code == 403
    assert not re.findall(r'href="/ui/(?:runs|database)"', page.text)
    assert offered(page) == {"What this error means"}


def test_a_run_says_what_it_waits_for(service: Any, repo: Any, database: str) -> None:
    """The relation, who holds the lock, for how long, and the last statement, without values."""
    migrated(service, repo, _001_a=TABLE)
    repo.write("m", _002_b="ALTER TABLE {{tables.t}} ADD COLUMN a integer")
    service.sync()
    lock = "LOCK TABLE m.t IN ACCESS SHARE MODE; SELECT 42"
    with holding(database, lock, "billing-worker") as pid:
        run = service.post("/modules/m/migrate", headers={"Prefer": "respond-async"}).headers["location"]
        wanted = (
            rf"002_b\.sql, statement 1 of 1, waits for a lock on m\.t\. billing-worker \(pid {pid}\) holds it and is "
            r"idle in transaction, its transaction is [0-9.]+ m?s old\. Its last statement: LOCK TABLE m\.t IN ACCESS "
            r"SHARE MODE; SELECT \?\."
        )
        eventually(lambda: re.search(wanted, text_of(service.get(f"/ui{run}"))))
        page = service.get(f"/ui{run}").text
        # A screen reader reads out the state, and not each second that passes.
        assert re.search(r'<span class="sr" role="status">blocked: 002_b\.sql</span>', page)
        assert re.search(r'role="img" aria-label="waited [0-9.]+ m?s for locks"', page)
    eventually(lambda: service.get(run).json()["status"] == "succeeded")


def test_the_steps_of_a_long_run_are_those_of_its_newest_events(
    service: Any, repo: Any, sql: Callable[..., list[Any]]
) -> None:
    run = migrated(service, repo, _001_a="SELECT 1")
    before = 6000
    sql("UPDATE pgdbm_service.run_events SET number = number + $1", before)
    sql("UPDATE pgdbm_service.runs SET events = events + $1", before)
    sql(
        "INSERT INTO pgdbm_service.run_events (run, number, kind, data) "
        "SELECT $1::text::uuid, number, 'progress', '{}' FROM generate_series(1, $2) AS number",
        run,
        before,
    )
    assert 'title="001_a.sql"' in service.get(f"/ui/runs/{run}").text
