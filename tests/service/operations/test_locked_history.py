"""What would be applied, while a session has locked the history."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_plan_on_a_locked_history_names_the_session(start: Callable[..., Any], repo: Any, database: str) -> None:
    repo.write("m", _001_a="CREATE TABLE {{tables.t}} (id integer)")
    service = start(database_timeout_s=1)
    assert service.post("/modules/m/migrate").status_code == 200

    def answers() -> list[Any]:
        return [service.get("/modules/m/plan"), service.post("/modules/m/migrate", json={"dry_run": True})]

    async def while_locked() -> tuple[list[Any], int]:
        holder = await asyncpg.connect(database, server_settings={"application_name": "nightly"})
        try:
            async with holder.transaction():
                await holder.execute("LOCK TABLE m.schema_migrations IN ACCESS EXCLUSIVE MODE")
                return await asyncio.to_thread(answers), holder.get_server_pid()
        finally:
            await holder.close()

    locked, pid = asyncio.run(while_locked())
    for answer in locked:
        assert answer.json()["code"] == "lock_timeout", answer.text
        assert (answer.json()["holder"]["pid"], answer.json()["holder"]["application_name"]) == (pid, "nightly")
        assert "m.schema_migrations" in answer.json()["detail"]
    assert [answer.status_code for answer in answers()] == [200, 200]
