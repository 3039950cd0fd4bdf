"""Records a history of each tool, made by the tool itself:  make importers-record

``histories/TOOL`` then has the project (its migrations, and what the documentation's commands export), the database as
the tool left it, and what it has recorded.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from pgdbm.embedded import EmbeddedPostgres
from pgdbm.embedded.cluster import binaries

from .page import commands_of, scripts_of
from .real_tools import HISTORIES, PROJECTS, ToolMissingError, ToolProject, copy_project, programs_of

FOLDER = Path(__file__).with_name("histories")
# pg_dump of this release writes them, and only psql accepts them.
_PSQL = ("\\restrict", "\\unrestrict")


async def create(dsn: str, name: str) -> str:
    connection = await asyncpg.connect(dsn)
    await connection.execute(f'DROP DATABASE IF EXISTS "{name}"')
    await connection.execute(f'CREATE DATABASE "{name}"')
    await connection.close()
    return urlsplit(dsn)._replace(path=f"/{name}").geturl()


async def history(dsn: str, tool: str) -> list[list[str | None]]:
    """What the tool has recorded: names, and times in UTC."""
    connection = await asyncpg.connect(dsn, server_settings={"TimeZone": "UTC"})
    rows = await connection.fetch(HISTORIES[tool])
    await connection.close()
    return [[row[0], None if row[1] is None else row[1].isoformat()] for row in rows]


def make(tool: str, place: ToolProject) -> None:
    """Create the project, migrate, and run the tool's own commands of the page."""
    PROJECTS[tool](place)
    for name, text in scripts_of(tool).items():
        place.write(name, text)
    for command in commands_of(tool):
        if not command.startswith("pgdbm "):
            place.run(command)


def record(tool: str, server: EmbeddedPostgres) -> None:
    dsn = asyncio.run(create(server.dsn(), tool))
    scratch = asyncio.run(create(server.dsn(), "scratch"))
    with tempfile.TemporaryDirectory() as folder:
        place = ToolProject(Path(folder), dsn, scratch, programs_of(tool))
        make(tool, place)
        target = FOLDER / tool
        shutil.rmtree(target, ignore_errors=True)
        copy_project(place.folder, target / "project")
    dump = subprocess.run(
        [binaries() / "pg_dump", "--inserts", "--no-owner", "--no-privileges", dsn],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    kept = (line for line in dump.splitlines() if line.strip() and not line.startswith(("--", "SET ", *_PSQL)))
    (target / "database.sql").write_text("\n".join(kept) + "\n")
    rows = ",\n".join(f"  {json.dumps(row)}" for row in asyncio.run(history(dsn, tool)))
    (target / "history.json").write_text(f"[\n{rows}\n]\n")


def main(tools: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "data", durable=False) as server:
        for tool in tools or PROJECTS:
            try:
                record(tool, server)
                print(f"{tool}: recorded")
            except ToolMissingError as reason:
                print(f"{tool}: left as it was; {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
