"""Incidents, from the overview to the fix, with the clicks counted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.waiting import eventually

from ...blocked_runs import blocked_run, holding

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..conftest import Clicks

    Visit = Callable[..., Any]

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
COLUMN = "ALTER TABLE {{tables.t}} ADD COLUMN a integer"
ASYNC = {"Prefer": "respond-async"}


def migrated(service: Any, repo: Any, module: str, **files: str) -> None:
    repo.write(module, **files)
    service.sync()
    assert service.post(f"/modules/{module}/migrate").status_code == 200


def test_a_blocked_migration_continues_once_the_session_is_ended(
    visit: Visit, click: Clicks, service: Any, repo: Any, database: str
) -> None:
    with blocked_run(service, repo, database) as (_, pid):
        page = visit("/ui")
        click(page.get_by_text(f"002_b.sql waits for a lock that reporting (pid {pid}) holds"))
        page.get_by_text(f"reporting (pid {pid}) holds it and is idle in transaction").wait_for()
        click(page.get_by_role("button", name="End this session…"))
        click(page.get_by_role("button", name="End the session"))
        page.get_by_text("1 migration applied.").wait_for()
    assert click.count <= 4


@pytest.mark.settings(lock_wait_s=3)
def test_a_migration_that_gave_up_is_retried_once_the_session_is_ended(
    visit: Visit, click: Clicks, service: Any, repo: Any, database: str
) -> None:
    migrated(service, repo, "m", _001_a=TABLE)
    repo.write("m", _002_b=COLUMN)
    service.sync()
    with holding(database, "LOCK TABLE m.t IN ACCESS SHARE MODE", "reporting"):
        failed = service.post("/modules/m/migrate", json={"lock_timeout_ms": 2500})
        assert failed.json()["code"] == "lock_timeout"
        page = visit("/ui")
        click(page.locator(".needs a", has_text="002_b.sql"))
        # The run has ended, and its page still lists the sessions that blocked it.
        page.get_by_text("Blocking sessions that are still connected").wait_for()
        assert "reporting" in page.locator("#run-failure .tree").inner_text()
        click(page.get_by_role("button", name="End this session…"))
        click(page.get_by_role("button", name="End the session"))
        click(page.get_by_role("button", name="Retry"))
        page.get_by_text("1 migration applied.").wait_for()
    assert click.count <= 4


def test_a_file_that_failed_half_way_outside_a_transaction(
    visit: Visit, click: Clicks, service: Any, repo: Any, sql: Callable[..., list[Any]]
) -> None:
    migrated(service, repo, "m", _001_a="CREATE TABLE {{tables.t}} (id integer, mail text)")
    sql("INSERT INTO m.t VALUES (1, 'a'), (2, 'a')")
    repo.write(
        "m",
        _002_b="-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY t_id ON {{tables.t}} (id);\n"
        "CREATE UNIQUE INDEX CONCURRENTLY t_mail ON {{tables.t}} (mail);\n",
    )
    service.sync()
    service.post("/modules/m/migrate")
    page = visit("/ui")
    click(page.locator(".needs a", has_text="002_b.sql"))
    page.get_by_text("1 statement of 002_b.sql, which runs without a transaction.").wait_for()
    page.get_by_text("Statement 2 of 002_b.sql, and those after it.").wait_for()
    assert page.locator(".line.marked .number").first.inner_text() == "3"
    sql("DELETE FROM m.t WHERE id = 2")
    click(page.get_by_role("button", name="Retry"))
    page.get_by_text("1 migration applied.").wait_for()
    assert click.count <= 4


def test_one_of_five_hundred_tenants_failed(
    visit: Visit, click: Clicks, service: Any, repo: Any, sql: Callable[..., list[Any]]
) -> None:
    create = "".join(f"CREATE SCHEMA tenant_{number:03};" for number in range(500))
    sql(f"DO $$ BEGIN {create} END $$")
    sql("CREATE TABLE tenant_077.users (id integer)")
    repo.write("tenants", 'schemas = "tenant_*"\n', _001_users="CREATE TABLE {{tables.users}} (mail text)")
    service.sync()
    location = service.post("/modules/tenants/migrate", headers=ASYNC, json={"on_failure": "continue"}).headers[
        "location"
    ]
    deadline = time.monotonic() + 240
    while service.get(location).json()["ended_at"] is None:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    page = visit("/ui")
    click(page.locator(".needs a", has_text="1 failed, of 500 schemas"))
    page.get_by_text("1 schema failed, 499 succeeded, 0 not reached.").wait_for()
    failed = page.get_by_role("row", name="tenant_077")
    assert 'relation "users" already exists' in failed.inner_text()
    sql("DROP TABLE tenant_077.users")
    click(page.get_by_role("button", name="Retry"))
    page.get_by_text("1 migration applied").wait_for()
    assert click.count <= 4


@pytest.mark.settings(auth="tokens")
def test_a_changed_file_is_seen_as_a_diff_by_a_reader(
    visit: Visit, click: Clicks, service: Any, repo: Any, make_token: Callable[..., str]
) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    assert service.post("/modules/m/migrate", headers=service.headers).status_code == 200
    repo.write("m", _001_a=TABLE.replace("integer", "bigint"))
    service.sync()
    page = visit("/ui")
    page.get_by_label("Token").fill(make_token("read"))
    page.keyboard.press("Enter")
    click(page.locator(".needs a", has_text="was changed after it was applied"))
    page.locator(".diff .add", has_text="bigint").wait_for()
    page.locator(".diff .del", has_text="integer").wait_for()
    assert page.get_by_role("button", name="Accept").count() == 0
    assert click.count <= 3


def test_a_replica_that_died_is_seen(fork: Any, database: str, visit: Visit, click: Clicks) -> None:
    first, second = [fork(DATABASE_URL=database, PGDBM_TAKEOVER_S="5") for _ in range(2)]
    url = first.url()
    second.url()
    page = visit("/ui", url=url)

    def has(selector: str, text: str) -> bool:
        page.reload()
        return bool(page.locator(selector, has_text=text).count())

    # With the shared one.
    eventually(lambda: has("#footer", "3 replicas"))
    second.popen.kill()
    # Replicas of other tests on this database may be lost, too.
    lost = f"pid {second.popen.pid} has sent no heartbeat"
    eventually(lambda: has(".needs a", lost))
    click(page.locator(".needs a", has_text=lost))
    page.get_by_role("row", name=f"pid {second.popen.pid}").get_by_text("lost").wait_for()
    assert click.count <= 1
