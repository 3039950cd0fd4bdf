"""The login of a module is created as the page shows, and has the privileges that the page states."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from .console import SHOWN_ADDRESS, Terminal
from .markdown import DOCS, Block, blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECURE = DOCS / "howto" / "secure-the-service.md"
FILE = "CREATE TABLE {{tables.t}} AS SELECT session_user::text AS who"
PASSWORD = "change-me"


async def fetch(database: str, *statements: str) -> list[Any]:
    connection = await asyncpg.connect(database)
    try:
        found: list[Any] = []
        for statement in statements:
            found = list(await connection.fetch(statement))
        return found
    finally:
        await connection.close()


@pytest.fixture
def login(database: str) -> Iterator[str]:
    name = f"team_{urlsplit(database).path.strip('/')}"
    yield name
    asyncio.run(fetch(database, f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}"))


def statements_of(text: str, login: str) -> list[str]:
    return [one for one in text.replace("team_billing", login).split(";") if one.strip()]


def policies(secret: Path, login: str) -> str:
    """The policies of the page, with the file and the login of the test."""
    (shown,) = re.findall(r"^PGDBM_MODULE_POLICIES=(\{.*team_billing.*\})$", SECURE.read_text(), re.MULTILINE)
    found = json.loads(shown.replace("team_billing", login))
    secret.write_text(f"{PASSWORD}\n")
    found["billing*"]["password_file"] = str(secret)
    return json.dumps(found)


def test_the_login_of_a_module(database: str, tmp_path: Path, login: str) -> None:
    create, hand_over = (block.text for block in blocks(SECURE, "sql"))
    asyncio.run(fetch(database, *statements_of(create, login)))
    folder = tmp_path / "clone"
    folder.mkdir()
    variables = {"PGDBM_MODULE_POLICIES": policies(tmp_path / "secret", login)}
    call = f"curl -s {SHOWN_ADDRESS}/modules/billing"
    body = json.dumps({"migrations": [{"filename": "001_a.sql", "content": FILE}]})
    shown = f"$ make run\n$ {call} -X PUT -d '{body}'\n$ {call}/migrate -X POST\n" + (
        '{"module":"billing","status":"success",…}\n^C\n'
    )
    terminal = Terminal(folder, DATABASE_URL=database, **variables)
    try:
        terminal.run(Block(SECURE, 0, "console", shown, None))
    finally:
        terminal.close()
    assert [row["who"] for row in asyncio.run(fetch(database, "SELECT who FROM billing.t"))] == [login]
    # A schema that belonged to another role.
    undo = [f"REASSIGN OWNED BY {login} TO CURRENT_USER"]
    asyncio.run(fetch(database, *undo, *statements_of(hand_over, login)))
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'billing' AND tablename <> 't'"
    assert [row["tableowner"] for row in asyncio.run(fetch(database, owners))] == [login]
