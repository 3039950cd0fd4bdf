"""The reference is complete: every public name, setting and error code is described, and nothing else is."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

import pgdbm
import pgdbm.embedded
import pgdbm.migrations
from pgdbm import errors
from pgdbm.fixtures import conftest as fixtures
from pgdbm.migrations.results import State
from pgdbm_service.client import Client
from pgdbm_service.client import errors as client_errors
from pgdbm_service.client.endpoints import CallMethod, ListingMethod
from pgdbm_service.errors.codes import ERROR_KINDS
from pgdbm_service.settings import Settings, variable_of

from .markdown import DOCS, ROOT, blocks, table

LIBRARY = DOCS / "reference" / "library"
SETTINGS = DOCS / "reference" / "settings.md"
ERRORS = DOCS / "reference" / "errors"

_DIRECTIVE = re.compile(r"^::: (pgdbm[\w.]*)$", re.MULTILINE)


def documented() -> list[str]:
    """The names that the reference of the library describes from their docstrings."""
    return [name for page in sorted(LIBRARY.glob("*.md")) for name in _DIRECTIVE.findall(page.read_text())]


def test_the_library_reference_has_what_is_public() -> None:
    names = [name.removeprefix("pgdbm.") for name in documented()]
    assert len(names) == len(set(names))
    assert {name for name in names if "." not in name} | {"__version__"} == set(pgdbm.__all__)
    of_submodules = {name for name in names if "." in name}
    public = {f"migrations.{name}" for name in pgdbm.migrations.__all__ if name not in pgdbm.__all__}
    public |= {f"embedded.{name}" for name in pgdbm.embedded.__all__}
    assert of_submodules == public
    assert "__version__" in (LIBRARY / "index.md").read_text()


def test_what_is_described_has_a_docstring() -> None:
    missing = []
    for name in documented():
        module, _, attribute = name.rpartition(".")
        described: Any = pgdbm
        for part in [*module.split(".")[1:], attribute]:
            described = getattr(described, part)
        members = vars(described).items() if isinstance(described, type) else ()
        missing += [
            f"{name}.{member}"
            for member, value in members
            if not member.startswith("_") and callable(value) and not inspect.getdoc(getattr(described, member))
        ]
        if not inspect.getdoc(described):
            missing.append(name)
    assert missing == []


def test_each_name_is_in_the_table_of_its_page() -> None:
    for page in ("database", "migrations", "monitoring", "testing"):
        listed = {row[0].strip("`") for row in table(LIBRARY / f"{page}.md", "name")}
        described = _DIRECTIVE.findall((LIBRARY / f"{page}.md").read_text())
        assert {name if name.count(".") > 1 else name.removeprefix("pgdbm.") for name in described} == listed


def test_the_tree_of_errors_is_that_of_the_module() -> None:
    (shown,) = blocks(LIBRARY / "errors.md", "text")
    lines = [line.strip() for line in (errors.__doc__ or "").splitlines()]
    tree = [line.strip() for line in shown.text.splitlines()]
    assert tree == [line for line in lines if line.startswith(("AsyncDBError", "├", "│", "└"))]
    assert set(re.findall(r"^\W*(\w+)", "\n".join(tree), re.MULTILINE)) == set(errors.__all__)


def test_every_method_of_the_client_is_described() -> None:
    members = {name: inspect.getattr_static(Client, name) for name in dir(Client)}
    methods = {name for name, one in members.items() if isinstance(one, CallMethod | ListingMethod)}
    rows = [row for row in table(DOCS / "reference" / "client.md", "method") if "(" not in row[0]]
    assert {row[0].strip("`") for row in rows} == methods
    tree = [line.strip() for line in (client_errors.__doc__ or "").splitlines()]
    (shown,) = blocks(DOCS / "reference" / "client.md", "text")
    assert [line for line in tree if line.startswith(("ClientError", "├", "└"))] == shown.text.strip().splitlines()


def test_fixtures_and_states() -> None:
    listed = {row[0].strip("`") for row in table(LIBRARY / "testing.md", "fixture")}
    assert listed == set(fixtures.__all__)
    states = [row[0].strip("`") for row in table(LIBRARY / "migrations.md", "state")]
    assert sorted(states) == sorted(str(state) for state in get_args(State))


def settings_table() -> list[list[str]]:
    """Variable, default, values and meaning of each setting, as the page shows them."""
    rows = []
    for name, kind in get_type_hints(Settings, include_extras=True).items():
        meaning = next(meta for meta in kind.__metadata__ if isinstance(meta, msgspec.Meta))
        default = getattr(Settings(), name)
        shown = "unset" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
        rows.append([f"`{variable_of(name)}`", f"`{shown}`", _values(kind, meaning), str(meaning.description)])
    return rows


def _values(kind: Any, meta: msgspec.Meta) -> str:
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if get_origin(plain) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(plain))
    if plain is bool:
        return "`true`, `false`"
    if get_origin(plain) is dict:
        return "a JSON object"
    if get_origin(plain) is list:
        return "a JSON array"
    if not {int, float} & {plain, *get_args(plain)}:
        return "a path" if Path in (plain, *get_args(plain)) else "text"
    low = f"over {meta.gt:g}" if meta.gt is not None else f"{meta.ge}"
    return f"{low} to {meta.le}"


def test_every_setting_is_described() -> None:
    expected = settings_table()
    wanted = "\n".join(f"| {' | '.join(row)} |" for row in expected)
    assert table(SETTINGS, "variable") == expected, f"the table of {SETTINGS.name} has to be:\n{wanted}"


def test_every_error_code_has_its_page_and_its_row() -> None:
    of_library = {error.code for error in vars(errors).values() if hasattr(error, "code")}
    assert of_library <= set(ERROR_KINDS)
    pages = {page.stem for page in ERRORS.glob("*.md") if page.name != "README.md"}
    assert pages == set(ERROR_KINDS)
    rows = [[f"[{kind.code}]({kind.code}.md)", str(kind.status), kind.title] for kind in ERROR_KINDS.values()]
    wanted = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    assert table(ERRORS / "README.md", "code") == rows, f"the table has to be:\n{wanted}"


def test_the_errors_of_the_library_are_mapped() -> None:
    raised = {
        name.strip("`"): re.sub(r"\[(\w+)\].*", r"\1", code)
        for name, code in table(ERRORS / "README.md", "exception of the library")
    }
    assert raised == {name: error.code for name, error in vars(errors).items() if hasattr(error, "code")}


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = {
        "dependencies": project["project"]["dependencies"],
        **project["project"]["optional-dependencies"],
        **project["dependency-groups"],
    }
    names = {re.split(r"[\[<>=]", requirement)[0] for group in groups.values() for requirement in group} - {"pgdbm"}
    assert len(names) > 30
    text = (DOCS / "explanation" / "dependencies.md").read_text().lower()
    assert sorted(name for name in names if not re.search(rf"(?<![\w-]){name}(?![\w-])", text)) == []


def test_log_events_that_documents_name_exist() -> None:
    named = {
        event
        for page in sorted((DOCS / "runbooks").glob("*.md"))
        for event in re.findall(r'"event":"([^"]+)"', page.read_text(encoding="utf-8"))
    }
    named |= {
        event for row in table(DOCS / "howto" / "observe.md", "`event`") for event in re.findall("`(.+?)`", row[0])
    }
    logged = {
        argument.value
        for path in (ROOT / "app").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        for argument in node.args
        if isinstance(argument, ast.Constant)
    }
    assert len(named) > 8
    assert sorted(named - logged) == []
