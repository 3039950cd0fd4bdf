"""What GET /modules/{module} shows besides its state: refused migrates, INVALID indexes, changed files, pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from pgdbm_service.client import Client

from ..conftest import bearer

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"


def test_a_refused_migrate_leaves_a_trace(service: Any, repo: Any, eventually: Callable[..., Any]) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate")
    assert service.get("/modules/m").json()["last_refusal"] is None
    repo.write("m", _001_a=TABLE + " -- changed", _002_b="SELECT 2")
    service.sync()
    refused = service.post("/modules/m/migrate", headers={"X-Request-ID": "deploy-8"})
    assert (refused.status_code, refused.json()["code"]) == (409, "checksum_changed")
    refusal = eventually(lambda: service.get("/modules/m").json()["last_refusal"])
    assert refusal.pop("at").endswith("Z")
    assert refusal == {
        "principal": "anonymous",
        "http_status": 409,
        "problem_code": "checksum_changed",
        "request_id": "deploy-8",
    }
    # One that a person sent from the dashboard, too; the page of the module says so.
    assert service.post("/ui/modules/m/migrate", headers={"X-Request-ID": "click"}).status_code == 409
    eventually(lambda: service.get("/modules/m").json()["last_refusal"]["request_id"] == "click")
    assert "A migrate by anonymous was refused" in service.get("/ui/modules/m").text
    repo.write("m", _001_a=TABLE)
    service.sync()
    assert service.post("/modules/m/migrate").status_code == 200
    assert service.get("/modules/m").json()["last_refusal"] is None


def test_an_invalid_index_is_reported_although_its_statement_is_gone(
    start: Callable[..., Any], repo: Any, database: str, eventually: Callable[..., Any]
) -> None:
    repo.write("m", _001_a=TABLE + "; INSERT INTO {{tables.t}} VALUES (1), (2)")
    service = start(metrics_sample_s=0.05)
    service.post("/modules/m/migrate")
    build = "CREATE UNIQUE INDEX CONCURRENTLY twice ON {{tables.t}} ((id > 0))"
    repo.write("m", _002_b=f"-- pgdbm:no-transaction\n{build}")
    service.post("/repo/sync")
    assert service.post("/modules/m/migrate").status_code == 422
    repo.write("m", _002_b="-- pgdbm:no-transaction\nSELECT 1")
    service.post("/repo/sync")
    left = {"schema": "m", "name": "twice", "relation": "t"}

    def scraped() -> str:
        return next(line for line in service.get("/metrics").text.splitlines() if "indexes{" in line)

    assert service.get("/modules/m").json()["invalid_indexes"] == [left]
    assert "The index twice on m.t is INVALID" in service.get("/modules/m/plan").json()["warnings"][0]
    assert service.post("/modules/m/migrate").status_code in (200, 409, 422)
    assert service.get("/modules/m").json()["invalid_indexes"] == [left]
    eventually(lambda: scraped() == 'pgdbm_invalid_indexes{module="m"} 1.0')
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP INDEX m.twice")
    assert service.get("/modules/m").json()["invalid_indexes"] == []
    eventually(lambda: scraped() == 'pgdbm_invalid_indexes{module="m"} 0.0')


def test_an_invalid_index_needs_attention(service: Any, repo: Any, sql: Any, direct: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate")
    sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'm.t_pkey'::regclass")
    (item,) = service.get("/overview").json()["attention"]
    assert (item["kind"], item["module"]) == ("invalid_index", "m")
    assert "m.t_pkey" in item["detail"]


def test_a_diff_needs_only_read(start: Callable[..., Any], repo: Any, make_token: Callable[..., str]) -> None:
    repo.write("m", _001_a=TABLE)
    service = start(auth="tokens", watch_repo=False)
    reader, deployer = make_token("read", name="reader"), make_token("read", "migrate:*", "admin", name="deployer")
    assert service.post("/modules/m/migrate", headers=bearer(deployer)).status_code == 200
    repo.write("m", _001_a=TABLE.replace("integer", "bigint"))
    assert service.post("/repo/sync", headers=bearer(deployer)).status_code == 200
    answer = service.get("/modules/m/changes", headers=bearer(reader))
    assert answer.status_code == 200, answer.text
    (changed,) = answer.json()["items"]
    assert changed["filename"] == "001_a.sql"
    assert "+CREATE TABLE {{tables.t}} (id bigint PRIMARY KEY)" in changed["diff"]
    with Client(service.url, reader) as client:
        assert [one.filename for one in client.list_changes("m")] == ["001_a.sql"]


def test_migrations_and_journal_are_paged(service: Any, repo: Any) -> None:
    repo.write("m", **{f"_00{number}_a": "SELECT 1" for number in range(1, 6)})
    service.sync()
    for number in range(1, 4):
        service.post("/modules/m/mark", json={"filename": f"00{number}_a.sql", "applied": True})
    for path, key, count in (("migrations", "filename", 5), ("journal", "id", 3)):
        whole = [one[key] for one in service.get(f"/modules/m/{path}").json()["items"]]
        assert len(whole) == count
        seen: list[Any] = []
        address = f"/modules/m/{path}?limit=2"
        while address:
            page = service.get(address).json()
            seen += [one[key] for one in page["items"]]
            address = f"/modules/m/{path}?limit=2&next={page['next']}" if page["next"] else ""
        assert seen == whole
    assert service.get("/modules/m/migrations?limit=2").json()["total"] == 5
    with Client(service.url) as client:
        assert len(list(client.get_journal("m", limit=2))) == 2
        assert len(list(client.list_migrations("m"))) == 5


def test_a_replica_says_what_it_does(service: Any, repo: Any, database: str, eventually: Callable[..., Any]) -> None:
    repo.write("m", _001_a="SELECT pg_advisory_xact_lock(7)")
    service.sync()
    with psycopg.connect(database) as holder:
        holder.execute("SELECT pg_advisory_lock(7)")
        run = service.post("/modules/m/migrate", headers={"Prefer": "respond-async"}).json()["id"]
        (replica,) = eventually(lambda: [one for one in service.get("/replicas").json()["items"] if one["modules"]])
        assert (replica["running"], replica["modules"]) == (1, ["m"])
        assert replica["host"]
        assert replica["version"]
        assert replica["started_at"] <= replica["seen_at"]
    eventually(lambda: service.get(f"/runs/{run}").json()["status"] == "succeeded")
