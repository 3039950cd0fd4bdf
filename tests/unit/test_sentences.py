"""Messages that end with the text of other software end with one full stop."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

import pgdbm
import pgdbm_service
from pgdbm.cli import toml
from pgdbm.cli.errors import ConfigError
from pgdbm.embedded.cluster import ended_early
from pgdbm.embedded.folder import Folder
from pgdbm.embedded.launch import EXIT_REFUSED
from pgdbm.migrations.lint.findings import inspect
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import parse_file
from pgdbm_service.client.call import error_of
from pgdbm_service.settings import SettingsError, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = [path for package in (pgdbm, pgdbm_service) for path in Path(package.__path__[0]).rglob("*.py")]


def of_embedded(folder: Path) -> str:
    (folder / "server.log").write_text("cannot be used: no space left on device.\n")
    return str(ended_early("It ended", Folder(folder), EXIT_REFUSED, 0))


def of_lint(folder: Path) -> str:
    program = folder / "squawk"
    program.write_text("#!/bin/sh\necho 'There is no such option.' >&2\nexit 2\n")
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pgdbm.migrations.lint.findings.find_squawk", lambda: str(program))
        (inspected,) = inspect([parse_file(read_migration("1.sql", b"SELECT 1"), "app")], 18)
    return inspected.findings[0].message


def of_cli(folder: Path) -> str:
    (folder / "pgdbm.toml").write_text("x = [")
    with pytest.raises(ConfigError) as caught:
        toml.parse(folder / "pgdbm.toml")
    return caught.value.message


def of_client(_: Path) -> str:
    return str(error_of(httpx2.ConnectError("No route to host.", request=httpx2.Request("GET", "http://db:1/"))))


def of_settings(_: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        read_settings({"DATABASE_URL": "postgresql://u@h:port/x"})
    return str(caught.value)


@pytest.mark.parametrize("message_of", [of_embedded, of_lint, of_cli, of_client, of_settings])
def test_one_full_stop(message_of: object, tmp_path: Path) -> None:
    assert callable(message_of)
    message = message_of(tmp_path)
    assert message.endswith(".")
    assert ".." not in message
    assert ". ." not in message


def with_full_stop(function: ast.AST) -> Iterator[int]:
    """The lines of the f-strings in ``function`` with a full stop after an exception that it catches."""
    caught = {one.name for one in ast.walk(function) if isinstance(one, ast.ExceptHandler)}
    for text in (one for one in ast.walk(function) if isinstance(one, ast.JoinedStr)):
        for value, rest in zip(text.values, text.values[1:], strict=False):
            if not isinstance(value, ast.FormattedValue) or not isinstance(rest, ast.Constant):
                continue
            if isinstance(value.value, ast.Name) and value.value.id in caught and str(rest.value).startswith("."):
                yield text.lineno


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_full_stop_is_added_to_an_exception(path: Path) -> None:
    """``sentence`` of pgdbm.text adds it where it is missing."""
    assert not list(with_full_stop(ast.parse(path.read_text())))


def test_no_part_of_a_message_is_left_out() -> None:
    """``text += "a"`` with ``"b"`` on the next line, outside parentheses, is only ``text += "a"``."""
    lost = [
        f"{path}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.JoinedStr)
    ]
    assert not lost
