"""``python -m tests.torture.fuzz [--minutes 30] [--seed N] [--damage 0.002]``: malformed input for the whole service.

SQL files, module.toml, archives, HTTP headers and the messages of the database server are mutated at random. The
service must not die, must answer ``/health/live`` within a second throughout, and must not grow by 300 MB. Exits with
1 if it does, and prints the seed and the kind of the last inputs. An answer of 500 is printed with what the service has
logged; one a minute may be what damage in a value has led to.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import http.client
import io
import json
import multiprocessing
import random
import re
import sys
import tarfile
import tempfile
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import httpx2

from pgdbm.embedded import EmbeddedPostgres

from .mutations import mutated
from .replicas import Replica, replicas

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

_LONGEST_SILENCE_S = 1.0
_MOST_GROWTH_MB = 300.0
_MOST_FAILURES_A_MINUTE = 1
_PROBE_EVERY_S = 0.05
_CLIENT_TIMEOUT_S = 120.0
_CLIENTS = 3
# Repeated up to this many times: such a file has a few hundred KB.
_MOST_REPEATS = 60_000
_REPEATED = (
    *("+1", "||'a'", "::int", " CROSS JOIN t", " LEFT JOIN t ON true", " IS NULL", ' COLLATE "C"', "[1]", ".a"),
    *(" AT TIME ZONE 'UTC'", " UNION ALL SELECT 1", " INTERSECT SELECT 1", " AND true", " OR a", ",1", ",(1)", "-"),
    *("(", "((", "NOT ", "/**/", "/*", "-- a\n", ";", "SELECT 1;", "'", '"', "$$", "$a$", "{{", "{{tables.x}}"),
    *("CASE WHEN a THEN ", "ARRAY[", "SELECT (", " FROM (SELECT 1", "a.", "\n", "\\", "é", "\u00a0", "::text[]"),
    *("CREATE TABLE t (a int);", "INSERT INTO t VALUES (1);\n", "DO $$ BEGIN END $$;", "-- pgdbm:ignore x\n"),
)
_STATEMENTS = (
    "SELECT 1{0};",
    "SELECT {0}1;",
    "SELECT * FROM t{0};",
    "CREATE TABLE t (a int DEFAULT 1{0});",
    "CREATE VIEW v AS SELECT 1{0};",
    "INSERT INTO t VALUES (1{0});",
    "DO $$ BEGIN PERFORM 1{0}; END $$;",
    "{0}",
)
_TOML = (
    *('schema = "a"\n', "depends_on = [", "[a]\n", "[[a]]\n", "a.b.c = 1\n", "a = {b = 1}\n", 'x = """', "y = '''"),
    *(
        "d = 1979-05-27T07:32:00Z\n",
        "n = 0x1\n",
        "f = 1e9999\n",
        '"\\u0000" = 1\n',
        "out_of_order = 'allow'\n",
        "role = ",
    ),
)
_NAMES = ("{:03}_a.sql", "module.toml", "../{}.sql", "/{}.sql", "a/{}.sql", "{:03}_" + "a" * 90)
_TYPES = (*(tarfile.REGTYPE,) * 6, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE)
_TOML_REPEATED = ("a.", "[", "[[a]]\n", "{a=", "1", "'", '"', "\n", "a = 1\n", "_1", "\\", " ")


@dataclass
class Probed:
    """What the prober measures, in seconds and megabytes."""

    silence: Synchronized[float]
    memory: Synchronized[float]
    memory_at_first: Synchronized[float]


