"""``python -m tests.benchmarks [name …] [--rounds N]``: every benchmark, or those named.

``fanout_service`` takes ``--schemas`` and ``--replicas``, too.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import os
import platform
import tempfile
from pathlib import Path

from pgdbm.embedded import EmbeddedPostgres

NAMES = (
    "apply",
    "four_ways",
    "backfill",
    "large_files",
    "nothing_pending",
    "few_pending",
    "queries",
    "footprint",
    "fanout",
    "many_schemas",
    "fanout_service",
    "drift",
    "parsing",
    "service",
    "dashboard",
    "statements",
    "schema_changes",
    "plan",
)
# The pages of 10,000 histories and their catalogs do not fit into the default buffers of 128 MB.
_SETTINGS = {"max_connections": "100", "shared_buffers": "512MB"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[], help=f"of {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--schemas", type=int, default=2000, help="of fanout_service")
    parser.add_argument("--replicas", type=int, default=1, help="of fanout_service")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores; all figures from this run.")
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedPostgres(Path(folder) / "data", settings=_SETTINGS) as server,
    ):
        for name in arguments.names or NAMES:
            module = importlib.import_module(f"tests.benchmarks.bench_{name}")
            options = {"schemas": arguments.schemas, "replicas": arguments.replicas} if name == "fanout_service" else {}
            asyncio.run(module.main(server.dsn(), Path(folder), arguments.rounds, **options))


if __name__ == "__main__":
    main()
