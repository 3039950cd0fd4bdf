"""The tabs of a module's page, and the order of what pages show."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from .test_pages import TABLE, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

TIME = re.compile(r'<time datetime="([^"]+)" title="([^"]+) UTC">([^<]+)</time>')


def migrated(service: Any, repo: Any, module: str, **files: str) -> None:
    repo.write(module, **files)
    service.sync()
    assert service.post(f"/modules/{module}/migrate").status_code == 200


def test_drift_is_a_diff_of_each_object(service: Any, repo: Any, sql: Callable[..., list[Any]]) -> None:
    migrated(service, repo, "m", _001_a=TABLE)
    clean = text_of(service.get("/ui/modules/m?tab=drift"))
    assert "The schema is as m left it just now" in clean
    sql("ALTER TABLE m.t ADD COLUMN by_hand text")
    sql("ALTER TABLE m.t ALTER COLUMN id TYPE bigint")
    page = service.get("/ui/modules/m?tab=drift")
    shown = text_of(page)
    assert "2 objects differ from what m left just now" in shown
    assert "added column t.by_hand" in shown
    assert re.search(r'<span class="line add">\+text</span>', page.text)
    assert re.search(r'<span class="line del">-integer', page.text)
    assert re.search(r'<span class="line add">\+bigint', page.text)


def test_the_history_is_a_timeline_with_durations_and_exact_times(service: Any, repo: Any) -> None:
    migrated(service, repo, "m", _001_a=TABLE, _002_b="SELECT pg_sleep(0.12)")
    page = service.get("/ui/modules/m?tab=history")
    shown = text_of(page)
    assert shown.index("today 002_b.sql 0.1 s just now") < shown.index("001_a.sql")
    exact, hovered, ago = TIME.findall(page.text)[0]
    assert datetime.now(UTC) - datetime.fromisoformat(exact) < timedelta(minutes=1)
    assert (hovered, ago) == (datetime.fromisoformat(exact).strftime("%Y-%m-%d %H:%M:%S"), "just now")
    run = service.get("/runs").json()["items"][0]["id"]
    assert f'<a class="mono" href="/ui/runs/{run}">{run[:8]}</a>' in page.text


def test_what_a_module_depends_on_is_a_tree_with_states(service: Any, repo: Any) -> None:
    migrated(service, repo, "base", _001_a=TABLE)
    repo.write("middle", 'depends_on = ["base"]\n', _001_a=TABLE)
    repo.write("top", 'depends_on = ["middle"]\n', _001_a=TABLE)
    service.sync()
    page = service.get("/ui/modules/top")
    assert "Depends on middle pending base up to date" in text_of(page)
    below = r'href="/ui/modules/middle">middle</a>.*?<ul><li><a href="/ui/modules/base">'
    assert re.search(below, page.text, re.DOTALL)
    assert "Depends on" not in service.get("/ui/modules/base").text


def test_a_run_in_many_schemas_begins_with_the_grid(service: Any, repo: Any, sql: Callable[..., list[Any]]) -> None:
    for number in range(3):
        sql(f"CREATE SCHEMA tenant_{number}")
    sql("CREATE TABLE tenant_1.t (id integer)")
    repo.write("tenants", 'schemas = "tenant_*"\n', _001_t=TABLE)
    service.sync()
    run = service.post("/modules/tenants/migrate", json={"on_failure": "continue"}).json()["run_id"]
    page = service.get(f"/ui/runs/{run}").text
    assert page.index("<canvas") < page.index('id="run-failure"') < page.index('id="run-work"')
    assert 'data-count="3"' in page
    # As a table, for those who do not see the cells.
    assert "tenant_1 failed 001_t.sql:1:1" in text_of(service.get(f"/ui/runs/{run}"))


def test_what_is_empty_says_what_to_do_next(service: Any, repo: Any) -> None:
    """With a command to copy, where there is one."""
    migrated(service, repo, "m", _001_a=TABLE)
    repo.write("new", _001_a=TABLE)
    service.sync()
    for path in ("/ui/modules/m?tab=plan", "/ui/modules/new?tab=history", "/ui/modules/m?tab=bundles"):
        assert re.search(r'<div class="command-line"><pre>curl .*?data-copy="curl ', service.get(path).text), path
    for path, text in (
        ("/ui/modules/m?tab=journal", "The journal contains no failures or decisions."),
        ("/ui/modules/m?tab=changed", "No applied file has changed."),
        ("/ui/database", "No session waits for another."),
        ("/ui/database", "Nothing has run for a minute or longer."),
        ("/ui/audit?module=nothing", "No request that would change something matches. Show all"),
    ):
        assert text in text_of(service.get(path)), path
