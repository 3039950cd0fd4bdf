"""``pgdbm deploy``: register a folder of migrations with a service, migrate, and show how it goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click

from pgdbm.cli.options import command
from pgdbm.cli.problems import MISUSED, CommandError

from .server import EXIT_CODES, SERVER, Limit, Server
from .showing import followed

if TYPE_CHECKING:
    from pgdbm.cli.output import Output
    from pgdbm.cli.session import Session

    from ..client import AsyncClient, MigrateResult
    from ..registrations.structs import Registration

_SHORT_DIGEST = len("sha256:") + 12


@dataclass(frozen=True, slots=True)
class Source:
    """A module's files, and what is said of it besides. What is None, ``module.toml`` or the service says."""

    module: str
    folder: Path
    settings: dict[str, Any]


@command(None, "deploy", SERVER)
@click.argument("module")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Its migrations, and maybe a module.toml.  [default: as in pgdbm.toml, or migrations]",
)
@click.option("--schema", metavar="NAME", help="The module's PostgreSQL schema.  [default: its name]")
@click.option("--depends-on", multiple=True, metavar="MODULE[@VERSION]", help="What comes first; may be repeated.")
@click.option("--target", metavar="VERSION", help="Apply nothing behind this version, or file name.")
@click.option("--dry-run", is_flag=True, help="Have the files checked, and say what would be applied; change nothing.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=1800,
    show_default=True,
    metavar="SECONDS",
    help="For how long to wait for the end, and to try again what a retry can cure. What runs goes on.",
)
async def deploy(
    session: Session,
    module: str,
    folder: Path | None,
    schema: str | None,
    depends_on: tuple[str, ...],
    target: str | None,
    dry_run: bool,
    timeout: float,
    server: str | None,
    token_file: Path | None,
    allow_http: bool,
) -> None:
    """Register a module's migrations with a service, and apply what is pending.

    Done twice, it changes nothing the second time. When it is interrupted, the run goes on.
    """
    source = _source(session, module, folder, schema, depends_on)
    deployment = Deployment(session.output, source, target)
    limit = Limit(timeout, deployment.when_time_is_over)
    async with Server(server, token_file, allow_http).client(session.output, limit, folder=source.folder) as client:
        await (deployment.rehearse(client) if dry_run else deployment.carry_out(client))


deploy.epilog = EXIT_CODES


class Deployment:
    """One deployment, as far as it has come."""

    def __init__(self, output: Output, source: Source, target: str | None) -> None:
        self._output = output
        self._source = source
        self._target = target
        self._run_id: str | None = None

    async def carry_out(self, client: AsyncClient) -> None:
        """Register and migrate."""
        registration = await self._register(client, dry_run=False)
        self._report(registration, await self._migrate(client, registration.digest))

    async def rehearse(self, client: AsyncClient) -> None:
        """Have the service check the files, and say what they would do."""
        registration = await self._register(client, dry_run=True)
        for filename in registration.pending:
            self._output.line(f"  {filename}")
        self._output.document(_document(registration, status="dry_run"))

    def when_time_is_over(self) -> tuple[str, str | None]:
        """What to say then."""
        if self._run_id is None:
            return f"Time is over, and {self._source.module} was not migrated.", None
        return f"Time is over; run {self._run_id} goes on.", _go_on(self._run_id)

    async def _register(self, client: AsyncClient, *, dry_run: bool) -> Registration:
        from ..client import archive_of

        source = self._source
        registration = await client.register_module(
            source.module, archive_of(source.folder), **source.settings, dry_run=dry_run or None
        )
        self._output.line(_told(registration))
        return registration

    async def _migrate(self, client: AsyncClient, digest: str) -> MigrateResult:
        """Again, where a run has failed in a way that a retry can cure, until time is over."""
        import asyncio

        from ..client import MigrateBody, MigrateResult, ProblemError

        name, key = self._source.module, str(uuid4())
        body = MigrateBody(bundle=digest, target=self._target, wait_s=0.0)
        while True:
            try:
                started = await client.migrate(name, body, idempotency_key=key)
                if isinstance(started, MigrateResult):
                    return started
                self._run_id = str(started.id)
                self._output.interrupted_message = f"Interrupted; run {started.id} goes on. {_go_on(started.id)}"
                self._output.line(f"Run {started.id}")
                return await followed(client, started.id, self._output)
            except ProblemError as problem:
                if problem.run_id is None or problem.retry_after is None:
                    raise
                self._output.note(f"{problem} Trying again in {problem.retry_after} s.")
                await asyncio.sleep(problem.retry_after)

    def _report(self, registration: Registration, result: MigrateResult) -> None:
        if result.status == "up_to_date":
            self._output.line(f"{result.module}: up to date, {result.skipped} applied before")
        else:
            took = f" in {result.total_time_ms:.0f} ms" if result.total_time_ms is not None else ""
            self._output.line(f"{result.module}: {len(result.applied)} applied{took}")
        self._output.document(_document(registration, status=result.status, result=result))


def _source(
    session: Session, module: str, folder: Path | None, schema: str | None, depends_on: tuple[str, ...]
) -> Source:
    """What is to be registered: as pgdbm.toml says, unless a folder is given or there is none.

    Raises:
        CommandError: there is no such folder, or no migration in it; the configuration does not know the module.
    """
    settings: dict[str, Any] = {}
    if folder is None and session.project.file is not None:
        (configured,) = session.modules((module,), None, schema)
        folder = configured.path
        settings = {
            "schema": configured.schema,
            "depends_on": configured.depends_on or None,
            "out_of_order": configured.out_of_order,
        }
    given = {"schema": schema, "depends_on": depends_on or None}
    settings |= {name: value for name, value in given.items() if value is not None}
    folder = folder or Path("migrations")
    if not any(folder.glob("*.sql")):
        raise CommandError(
            f"There are no migrations in {folder}: files whose names end with .sql.",
            "config_invalid",
            exit_code=MISUSED,
            hint="Name their folder with --dir.",
        )
    return Source(module, folder, settings)


def _told(registration: Registration) -> str:
    digest = registration.digest[:_SHORT_DIGEST]
    schemas = registration.schemas
    where = f"schema {registration.schema}" if registration.schema else f"schemas {_named(schemas)}"
    done = {"registered": "registered as", "unchanged": "registered before, as", "dry_run": "would be registered as"}
    files = _files(len(registration.migrations))
    told = f"{registration.module} ({where}): {files} {done[registration.status]} {digest}"
    return f"{told}, {len(registration.pending)} pending"


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _named(schemas: list[str] | str) -> str:
    return schemas if isinstance(schemas, str) else ", ".join(schemas)


def _document(registration: Registration, status: str, result: MigrateResult | None = None) -> dict[str, Any]:
    import msgspec

    document = {
        "module": registration.module,
        "status": status,
        "registration": registration.status,
        "digest": registration.digest,
        "pending": registration.pending,
    }
    if result is not None:
        done = msgspec.to_builtins(result)
        document |= {name: value for name, value in done.items() if name not in ("module", "status")}
    return document


def _go_on(run_id: object) -> str:
    return f"`pgdbm runs {run_id} --follow` shows it, `pgdbm runs cancel {run_id}` stops it."
