"""The folder of the shared test server, and which files of earlier ones are removed."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, NamedTuple

import pytest

from pgdbm.testing import server

if TYPE_CHECKING:
    from pathlib import Path


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A substitute for the folder in memory; the folder for temporary files is a different one."""
    folder, temporary = tmp_path / "memory", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(server, "_MEMORY", folder)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    return folder


def ended_process() -> int:
    """The pid of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait(60)
    return process.pid


@pytest.mark.parametrize("free", [server._ROOM_BYTES, server._ROOM_BYTES - 1])
def test_the_server_is_in_memory_if_there_is_room(memory: Path, monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(free, 0, free))
    expected = memory if free == server._ROOM_BYTES else memory.parent / "temporary"
    assert server.parent_folder() == expected


@pytest.mark.parametrize("name", ["TMPDIR", "TEMP", "TMP"])
def test_a_variable_chooses_the_folder(memory: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(1 << 40, 0, 1 << 40))
    monkeypatch.setenv(name, str(memory.parent))
    assert server.parent_folder() == memory.parent / "temporary"


def test_a_process_exists_until_it_has_ended() -> None:
    assert server.process_exists(os.getpid())
    assert server.process_exists(1)
    assert not server.process_exists(ended_process())


def test_files_of_ended_processes_are_removed(memory: Path) -> None:
    ended = ended_process()
    leftovers = [memory / f"{server._PREFIX}{ended}-x", memory.parent / "temporary" / f"{server._PREFIX}{ended}-y"]
    others = [
        memory / f"{server._PREFIX}{os.getpid()}-x",
        memory / f"{server._PREFIX}text-x",
        memory / f"other-{ended}-x",
    ]
    for folder in (*leftovers, *others):
        folder.mkdir()
        (folder / "lock").write_text("")
    server._remove_leftovers()
    assert [folder for folder in (*leftovers, *others) if folder.exists()] == others


def test_files_that_another_container_uses_stay(memory: Path) -> None:
    folder = memory / f"{server._PREFIX}{ended_process()}-x"
    folder.mkdir()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server._remove_leftovers()
        assert folder.exists()
    server._remove_leftovers()
    assert not folder.exists()


def test_a_folder_without_a_lock_stays(memory: Path) -> None:
    folder = memory / f"{server._PREFIX}{ended_process()}-x"
    folder.mkdir()
    server._remove_leftovers()
    assert folder.exists()
