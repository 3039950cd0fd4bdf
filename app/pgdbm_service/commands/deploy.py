"""``pgdbm deploy``: register a folder of migrations with a service, migrate, and show the progress."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack
from uuid import uuid4

import click

from pgdbm.cli.errors import MISUSED, CommandError
from pgdbm.cli.options import command, seconds_option

from .plan_report import FORMATS, PlanReport
from .run_display import followed
from .server import EXIT_CODES, SERVER, Deadline, ServerOptions

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from pgdbm.cli.context import CommandContext
    from pgdbm.cli.output import Output
    from pgdbm.migrations.lint import MigrationInspection

    from ..api.registrations import Registration
    from ..api.runs import IfClosed
    from ..client import AsyncClient, MigrateResult
    from .plan_report import Format
    from .server import ServerArguments

_SHORT_DIGEST = len("sha256:") + 12
_ANY_SCHEMA = "any_schema"


@dataclass(frozen=True, slots=True)
class ModuleSource:
    """A module's files and settings. A missing setting is taken from ``module.toml`` or from the service."""

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
    help="The folder with its migrations.  [default: as in pgdbm.toml, or migrations]",
)
@click.option("--schema", metavar="NAME", help="The module's PostgreSQL schema.  [default: its name]")
@click.option("--depends-on", multiple=True, metavar="MODULE[@VERSION]", help="A module to migrate first; repeatable.")
@click.option("--target", metavar="VERSION", help="The last version, or file name, to apply.")
@click.option("--with-dependencies", is_flag=True, help="First migrate the modules that it depends on.")
@click.option(
    "--not-before",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"]),
    metavar="TIME",
    help="When the run may start, such as 2030-01-31T06:00+01:00.",
)
@click.option(
    "--if-closed",
    type=click.Choice(("wait", "refuse")),
    default="wait",
    show_default=True,
    help="What happens while the module is frozen, or outside its windows.",
)
@click.option("--dry-run", is_flag=True, help="Check the files and show what would be applied; change nothing.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="With --dry-run: print the plan as a comment for a pull request, or the findings as SARIF.",
)
@seconds_option(
    "--timeout",
    "How long to wait for the end, and to retry temporary failures. The run itself continues.",
    default=1800,
    positive=True,
)
async def deploy(
    context: CommandContext,
    module: str,
    folder: Path | None,
    schema: str | None,
    depends_on: tuple[str, ...],
    target: str | None,
    with_dependencies: bool,
    not_before: datetime | None,
    if_closed: IfClosed,
    dry_run: bool,
    form: Format | None,
    timeout: float,
    **service: Unpack[ServerArguments],
) -> None:
    """Register a module's migrations with a service, and apply what is pending.

    Repeating it changes nothing. If it is interrupted, the run continues.
    """
    if form is not None and (not dry_run or context.output.as_json):
        raise click.UsageError("--format requires --dry-run, and cannot be combined with --json.")
    source = _source(context, module, folder, schema, depends_on)
    options: dict[str, Any] = {
        "target": target,
        "with_dependencies": with_dependencies,
        "not_before": not_before,
        "if_closed": if_closed,
    }
    deployment = Deployment(context.output, source, options)
    limit = Deadline(timeout, deployment.timeout_message)
    async with ServerOptions(**service).client(context.output, limit, folder=source.folder) as client:
        await (deployment.dry_run(client, form) if dry_run else deployment.carry_out(client))


deploy.epilog = EXIT_CODES


