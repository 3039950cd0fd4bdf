"""A process that starts others, which migrate and may be killed while they do. Run as a script.

Reads orders, a line of JSON each, and answers each with a line when it has begun and one when it is over. Starting a
Python that has everything imported takes half a second; forking it takes a millisecond, and the child is a process
like any other.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from typing import Any

import postgast  # noqa: F401 - so that no child has to import it

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

_LONGEST_LIFE_S = 300


class Child:
    """A forked process: its pid, and the end of the pipe that it tells its story through."""

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
        self._story = os.fdopen(reading, "rb")

    def wait_until_ready(self) -> None:
        self._story.readline()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> dict[str, Any]:
        """What it told until its end, and the signal that it died of, if it did."""
        told = [json.loads(line) for line in self._story if line.endswith(b"\n")]
        self._story.close()
        _, status = os.waitpid(self.pid, 0)
        answer: dict[str, Any] = {"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None, "events": []}
        for one in told:
            if "event" in one:
                answer["events"].append(one["event"])
            else:
                answer.update(one)
        return answer


async def live(order: dict[str, Any], gate: int, writing: int) -> None:
    """The life of a child. Every line is written at once, so that it stays said when the child is killed."""

    def tell(**what: Any) -> None:
        os.write(writing, json.dumps(what, default=str).encode() + b"\n")

    heard = 0

    def listen(event: Any) -> None:
        nonlocal heard
        if event.kind in ("blocked", "progress"):
            return
        heard += 1
        if heard == order.get("kill_at_event"):
            os.kill(os.getpid(), signal.SIGKILL)
        tell(event=[event.kind, event.filename, event.statement])

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
    tell(ready=True)
    os.read(gate, 1)
    try:
        if "revert" in order:
            tell(result=await migrations.revert(order["revert"]))
        else:
            tell(result=await migrations.apply_pending_migrations(**order.get("apply", {})))
    except Exception as error:
        details = getattr(error, "details", None)
        tell(error=type(error).__name__, message=str(error), details=details, applied=getattr(error, "applied", None))
    pool.terminate()


def obey(order: dict[str, Any]) -> list[dict[str, Any]]:
    """Let ``runners`` children migrate at once; kill them after ``kill_after_s``, if that is given."""
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
    answers = [child.end() for child in children]
    os.close(gate)
    os.close(opening)
    return answers


def main() -> None:
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
