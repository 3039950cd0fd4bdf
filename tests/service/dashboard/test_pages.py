"""The pages as a browser without JavaScript, or a program, gets them."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm_service.dashboard.overview import OverviewReader
from pgdbm_service.features.operations.reads import OperationQueries
from tests.support.waiting import eventually

from ..blocked_runs import blocked_run, holding

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
BAD = "SELECT 1;\nCREATE TABLE {{tables.t}} (id integer);\nSELECT no_such_column FROM {{tables.t}};"
PAGES = (
    "/ui",
    "/ui/runs",
    "/ui/database",
    "/ui/audit",
    "/ui/modules/m",
    "/ui/modules/m/schemas",
    "/ui/modules/m/migrate",
)


def text_of(answer: Any) -> str:
    assert answer.status_code == 200, re.findall(r"<h1>.*", answer.text)
    assert answer.headers["content-type"].startswith("text/html")
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text))


@pytest.fixture
def module(service: Any, repo: Any) -> str:
    repo.write("m", _001_a=TABLE)
    service.sync()
    return "m"


@pytest.mark.parametrize("path", PAGES)
def test_each_page_is_complete_without_javascript(service: Any, module: str, path: str) -> None:
    assert "pgdbm" in text_of(service.get(path))


def test_nothing_on_a_page_is_inline_and_everything_comes_from_the_service(service: Any, module: str) -> None:
    for path in PAGES:
        answer = service.get(path)
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert re.findall(r"<script(?![^>]*\bsrc=)", answer.text) == []
        assert re.findall(r"\bstyle=|<style|\bon\w+=", answer.text) == []
        assert re.findall(r'(?:src|href|action)="(?:https?:)?//[^"]+', answer.text) == []


def test_assets_are_kept_for_a_year_and_weigh_less_than_100_kb(service: Any, module: str) -> None:
    page = service.get("/ui/modules/m/schemas").text
    assets = re.findall(r'(?:src|href)="(/ui/assets/[^"]+)"', page)
    assert len(assets) == 5
    weight = 0
    for asset in assets:
        answer = service.get(asset, headers={"Accept-Encoding": "gzip"})
        assert "immutable" in answer.headers["cache-control"]
        weight += len(gzip.compress(answer.content, 9))
    assert weight < 100_000
    assert service.get("/ui/assets/nothing.0.js").status_code == 404


def test_the_assets_of_another_version_are_those_of_this_one_and_are_not_kept(service: Any) -> None:
    """During an upgrade, the page may come from one replica and its style sheet from another."""
    (own,) = re.findall(r'href="(/ui/assets/dashboard[^"]+)"', service.get("/ui").text)
    other = service.get("/ui/assets/dashboard.0123456789ab.css")
    assert other.content == service.get(own).content
    assert other.headers["cache-control"] == "no-store"


def test_the_overview_starts_with_what_needs_attention(service: Any, repo: Any, module: str) -> None:
    repo.write("bad", _001_a=BAD)
    service.sync()
    service.post("/modules/bad/migrate")
    text = text_of(service.get("/ui"))
    assert "Needs attention failed bad 001_a.sql:3:8" in text
    assert text.index("Needs attention") < text.index("All modules")
    assert "m pending" in text
    filtered = service.get("/ui", params={"state": "pending"}).text
    assert re.findall(r'<tr id="module-(\w+)"[^>]* hidden>', filtered) == ["bad"]


def test_the_overview_and_the_page_of_a_module_say_the_same(service: Any, repo: Any) -> None:
    repo.write("bad", _001_a=BAD)
    service.sync()
    service.post("/modules/bad/migrate")
    assert badges(service, "bad") == {("bad", "failed")}


def badges(service: Any, module: str) -> set[tuple[str, str]]:
    """The tones and words with which the pages show the state of ``module``."""
    found = set()
    for path, before in (
        ("/ui", f'<tr id="module-{module}"'),
        (f"/ui/modules/{module}", "<h1"),
        (f"/ui/modules/{module}/schemas", "<h1"),
    ):
        shown = service.get(path).text.partition(before)[2]
        (badge,) = re.findall(r'<span class="state (\w+)">(.*?)</span>', shown, re.DOTALL)[:1]
        found.add((badge[0], re.sub("<[^>]+>", "", badge[1]).strip()))
    return found


def test_every_page_says_that_the_run_of_a_module_waits_for_a_lock(service: Any, repo: Any, database: str) -> None:
    with blocked_run(service, repo, database) as (location, pid):
        module = service.get(location).json()["module"]
        eventually(lambda: len(found := badges(service, module)) == 1 and next(iter(found))[1] == "blocked")
        wanted = f"waits for a lock on {module}.t. reporting (pid {pid}) holds it"
        assert wanted in text_of(service.get(f"/ui/modules/{module}"))


def test_the_overview_is_read_once_for_a_page(service: Any, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    put_together = OverviewReader._put_together

    async def counted(self: OverviewReader) -> Any:
        reads.append(self)
        return await put_together(self)

    monkeypatch.setattr(OverviewReader, "_put_together", counted)
    text_of(service.get("/ui"))
    assert len(reads) == 1


def test_a_failed_run_shows_the_line_the_caret_and_what_was_kept(service: Any, repo: Any) -> None:
    repo.write("bad", _001_ok="SELECT 1", _002_bad=BAD)
    service.sync()
    run = service.post("/modules/bad/migrate").json()["run_id"]
    page = service.get(f"/ui/runs/{run}")
    text = text_of(page)
    assert '002_bad.sql, line 3: column "no_such_column" does not exist.' in text.replace("&#34;", '"')
    (marked,) = re.findall(r'<span class="line marked"><span class="number">(\d+)</span>', page.text)
    assert marked == "3"
    assert 'class="caret"' in page.text
    assert "Kept 001_ok.sql: applied by this run. Not kept 002_bad.sql: its transaction was rolled back." in text
    assert "Mark 002_bad.sql as applied" in text
    assert "42703" in text
    assert f'action="/ui/runs/{run}/retry"' in page.text


def test_a_migration_is_confirmed_with_its_plan_and_sends_its_digest(service: Any, repo: Any, module: str) -> None:
    page = service.get("/ui/modules/m/migrate")
    assert "1 migration will be applied to schema m." in text_of(page)
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text))
    assert fields["plan"].startswith("sha256:")
    # The files change after the page was read: nothing is applied.
    repo.write("m", _002_b="SELECT 2")
    service.sync()
    refused = service.post("/ui/modules/m/migrate", data=fields, follow_redirects=False)
    assert refused.status_code == 409
    assert "The plan has changed" in refused.text
    assert service.get("/modules/m").json()["applied"] == 0
    fields["plan"] = re.findall(r'name="plan" value="([^"]*)"', service.get("/ui/modules/m/migrate").text)[0]
    answer = service.post("/ui/modules/m/migrate", data=fields, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/ui/runs/")
    eventually(lambda: service.get("/modules/m").json()["state"] == "up_to_date")


def test_a_form_of_another_site_changes_nothing(service: Any, module: str) -> None:
    answer = service.post("/ui/modules/m/migrate", data={"plan": ""}, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    assert service.get("/modules/m").json()["applied"] == 0


def test_the_session_that_blocks_a_run_is_shown_and_ended(service: Any, repo: Any, database: str) -> None:
    with blocked_run(service, repo, database) as (location, pid):
        run = location.rpartition("/")[2]
        wanted = f"reporting (pid {pid}) holds it and is idle in transaction"
        eventually(lambda: wanted in text_of(service.get(f"/ui/runs/{run}")))
        confirm = text_of(service.get(f"/ui/database/sessions/{pid}/end", params={"run": run}))
        assert "End the session of reporting?" in confirm
        assert "1 session is waiting behind it." in confirm
        ended = service.post(f"/ui/database/sessions/{pid}/end", data={"run": run}, follow_redirects=False)
        assert ended.headers["location"] == f"/ui/runs/{run}"
        eventually(lambda: service.get(f"/runs/{run}").json()["status"] == "succeeded")


def test_an_innocent_session_is_not_ended(service: Any, database: str, module: str) -> None:
    with holding(database, "SELECT 1", "innocent") as pid:
        answer = service.post(f"/activity/backends/{pid}/terminate")
        assert (answer.status_code, answer.json()["code"]) == (409, "backend_not_blocking")
        assert service.post("/activity/backends/1/terminate").json()["code"] == "backend_unknown"


def test_a_session_is_ended_by_its_start(service: Any, database: str, sql: Callable[..., list[Any]]) -> None:
    with holding(database, "SELECT 1", "named") as pid:
        (row,) = sql("SELECT backend_start FROM pg_stat_activity WHERE pid = $1", pid)
        body = {"backend_start": row["backend_start"].isoformat()}
        answer = service.post(f"/activity/backends/{pid}/terminate", json=body)
        assert (answer.status_code, answer.json()["application_name"]) == (200, "named")
        eventually(lambda: not sql("SELECT FROM pg_stat_activity WHERE pid = $1", pid))


@pytest.mark.parametrize(
    ("path", "fields", "field"),
    [
        ("modules/m/mark", {}, "filename"),
        ("modules/m/mark", {"filename": " "}, "filename"),
        ("modules/m/resolve", {"filename": "001_a.sql", "statement": "1"}, "done"),
        ("modules/m/resolve", {"filename": "001_a.sql", "statement": "9" * 5000, "done": "true"}, "statement"),
        ("modules/m/dry-run", {"schema": "m\x00"}, "schema"),
        ("database/sessions/1/end", {"backend_start": "yesterday"}, "backend_start"),
        ("database/sessions/1/end", {"run": "../../elsewhere"}, "run"),
    ],
)
def test_a_form_that_no_page_has_is_refused(
    service: Any, module: str, path: str, fields: dict[str, str], field: str
) -> None:
    answer = service.post(f"/ui/{path}", data=fields)
    assert answer.status_code == 400
    assert f'<p class="lead">{field}: ' in answer.text


def test_an_unexpected_error_in_a_part_of_a_page_is_logged(
    service: Any, module: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError("of the inside")

    monkeypatch.setattr(OperationQueries, "drift", fail)
    monkeypatch.setattr(OperationQueries, "plan", fail)
    for tab in ("plan", "drift"):
        assert "The service failed. Its log has the cause." in text_of(service.get(f"/ui/modules/m?tab={tab}"))
        assert "RuntimeError: of the inside" in capfd.readouterr().err


def test_a_changed_file_is_shown_as_a_diff(service: Any, repo: Any, module: str) -> None:
    service.post("/modules/m/migrate")
    repo.write("m", _001_a=TABLE.replace("integer", "bigint"))
    service.sync()
    page = service.get("/ui/modules/m", params={"tab": "changed"})
    assert "-CREATE TABLE {{tables.t}} (id integer" in text_of(page)
    assert "+CREATE TABLE {{tables.t}} (id bigint" in text_of(page)


def test_the_grid_has_a_cell_for_each_schema(service: Any, repo: Any, sql: Callable[..., list[Any]]) -> None:
    for number in range(30):
        sql(f"CREATE SCHEMA tenant_{number:02}")
    repo.write("tenants", 'schemas = "tenant_*"\n', _001_a=TABLE)
    service.sync()
    service.post("/modules/tenants/migrate", json={"schemas": ["tenant_03"]})
    cells = service.get("/ui/modules/tenants/cells").json()
    assert cells["names"] == [f"tenant_{number:02}" for number in range(30)]
    states = [cells["states"][index] for index in cells["state"]]
    assert [name for name, state in zip(cells["names"], states, strict=True) if state == "up_to_date"] == ["tenant_03"]
    assert "29 pending, 1 up to date" in text_of(service.get("/ui/modules/tenants/schemas"))


def test_what_does_not_exist_is_answered_with_a_page(service: Any) -> None:
    for path in ("/ui/modules/nothing", "/ui/runs/00000000-0000-0000-0000-000000000000", "/ui/nothing", "/ui/a/b"):
        answer = service.get(path)
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")
        assert "There is no" in answer.text


def test_text_of_others_is_escaped(service: Any, repo: Any) -> None:
    repo.write("m", 'description = "<script>alert(1)</script>"\n', _001_a="SELECT '<b>' <no>;")
    service.sync()
    run = service.post("/modules/m/migrate").json()
    for path in ("/ui", "/ui/modules/m", f"/ui/runs/{run.get('run_id')}"):
        assert "<script>alert" not in service.get(path).text
        assert "<no>" not in service.get(path).text