class Deployment:
    """One deployment. ``options`` are fields of the request body of the migrate."""

    def __init__(self, output: Output, source: ModuleSource, options: dict[str, Any]) -> None:
        self._output = output
        self._source = source
        self._options = options
        self._run_id: str | None = None

    async def carry_out(self, client: AsyncClient) -> None:
        """Register and migrate."""
        registration = await self._register(client, dry_run=False)
        self._output.line(_registration_line(registration))
        self._report(registration, await self._migrate(client, registration.digest))

    async def dry_run(self, client: AsyncClient, form: Format | None = None) -> None:
        """Have the service check the files, and show what it would apply."""
        if form is not None:
            await self._report_plan(client, form)
            return
        registration = await self._register(client, dry_run=True)
        self._output.line(_registration_line(registration))
        for filename in registration.pending:
            self._output.line(f"  {filename}")
        self._output.document(_document(registration, status="dry_run"))

    def timeout_message(self) -> tuple[str, str | None]:
        """The message and hint after the timeout."""
        if self._run_id is None:
            return f"Timed out; {self._source.module} was not migrated.", None
        return f"Timed out; run {self._run_id} continues.", _follow_hint(self._run_id)

    async def _register(self, client: AsyncClient, *, dry_run: bool) -> Registration:
        from ..client import archive_of

        source = self._source
        return await client.register_module(
            source.module, archive_of(source.folder), **source.settings, dry_run=dry_run or None
        )

    async def _report_plan(self, client: AsyncClient, form: Format) -> None:
        from pgdbm.migrations.lint.sarif import Refusal

        from ..client import ProblemError

        source = self._source
        try:
            registration = await self._register(client, dry_run=True)
        except ProblemError as problem:
            path = None if problem.filename is None else (source.folder / problem.filename).as_posix()
            line, column = problem.fields.get("line"), problem.fields.get("column")
            refusal = Refusal(problem.code, problem.detail, path, line, column)
            # A review needs the reason, too; the exit code is the problem's.
            self._output.line(PlanReport(source.module, source.folder, None, (), refusal).rendered(form).rstrip())
            raise
        inspected = _inspected(source.folder, registration)
        self._output.line(PlanReport(source.module, source.folder, registration, inspected).rendered(form).rstrip())

    async def _migrate(self, client: AsyncClient, digest: str) -> MigrateResult:
        """Migrate, and repeat that while runs fail temporarily."""
        import asyncio

        from ..client import MigrateBody, MigrateResult, ProblemError

        name, key = self._source.module, str(uuid4())
        body = MigrateBody(bundle=digest, wait_s=0.0, **self._options)
        while True:
            try:
                started = await client.migrate(name, body, idempotency_key=key)
                if isinstance(started, MigrateResult):
                    return started
                self._run_id = str(started.id)
                self._output.interrupted_message = (
                    f"Interrupted; run {started.id} continues. {_follow_hint(started.id)}"
                )
                self._output.line(f"Run {started.id}")
                return await self._followed(client, started.id)
            except ProblemError as problem:
                if problem.run_id is None or problem.retry_after is None:
                    raise
                self._output.note(f"{problem} Trying again in {problem.retry_after} s.")
                await asyncio.sleep(problem.retry_after)

    async def _followed(self, client: AsyncClient, run_id: UUID) -> MigrateResult:
        result = await followed(client, run_id, self._output)
        if not self._options["with_dependencies"]:
            return result
        run = await client.get_run(run_id)
        *dependencies, own = [child.result for child in run.modules or () if child.result is not None]
        own.dependencies = dependencies
        return own

    def _report(self, registration: Registration, result: MigrateResult) -> None:
        for one in (*(result.dependencies or ()), result):
            if one.status == "up_to_date":
                self._output.line(f"{one.module}: up to date, {one.skipped} already applied")
            else:
                took = f" in {one.total_time_ms:.0f} ms" if one.total_time_ms is not None else ""
                self._output.line(f"{one.module}: {len(one.applied)} applied{took}")
        self._output.document(_document(registration, status=result.status, result=result))


def _source(
    context: CommandContext, module: str, folder: Path | None, schema: str | None, depends_on: tuple[str, ...]
) -> ModuleSource:
    """The files and settings to register: those in pgdbm.toml, unless a folder is given or there is no pgdbm.toml.

    Raises:
        CommandError: the folder is missing or contains no migration; pgdbm.toml does not list the module.
        MigrationFileError: a file cannot be read, or would be skipped: its suffix is .SQL, or it is in a subfolder.
    """
    settings: dict[str, Any] = {}
    if folder is None and context.project.file is not None:
        (configured,) = context.modules((module,), None, schema)
        folder = configured.path
        settings = {
            "schema": configured.schema,
            "depends_on": configured.depends_on or None,
            "out_of_order": configured.out_of_order,
        }
    given = {"schema": schema, "depends_on": depends_on or None}
    settings |= {name: value for name, value in given.items() if value is not None}
    folder = folder or Path("migrations")
    from pgdbm.migrations.sources.source import source_of

    if not source_of(folder).collect():
        raise CommandError(
            f"There are no migrations (*.sql) in {folder}.",
            "config_invalid",
            exit_code=MISUSED,
            hint="Set the folder with --dir.",
        )
    return ModuleSource(module, folder, settings)


def _inspected(folder: Path, registration: Registration) -> list[MigrationInspection]:
    """The pending migrations in ``folder``, in the order in which they would be applied."""
    from pgdbm.migrations.lint import inspect
    from pgdbm.migrations.sources.parser import GRAMMAR_VERSION, parse_file
    from pgdbm.migrations.sources.source import source_of

    schemas = registration.schemas
    # If there are several schemas, one of them is shown; for a pattern, none.
    schema = registration.schema or (_ANY_SCHEMA if isinstance(schemas, str) else schemas[0])
    files = {migration.filename: migration for migration in source_of(folder).collect()}
    # The service has accepted the files, so its PostgreSQL knows syntax that the parser's grammar lacks.
    pending = (parse_file(files[name], schema, GRAMMAR_VERSION + 1) for name in registration.pending if name in files)
    return inspect(pending, GRAMMAR_VERSION, schema=schema)


def _registration_line(registration: Registration) -> str:
    digest = registration.digest[:_SHORT_DIGEST]
    schemas = registration.schemas
    where = f"schema {registration.schema}" if registration.schema else f"schemas {_named(schemas)}"
    done = {"registered": "registered as", "unchanged": "already registered as", "dry_run": "would be registered as"}
    files = _files(len(registration.migrations))
    line = f"{registration.module} ({where}): {files} {done[registration.status]} {digest}"
    return f"{line}, {len(registration.pending)} pending"


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


def _follow_hint(run_id: object) -> str:
    return f"`pgdbm runs {run_id} --follow` shows it; `pgdbm runs cancel {run_id}` stops it."
