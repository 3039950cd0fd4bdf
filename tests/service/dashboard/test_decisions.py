"""What the pages of a run and of a module offer after a failure, and what their forms do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.waiting import eventually

from ..blocked_runs import blocked_run, holding
from ..conftest import bearer
from .test_pages import TABLE, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

ASYNC = {"Prefer": "respond-async"}


def fields_of(page: Any) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))


def test_a_module_stays_blocked_while_its_lock_is_tried_again(service: Any, repo: Any, database: str) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate")
    repo.write("m", _002_b="SELECT 1;\nALTER TABLE {{tables.t}} ADD COLUMN a integer")
    service.sync()

    def run() -> Any:
        (found,) = service.get("/overview").json()["running"]
        return found

    with holding(database, "LOCK TABLE m.t IN ACCESS SHARE MODE", "reporting") as pid:
        service.post("/modules/m/migrate", headers=ASYNC, json={"lock_timeout_ms": 1500})
        eventually(lambda: (run()["progress"] or {}).get("waiting_for"))
        attempts = set()
        while len(attempts) < 3:
            found = service.get("/overview").json()
            # Neither in the pause nor at the start of an attempt is it shown as running.
            assert [one["kind"] for one in found["attention"]] == ["blocked"]
            progress = found["running"][0]["progress"]
            assert [one["pid"] for one in progress["waiting_for"]] == [pid]
            attempts.add((progress.get("retrying") or {"attempt": 0})["attempt"])
    eventually(lambda: service.get("/modules/m").json()["state"] == "up_to_date")


def test_a_statement_that_got_its_lock_is_not_shown_as_blocked(service: Any, repo: Any, database: str) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate")
    slow = "DO $$ BEGIN LOCK TABLE {{tables.t}} IN ACCESS EXCLUSIVE MODE; PERFORM pg_sleep(5); END $$"
    repo.write("m", _002_b=slow)
    service.sync()
    with holding(database, "LOCK TABLE m.t IN ACCESS SHARE MODE", "reporting"):
        location = service.post("/modules/m/migrate", headers=ASYNC).headers["location"]

        def waits() -> bool:
            (schema,) = service.get(location).json()["schemas"]
            return bool((schema["progress"] or {}).get("waiting_for"))

        eventually(waits)
    eventually(lambda: not waits())
    assert service.get(location).json()["status"] == "running"


def test_a_file_is_marked_as_applied_after_a_confirmation(service: Any, repo: Any) -> None:
    repo.write("m", _001_a="SELECT nothing_there")
    service.sync()
    run = service.post("/modules/m/migrate").json()["run_id"]
    (address,) = re.findall(r'href="(/ui/modules/m/mark[^"]*)"', service.get(f"/ui/runs/{run}").text)
    page = service.get(address.replace("&amp;", "&"))
    assert "Mark 001_a.sql as applied?" in text_of(page)
    answer = service.post("/ui/modules/m/mark", data=fields_of(page), follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/modules/m?tab=journal&schema=m")
    assert service.get("/modules/m").json()["state"] == "up_to_date"


def asks_to_accept(service: Any) -> Any:
    """The confirmation that the page of the changed files leads to."""
    page = service.get("/ui/modules/m?tab=changed&schema=m")
    # Without a script, and with the keyboard: a link, and no form that accepts without a question.
    assert "/accept" not in "".join(re.findall(r"<form[^>]*>", page.text))
    (address,) = re.findall(r'href="(/ui/modules/m/accept[^"]*)"', page.text)
    return service.get(address.replace("&amp;", "&"))


def test_changed_files_are_accepted(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate")
    repo.write("m", _001_a=TABLE + " -- changed")
    service.sync()
    run = service.post("/modules/m/migrate").json()
    assert run["code"] == "checksum_changed"
    page = asks_to_accept(service)
    text = text_of(page)
    assert "Accept 1 changed file of m as applied?" in text
    (change,) = service.get("/modules/m/changes").json()["items"]
    for shown in ("001_a.sql", "schema m", change["recorded"], change["current"], "-- changed", "Nothing is executed"):
        assert shown in text
    # The focus is on the link back, not on what changes something.
    assert re.search(r'<a class="button" href="/ui/modules/m\?tab=changed[^"]*" autofocus>', page.text)
    assert service.get("/modules/m").json()["state"] == "changed"
    # What changed since the page was shown is not accepted unseen.
    repo.write("m", _001_a=TABLE + " -- changed again")
    service.sync()
    refused = service.post("/ui/modules/m/accept", data=fields_of(page))
    assert (refused.status_code, service.get("/modules/m").json()["state"]) == (409, "changed")
    assert "001_a.sql: these are not the changes in the request" in refused.text
    page = asks_to_accept(service)
    assert service.post("/ui/modules/m/accept", data=fields_of(page), follow_redirects=False).status_code == 303
    assert service.get("/modules/m").json()["state"] == "up_to_date"
    nothing = service.get("/ui/modules/m/accept")
    assert "No applied file of m differs" in text_of(nothing)
    assert "<button" not in nothing.text.split("row confirm")[1].split("</main>")[0]


def test_a_conflict_says_what_to_do_and_leads_back(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    refused = service.post("/ui/modules/m/migrate", data={"plan": "sha256:" + "0" * 64})
    assert refused.status_code == 409
    text = re.sub(r"\s+", " ", refused.text)
    assert "Read the plan as it is now, and confirm again." in text
    assert 'href="/ui/modules/m?tab=plan"' in refused.text


def test_two_bundles_are_compared(service: Any) -> None:
    def register(*contents: str, **settings: Any) -> str:
        files = [{"filename": f"00{n}_a.sql", "content": one} for n, one in enumerate(contents, 1)]
        answer = service.client.put("/modules/search", json={"migrations": files} | settings)
        digest: str = answer.json()["digest"]
        return digest

    first = register("SELECT 1;", "SELECT 2;")
    second = register("SELECT 1;", "SELECT 3;", "SELECT 4;", description="of documents")
    found = service.get("/modules/search/bundles/diff", params={"before": first, "after": second}).json()
    assert [(one["kind"], one["filename"]) for one in found["changes"]] == [
        ("changed", "002_a.sql"),
        ("added", "003_a.sql"),
        ("changed", "settings"),
    ]
    assert "-SELECT 2;\n+SELECT 3;" in found["changes"][0]["diff"]
    unknown = service.get("/modules/search/bundles/diff", params={"before": first, "after": "sha256:0"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "bundle_unknown")
    page = service.get("/ui/modules/search", params={"tab": "bundles", "before": first, "after": second})
    assert "+SELECT 3;" in text_of(page)
    assert text_of(page).count("anonymous") >= 2


@pytest.mark.settings(auth="tokens", auth_failures_per_minute=10000)
def test_a_reader_sees_no_values_and_no_buttons(
    service: Any, repo: Any, sql: Callable[..., list[Any]], make_token: Callable[..., str]
) -> None:
    repo.write("m", _001_a="CREATE TABLE {{tables.t}} (mail text)")
    service.sync()
    service.post("/modules/m/migrate", headers=service.headers)
    sql("INSERT INTO m.t VALUES ('ada@example.com'), ('ada@example.com')")
    repo.write("m", _002_b="CREATE UNIQUE INDEX t_mail ON {{tables.t}} (mail)")
    service.sync()
    run = service.post("/modules/m/migrate", headers=service.headers).json()["run_id"]
    for_all = service.get(f"/ui/runs/{run}", headers=service.headers)
    assert "ada@example.com" in for_all.text
    reader = bearer(make_token("read"))
    for_reader = service.get(f"/ui/runs/{run}", headers=reader)
    assert "could not create unique index" in text_of(for_reader)
    assert "ada@example.com" not in for_reader.text
    assert re.findall(r'<form method="post"[^>]*action="/ui/(?!sign)', for_reader.text) == []
    assert "Retry" not in text_of(for_reader)


def test_the_plan_is_for_a_schema_that_is_behind(service: Any, repo: Any, sql: Callable[..., list[Any]]) -> None:
    for number in range(3):
        sql(f"CREATE SCHEMA tenant_{number}")
    repo.write("tenants", 'schemas = "tenant_*"\n', _001_t=TABLE)
    service.sync()
    service.post("/modules/tenants/migrate")
    sql("CREATE SCHEMA tenant_3")
    page = service.get("/ui/modules/tenants/migrate")
    assert "1 migration will be applied to 1 of 4 schemas. Below is the plan for tenant_3" in text_of(page)
    assert "CREATE TABLE" in text_of(service.get("/ui/modules/tenants"))
    assert service.post("/ui/modules/tenants/rehearse", data={}).text.count("The rehearsal succeeded") == 1
    answer = service.post("/ui/modules/tenants/migrate", data=fields_of(page), follow_redirects=False)
    run = answer.headers["location"].removeprefix("/ui")
    eventually(lambda: service.get(run).json()["status"] == "succeeded")
    assert service.get(run).json()["schema_counts"]["total"] == 1
    assert "A run is in progress" not in text_of(service.get("/ui/modules/tenants"))


def test_a_module_leads_to_the_active_run(service: Any, repo: Any, database: str) -> None:
    with blocked_run(service, repo, database) as (location, _):
        page = service.get("/ui/modules/m?tab=history")
        assert f'<a href="/ui{location}">A run is in progress.</a>' in page.text
    eventually(lambda: service.get(location).json()["status"] == "succeeded")


def test_the_plan_says_what_is_rewritten_and_who_waits(service: Any, repo: Any, sql: Callable[..., list[Any]]) -> None:
    # Autovacuum would change the size between the two plans.
    repo.write("m", _001_a="CREATE TABLE {{tables.big}} (id int) WITH (autovacuum_enabled = false)")
    service.sync()
    service.post("/modules/m/migrate")
    # In one transaction: PostgreSQL counts rows twice that another session reports after ANALYZE has counted them.
    sql("DO $$ BEGIN INSERT INTO m.big SELECT generate_series(1, 2000); ANALYZE m.big; END $$")
    repo.write("m", _002_b="ALTER TABLE {{tables.big}} ADD COLUMN x uuid DEFAULT gen_random_uuid()")
    service.sync()
    (pending,) = service.get("/modules/m/plan").json()["pending"]
    assert pending["impact"].startswith("rewrites m.big (2.0 k rows, ")
    assert pending["impact"].endswith(" kB) while reads and writes wait")
    shown = text_of(service.get("/ui/modules/m", params={"tab": "plan"}))
    assert f"R{pending['impact'][1:]}." in shown
    lock = f"ACCESS EXCLUSIVE m.big {pending['impact'].partition('(')[2].partition(')')[0]}"
    assert lock in shown
    assert re.search(r"m\.big: [^.]+ since 2[0-9-]{9}\. ", shown)
    asked = text_of(service.get("/ui/modules/m/migrate"))
    assert f"ACCESS EXCLUSIVE on m.big reads and writes wait; {lock.partition('m.big ')[2]}; " in asked


def test_a_table_without_rows_is_called_so_everywhere(service: Any, repo: Any) -> None:
    repo.write("m", _001_a="CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)")
    service.sync()
    service.post("/modules/m/migrate")
    repo.write("m", _002_b="ALTER TABLE {{tables.t}} ADD COLUMN a integer")
    service.sync()
    shown = text_of(service.get("/ui/modules/m", params={"tab": "plan"}))
    # The server may have counted reads by now, such as those of the plan itself.
    use = r"(not used|\d+ reads?/\w+, no writes) since "
    assert re.search(rf"Locks m\.t \(no rows\) while reads and writes wait\. m\.t: {use}", shown)
    assert "ACCESS EXCLUSIVE m.t no rows" in shown
    asked = text_of(service.get("/ui/modules/m/migrate"))
    assert re.search(rf"ACCESS EXCLUSIVE on m\.t reads and writes wait; no rows; {use}", asked)
    assert " 0 row" not in shown + asked


def test_the_plan_shows_the_safer_form_as_a_diff(service: Any, repo: Any, sql: Callable[..., list[Any]]) -> None:
    index = "CREATE INDEX t_id ON {{tables.t}} (id);"
    repo.write("m", 'max_blocked = "nothing"', _001_t="CREATE TABLE {{tables.t}} (id int)", _002_index=index)
    service.sync()
    service.post("/modules/m/migrate", json={"target": "001"})
    sql("INSERT INTO m.t VALUES (1)")
    shown = service.get("/ui/modules/m?tab=plan").text
    assert "The safer form" in shown
    assert "and max_blocked allows nothing" in shown
    text = re.sub(r"<[^>]+>", "", shown)
    assert f"-{index}" in text
    assert "+CREATE INDEX CONCURRENTLY t_id ON {{tables.t}} (id);" in text