@dataclass
class Fuzz:
    rng: random.Random
    url: str
    port: int
    statuses: Counter[str] = field(default_factory=Counter)
    failures: int = 0
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=12))

    def sql(self) -> bytes:
        """A file: a valid one that is mutated, or one token repeated many times."""
        rng = self.rng
        if rng.random() < 0.6:
            return mutated(rng)
        count = int(_MOST_REPEATS ** rng.random())
        token = rng.choice(_REPEATED)
        if rng.random() < 0.3:
            token += rng.choice(_REPEATED)
        return rng.choice(_STATEMENTS).replace("{0}", token * count).encode()

    def toml(self) -> bytes:
        rng = self.rng
        text = "".join(rng.choice(_TOML) for _ in range(rng.randint(0, 6)))
        if rng.random() < 0.5:
            text += rng.choice(_TOML_REPEATED) * int(200_000 ** rng.random()) + rng.choice(("", "=1", "]", "1"))
        return self.corrupted(text.encode()) if rng.random() < 0.3 else text.encode()

    def corrupted(self, raw: bytes) -> bytes:
        """``raw`` with a few bytes changed, lost or doubled."""
        rng = self.rng
        changed = bytearray(raw)
        for _ in range(rng.randint(1, 8)):
            if not changed:
                break
            place = rng.randrange(len(changed))
            match rng.randint(0, 3):
                case 0:
                    changed[place] = rng.randrange(256)
                case 1:
                    del changed[place : place + rng.randint(1, 64)]
                case 2:
                    changed[place:place] = changed[place : place + rng.randint(1, 512)]
                case _:
                    changed[place:place] = rng.randbytes(rng.randint(1, 16))
        return bytes(changed)

    def archive(self) -> bytes:
        rng = self.rng
        packed = io.BytesIO()
        kind = rng.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT))
        with contextlib.suppress(ValueError), tarfile.open(fileobj=packed, mode="w", format=kind) as tar:
            for number in range(rng.randint(0, 12)):
                name = rng.choice(
                    ("{:03}_a.sql", "module.toml", "../{}.sql", "/{}.sql", "a/{}.sql", "{:03}_" + "a" * 90)
                )
                content = self.toml() if name == "module.toml" else self.sql()
                entry = tarfile.TarInfo(name.format(number))
                entry.size = len(content)
                entry.type = rng.choice(_TYPES)
                if kind == tarfile.PAX_FORMAT and rng.random() < 0.3:
                    entry.pax_headers = {
                        rng.choice(("size", "path", "GNU.sparse.size", "x")): "9" * rng.randint(1, 5000)
                    }
                tar.addfile(entry, io.BytesIO(content))
        raw = packed.getvalue()
        if rng.random() < 0.3:
            raw = self.corrupted(raw)
        raw = gzip.compress(raw, 1)
        if rng.random() < 0.1:
            raw = gzip.compress(b"\0" * rng.randint(1, 200_000_000), 9)
        return self.corrupted(raw) if rng.random() < 0.2 else raw

    def request(self) -> bytes:
        """The bytes of an HTTP request, which may be malformed."""
        rng = self.rng
        repeated = int(3_000_000 ** rng.random())
        quotes = '"' * repeated
        headers = [
            "Host: 127.0.0.1",
            *(f"X-{number}: {number}" for number in range(repeated // 1000)),
            rng.choice((f"X-A: {'a' * repeated}", f"Cookie: {'a=1;' * (repeated // 4)}", f"X-{'b' * repeated}: 1")),
            rng.choice(("Content-Length: -1", f"Content-Length: {'9' * 20}", "Transfer-Encoding: chunked", "")),
            rng.choice((f"Idempotency-Key: {'k' * repeated}", f"Prefer: wait=1e999, wait={'9' * 500}", "Accept: */*")),
            rng.choice((f"If-Match: {quotes}", f"Last-Event-ID: {'9' * repeated}", "traceparent: 00-")),
        ]
        path = rng.choice(("/health/ready", "/modules", "/modules/" + "x" * repeated, "/runs?cursor=" + "%ff" * 999))
        line = f"{rng.choice(('GET', 'PUT', 'POST', 'HEAD', 'OPTIONS', 'G' * 999))} {path} HTTP/1.1"
        raw = "\r\n".join([line, *filter(None, headers), "", ""]).encode()
        if rng.random() < 0.3:
            raw += rng.randbytes(rng.randint(0, 20_000))
        return self.corrupted(raw) if rng.random() < 0.4 else raw

    async def send_request(self) -> None:
        raw = self.request()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            with contextlib.suppress(OSError):
                for place in range(0, len(raw), 200_000):
                    writer.write(raw[place : place + 200_000])
                    await writer.drain()
                async with asyncio.timeout(2):
                    answer = await reader.read(20)
                    self.statuses[f"raw {answer[9:12].decode('latin-1') or 'closed'}"] += 1
        except TimeoutError:
            self.statuses["raw waits"] += 1
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def send(self, client: httpx2.AsyncClient, number: int) -> None:
        rng = self.rng
        module = f"fuzz{number}_{rng.randint(0, 4)}"
        kind = rng.choice(("sql", "sql", "sql", "toml", "archive", "request", "migrate", "json"))
        self.recent.append(f"{kind} {module}")
        match kind:
            case "request":
                await self.send_request()
                return
            case "sql":
                files = [
                    {"filename": f"{index:03}_a.sql", "content": self.sql().decode(errors="replace")}
                    for index in range(rng.randint(1, 3))
                ]
                body, content_type = json.dumps({"migrations": files}).encode(), "application/json"
            case "toml":
                packed = io.BytesIO()
                with tarfile.open(fileobj=packed, mode="w:gz") as tar:
                    for name, content in (("001_a.sql", b"SELECT 1;"), ("module.toml", self.toml())):
                        entry = tarfile.TarInfo(name)
                        entry.size = len(content)
                        tar.addfile(entry, io.BytesIO(content))
                body, content_type = packed.getvalue(), "application/gzip"
            case "archive":
                body, content_type = self.archive(), "application/gzip"
            case "json":
                body = self.corrupted(json.dumps({"schema": "a", "migrations": [], "depends_on": ["b"]}).encode())
                body += rng.choice((b"", b"[" * int(100_000 ** rng.random())))
                content_type = rng.choice(("application/json", "multipart/form-data; boundary=a", "text/plain"))
            case _:
                answer = await client.post(f"/modules/{module}/migrate", json={"wait_s": 2})
                self.statuses[f"migrate {answer.status_code}"] += 1
                self.note_failure(kind, answer)
                return
        dry_run = rng.random() < 0.5
        answer = await client.put(
            f"/modules/{module}",
            params={"dry_run": "true"} if dry_run else {},
            content=body,
            headers={"Content-Type": content_type},
        )
        self.statuses[f"{kind} {answer.status_code}"] += 1
        self.note_failure(kind, answer)
        if not dry_run and answer.is_success:
            for path in (f"/modules/{module}/plan", f"/modules/{module}/migrations"):
                answer = await client.get(path)
                self.statuses[f"read {answer.status_code}"] += 1
                self.note_failure("read", answer)

    def note_failure(self, kind: str, answer: httpx2.Response) -> None:
        """Count an answer of 500, and print it."""
        if answer.status_code == 500:
            self.failures += 1
            print(f"500: {kind}: {answer.text[:300]}", flush=True)


class FuzzedServer:
    """A proxy before PostgreSQL that changes bytes in the share ``damage`` of what the server sends."""

    def __init__(self, port: int, rng: random.Random) -> None:
        self._port = port
        self._chance = rng
        self.damage = 0.0
        self.changes = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
            tasks = [
                asyncio.create_task(self._copy(reader, to_server, damaged=False)),
                asyncio.create_task(self._copy(from_server, writer, damaged=True)),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            to_server.close()
        writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, damaged: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if damaged and self._chance.random() < self.damage:
                    self.changes += 1
                    changed = bytearray(data)
                    for _ in range(self._chance.randint(1, 6)):
                        changed[self._chance.randrange(len(changed))] = self._chance.randrange(256)
                    data = bytes(changed)
                writer.write(data)
                await writer.drain()


def _probe(port: int, pid: int, probed: Probed) -> None:
    """In a separate process, so that only the service can be late."""
    status = Path(f"/proc/{pid}/status")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while True:
        try:
            resident = re.search(r"VmRSS:\s+(\d+) kB", status.read_text())
        except OSError:
            return
        if resident is None:
            return
        memory = int(resident[1]) / 1024
        if not probed.memory_at_first.value:
            probed.memory_at_first.value = memory
        probed.memory.value = max(probed.memory.value, memory)
        planned = time.monotonic() + _PROBE_EVERY_S
        time.sleep(_PROBE_EVERY_S)
        # On a machine that is too busy to wake this process in time, the measurement says nothing about the service.
        busy = time.monotonic() - planned
        try:
            delayed, started = _delayed_s(pid), time.monotonic()
            connection.request("GET", "/health/live")
            connection.getresponse().read()
            took = time.monotonic() - started
            delayed = _delayed_s(pid) - delayed
        except (OSError, http.client.HTTPException):
            connection.close()
            continue
        if busy < 0.2:
            probed.silence.value = max(probed.silence.value, took - delayed)


def _delayed_s(pid: int) -> float:
    """How long the main thread of a process has been ready to run, while others had the processors."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


async def fuzz(server: EmbeddedPostgres, folder: Path, seconds: float, seed: int, damage: float) -> int:
    rng = random.Random(seed)
    (folder / "repo").mkdir()
    until = time.monotonic() + seconds
    dsn = server.dsn()
    found = re.search(r":(\d+)(?=[/?])", dsn)
    assert found is not None, dsn
    async with (
        FuzzedServer(int(found[1]), rng) as proxy,
        replicas(
            1,
            dsn[: found.start(1)] + str(proxy.port) + dsn[found.end(1) :],
            folder / "repo",
            folder,
            PGDBM_LOG_LEVEL="error",
        ) as (replica,),
        httpx2.AsyncClient(base_url=replica.url, timeout=_CLIENT_TIMEOUT_S) as client,
    ):
        proxy.damage = damage
        state = Fuzz(rng, replica.url, replica.port)
        assert replica.process is not None
        probed = Probed(*(multiprocessing.Value("d", 0.0) for _ in range(3)))
        prober = multiprocessing.get_context("fork").Process(
            target=_probe, args=(replica.port, replica.process.pid, probed), daemon=True
        )
        prober.start()
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(_CLIENTS):
                    group.create_task(_client(state, replica, client, number, until))
        except* RuntimeError as died:
            print(*died.exceptions, sep="\n")
        alive = replica.process.poll() is None
        prober.terminate()
        growth = probed.memory.value - probed.memory_at_first.value
    held = alive and probed.silence.value <= _LONGEST_SILENCE_S and growth <= _MOST_GROWTH_MB
    few = state.failures <= max(seconds / 60, 1) * _MOST_FAILURES_A_MINUTE
    if state.failures:
        print(*(line for line in replica.log.read_text().splitlines() if "internal error" in line), sep="\n")
    fine = held and few
    print(f"seed {seed}: {state.statuses.total()} answers in {seconds / 60:.1f} minutes")
    print(f"  {proxy.changes} messages of the database server changed")
    print("  " + ", ".join(f"{name}: {count}" for name, count in sorted(state.statuses.items())))
    print(f"longest silence of /health/live: {probed.silence.value:.2f} s  (at most {_LONGEST_SILENCE_S:g})")
    print(f"answers of 500: {state.failures}  (at most {_MOST_FAILURES_A_MINUTE} a minute)")
    print(f"memory grew by {growth:.0f} MB  (at most {_MOST_GROWTH_MB:g})")
    if not alive:
        print(replica.log.read_text()[-3000:])
    print("it held" if fine else f"IT DID NOT HOLD{'' if alive else ': the service died'}; last: {list(state.recent)}")
    return 0 if fine else 1


async def _client(state: Fuzz, replica: Replica, client: httpx2.AsyncClient, number: int, until: float) -> None:
    while time.monotonic() < until:
        assert replica.process is not None
        if replica.process.poll() is not None:
            raise RuntimeError(f"the service died of {replica.process.returncode}: {replica.log.read_text()[-2000:]}")
        try:
            await state.send(client, number)
        except httpx2.TransportError as error:
            state.statuses[f"{type(error).__name__}"] += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--damage", type=float, default=0.002, help="the share of the server's messages to change")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedPostgres(Path(folder) / "data", settings={"max_connections": "60"}) as server,
    ):
        return asyncio.run(fuzz(server, Path(folder), options.minutes * 60, options.seed, options.damage))


if __name__ == "__main__":
    sys.exit(main())
