"""Databases for tests: made, filled, checked and dropped. Knows nothing of pytest; see ``pgdbm.fixtures.conftest``.

::

    async with AsyncTestDatabase.create(schema="app") as db:
        await db.execute("CREATE TABLE {{tables.users}} (id serial PRIMARY KEY)")
        assert await DatabaseTestCase(db).count_rows("users") == 0

With no server configured, this is an embedded PostgreSQL, one per process.
"""

from __future__ import annotations

from ..errors import DatabaseTestError
from .case import DatabaseTestCase
from .config import DatabaseTestConfig
from .database import AsyncTestDatabase

__all__ = ["AsyncTestDatabase", "DatabaseTestCase", "DatabaseTestConfig", "DatabaseTestError"]
