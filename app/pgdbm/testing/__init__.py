"""Databases for tests. Independent of pytest; for its fixtures see ``pgdbm.fixtures.conftest``.

::

    async with AsyncTestDatabase.create(schema="app") as db:
        await db.execute("CREATE TABLE {{tables.users}} (id serial PRIMARY KEY)")
        assert await DatabaseTestCase(db).count_rows("users") == 0

Without a configured server, an embedded PostgreSQL is used, one per process.
"""

from __future__ import annotations

from ..errors import DatabaseTestError
from .case import DatabaseTestCase
from .config import DatabaseTestConfig
from .database import AsyncTestDatabase

__all__ = ["AsyncTestDatabase", "DatabaseTestCase", "DatabaseTestConfig", "DatabaseTestError"]
