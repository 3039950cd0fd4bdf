"""An application that uses the library twice, for two teams, on its existing pool."""

from __future__ import annotations

import asyncio
import os
import sys

from notekeeper import NoteKeeper

from pgdbm import AsyncDatabaseManager, DatabaseConfig


async def main() -> None:
    config = DatabaseConfig(connection_string=os.environ["DATABASE_URL"], min_connections=1, max_connections=5)
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    try:
        async with (
            NoteKeeper(db=AsyncDatabaseManager(pool=pool, schema="sales")) as sales,
            NoteKeeper(db=AsyncDatabaseManager(pool=pool, schema="support")) as support,
        ):
            await sales.add("Call Ada")
            await support.add("Ada cannot log in")
            for team, notes in (("sales", sales), ("support", support)):
                for note in await notes.search("ada"):
                    sys.stdout.write(f"{team}: {note.text}\n")
    finally:
        await pool.close()


if __name__ == "__main__":
    asyncio.run(main())
