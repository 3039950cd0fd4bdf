"""What a container relies on: commands as arguments, a log of JSON lines alone, and the version."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm.cli.output import Output
from pgdbm.version import __version__

from ..running_service import http_get, http_post

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("arguments", [("--version",), ("pgdbm", "--version")])
def test_arguments_are_a_command_of_pgdbm(launch: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    """``docker run IMAGE --version`` and ``docker run IMAGE pgdbm --version``."""
    command = launch("-m", "pgdbm_service", *arguments)
    assert (command.wait(), command.out) == (0, f"pgdbm {__version__}\n")


def test_every_command_is_there(launch: Callable[..., Any]) -> None:
    command = launch("-m", "pgdbm_service", "pgdbm", "--help")
    assert command.wait() == 0
    assert {"migrate", "deploy", "wait", "runs", "token", "schema", "db"} <= set(command.out.split())


def test_an_unknown_command_is_named(launch: Callable[..., Any]) -> None:
    command = launch("-m", "pgdbm_service", "serve")
    assert command.wait() == 2
    assert "No such command 'serve'" in command.err


def test_migrations_are_applied_to_a_database_directly(
    launch: Callable[..., Any], database: str, tmp_path: Any
) -> None:
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "001_a.sql").write_text("SELECT 1;\n")
    arguments = ("migrate", "apply", "--dir", "sql", "--module", "m", "--schema", "public")
    command = launch("-m", "pgdbm_service", "pgdbm", *arguments, DATABASE_URL=database)
    assert command.wait() == 0, command.err
    assert "001_a.sql" in command.out


def test_logs_are_one_json_object_a_line_without_a_banner(
    launch: Callable[..., Any], database: str, repo: Any, eventually: Callable[..., Any]
) -> None:
    repo.write("m", _001_a="SELECT 1 / 0")
    process = launch(DATABASE_URL=database, PGDBM_LOG_FORMAT="json", PGDBM_NO_SUCH_SETTING="1")
    url = process.url()
    eventually(lambda: http_get(f"{url}/health/ready").status_code == 200)
    assert http_post(f"{url}/modules/m/migrate", timeout=60).status_code == 422
    process.popen.terminate()
    assert process.wait() == 0
    assert process.out == ""
    lines = [json.loads(line) for line in process.err.splitlines()]
    assert {"listening", "request", "migrate failed"} <= {line["event"] for line in lines}
    (listening,) = [line for line in lines if line["event"] == "listening"]
    assert listening["version"] == __version__


def test_without_rich_progress_is_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The image does not contain rich, so even a terminal (``docker run -t``) gets lines."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert Output(as_json=False).progress_bar() is not None
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert Output(as_json=False).progress_bar() is None


def test_the_version_and_the_revision(start: Callable[..., Any]) -> None:
    service = start(revision="4f2a1c0")
    assert service.get("/version").json() == {"version": __version__, "revision": "4f2a1c0"}
    assert f'pgdbm_build_info{{revision="4f2a1c0",version="{__version__}"}} 1.0' in service.get("/metrics").text
    guarded = start(auth="tokens", auth_for_health=True, wait=False)
    assert guarded.get("/version").status_code == 401


@pytest.mark.parametrize(
    ("words", "completed"),
    [("pgdbm dep", ["deploy"]), ("pgdbm migrate imp", ["import"]), ("pgdbm deploy x --form", ["--format"])],
)
def test_the_shell_completes_commands_and_options(launch: Callable[..., Any], words: str, completed: list[str]) -> None:
    """As the function that `_PGDBM_COMPLETE=bash_source pgdbm` defines asks."""
    asked = {"_PGDBM_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = launch("-m", "pgdbm_service", "pgdbm", **asked)
    assert done.wait() == 0, done.err
    assert done.out.split() == [f"plain,{one}" for one in completed]
    source = launch("-m", "pgdbm_service", "pgdbm", _PGDBM_COMPLETE="bash_source")
    assert source.wait() == 0, source.err
    assert "complete -o nosort -F _pgdbm_completion pgdbm" in source.out
