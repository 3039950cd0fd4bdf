"""A project of two modules, and the command line as users run it: a process of its own against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm.cli import app

from ...conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    Connect = Callable[[], AbstractAsyncContextManager[Any]]

COMMAND = (sys.executable, "-m", "pgdbm.cli")
DEADLINE_S = 60.0


def environment(**variables: str) -> dict[str, str]:
    """Our environment, without variables that choose a database."""
    kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL" and not name.startswith("PG")}
    return {**kept, "PYTHONPATH": str(ROOT / "app"), **variables}


class Project:
    """A folder with a pgdbm.toml of two modules, and the commands run in it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.variables = {"DATABASE_URL": url}
        (folder / "pgdbm.toml").write_text(
            '[database]\nurl = "${DATABASE_URL}"\n'
            '[modules.orders]\npath = "orders"\nschema = "orders"\ndepends_on = ["users"]\n'
            '[modules.users]\npath = "users"\nschema = "users"\n'
            '[environments.live.modules.users]\nschema = "users_live"\n'
        )
        self.write("users/001_users.sql", "CREATE TABLE users (id int PRIMARY KEY);\n")
        self.write("orders/001_orders.sql", "CREATE TABLE orders (user_id int REFERENCES users.users);\n")

    def write(self, name: str, sql: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(sql)
        return path

    def run(self, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=environment(**self.variables),
            input=given or "",
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def json(self, *arguments: str, exit_code: int = 0) -> Any:
        """The document that the command prints; without a process of its own, which saves most of the time."""
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as printed:
            patch.chdir(self.folder)
            for name, value in self.variables.items():
                patch.setenv(name, value)
            assert app.run([*arguments, "--json"]) == exit_code, printed.getvalue()
        return json.loads(printed.getvalue())

    def start(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=environment(**self.variables),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def fetch(connect: Connect, sql: str) -> list[Any]:
    async def fetched() -> list[Any]:
        async with connect() as connection:
            return [tuple(row) for row in await connection.fetch(sql)]

    return asyncio.run(fetched())
