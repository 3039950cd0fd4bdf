"""One folder of migrations, applied through the library, the command line, and the service in two ways."""

from __future__ import annotations

import asyncio
import json
import logging
import tarfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import BytesIO, StringIO
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager, AsyncDBError, AsyncMigrationManager, DatabaseConfig
from pgdbm.cli import app

from ..service.conftest import (  # noqa: F401 - fixtures
    begin,
    database,
    direct,
    fork,
    make_token,
    prepared,
    repo,
    service,
    shared_service,
    shared_service_for,
    sql,
    start,
    watch,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

MODULE = SCHEMA = "app"
T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """The outcome of an apply; ``text`` is the whole output."""

    succeeded: bool
    text: str

    def failed_with(self, *words: str) -> bool:
        """Whether it failed, and every one of ``words`` is in its message."""
        return not self.succeeded and all(word.lower() in self.text.lower() for word in words)


class Project:
    """The files of the module ``app``, for the schema ``app``."""

    def __init__(self, folder: Path, dsn: str, way: Interface, run_sql: Callable[..., list[Any]]) -> None:
        self.folder = folder
        self._dsn = dsn
        self._way = way
        self._run_sql = run_sql

    def write(self, files: Mapping[str, str | bytes]) -> None:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def apply(self, files: Mapping[str, str | bytes] | None = None) -> Outcome:
        """Add ``files`` and apply what is pending."""
        self.write(files or {})
        return self._way.apply()

    def plan(self) -> str:
        """The output of the plan."""
        return self._way.plan()

    def sql(self, query: str, *args: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._run_sql(query, *args)]

    def other_session(self, query: str) -> None:
        """Run ``query`` in a session of its own."""

        async def run() -> None:
            connection = await asyncpg.connect(self._dsn)
            try:
                await connection.execute(query)
            finally:
                await connection.close()

        asyncio.run(run())

    def waits_or_sleeps(self) -> bool:
        """Whether a session of the database runs pg_sleep()."""
        sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
        return self.sql(sleeping) != [(0,)]

    def exists(self, relation: str) -> bool:
        return self.sql("SELECT to_regclass($1) IS NOT NULL", relation) == [(True,)]


class Interface(Protocol):
    """One of the interfaces."""

    def apply(self) -> Outcome: ...

    def plan(self) -> str: ...


@dataclass(frozen=True)
class Library:
    folder: Path
    dsn: str

    def apply(self) -> Outcome:
        async def run(migrations: AsyncMigrationManager) -> Outcome:
            try:
                return Outcome(True, str(await migrations.apply_pending_migrations()))
            except AsyncDBError as error:
                return Outcome(False, f"{error}\n{vars(error)}")

        return asyncio.run(self._with_manager(run))

    def plan(self) -> str:
        async def run(migrations: AsyncMigrationManager) -> str:
            return str(await migrations.plan(squawk=False))

        return asyncio.run(self._with_manager(run))

    async def _with_manager(self, run: Callable[[AsyncMigrationManager], Awaitable[T]]) -> T:
        config = DatabaseConfig(connection_string=self.dsn, schema=SCHEMA, min_connections=1, max_connections=2)
        async with AsyncDatabaseManager(config) as db:
            return await run(AsyncMigrationManager(db, self.folder, MODULE))


@dataclass(frozen=True)
class CommandLine:
    folder: Path
    dsn: str

    def apply(self) -> Outcome:
        return self._run("apply")

    def plan(self) -> str:
        return self._run("plan").text

    def _run(self, command: str) -> Outcome:
        options = ("--dir", str(self.folder), "--schema", SCHEMA, "-m", MODULE, "--database-url", self.dsn, "-v")
        # pytest has already configured logging, so -v has no effect here.
        logger = logging.getLogger("pgdbm")
        logger.setLevel(logging.INFO)
        try:
            with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
                code = app.run(["migrate", command, *options])
        finally:
            logger.setLevel(logging.NOTSET)
        return Outcome(code == 0, out.getvalue() + err.getvalue())


@dataclass(frozen=True)
class Service:
    service: Any

    def apply(self) -> Outcome:
        self.service.sync()
        answer = self.service.post(f"/modules/{MODULE}/migrate")
        shown = json.dumps(answer.json(), ensure_ascii=False)
        if "run_id" in answer.json():
            shown += self.service.get(f"/runs/{answer.json()['run_id']}/events").text
        return Outcome(answer.status_code == 200, shown)

    def plan(self) -> str:
        self.service.sync()
        return json.dumps(self.service.get(f"/modules/{MODULE}/plan").json(), ensure_ascii=False)


@dataclass(frozen=True)
class Registration:
    """The files as a module that is registered over HTTP, as a tar.gz."""

    folder: Path
    service: Any

    def apply(self) -> Outcome:
        answer = self._register()
        if not answer.is_success:
            return Outcome(False, self._shown(answer))
        answer = self.service.post(f"/modules/{MODULE}/migrate")
        shown = self._shown(answer)
        if "run_id" in answer.json():
            shown += self.service.get(f"/runs/{answer.json()['run_id']}/events").text
        return Outcome(answer.status_code == 200, shown)

    def plan(self) -> str:
        assert self._register().is_success
        return self._shown(self.service.get(f"/modules/{MODULE}/plan"))

    def _register(self) -> Any:
        packed = BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            archive.add(self.folder, arcname=".")
        parameters = {"schema": SCHEMA, "out_of_order": "allow"}
        return self.service.client.put(f"/modules/{MODULE}", content=packed.getvalue(), params=parameters)

    def _shown(self, answer: Any) -> str:
        return json.dumps(answer.json(), ensure_ascii=False)


@pytest.fixture(params=["library", "command line", "service", "registration"])
def project(
    request: pytest.FixtureRequest,
    service: Any,  # noqa: F811
    repo: Any,  # noqa: F811
    database: str,  # noqa: F811
    sql: Any,  # noqa: F811
    tmp_path: Path,
) -> Project:
    """The same project for each interface; all three share a database, which each test finds empty."""
    folder = (tmp_path if request.param == "registration" else repo.path) / MODULE
    folder.mkdir(exist_ok=True)
    ways: dict[str, Interface] = {
        "library": Library(folder, database),
        "command line": CommandLine(folder, database),
        "service": Service(service),
        "registration": Registration(folder, service),
    }
    return Project(folder, database, ways[request.param], sql)
