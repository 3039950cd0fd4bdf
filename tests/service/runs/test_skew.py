"""Replicas with different files in their repositories, as during a rolling update."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ..running_service import Repo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TABLE = "CREATE TABLE {{tables.t}} (id integer)"


@pytest.fixture
def replicas(start: Callable[..., Any], tmp_path: Path) -> tuple[Any, Repo, Any, Repo]:
    """Two replicas on one database, each with a repository of its own."""
    made = []
    for name in ("first", "second"):
        repo = Repo(tmp_path / name)
        repo.path.mkdir()
        for module in ("a", "b"):
            repo.write(module, _001_t=TABLE)
        made += [start(migrations_repo=repo.path), repo]
    return made[0], made[1], made[2], made[3]


def test_migrate_all_applies_the_files_of_the_replica_asked(replicas: tuple[Any, Repo, Any, Repo]) -> None:
    first, repo, second, _ = replicas
    assert first.post("/migrate").status_code == 200
    for number in range(2, 8):
        for module in ("a", "b"):
            repo.write(module, **{f"_00{number}_more": f"INSERT INTO {{{{tables.t}}}} VALUES ({number})"})
        first.sync()
        answer = first.post("/migrate")
        assert answer.status_code == 200, answer.text
        applied = [one["filename"] for item in answer.json()["items"] for one in item["applied"]]
        assert applied == [f"00{number}_more.sql"] * 2
    assert second.get("/modules/a").json()["state"] == "ahead"


def test_migrate_applies_the_files_of_the_replica_asked(replicas: tuple[Any, Repo, Any, Repo]) -> None:
    first, repo, _, _ = replicas
    assert first.post("/modules/a/migrate").status_code == 200
    for number in range(2, 10):
        repo.write("a", **{f"_00{number}_more": f"INSERT INTO {{{{tables.t}}}} VALUES ({number})"})
        first.sync()
        answer = first.post("/modules/a/migrate")
        assert answer.status_code == 200, answer.text
        assert [one["filename"] for one in answer.json()["applied"]] == [f"00{number}_more.sql"]


def test_a_file_that_only_another_replica_lacks_fails_nothing(replicas: tuple[Any, Repo, Any, Repo]) -> None:
    """a needs a version of b that the replica which starts a has not seen."""
    first, repo, _, _ = replicas
    first.post("/migrate")
    for number in range(2, 8):
        repo.write("b", **{f"_00{number}_more": "SELECT 1"})
        repo.write("a", f'depends_on = ["b@00{number}"]', **{f"_00{number}_more": "SELECT 1"})
        first.sync()
        answer = first.post("/migrate")
        assert answer.status_code == 200, answer.text
        assert [item["module"] for item in answer.json()["items"] if item["applied"]] == ["b", "a"]


def test_files_that_vanish_while_a_run_is_queued(
    start: Callable[..., Any], repo: Repo, eventually: Callable[..., Any]
) -> None:
    """A volume may be replaced at any time: the run has stored its files."""
    repo.write("m", _001_t=TABLE, _002_slow="SELECT pg_sleep(0.5)", _003_more="INSERT INTO {{tables.t}} VALUES (1)")
    service = start()
    answer = service.post("/modules/m/migrate", headers={"Prefer": "respond-async"})
    for file in (repo.path / "m").iterdir():
        file.unlink()
    (repo.path / "m").rmdir()
    address = answer.headers["location"]
    run = eventually(lambda: (run := service.get(address).json())["status"] not in ("queued", "running") and run)
    assert (run["status"], len(run["schemas"][0]["steps"])) == ("succeeded", 3)


class TestIdempotencyKey:
    def test_corrected_files_are_applied(self, service: Any, repo: Repo) -> None:
        repo.write("m", _001_t="SELECT 1/0")
        service.sync()
        key = {"Idempotency-Key": "deploy-4711"}
        failed = service.post("/modules/m/migrate", headers=key)
        assert failed.status_code == 422
        again = service.post("/modules/m/migrate", headers=key)
        assert (again.status_code, again.json()["run_id"]) == (422, failed.json()["run_id"])
        assert "stored result for the Idempotency-Key" in again.json()["detail"]
        repo.write("m", _001_t=TABLE)
        service.sync()
        corrected = service.post("/modules/m/migrate", headers=key)
        assert (corrected.status_code, corrected.json().get("status")) == (200, "success"), corrected.text
        assert service.post("/modules/m/migrate", headers=key).json()["run_id"] == corrected.json()["run_id"]

    def test_corrected_files_of_a_run_of_all(self, service: Any, repo: Repo) -> None:
        repo.write("a", _001_t=TABLE)
        repo.write("b", _001_t="SELECT 1/0")
        service.sync()
        key = {"Idempotency-Key": "deploy-4711"}
        assert service.post("/migrate", headers=key).status_code == 422
        assert "stored result for the Idempotency-Key" in service.post("/migrate", headers=key).json()["detail"]
        repo.write("b", _001_t=TABLE)
        service.sync()
        corrected = service.post("/migrate", headers=key)
        assert corrected.status_code == 200, corrected.text
