"""A process that starts others, which migrate and may be killed while they do. Run as a script.

Reads requests, a line of JSON each, and answers each with a line when it has started and one when it has ended.
Starting a Python that has everything imported takes half a second; forking it takes a millisecond, and the child is a
process like any other.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from typing import Any

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig
from pgdbm.pgparse.postgast_binding import parser

_LONGEST_LIFE_S = 300

# So that no child has to load it.
parser()


class Child:
    """A forked process: its pid, and the end of the pipe that it reports through."""

    def __init__(self, order: dict[str, Any], gate: int) -> None:
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            signal.alarm(_LONGEST_LIFE_S)
            try:
                asyncio.run(live(order, gate, writing))
            finally:
                os._exit(0)
        os.close(writing)
        self._report = os.fdopen(reading, "rb")

    def wait_until_ready(self) -> None:
        self._report.readline()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> dict[str, Any]:
        """What it reported until its end, and the signal that killed it, if one did."""
        reported = [json.loads(line) for line in self._report if line.endswith(b"\n")]
        self._report.close()
        _, status = os.waitpid(self.pid, 0)
        answer: dict[str, Any] = {"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None, "events": []}
        for one in reported:
            if "event" in one:
                answer["events"].append(one["event"])
            else:
                answer.update(one)
        return answer


async def live(order: dict[str, Any], gate: int, writing: int) -> None:
    """Run in a child. Every line is written immediately, so that none is lost when the child is killed."""

    def report(**what: Any) -> None:
        os.write(writing, json.dumps(what, default=str).encode() + b"\n")

    received = 0

    def listen(event: Any) -> None:
        nonlocal received
        if event.kind == "blocked" or (event.kind == "progress" and not order.get("every_event")):
            return
        received += 1
        if received == order.get("kill_at_event"):
            os.kill(os.getpid(), signal.SIGKILL)
        report(event=[event.kind, event.filename, event.statement])

    config = DatabaseConfig(
        connection_string=order["dsn"],
        min_connections=1,
        max_connections=3,
        server_settings={"application_name": "victim"},
    )
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    options = dict(order.get("manager", {}))
    if order.get("listens"):
        options["on_event"] = listen
    db = AsyncDatabaseManager(pool=pool, schema=order["schema"])
    migrations = AsyncMigrationManager(db, order["files"], "torture", **options)
    report(ready=True)
    os.read(gate, 1)
    try:
        if "revert" in order:
            report(result=await migrations.revert(order["revert"]))
        else:
            report(result=await migrations.apply_pending_migrations(**order.get("apply", {})))
    except Exception as error:
        details = getattr(error, "details", None)
        report(error=type(error).__name__, message=str(error), details=details, applied=getattr(error, "applied", None))
    pool.terminate()


def execute(order: dict[str, Any]) -> list[dict[str, Any]]:
    """Let ``runners`` children migrate concurrently; kill them after ``kill_after_s``, if that is given.

    With ``freeze_after_s`` they stop after that time, until the next line of the input.
    """
    gate, opening = os.pipe()
    children = [Child(order, gate) for _ in range(order.get("runners", 1))]
    for child in children:
        child.wait_until_ready()
    os.write(opening, b"!" * len(children))
    print(json.dumps("began"), flush=True)
    kill_after = order.get("kill_after_s")
    if kill_after is not None:
        time.sleep(kill_after)
        for child in children:
            child.kill()
    if "freeze_after_s" in order:
        time.sleep(order["freeze_after_s"])
        for child in children:
            os.kill(child.pid, signal.SIGSTOP)
        print(json.dumps("frozen"), flush=True)
        sys.stdin.readline()
        for child in children:
            os.kill(child.pid, signal.SIGCONT)
    answers = [child.end() for child in children]
    os.close(gate)
    os.close(opening)
    return answers


def main() -> None:
    print(json.dumps("ready"), flush=True)
    while line := sys.stdin.readline():
        print(json.dumps(execute(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
