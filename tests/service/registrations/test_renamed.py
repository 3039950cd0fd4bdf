"""The same files under another module name do not run again without a warning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = [
    {"filename": "001_a.sql", "content": "CREATE TABLE IF NOT EXISTS {{tables.t}} (id integer)"},
    {"filename": "002_b.sql", "content": "INSERT INTO {{tables.t}} VALUES (1)"},
]


def test_a_registered_module_under_another_name(service: Any) -> None:
    registered = service.client.put("/modules/billing?schema=money", json={"migrations": FILES}).json()
    assert registered["warnings"] == []
    assert service.post("/modules/billing/migrate").json()["status"] == "success"
    other = service.client.put("/modules/invoicing?schema=money", json={"migrations": FILES})
    assert other.status_code == 201
    (warning,) = other.json()["warnings"]
    assert "2 of the files of invoicing are applied as the module billing" in warning
    assert "/modules/invoicing/mark" in warning
    # Elsewhere nothing is applied twice.
    elsewhere = service.client.put("/modules/billing_copy?schema=elsewhere", json={"migrations": FILES}).json()
    assert elsewhere["warnings"] == []
    assert service.client.put("/modules/billing?schema=money", json={"migrations": FILES}).json()["warnings"] == []


def test_a_folder_of_the_repository_under_another_name(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    files = {f"_{one['filename'].removesuffix('.sql')}": one["content"] for one in FILES}
    repo.write("billing", 'schema = "money"', **files)
    service.sync()
    assert service.post("/modules/billing/migrate").json()["status"] == "success"
    (repo.path / "billing").rename(repo.path / "invoicing")
    service.sync()
    problem = service.post("/modules/invoicing/migrate").json()
    assert (problem["code"], problem["applied_as"], problem["schema"]) == ("module_conflict", "billing", "money")
    assert "/modules/invoicing/mark" in problem["hint"]
    assert sql("SELECT count(*) FROM money.t")[0][0] == 1
    for file in FILES:
        marked = service.post("/modules/invoicing/mark", json={"filename": file["filename"], "applied": True})
        assert marked.status_code == 200, marked.text
    assert service.post("/modules/invoicing/migrate").json()["status"] == "up_to_date"


def test_two_modules_may_share_a_file(service: Any) -> None:
    """For example, a file that creates an extension: the other module still exists, or has more files."""
    shared = {"filename": "001_extension.sql", "content": "SELECT 'CREATE EXTENSION'"}
    both = [{"migrations": [shared, {"filename": f"00{number}_x.sql", "content": "SELECT 1"}]} for number in (2, 3)]
    for name, body in zip(("one", "other"), both, strict=True):
        service.client.put(f"/modules/{name}?schema=money", json=body)
        assert service.post(f"/modules/{name}/migrate").json()["status"] == "success"


def test_renamed_files_are_named(service: Any, repo: Any) -> None:
    first, second = ({f"_{name}": one["content"]} for name, one in zip(("001_a", "002_b"), FILES, strict=True))
    repo.write("m", **first, **second)
    service.sync()
    assert service.post("/modules/m/migrate").json()["status"] == "success"
    for path in ("/modules/m", "/modules/m/plan"):
        assert "renamed" not in service.get(path).json()
    (repo.path / "m" / "002_b.sql").rename(repo.path / "m" / "002_first_row.sql")
    repo.write("m", _003_c="SELECT 3")
    service.sync()
    renamed = [{"filename": "002_first_row.sql", "applied_as": "002_b.sql"}]
    assert service.get("/modules/m").json()["renamed"] == renamed
    plan = service.get("/modules/m/plan").json()
    assert plan["renamed"] == renamed
    assert [one["filename"] for one in plan["pending"]] == ["003_c.sql"]
    assert service.post("/modules/m/migrate", json={"dry_run": True}).json()["renamed"] == renamed
    migrated = service.post("/modules/m/migrate").json()
    assert migrated["renamed"] == renamed
    assert [one["filename"] for one in migrated["applied"]] == ["002_first_row.sql", "003_c.sql"]
    # The history has the new name now.
    assert "renamed" not in service.get("/modules/m").json()
    assert "renamed" not in service.get("/modules/m/plan").json()
