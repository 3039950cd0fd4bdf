"""docs/explanation/glossary.md has every word of the interfaces: JSON fields of the API and of ``--json``, commands,
options, states. The words are read out of the code, in both directions: none is missing, and none is obsolete."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import tomllib
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, get_args

import click
import msgspec

import pgdbm_service.api
from pgdbm.cli.app import root
from pgdbm.cli.reports import ErrorReport
from pgdbm.migrations import MigrationStatus, importers, results
from pgdbm.migrations.engine import events
from pgdbm_service.asgi import create_app
from pgdbm_service.errors.codes import ERROR_KINDS
from pgdbm_service.settings import Settings

from ..support.commands import own_commands
from .markdown import DOCS, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = DOCS / "explanation" / "glossary.md"
COMMANDS = (ROOT / "app" / "pgdbm" / "cli", ROOT / "app" / "pgdbm_service" / "commands")

_SECTION = re.compile(r"^## (?P<title>.+?)\n(?P<body>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")
_FIELD = re.compile(r"[a-z][a-z_]*\Z")


def listed(title: str) -> set[str]:
    """The words in the first columns of the tables of a section."""
    bodies = {match["title"]: match["body"] for match in _SECTION.finditer(PAGE.read_text(encoding="utf-8"))}
    words = [
        word
        for line in bodies[title].splitlines()
        if line.startswith("| `")
        for word in _CODE.findall(line.split(" | ")[0])
    ]
    assert len(words) == len(set(words)), f"twice in {title!r}: {sorted({w for w in words if words.count(w) > 1})}"
    return set(words)


def compare(title: str, words: set[str]) -> None:
    there = listed(title)
    assert (sorted(words - there), sorted(there - words)) == ([], []), f"{title}: not in the glossary, not in the code"


def of_structs() -> set[str]:
    """The fields of the wire types, by the names that they have in JSON."""
    found: set[str] = set()
    for module in pkgutil.iter_modules(pgdbm_service.api.__path__):
        for value in vars(importlib.import_module(f"pgdbm_service.api.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, msgspec.Struct):
                found |= {field.encode_name for field in msgspec.structs.fields(value)}
    return found


def of_openapi() -> set[str]:
    """The properties and parameters of the API's description; headers are HTTP's own words."""
    app = create_app(Settings(database_url="postgresql://nowhere@127.0.0.1/none"))
    document: Any = app.openapi_schema.to_schema()
    found: set[str] = set()
    for node in _nodes(document):
        found |= set(node["properties"]) if isinstance(node.get("properties"), dict) else set()
        if node.get("in") in ("query", "path"):
            found.add(node["name"])
    return found


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _nodes(child)


def of_command_output() -> set[str]:
    """The keys of the dicts that commands create, and the fields of the structs that they print."""
    found: set[str] = set()
    for path in (path for folder in COMMANDS for path in folder.glob("*.py")):
        functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        for node in (node for function in functions for statement in function.body for node in ast.walk(statement)):
            keys = node.keys if isinstance(node, ast.Dict) else []
            found |= {key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
    for printed in (
        results.Applied,
        results.ApplyResult,
        results.Renamed,
        results.Repair,
        MigrationStatus,
        importers.Conversion,
        importers.ImportReport,
    ):
        found |= fields_of(printed)
    found |= fields_of(ErrorReport) - {"fields", "exit_code"}
    return {name for name in found if _FIELD.match(name)}


def fields_of(printed: type) -> set[str]:
    """The names in a dataclass or a named tuple."""
    return {field.name for field in fields(printed)} if is_dataclass(printed) else set(vars(printed)["_fields"])


def test_json_fields() -> None:
    of_problems = {field for kind in ERROR_KINDS.values() for field in kind.fields}
    assert len(of_openapi() | of_structs()) > 150
    compare("Fields of JSON", of_openapi() | of_structs() | of_problems | of_command_output())


def root_with_the_service() -> click.Group:
    """The command line with the commands of the service, whether or not its entry points are installed."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pgdbm.commands"]
    group = click.Group("pgdbm", commands=own_commands(root), params=list(root.params))
    for name, point in points.items():
        module, _, attribute = point.partition(":")
        group.add_command(getattr(importlib.import_module(module), attribute), name)
    return group


def commands(command: click.Command, path: str = "pgdbm") -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, f"{path} {name}")


def test_commands() -> None:
    found = {path for path, command in commands(root_with_the_service()) if not isinstance(command, click.Group)}
    assert {"pgdbm migrate apply", "pgdbm deploy"} <= found
    compare("Commands", found)


def test_options() -> None:
    options = {
        name
        for _, command in commands(root_with_the_service())
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("--")
    }
    compare("Options", options)


def test_values() -> None:
    """Each value that a state, a status or an event can have."""
    values: set[str] = set(get_args(events.Kind))
    for name in ("State", "ModuleState", "JournalEvent", "OutOfOrder"):
        values |= {str(value) for value in get_args(getattr(results, name))}
    for node in _nodes(
        create_app(Settings(database_url="postgresql://nowhere@127.0.0.1/none")).openapi_schema.to_schema()
    ):
        for name, described in (node.get("properties") or {}).items():
            if name in ("state", "status", "event", "kind") and isinstance(described, dict):
                values |= {
                    value
                    for one in _nodes(described)
                    for value in one.get("enum", [one["const"]] if "const" in one else [])
                }
    compare("Values", values)
