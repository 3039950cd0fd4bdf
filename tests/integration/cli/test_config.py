"""pgdbm.toml and database URLs; the reference lists every command and option."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import import_module, resources
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

import pgdbm
from pgdbm import errors
from pgdbm.cli.app import root
from pgdbm.cli.config import load
from pgdbm.cli.context import CommandContext
from pgdbm.cli.errors import ConfigError
from pgdbm.cli.output import Output
from pgdbm.cli.project import find
from pgdbm.cli.reports import excerpt
from pgdbm.cli.toml import expand

from ...conftest import ROOT
from ...support.commands import own_commands

if TYPE_CHECKING:
    from collections.abc import Iterator

REFERENCE = (ROOT / "docs" / "reference" / "cli.md").read_text()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pgdbm.toml"


def test_the_template_loads_with_every_setting(file: Path) -> None:
    template = (resources.files("pgdbm.cli") / "template.toml").read_text()
    file.write_text(template)
    assert [module.name for module in load(file).modules] == ["app"]
    switched_on = re.sub(r"^# (?=\[|\w+ = )", "", template, flags=re.MULTILINE)
    file.write_text(switched_on)
    project = load(file, "production")
    assert [(module.name, module.schema) for module in project.modules] == [
        ("app", "public"),
        ("orders", "orders_live"),
    ]
    assert project.url == "${PRODUCTION_DATABASE_URL}"
    assert project.modules[1].out_of_order == "reject"
    keys = {f"{table}.{key}" for table in ("project", "database") for key in tomllib.loads(switched_on)[table]}
    keys |= {f"modules.NAME.{key}" for key in tomllib.loads(switched_on)["modules"]["orders"]}
    assert {key for key in keys if f"`{key}`" not in REFERENCE} == set()


def test_modules_come_after_their_dependencies_else_in_file_order(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(
        '[modules.c]\npath = "c"\ndepends_on = ["a"]\n[modules.b]\npath = "${WHERE:-b}"\n[modules.a]\npath = "a"\n'
    )
    assert [module.name for module in load(file).modules] == ["b", "a", "c"]
    monkeypatch.setenv("WHERE", "elsewhere")
    assert load(file).modules[0].path == file.parent / "elsewhere"
    below = file.parent / "x" / "y"
    below.mkdir(parents=True)
    assert find(below) == file


@pytest.mark.parametrize(
    ("content", "key", "says", "hint"),
    [
        ("[modul.a]\n", "modul", "no such key", "Did you mean modules?"),
        ("[modules.a]\n", "modules.a.path", "missing", 'path = "migrations/a"'),
        ('[modules.a]\npath = "a"\nshema = "s"\n', "modules.a.shema", "no such key", "Did you mean schema?"),
        ('[modules.a]\npath = "a"\nschema = "no-good"\n', "modules.a.schema", "'no-good'", "letters"),
        ("[modules.a]\npath = 1\n", "modules.a.path", "must be a string, not a number", "Write"),
        ('[modules.a]\npath = "a"\ndepends_on = "b"\n', "modules.a.depends_on", "list of strings", '["one"'),
        ('[modules.a]\npath = "a"\ndepends_on = ["b"]\n', "modules.a.depends_on", "no module 'b'", "Known: a"),
        ('[modules.a]\npath = "a"\ndepends_on = ["a"]\n', "modules.a.depends_on", "cycle: a -> a", "Remove"),
        ('[modules.a]\npath = "${NOT_SET_ANYWHERE}"\n', "modules.a.path", "NOT_SET_ANYWHERE is not set", "default"),
        ('[modules.a]\npath = "${"\n', "modules.a.path", "is not followed by a variable", "${NAME}"),
        ('[project]\nout_of_order = "maybe"\n', "project.out_of_order", "'maybe'", "'allow', 'reject'"),
        ("[project]\nlock_timeout = -1\n", "project.lock_timeout", "negative", None),
        ("[database]\nurl = 5\n", "database.url", "must be a string", "Write"),
        ("database = 5\n", "database", "must be a table", "[database]"),
        ("[environments.x.database]\nuri = 5\n", "environments.x.database.uri", "no such key", "url"),
        ("[environments.x.modules.q]\nschema = 's'\n", "environments.x.modules.q", "no module 'q'", "no modules"),
    ],
)
def test_errors_name_file_key_and_fix(file: Path, content: str, key: str, says: str, hint: str | None) -> None:
    file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load(file, "x" if "environments.x" in content else None)
    assert caught.value.message.startswith(f"{file}: {key}: ")
    assert says in caught.value.message
    assert caught.value.fields["key"] == key
    assert (hint or "") in caught.value.fields.get("hint", "")


def test_a_toml_syntax_error_has_its_line(file: Path) -> None:
    file.write_text("[project]\nname = \n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert caught.value.fields["line"] == 2
    file.write_bytes(b"name = '\xff'")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(file)


def test_an_unknown_environment_is_an_error_and_others_are_not_expanded(file: Path) -> None:
    file.write_text('[environments.live.database]\nurl = "${NOT_SET_ANYWHERE}"\n')
    assert load(file).url is None
    assert load(file, "live").url == "${NOT_SET_ANYWHERE}"
    with pytest.raises(ConfigError) as caught:
        load(file, "life")
    assert caught.value.fields["hint"] == "Did you mean live?"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}/${B}", "1/2"),
        ("${EMPTY:-x}", "x"),
        ("${NONE:-}", ""),
        ("$${A} $A $ pa$$word", "${A} $A $ pa$$word"),
        ("${NONE:-a:b-c}", "a:b-c"),
    ],
)
def test_variables_are_expanded(text: str, value: str) -> None:
    assert expand(text, None, "key", {"A": "1", "B": "2", "EMPTY": ""}) == value


def test_the_most_specific_url_wins(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://h/from_environment")
    output = Output(as_json=False)
    file.write_text("")
    assert CommandContext(output, file).url == "postgresql://h/from_environment"
    file.write_text('[database]\nurl = "postgresql://h/from_file"\n')
    assert CommandContext(output, file).url == "postgresql://h/from_file"
    assert CommandContext(output, file, given_url="postgres://h/given").url == "postgres://h/given"
    monkeypatch.delenv("DATABASE_URL")
    file.write_text("")
    with pytest.raises(ConfigError, match="no database is configured"):
        _ = CommandContext(output, file).url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host/db",
        "postgresql+asyncpg://h/d",
        "postgresql://u:a/b@h/d",
        "postgresql://[::1/d",
        "postgres://h?schema=x",
    ],
)
def test_an_unusable_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _ = CommandContext(Output(as_json=False), given_url=url).url
    assert caught.value.fields["key"] == "--database-url"
    assert "a/b" not in caught.value.message


def test_the_caret_stands_under_its_character(tmp_path: Path) -> None:
    sql = tmp_path / "x.sql"
    sql.write_bytes("\ufeffone\r\n\tx = 'ä' nope\r\n".encode())
    assert excerpt(sql, 2, 10) == ["  2 | \tx = 'ä' nope", "    | \t        ^"]
    sql.write_text("x" * 500 + "!" + "y" * 500)
    line, caret = excerpt(sql, 1, 501)
    assert line[caret.index("^")] == "!"
    assert excerpt(sql, 99, 1) == []


def commands(group: click.Group, path: str = "pgdbm") -> Iterator[tuple[str, click.Command]]:
    for name, command in own_commands(group).items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def test_the_reference_has_every_command_option_and_error() -> None:
    for path, command in commands(root):
        assert f"`{path}" in REFERENCE
        for option in command.params:
            for name in option.opts if isinstance(option, click.Option) else ():
                assert name in REFERENCE, f"{path} {name}"
        assert command.help
    kinds: list[type[errors.MigrationError]] = [errors.MigrationError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        assert f"`{kind.code}`" in REFERENCE


def test_public_names_are_loaded_at_their_first_use() -> None:
    probe = "import sys, pgdbm; sys.exit(sorted({'asyncpg', 'asyncio'} & set(sys.modules)) or 0)"
    app = str(Path(pgdbm.__file__).parents[1])
    assert subprocess.run([sys.executable, "-c", probe], env={"PYTHONPATH": app}, check=False).returncode == 0
    assert set(pgdbm.__all__) <= set(dir(pgdbm))
    for name in pgdbm.__all__:
        assert getattr(pgdbm, name) is not None
    for module in ("core", "errors", "migrations", "monitoring", "testing"):
        assert getattr(pgdbm, module) is import_module(f"pgdbm.{module}")
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = pgdbm.no_such_name  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("content", "says"),
    [("n = " + "9" * 5_000, "too many digits"), ("n = " + "[" * 5_000, "nested too deeply")],
)
def test_toml_that_python_cannot_read(file: Path, content: str, says: str) -> None:
    file.write_text(content)
    with pytest.raises(ConfigError, match=says):
        load(file)
