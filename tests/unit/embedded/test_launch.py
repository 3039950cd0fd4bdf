"""How the embedded server's programs are started: the account, and what it can reach."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from pgdbm.embedded import launch

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("euid", "has_name", "can_map", "account"),
    [
        (1000, True, True, launch.PLAIN),
        (1000, True, False, launch.PLAIN),
        (1000, False, True, launch.MAPPED),
        (1000, False, False, launch.PLAIN),
        (0, True, True, launch.MAPPED),
        (0, True, False, launch.NOBODY),
        (0, False, False, launch.NOBODY),
    ],
)
def test_the_account_depends_on_the_user_and_on_namespaces(
    euid: int, has_name: bool, can_map: bool, account: str
) -> None:
    assert launch.choose_account(euid, has_name=has_name, can_map=lambda: can_map) == account


def test_namespaces_are_not_tried_for_an_ordinary_user() -> None:
    def can_map() -> bool:
        raise AssertionError("it was tried")

    assert launch.choose_account(1000, has_name=True, can_map=can_map) == launch.PLAIN


def test_a_program_that_cannot_be_executed_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "postgres"
    program.write_text("")
    program.chmod(0o644)
    with pytest.raises(launch.RefusedError, match=r"cannot execute .*/postgres: open the folders"):
        launch.check_access(str(tmp_path), str(program))


def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "postgres"
    program.write_text("")
    program.chmod(0o755)
    launch.check_access(str(tmp_path), str(program))
    with pytest.raises(launch.RefusedError, match=r"cannot use .*/missing: open the folders"):
        launch.check_access(str(tmp_path / "missing"), str(program))


def test_a_folder_is_made_searchable_for_the_group_only(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir(0o700)
    launch.make_searchable(str(folder), os.getgid())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o710


@pytest.mark.parametrize("mode", [0o711, 0o750])
def test_a_folder_that_is_searchable_stays_as_it_is(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    os.chown(folder, -1, os.getgid())
    launch.make_searchable(str(folder), os.getgid())
    assert stat.S_IMODE(folder.stat().st_mode) == mode


def test_a_folder_of_the_account_is_not_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "walk", lambda *_args, **_options: pytest.fail("it was walked"))
    launch.change_owner(str(tmp_path), tmp_path.stat().st_uid, os.getgid())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_everything_in_a_folder_changes_its_owner(tmp_path: Path) -> None:
    inner = tmp_path / "pgdata" / "base"
    inner.mkdir(parents=True)
    (inner / "1").write_text("")
    (inner / "dangling").symlink_to(tmp_path / "missing")
    launch.change_owner(str(tmp_path / "pgdata"), 12345, 12346)
    found = [tmp_path / "pgdata", inner, inner / "1", inner / "dangling"]
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in found} == {(12345, 12346)}
    assert tmp_path.stat().st_uid == 0
