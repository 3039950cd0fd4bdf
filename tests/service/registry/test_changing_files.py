"""Repositories whose files are replaced while they are read: by git-sync, by a ConfigMap, by a slow writer."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from pgdbm_service.errors import ServiceError
from pgdbm_service.registry.bundles import read_settled
from pgdbm_service.registry.settings import CheckedSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# The kubelet and git-sync never use the name of a folder twice in a row.
NAMES = [f"revision{number}" for number in range(10)]
CREATE = "CREATE TABLE {{tables.t}} (id integer);\n"


def files_of(folder: Path, count: int, text: str) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        path = folder / f"{number + 1:03}_x.sql"
        path.write_text(f"SELECT '{text}', {number};")
        os.utime(path, (time.time() - 60,) * 2)


def point(link: Path, target: str) -> None:
    """Replace a symbolic link atomically, as git-sync and the kubelet do."""
    new = link.with_name(".new")
    new.symlink_to(target)
    new.rename(link)


def texts(bundle: Any) -> set[str]:
    return {file.content.split("'")[1] for file in bundle.files.values()}


def swapping(swap: Callable[[int], None], read: Callable[[], Any]) -> list[Any]:
    """What ``read`` returns while ``swap`` is called again and again."""
    over = threading.Event()

    def run() -> None:
        number = 0
        while not over.is_set():
            number += 1
            swap(number)
            time.sleep(0.03)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        return [repeated_while_changing(read) for _ in range(40)]
    finally:
        over.set()
        thread.join()


def repeated_while_changing(read: Callable[[], Any]) -> Any:
    """On a busy machine reading takes longer than the files stay the same: a 503, which a retry fixes, but never a
    mixture."""
    for _ in range(100):
        try:
            return read()
        except ServiceError as error:
            if error.code != "files_changing":
                raise
    raise AssertionError("the files were never settled")


def test_git_sync(tmp_path: Path) -> None:
    """The repository is a link to a worktree."""
    for name in NAMES:
        files_of(tmp_path / name / "m", 30, name)
    repo = tmp_path / "current"
    repo.symlink_to(NAMES[0])
    bundles = swapping(
        lambda number: point(repo, NAMES[number % len(NAMES)]), lambda: read_settled(CheckedSettings(), repo / "m")
    )
    assert {len(bundle.files) for bundle in bundles} == {30}
    assert all(len(texts(bundle)) == 1 for bundle in bundles)


def test_a_config_map(tmp_path: Path) -> None:
    """The files are links into a hidden folder, which is a link itself."""
    folder = tmp_path / "m"
    for name in NAMES:
        files_of(folder / f"..{name}", 30, name)
    (folder / "..data").symlink_to(f"..{NAMES[0]}")
    for number in range(30):
        (folder / f"{number + 1:03}_x.sql").symlink_to(f"..data/{number + 1:03}_x.sql")
    bundles = swapping(
        lambda number: point(folder / "..data", f"..{NAMES[number % len(NAMES)]}"),
        lambda: read_settled(CheckedSettings(), folder),
    )
    assert {len(bundle.files) for bundle in bundles} == {30}
    assert all(len(texts(bundle)) == 1 for bundle in bundles)


def test_a_worktree_that_is_replaced_and_removed(
    start: Callable[..., Any], tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    files_of(tmp_path / "one" / "m", 1, "one")
    files_of(tmp_path / "two" / "m", 2, "one")
    repo = tmp_path / "current"
    repo.symlink_to("one")
    service = start(migrations_repo=repo)
    assert service.post("/modules/m/migrate").json()["status"] == "success"
    point(repo, "two")
    (tmp_path / "one" / "m" / "001_x.sql").unlink()
    (tmp_path / "one" / "m").rmdir()
    answer = service.post("/modules/m/migrate")
    assert answer.status_code == 200, answer.text
    assert [one["filename"] for one in answer.json()["applied"]] == ["002_x.sql"]


def test_a_file_that_is_being_written(start: Callable[..., Any], repo: Any) -> None:
    service = start()
    repo.write("m")
    path = repo.path / "m" / "001_a.sql"
    path.write_text(CREATE)
    service.sync()

    def finish() -> None:
        for _ in range(4):
            time.sleep(0.15)
            with path.open("a") as file:
                file.write("INSERT INTO {{tables.t}} VALUES (1);\n")

    with path.open("a") as file:
        file.write("INSERT INTO {{tables.t}} VALUES (1);\n")
    thread = threading.Thread(target=finish)
    thread.start()
    answer = service.post("/modules/m/migrate")
    thread.join()
    assert answer.json()["status"] == "success"
    # The whole file was applied, not the part that was there first.
    assert service.post("/modules/m/migrate").json()["status"] == "up_to_date"
    (migration,) = service.get("/modules/m/migrations").json()["items"]
    assert migration["state"] == "applied"


def test_a_file_that_is_written_continuously(start: Callable[..., Any], repo: Any) -> None:
    service = start()
    repo.write("m", _001_a=CREATE)
    service.sync()
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            with (repo.path / "m" / "001_a.sql").open("a") as file:
                file.write("SELECT 1;\n")
            time.sleep(0.05)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        answer = service.post("/modules/m/migrate")
    finally:
        over.set()
        thread.join()
    assert (answer.status_code, answer.json()["code"]) == (503, "files_changing"), answer.text
    assert answer.headers["retry-after"]
    time.sleep(0.4)
    assert service.post("/modules/m/migrate").json()["status"] == "success"


def test_a_dangling_link_does_not_keep_the_watch_busy(start: Callable[..., Any], repo: Any, caplog: Any) -> None:
    """Like an editor's lock file."""
    repo.write("m", _001_a="SELECT 1")
    (repo.path / "m" / ".#001_a.sql").symlink_to("user@nowhere")
    service = start(watch_repo=True)
    time.sleep(2.5)
    assert service.post("/modules/m/migrate").json()["status"] == "success"
    repo.write("m", _002_b="SELECT 1")
    time.sleep(2.5)
    assert service.get("/modules/m").json()["pending"] == 1
