"""Every Python block of README and docs runs, against a real database.

- A block that defines ``main(dsn)`` is run with the DSN of an empty database, in a folder with the migrations below.
- A block whose first line is a comment with a path is a file of that name; those of one page are laid out in a folder,
  where pytest runs them.
- A block that only defines things is used by the function in ``USES`` that has the name of what it defines.
- ``<!-- not run: reason -->`` above a fragment is the exception.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import pgdbm
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import parse
from pgdbm_service.features.webhooks.signatures import new_secret, signature

from .markdown import DOCS, README, Block, blocks, documents

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_FILE = re.compile(r"# ([\w/]+\.py)\n")
_MOST_NOT_RUN = 2

_USERS = "CREATE TABLE {{tables.users}} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text NOT NULL);"
_ORDERS = "CREATE TABLE {{tables.orders}} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id bigint);"
# The files in the folder that the blocks run in.
FOLDERS = {
    "migrations/001_users.sql": _USERS,
    "migrations/users/001_users.sql": _USERS,
    "migrations/orders/001_orders.sql": _ORDERS,
    "notes/__init__.py": "",
    "notes/migrations/001_notes.sql": "CREATE TABLE {{tables.notes}} (body text);",
}


async def _use_notes(defined: dict[str, Any], dsn: str) -> None:
    """The library of the README, alone and inside an application."""
    from pgdbm import AsyncDatabaseManager, DatabaseConfig

    alone = defined["Notes"](dsn=dsn)
    await alone.start()
    assert await alone.db.fetch_value("SELECT count(*) FROM {{tables.notes}}") == 0
    await alone.db.disconnect()
    pool = await AsyncDatabaseManager.create_shared_pool(DatabaseConfig(connection_string=dsn, min_connections=1))
    inside = defined["Notes"](db=AsyncDatabaseManager(pool=pool, schema="application"))
    await inside.start()
    assert await inside.db.fetch_value("SELECT count(*) FROM application.notes") == 0
    await pool.close()


async def _use_deploy(defined: dict[str, Any], dsn: str) -> None:
    """The example of the client, with a service on a free port."""
    command = [sys.executable, "-m", "pgdbm_service"]
    here = os.environ | {"DATABASE_URL": dsn, "PGDBM_PORT": "0"}
    with subprocess.Popen(command, env=here, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as service:
        try:
            assert service.stdout is not None
            (address,) = next(found for line in service.stdout if (found := re.findall(r"serves (http\S+)", line)))
            assert await asyncio.to_thread(defined["deploy"], address, None) == ["001_users.sql"]
        finally:
            service.terminate()


async def _use_is_signed(defined: dict[str, Any], _: str) -> None:
    """The check of a webhook's signature."""
    secret, body = new_secret(), b"{}"
    headers = {"webhook-id": "1", "webhook-timestamp": "2"}
    headers["webhook-signature"] = f"v1,AAAA {signature(secret, '1', 2, body)}"
    assert defined["is_signed"](secret, headers, body)
    assert not defined["is_signed"](new_secret(), headers, body)


USES: dict[str, Callable[[dict[str, Any], str], Awaitable[None]]] = {
    "Notes": _use_notes,
    "deploy": _use_deploy,
    "is_signed": _use_is_signed,
}

PYTHON = [block for page in (README, *sorted(DOCS.rglob("*.md"))) for block in blocks(page, "python", "py")]
RUN = [block for block in PYTHON if block.not_run is None and not _FILE.match(block.text)]
FILES: dict[Path, list[Block]] = defaultdict(list)
for _block in PYTHON:
    if _FILE.match(_block.text):
        FILES[_block.page].append(_block)


@pytest.mark.parametrize("block", RUN, ids=str)
def test_block(block: Block, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in FOLDERS.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "notes", raising=False)
    defined: dict[str, Any] = {"__name__": "block"}
    # The empty lines give an error the line that it has on the page.
    exec(compile("\n" * (block.line - 1) + block.text, str(block.page), "exec"), defined)
    asyncio.run(_use(block, defined, database))


async def _use(block: Block, defined: dict[str, Any], dsn: str) -> None:
    main = defined.get("main")
    if main is not None:
        assert inspect.iscoroutinefunction(main), "main has to be async"
        assert list(inspect.signature(main).parameters) == ["dsn"], "main takes dsn"
        await main(dsn)
        return
    uses = [use for name, use in USES.items() if name in defined]
    assert uses, f"{block} has no main(dsn), is no file, and USES does not know what it defines"
    for use in uses:
        await use(defined, dsn)


@pytest.mark.parametrize("page", FILES, ids=lambda page: page.name)
def test_files_of_a_page(page: Path, tmp_path: Path, postgres_dsn: str) -> None:
    for block in FILES[page]:
        found = _FILE.match(block.text)
        assert found is not None
        path = tmp_path / found[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
    here = {name: value for name, value in os.environ.items() if not name.startswith(("TEST_DB_", "PYTEST_"))}
    here["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_asyncio.plugin", "tests"],
        cwd=tmp_path,
        env=here | {"DATABASE_URL": postgres_dsn, "PYTHONPATH": str(Path(str(pgdbm.__file__)).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    tests = sum(block.text.count("def test_") for block in FILES[page])
    assert f"\n{tests} passed in " in done.stdout, done.stdout + done.stderr


def test_few_blocks_are_not_run() -> None:
    left_out = [block for page in documents() for block in blocks(page) if block.not_run is not None]
    assert len(left_out) <= _MOST_NOT_RUN, [str(block) for block in left_out]


def test_every_document_with_python_is_run() -> None:
    elsewhere = {str(block) for page in documents() for block in blocks(page, "python", "py")}
    assert elsewhere == {str(block) for block in PYTHON}


SQL = [block for page in documents() for block in blocks(page, "sql") if block.not_run is None]


@pytest.mark.parametrize("block", SQL, ids=str)
def test_sql_is_sql(block: Block) -> None:
    assert parse(read_migration("block.sql", block.text.encode()), "app").statements
