"""Commands as processes: signals, pipes, terminals, and `dev watch`, which runs until it is interrupted."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import __version__

from .project import COMMAND, DEADLINE_S, Project, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    Connect = Callable[[], AbstractAsyncContextManager[Any]]


@pytest.fixture
def stopped() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that must not outlive the test."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


async def eventually(question: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not await question():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_interrupt_rolls_back_and_prints_one_line(
    project: Project, connect: Connect, stopped: list[subprocess.Popen[str]], number: signal.Signals, exit_code: int
) -> None:
    project.write("users/001_users.sql", "CREATE TABLE users (id int);\nSELECT pg_sleep(600);\n")
    process = project.start("migrate", "apply", "users")
    stopped.append(process)
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%sleep(600)%' AND pid <> pg_backend_pid()"
    async with connect() as connection:

        async def is_sleeping() -> bool:
            return bool(await connection.fetchval(sleeping + " AND state = 'active'"))

        async def is_over() -> bool:
            return not await is_sleeping()

        await eventually(is_sleeping)
        process.send_signal(number)
        _out, err = await asyncio.to_thread(process.communicate, timeout=DEADLINE_S)
        assert process.returncode == exit_code
        assert err.splitlines() == ["Interrupted. Uncommitted changes were rolled back."]
        await eventually(is_over)
        assert await connection.fetchval("SELECT to_regclass('users.users')") is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_a_question(
    project: Project, stopped: list[subprocess.Popen[str]], number: signal.Signals
) -> None:
    process = project.start("migrate", "revert", stdin=subprocess.PIPE)
    stopped.append(process)
    assert process.stderr is not None
    shown = ""
    while not shown.endswith("[y/N]: "):
        shown += process.stderr.read(1)
    # Its input is read after the question is shown.
    time.sleep(0.3)
    process.send_signal(number)
    assert process.wait(DEADLINE_S) == (130 if number is signal.SIGINT else -signal.SIGTERM)


def test_a_closed_pipe_does_not_stop_the_work(project: Project, stopped: list[subprocess.Popen[str]]) -> None:
    process = project.start("migrate", "apply")
    stopped.append(process)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(DEADLINE_S) == 0
    project.json("migrate", "status", "--check")


def test_progress_is_shown_on_a_terminal_only(project: Project) -> None:
    terminal, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [*COMMAND, "migrate", "apply"],
            cwd=project.folder,
            env=environment(**project.variables, TERM="xterm"),
            stdout=subprocess.PIPE,
            stderr=theirs,
            timeout=DEADLINE_S,
            check=False,
        )
        shown = os.read(terminal, 65536).decode()
    finally:
        os.close(theirs)
        os.close(terminal)
    assert done.returncode == 0
    assert b"001_orders.sql" in done.stdout
    assert b"\x1b" not in done.stdout
    assert "users" in shown
    assert "\x1b[" in shown


async def test_watch_applies_what_appears(project: Project, stopped: list[subprocess.Popen[str]]) -> None:
    process = project.start("dev", "watch", "users", "--json", "--interval", "0.05")
    stopped.append(process)
    assert process.stdout is not None

    async def applied() -> list[str]:
        document = json.loads(await asyncio.to_thread(process.stdout.readline))  # type: ignore[union-attr]
        return [one["filename"] for one in document["modules"][0]["applied"]]

    async with asyncio.timeout(DEADLINE_S):
        assert await applied() == ["001_users.sql"]
        project.write("users/002_two.sql", "")
        project.write("users/002_two.sql", "CREATE TABLE two (id int);")
        assert await applied() == ["002_two.sql"]
        project.write("users/003_three.sql", "CREATE TABLE nope (")
        failed = json.loads(await asyncio.to_thread(process.stdout.readline))
        assert failed["error"]["code"] == "migration_file_invalid"
        project.write("users/003_three.sql", "CREATE TABLE three (id int);")
        assert await applied() == ["003_three.sql"]
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_S) == 130


def test_watch_refuses_a_database_on_another_host(project: Project) -> None:
    project.variables["DATABASE_URL"] = "postgresql://u:p@db.example.com/app"
    assert project.json("dev", "watch", exit_code=2)["error"]["code"] == "refused"


@pytest.mark.parametrize(
    ("before", "call", "arguments", "exit_code", "ends"),
    [
        ("", "main()", ["--version"], 0, ["at exit", "skips the rest"]),
        ("", "main()", ["nonsense"], 2, ["at exit", "skips the rest"]),
        ("", "main(['--version'])", [], 0, ["at exit"]),
        ("sys.setprofile(lambda *_: None)", "main()", ["--version"], 0, ["at exit"]),
        (
            "threading.Timer(0.5, print, ['thread']).start()",
            "main()",
            ["--version"],
            0,
            ["thread", "at exit", "skips the rest"],
        ),
    ],
    ids=["success", "failure", "called by a program", "with a profiler", "with another thread"],
)
def test_the_end_of_a_process_does_what_others_expect_of_it(
    before: str, call: str, arguments: list[str], exit_code: int, ends: list[str]
) -> None:
    program = (
        "import atexit, os, sys, threading\n"
        "end = os._exit\n"
        "os._exit = lambda code: (os.write(1, b'skips the rest\\n'), end(code))\n"
        "atexit.register(print, 'at exit')\n"
        "from pgdbm.cli import main\n"
        "sys.argv = ['pgdbm', *sys.argv[1:]]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{program}{before}\n{call}", *arguments],
        env=environment(COVERAGE_PROCESS_CONFIG=""),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == exit_code, done.stderr
    printed = done.stdout.splitlines()
    assert (printed[:1] == [f"pgdbm {__version__}"]) == (exit_code == 0)
    assert printed[0 if exit_code else 1 :] == ends


def test_output_that_cannot_be_written_is_no_success(project: Project) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "migrate", "apply", "--dry-run"],
            cwd=project.folder,
            env=environment(**project.variables),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    assert done.returncode
    assert "No space left" in done.stderr


def test_an_invalid_file_is_reported_before_the_database_answers(project: Project) -> None:
    project.variables["DATABASE_URL"] = "postgresql://absent@127.0.0.1:1/nothing"
    project.write("orders/001_orders.sql", "")
    done = project.run("migrate", "apply", "--wait", "600")
    assert done.returncode == 1
    assert "001_orders.sql" in done.stderr
    assert "Cannot connect" not in done.stderr
