"""A missing folder, an empty one, and modules without files are not mistaken for being up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgdbm_service.settings import DEFAULT_REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"


def test_a_missing_default_repository_is_named(
    start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All modules may be registered."""
    monkeypatch.chdir(tmp_path)
    service = start(migrations_repo=DEFAULT_REPOSITORY)
    (why, nothing) = service.get("/health/ready").json()["warnings"]
    assert f"there is no folder {tmp_path}/migrations_repo" in why
    assert nothing == "No module is registered."
    for body in ({}, {"dry_run": True}):
        answer = service.post("/migrate", json=body).json()
        assert (answer["status"], answer["warnings"]) == ("up_to_date", [why, nothing])


def test_files_in_the_wrong_folder_are_named(start: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    (tmp_path / "mount" / "001_a.sql").write_text(TABLE)
    service = start(migrations_repo=tmp_path / "mount")
    assert "has *.sql files but no modules" in service.post("/migrate").json()["warnings"][0]


def test_a_module_without_files_is_named(service: Any, repo: Any) -> None:
    (repo.path / "orders").mkdir()
    repo.write("good", _001_a=TABLE)
    service.sync()
    warning = "Module orders has no migration files (*.sql): there is nothing to apply."
    assert service.get("/health/ready").json()["warnings"] == [warning]
    assert service.get("/modules/orders/plan").json()["warnings"] == [warning]
    for path in ("/modules/orders/migrate", "/migrate"):
        for body in ({"dry_run": True}, {}):
            answer = service.post(path, json=body).json()
            assert path == "/migrate" or answer["warnings"] == [warning], answer
    attention = service.get("/overview").json()["attention"]
    assert [(one["kind"], one["module"]) for one in attention] == [("empty", "orders")]
    repo.write("orders", _001_a=TABLE)
    service.sync()
    assert service.get("/health/ready").json()["warnings"] == []
    assert "warnings" not in service.post("/modules/orders/migrate").json()
    assert service.get("/overview").json()["attention"] == []


def test_required_modules(start: Callable[..., Any], repo: Any) -> None:
    for name in ("billing_eu", "orders", "shipping"):
        repo.write(name, _001_a=TABLE)
    service = start(require_modules="orders, billing_*,shipping", watch_repo=False)
    (repo.path / "orders" / "001_a.sql").unlink()
    (repo.path / "billing_eu" / "001_a.sql").unlink()
    (repo.path / "billing_eu").rmdir()
    service.post("/repo/sync")
    problem = service.get("/health/ready").json()
    assert problem["code"] == "not_ready"
    assert [check["name"] for check in problem["checks"] if not check["ok"]] == ["modules"]
    refused = service.post("/migrate")
    assert (refused.status_code, refused.json()["code"]) == (503, "modules_missing")
    assert refused.json()["missing"] == ["orders", "billing_*"]
    for name in ("billing_us", "orders"):
        repo.write(name, _001_a=TABLE)
    service.post("/repo/sync")
    assert service.get("/health/ready").status_code == 200
    assert service.post("/migrate").json()["status"] == "success"
