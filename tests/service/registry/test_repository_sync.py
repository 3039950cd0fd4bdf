"""POST /repo/sync, and the watcher that does the same."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"


def names(service: Any) -> list[str]:
    return [item["name"] for item in service.get("/modules").json()["items"]]


def test_sync_reports_what_changed(service: Any, repo: Any) -> None:
    for module in ("kept", "edited", "gone", "described"):
        repo.write(module, _001_a=TABLE)
    service.sync()
    nothing = service.post("/repo/sync").json()
    assert (nothing["added"], nothing["changed"], nothing["removed"]) == ([], [], [])
    repo.write("edited", _002_b="SELECT 1")
    repo.write("described", 'description = "now with one"')
    repo.write("new", _001_a=TABLE)
    repo.write("broken", "schema = 3")
    shutil.rmtree(repo.path / "gone")
    assert "new" not in names(service)
    assert service.post("/repo/sync").json() == {
        "added": ["broken", "new"],
        "changed": ["described", "edited"],
        "removed": ["gone"],
        "unchanged": ["kept"],
        "invalid": ["broken"],
        "hidden": [],
    }
    assert names(service) == ["broken", "described", "edited", "kept", "new"]
    assert service.post("/modules/new/migrate").status_code == 200
    assert service.post("/modules/gone/migrate").status_code == 404


def test_the_digest_is_that_of_the_files_now(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    before = service.get("/modules/m")
    assert before.headers["etag"] == f'"{before.json()["digest"]}"'
    repo.write("m", _002_b="SELECT 1")
    after = service.get("/modules/m").json()
    assert after["digest"] != before.json()["digest"]
    files = [{"filename": "001_a.sql", "content": TABLE}, {"filename": "002_b.sql", "content": "SELECT 1"}]
    # The same files have the same digest, wherever they come from.
    registered = service.client.put("/modules/other", json={"migrations": files}).json()
    assert registered["digest"] == after["digest"]


def test_the_watcher_finds_changes(start: Callable[..., Any], repo: Any, eventually: Callable[..., Any]) -> None:
    service = start()
    repo.write("m", 'schema = "one"', _001_a=TABLE)
    eventually(lambda: names(service) == ["m"])
    (repo.path / "m" / "module.toml").write_text('schema = "two"')
    eventually(lambda: service.get("/modules/m").json()["schema"] == "two")
    shutil.rmtree(repo.path / "m")
    eventually(lambda: names(service) == [])


def test_a_folder_hidden_by_a_registered_module_is_reported(service: Any, repo: Any) -> None:
    body = {"migrations": [{"filename": "001_a.sql", "content": TABLE}]}
    service.client.put("/modules/m", json=body)
    repo.write("m", _001_a="SELECT 1")
    synced = service.post("/repo/sync").json()
    assert (synced["added"], synced["hidden"]) == (["m"], ["m"])
    assert service.get("/modules/m").json()["source"] == "registered"
    service.post("/modules/m/migrate")
    # The previous content is known from the bundle, even though the repository's module is visible now.
    assert service.client.delete("/modules/m").status_code == 200
    assert service.get("/modules/m").json()["source"] == "repo"
    assert service.get("/modules/m").json()["state"] == "changed"


def test_the_diff_of_an_unknown_previous_content_is_left_out(service: Any, repo: Any) -> None:
    def body(content: str) -> dict[str, Any]:
        return {"migrations": [{"filename": "001_a.sql", "content": content}]}

    repo.write("m", _001_a=TABLE)
    service.sync()
    # Without a run, which would store the files.
    service.post("/modules/m/mark", json={"filename": "001_a.sql", "applied": True})
    shutil.move(repo.path / "m", repo.path / ".away")
    service.post("/repo/sync")
    unknown = service.client.put("/modules/m", json=body("SELECT 1")).json()
    assert (unknown["code"], "diff" in unknown) == ("checksum_changed", False)
    # A folder that is hidden by a registered module still has the file.
    other = {"migrations": [{"filename": "002_b.sql", "content": "SELECT 2"}]}
    assert service.client.put("/modules/m", json=other).status_code == 201
    shutil.move(repo.path / ".away", repo.path / "m")
    assert service.post("/repo/sync").json()["hidden"] == ["m"]
    assert f"-{TABLE}" in service.client.put("/modules/m", json=body("SELECT 1")).json()["diff"].splitlines()
    # Once it was registered with the applied content, that content stays known.
    assert service.client.put("/modules/m", json=body(TABLE)).status_code == 201
    shutil.rmtree(repo.path / "m")
    service.post("/repo/sync")
    assert f"-{TABLE}" in service.client.put("/modules/m", json=body("SELECT 1")).json()["diff"].splitlines()
