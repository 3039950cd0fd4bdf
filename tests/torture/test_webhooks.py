"""Webhooks while services are killed and the receiver is away, slow or failing: each event at least once, each run's in
order, all signed.

The long setting sends 10,000 events and kills 20 services.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest

from ..service.webhooks.receiver import Receiver, is_signed, receiving
from .effort import SEED, rounds, seeded_random
from .replicas import Replica, replicas

if TYPE_CHECKING:
    import random
    from pathlib import Path

_KILLS = rounds(3, 20)
_RUNS_PER_KILL = rounds(20, 125)
_KINDS = ("run_queued", "held", "waiting_for_approval", "run_ended")
_TYPES = ["run.queued", "run.waiting", "run.waiting", "run.succeeded"]
_PENDING = "SELECT count(*) FROM pgdbm_service.webhook_deliveries WHERE status = 'pending'"
_DEADLINE_S = 600


@pytest.mark.slow
async def test_every_event_arrives_in_the_order_of_its_run(database: str, tmp_path: Path) -> None:
    chance = seeded_random("webhooks")
    (tmp_path / "repo").mkdir()
    settings = {"PGDBM_WEBHOOK_PRIVATE_ADDRESSES": "true", "PGDBM_METRICS_SAMPLE_S": "3600"}
    receivers: list[Receiver] = []
    made: list[UUID] = []
    with receiving() as first:
        port = first.port
    async with replicas(2, database, tmp_path / "repo", tmp_path, **settings) as two, httpx2.AsyncClient() as client:
        connection = await asyncpg.connect(database)
        try:
            answer = await client.post(f"{two[0].url}/webhooks", json={"url": first.url})
            secret = answer.raise_for_status().json()["secret"]
            for number in range(_KILLS):
                # It is away while events are made before it, and while those of a killed service are taken over.
                async with _reachable(port, chance, receivers):
                    writing = asyncio.create_task(_write(connection, made, chance))
                    await asyncio.sleep(chance.uniform(0.05, 0.6))
                    killed: Replica = two[number % 2]
                    await killed.kill()
                    await writing
                    await killed.start()
            for one in two:
                await one.kill()
            # What the killed ones had taken is due after a minute, and what has failed after a pause.
            due = "UPDATE pgdbm_service.webhook_deliveries SET next_attempt_at = now() WHERE status = 'pending'"
            await connection.execute(due)
            with receiving(port) as last:
                receivers.append(last)
                await two[0].start()
                async with asyncio.timeout(_DEADLINE_S):
                    while await connection.fetchval(_PENDING):
                        await asyncio.sleep(0.1)
        finally:
            await connection.close()
    why = f"seed {SEED}"
    # Read at the end only: a receiver that is closed may still answer.
    received = [raw for receiver in receivers for raw in _accepted(receiver)]
    assert all(is_signed(secret, headers, body) for headers, body in received), why
    by_run: dict[str, dict[str, str]] = {}
    for headers, body in received:
        content = json.loads(body)
        # In the order in which they came first; one that came again has the same id.
        by_run.setdefault(content["data"]["run_id"], {}).setdefault(headers["webhook-id"], content["type"])
    assert by_run.keys() == {str(run) for run in made}, why
    assert [run for run, events in by_run.items() if list(events.values()) != _TYPES] == [], why
    assert len(made) * len(_KINDS) == _KILLS * _RUNS_PER_KILL * len(_KINDS)


async def _write(connection: asyncpg.Connection[Any], made: list[UUID], chance: random.Random) -> None:
    """Runs with their events, several of them at a time between each other, each event in a transaction of its own."""
    runs = [uuid4() for _ in range(_RUNS_PER_KILL)]
    left = {run: list(enumerate(_KINDS, 1)) for run in runs}
    for run in runs:
        await connection.execute(
            "INSERT INTO pgdbm_service.runs (id, module, status, options, digest, created_by, ended_at) "
            "VALUES ($1, 'm', 'succeeded', '{}', '', 'test', now())",
            run,
        )
    while left:
        run = chance.choice([*left][:10])
        number, kind = left[run].pop(0)
        data = {"status": "succeeded"} if kind == "run_ended" else {"schema_count": number}
        await connection.execute(
            "INSERT INTO pgdbm_service.run_events (run, number, kind, data) VALUES ($1, $2, $3, $4)",
            run,
            number,
            kind,
            json.dumps(data),
        )
        if not left[run]:
            del left[run]
    made += runs


@contextlib.asynccontextmanager
async def _reachable(port: int, chance: random.Random, receivers: list[Receiver]) -> Any:
    """A receiver, most times; it is slow, or fails at first."""
    if chance.random() < 0.3:
        yield
        return
    with receiving(port) as receiver:
        receivers.append(receiver)
        receiver.delay_s = chance.choice([0, 0, 0.02, 0.2])
        receiver.statuses = [chance.choice([204, 500, 503]) for _ in range(chance.choice([0, 0, 10]))]
        yield


def _accepted(receiver: Receiver) -> list[tuple[dict[str, str], bytes]]:
    return [raw for raw, one in zip(receiver.raw, receiver.received, strict=True) if one.answered == 204]
