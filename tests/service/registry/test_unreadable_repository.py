"""PGDBM_MIGRATIONS_REPO cannot be read, at the start or later: not ready, with the reason, until it can be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"


def missing(place: Path) -> None:
    """The mount is not there yet."""


def dangling(place: Path) -> None:
    """git-sync has not cloned yet."""
    place.symlink_to("../worktrees/0123abcd")


def circular(place: Path) -> None:
    place.symlink_to(place.name)


def a_file(place: Path) -> None:
    place.write_text(TABLE)


def below_a_file(place: Path) -> None:
    place.parent.write_text(TABLE)


def forbidden(place: Path) -> None:
    place.mkdir()
    place.chmod(0)
    if os.access(place, os.R_OK):
        pytest.skip("root may read it")


REASONS = {
    missing: "there is no folder",
    dangling: "is a symbolic link to ../worktrees/0123abcd, which does not exist",
    circular: "Too many levels of symbolic links",
    a_file: "is not a folder",
    below_a_file: "is not a folder",
    forbidden: "Permission denied",
}


def remove(place: Path) -> None:
    for path in (place, place.parent):
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path == place and path.exists():
            path.chmod(0o755)
            path.rmdir()


def assert_unreadable(answer: Any, reason: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (503, "repository_unreadable"), answer.text
    assert reason in answer.json()["detail"]
    assert answer.headers["retry-after"]


def fill(place: Path) -> None:
    (place / "m").mkdir(parents=True, exist_ok=True)
    (place / "m" / "001_a.sql").write_text(TABLE)


@pytest.mark.parametrize("watch_repo", [True, False])
@pytest.mark.parametrize("make", REASONS, ids=lambda make: make.__name__)
def test_at_the_start(
    start: Callable[..., Any], tmp_path: Path, eventually: Callable[..., Any], make: Any, watch_repo: bool
) -> None:
    place = tmp_path / "mount" / "current"
    if make is not below_a_file:
        place.parent.mkdir()
    make(place)
    service = start(migrations_repo=place, watch_repo=watch_repo, wait=False)
    eventually(
        lambda: (
            [one["name"] for one in service.get("/health/ready").json()["checks"] if not one["ok"]] == ["repository"]
        )
    )
    ready = service.get("/health/ready")
    assert ready.status_code == 503
    assert any(REASONS[make] in (one["detail"] or "") for one in ready.json()["checks"])
    for path in ("/migrate", "/modules/m/migrate", "/repo/sync"):
        assert_unreadable(service.post(path), REASONS[make])
    # Registered modules do not depend on it.
    files = {"migrations": [{"filename": "001_a.sql", "content": TABLE}]}
    assert service.client.put("/modules/registered", json=files).status_code == 201
    assert service.post("/modules/registered/migrate").json()["status"] == "success"
    remove(place)
    fill(place)
    eventually(service.ready)
    assert service.get("/health/ready").json()["warnings"] == []
    assert service.post("/modules/m/migrate").json()["status"] == "success"


def test_later(start: Callable[..., Any], tmp_path: Path, eventually: Callable[..., Any]) -> None:
    """A volume that is gone for a moment takes no module along: none is reported as up to date, or as unknown."""
    place = tmp_path / "current"
    fill(tmp_path / "first")
    place.symlink_to("first")
    service = start(migrations_repo=place)
    assert service.post("/modules/m/migrate").json()["status"] == "success"
    place.unlink()
    place.symlink_to("second")
    eventually(lambda: not service.ready())
    assert [one["name"] for one in service.get("/modules").json()["items"]] == ["m"]
    for path in ("/migrate", "/modules/m/migrate", "/modules/unknown/migrate"):
        assert_unreadable(service.post(path), "symbolic link to second")
    assert_unreadable(service.get("/modules/m/plan"), "symbolic link to second")
    fill(tmp_path / "second")
    (tmp_path / "second" / "m" / "002_b.sql").write_text("SELECT 1")
    eventually(service.ready)
    eventually(lambda: service.post("/modules/m/migrate").json().get("applied"))


def test_a_link_to_a_folder_that_may_not_be_read(start: Callable[..., Any], tmp_path: Path) -> None:
    """One module is invalid; the others are served."""
    fill(tmp_path / "repo")
    (tmp_path / "repo" / "loop").symlink_to("loop")
    service = start(migrations_repo=tmp_path / "repo")
    assert service.post("/modules/m/migrate").json()["status"] == "success"
