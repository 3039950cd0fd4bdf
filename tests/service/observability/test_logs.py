"""Log lines: JSON, each with its request, run and module."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import structlog

from pgdbm_service.observability.logs import configure_logs
from pgdbm_service.settings import Settings
from tests.support.waiting import eventually

from .test_metrics import observed

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def of_requests(capfd: pytest.CaptureFixture[str], *ids: str) -> list[dict[str, Any]]:
    """What was logged up to the lines of these requests, which are written a moment after their answers."""
    written: list[dict[str, Any]] = []

    def have_their_lines() -> bool:
        written.extend(lines(capfd.readouterr().err))
        return set(ids) <= {line.get("request_id") for line in written if line["event"] == "request"}

    eventually(have_their_lines)
    return written


def test_every_line_of_a_request_names_request_and_module(
    start: Callable[..., Any], repo: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    repo.write("good", _001_a="DO $$BEGIN RAISE WARNING 'w'; END$$")
    repo.write("bad", _001_a="SELECT 1 / 0")
    service = start(log_level="info", log_format="json")
    capfd.readouterr()
    service.post("/modules/good/migrate", headers={"X-Request-ID": "of-good"})
    service.post("/modules/bad/migrate", headers={"X-Request-ID": "of-bad"})
    service.get("/modules", headers={"X-Request-ID": "of-all"})
    written = of_requests(capfd, "of-good", "of-bad", "of-all")
    for module in ("good", "bad"):
        mine = [line for line in written if line.get("request_id") == f"of-{module}"]
        assert {line["module"] for line in mine} == {module}
        assert {"request"} < {line["event"] for line in mine}
    [last] = [line for line in written if line.get("request_id") == "of-all"]
    assert "module" not in last


def test_migrating_all_logs_each_module(
    start: Callable[..., Any], repo: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    repo.write("a", _001_a="SELECT 1")
    repo.write("b", _001_a="SELECT 1")
    service = start(log_level="info", log_format="json")
    capfd.readouterr()
    service.post("/migrate", headers={"X-Request-ID": "all"})
    written = of_requests(capfd, "all")
    migrated = [line for line in written if line["event"] == "migrated"]
    assert [line["module"] for line in migrated] == ["a", "b"]
    assert len({line["run_id"] for line in migrated}) == 2
    [request] = [line for line in written if line["event"] == "request" and line.get("request_id") == "all"]
    assert "module" not in request


def test_every_line_of_a_run_names_it(repo: Any, database: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Lines of the library have the run, too, although the library has no runs."""
    configure_logs(Settings(log_level="info", log_format="json"))
    _, observer = observed(repo, database)
    with observer.run("m", "run-1"):
        logging.getLogger("pgdbm.migrations").warning("from the library")
        structlog.get_logger("pgdbm_service").info("from the service")
    logging.getLogger("pgdbm.migrations").warning("after it")
    first, second, after = lines(capfd.readouterr().err)
    assert [(line["module"], line["run_id"]) for line in (first, second)] == [("m", "run-1")] * 2
    assert "run_id" not in after
    assert "module" not in after


def test_forked_workers_generate_distinct_request_ids() -> None:
    """Like a server that loads the app first."""
    program = (
        "import os\n"
        "from pgdbm_service.observability.logs import _request_id\n"
        "for worker in range(2):\n"
        "    if not os.fork():\n"
        "        os.write(1, _request_id({'headers': []}).encode() + b' ')\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert len(set(done.stdout.split())) == 2, done.stdout


def test_values_of_statements_are_not_logged(
    start: Callable[..., Any], repo: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """The server quotes them in messages, details and contexts. Those who may migrate see them."""
    files = {
        "unique": "CREATE TABLE {{tables.u}} (email text UNIQUE);\n"
        "INSERT INTO {{tables.u}} VALUES ('planted-value'), ('planted-value');",
        "cast": "SELECT CAST('planted-value' AS integer);",
        "raised": "DO $$BEGIN RAISE EXCEPTION 'planted-value'; END$$;",
        "context": "DO $$BEGIN EXECUTE 'SELECT ''planted-value''::integer'; END$$;",
        "syntax": "SELECT 1 'planted-value' x;",
    }
    for module, content in files.items():
        repo.write(module, _001_a=content)
    service = start(log_level="info", log_format="json")
    capfd.readouterr()
    for module in files:
        answer = service.post(f"/modules/{module}/migrate", headers={"X-Request-ID": module})
        assert (answer.status_code, "planted-value" in answer.text) == (422, True), answer.text
        assert service.post(f"/modules/{module}/rehearse", headers={"X-Request-ID": f"{module}-r"}).status_code < 500
    written = of_requests(capfd, *files, *(f"{module}-r" for module in files))
    assert "planted-value" not in json.dumps(written)
    failed = {line["module"]: line for line in written if line["event"] == "migrate failed"}
    assert {"filename": "001_a.sql", "statement": 2, "line": 2, "sqlstate": "23505"}.items() <= failed["unique"].items()
    refused = [line for line in written if line["event"] == "migrate refused" and line["module"] == "syntax"]
    assert (refused[0]["problem_code"], refused[0]["line"]) == ("migration_file_invalid", 1)


def test_warnings_of_python_are_lines_of_json() -> None:
    script = (
        "import warnings; from pgdbm_service.observability.logs import configure_logs; "
        "from pgdbm_service.settings import Settings; configure_logs(Settings(log_format='json')); "
        "warnings.warn('password file has group access')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    (line,) = done.stderr.splitlines()
    assert "password file has group access" in json.loads(line)["event"]
