"""``pgdbm modules``, ``status``, ``plan`` and the other calls about the modules of a service, each as a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import click

from pgdbm.cli.errors import FAILED
from pgdbm.cli.options import command
from pgdbm.cli.output import rehearsal_failure, size, utc
from pgdbm.cli.questions import confirm
from pgdbm.text import object_in_words

from .server import EXIT_CODES, SERVER, client_of, document_of, items_of

if TYPE_CHECKING:
    from pgdbm.cli.context import CommandContext

    from ..api.modules import ModuleState
    from .server import ServerArguments

_STATES = (
    *("unknown", "partial", "failed", "changed", "out_of_order", "pending", "backfilling", "missing", "ahead"),
    *("up_to_date", "invalid", "unregistered"),
)
_MODULE = click.argument("module")
_SCHEMA = click.option("--schema", metavar="NAME", help="One of the module's schemas.  [default: the first]")
_LIMIT = click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The maximum number of items."
)


@command(None, "modules", SERVER)
@click.option(
    "--state",
    type=click.Choice(_STATES),
    multiple=True,
    metavar="STATE",
    help="Only modules in this state; repeatable.",
)
async def modules(context: CommandContext, state: tuple[ModuleState, ...], **service: Unpack[ServerArguments]) -> None:
    """List the modules of a service with their states."""
    async with client_of(context, service) as client:
        found = [one async for one in client.list_modules(state=state or None)]
    rows = [(one.name, one.state, one.applied, one.pending, one.version, one.last_run_status) for one in found]
    context.output.table([("MODULE", "STATE", "APPLIED", "PENDING", "VERSION", "LAST RUN"), *rows])
    context.output.document(items_of(found))


@command(None, "status", SERVER)
@_MODULE
@_SCHEMA
async def status(context: CommandContext, module: str, schema: str | None, **service: Unpack[ServerArguments]) -> None:
    """Show the state of a module of a service, and of each of its migrations."""
    async with client_of(context, service) as client:
        detail = await client.get_module(module)
        migrations = [] if detail.problem else [one async for one in client.list_migrations(module, schema=schema)]
    output = context.output
    output.line(f"{module}: {detail.state}, {detail.applied} applied, {detail.pending} pending")
    if detail.problem is not None:
        output.line(f"  {detail.problem.detail}")
    if detail.last_refusal is not None:
        refusal = detail.last_refusal
        output.line(f"  migrate refused {utc(refusal.at)}: {refusal.problem_code} ({refusal.principal})")
    for index in detail.invalid_indexes:
        output.line(f"  INVALID index {index.schema}.{index.name} on {index.relation}")
    for one in migrations:
        output.line(f"  {one.state:<12}  {one.filename}")
    output.document(document_of(detail) | {"migrations": [document_of(one) for one in migrations]})


@command(None, "plan", SERVER)
@_MODULE
@_SCHEMA
@click.option("--target", metavar="VERSION", help="The last version, or file name.")
async def plan(
    context: CommandContext, module: str, schema: str | None, target: str | None, **service: Unpack[ServerArguments]
) -> None:
    """Show what a migrate of a service would do now: statements, locks and findings."""
    from pgdbm.migrations.lint import used_tables

    async with client_of(context, service) as client:
        found = await client.get_plan(module, schema=schema, target=target)
    output = context.output
    output.line(f"{module} (schema {found.schema}): {len(found.pending)} pending, plan {found.digest}")
    for one in found.renamed or ():
        output.line(f"  {one.filename} is applied as {one.applied_as} and is not run again")
    for migration in found.pending:
        output.line(f"  {migration.filename}")
        output.line(f"    {migration.impact[:1].upper()}{migration.impact[1:]}.")
        for table, words in used_tables(migration.statements).items():
            output.line(f"    {table}: {words}.")
        for statement in migration.statements:
            locks = ", ".join(f"{lock.mode} on {lock.relation or '?'}" for lock in statement.locks)
            output.line(f"    {statement.number}. {statement.kind}{f': {locks}' if locks else ''}")
        for finding in migration.findings:
            output.line(f"    {finding.severity}: {finding.rule}: {finding.message}")
        if migration.fix is not None and migration.fix.files:
            output.line(f"    fix: {', '.join(file.filename for file in migration.fix.files)}")
    output.document(document_of(found))


@command(None, "drift", SERVER)
@_MODULE
@_SCHEMA
async def drift(context: CommandContext, module: str, schema: str | None, **service: Unpack[ServerArguments]) -> int:
    """Show changes in a module's schema that no migration made. Exit code 1 if there is drift."""
    async with client_of(context, service) as client:
        found = await client.get_drift(module, schema=schema)
    context.output.line(f"{module}: {'no drift' if found.clean else f'{len(found.changes)} changes'}")
    if found.reason:
        context.output.line(f"  {found.reason}")
    for change in found.changes:
        context.output.line(f"  {change.kind:<8}  {object_in_words(change.object_kind, change.name)}")
    context.output.document(document_of(found))
    return FAILED if found.changes else 0


@command(None, "history", SERVER)
@_MODULE
@_SCHEMA
@_LIMIT
async def history(
    context: CommandContext, module: str, schema: str | None, limit: int, **service: Unpack[ServerArguments]
) -> None:
    """List the applied migrations of a module, newest first."""
    async with client_of(context, service) as client:
        found = [one async for one in client.get_history(module, schema=schema, limit=limit)]
    rows = [(utc(one.applied_at), one.filename, one.execution_time_ms, one.applied_by, one.run_id) for one in found]
    context.output.table([("APPLIED", "FILE", "MS", "BY", "RUN"), *rows])
    context.output.document(items_of(found))


@command(None, "journal", SERVER)
@_MODULE
@_SCHEMA
@_LIMIT
async def journal(
    context: CommandContext, module: str, schema: str | None, limit: int, **service: Unpack[ServerArguments]
) -> None:
    """List attempts, failures and decisions about a module, newest first."""
    async with client_of(context, service) as client:
        found = [one async for one in client.get_journal(module, schema=schema, limit=limit)]
    rows = [(utc(one.started_at), one.event, one.filename, one.statement, one.started_by, one.message) for one in found]
    context.output.table([("STARTED", "EVENT", "FILE", "STATEMENT", "BY", "MESSAGE"), *rows])
    context.output.document(items_of(found))


@command(None, "schemas", SERVER)
@click.argument("module", required=False)
@_LIMIT
async def schemas(context: CommandContext, module: str | None, limit: int, **service: Unpack[ServerArguments]) -> None:
    """List the schemas of the service's database, or of a module with its state in each."""
    async with client_of(context, service) as client:
        if module is not None:
            states = [one async for one in client.list_module_schemas(module, limit=limit)]
            rows = [(one.schema, one.state, one.applied, one.pending, one.version) for one in states]
            context.output.table([("SCHEMA", "STATE", "APPLIED", "PENDING", "VERSION"), *rows])
            context.output.document(items_of(states))
            return
        found = [one async for one in client.list_schemas(limit=limit)]
    table = [(one.name, one.owner, size(one.size_bytes or 0), ", ".join(one.modules)) for one in found]
    context.output.table([("SCHEMA", "OWNER", "SIZE", "MODULES"), *table])
    context.output.document(items_of(found))


@command(None, "bundles", SERVER)
@_MODULE
@click.option("--compare", nargs=2, metavar="BEFORE AFTER", help="Show the differences between two bundles.")
@_LIMIT
async def bundles(
    context: CommandContext,
    module: str,
    compare: tuple[str, str] | None,
    limit: int,
    **service: Unpack[ServerArguments],
) -> None:
    """List the registered versions of a module, newest first."""
    async with client_of(context, service) as client:
        if compare is not None:
            difference = await client.compare_bundles(module, *compare)
            for change in difference.changes:
                context.output.line(f"  {change.kind:<8}  {change.filename}")
                for line in (change.diff or "").splitlines():
                    context.output.line(f"    {line}")
            context.output.document(document_of(difference))
            return
        found = [one async for one in client.list_bundles(module, limit=limit)]
    rows = [(utc(one.registered_at), one.registered_by, "yes" if one.current else "", one.digest) for one in found]
    context.output.table([("REGISTERED", "BY", "CURRENT", "DIGEST"), *rows])
    context.output.document(items_of(found))


@command(None, "repair", SERVER)
@_MODULE
@_SCHEMA
@click.option("--accept", is_flag=True, help="Record the current content as applied. Runs no SQL.")
async def repair(
    context: CommandContext, module: str, schema: str | None, accept: bool, **service: Unpack[ServerArguments]
) -> None:
    """Show the applied files of a module that were modified afterwards, as a diff."""
    async with client_of(context, service) as client:
        if accept:
            found = (await client.repair_module(module, accept=True, schema=schema)).items
        else:
            found = [one async for one in client.list_changes(module, schema=schema)]
    context.output.line(f"{module}: {len(found) or 'nothing'} modified{' and accepted' if accept and found else ''}")
    for one in found:
        context.output.line(f"  {one.filename}")
        for line in (one.diff or "").splitlines():
            context.output.line(f"    {line}")
    context.output.document(items_of(found) | {"accepted": accept})


@command(None, "mark", SERVER)
@_MODULE
@click.argument("filename")
@click.option("--applied/--not-applied", default=True, show_default=True, help="What to record in the history.")
@_SCHEMA
async def mark(
    context: CommandContext,
    module: str,
    filename: str,
    applied: bool,
    schema: str | None,
    **service: Unpack[ServerArguments],
) -> None:
    """Record a migration as applied, or as not applied, without running it."""
    async with client_of(context, service) as client:
        found = await client.mark_migration(module, filename, applied=applied, schema=schema)
    context.output.line(f"{module}: {filename} counts as {'applied' if applied else 'not applied'} in {found.schema}")
    context.output.document(document_of(found))


@command(None, "baseline", SERVER)
@_MODULE
@click.argument("version")
@click.option("--check/--no-check", default=True, show_default=True, help="Build the migrations, and compare.")
@_SCHEMA
async def baseline(
    context: CommandContext,
    module: str,
    version: str,
    check: bool,
    schema: str | None,
    **service: Unpack[ServerArguments],
) -> None:
    """Treat the migrations of a module up to a version as applied."""
    async with client_of(context, service) as client:
        found = await client.baseline_module(module, version, check=check, schema=schema)
    context.output.line(f"{module}: {len(found.baselined)} migrations count as applied in {found.schema}")
    context.output.document(document_of(found))


@command(None, "rehearse", SERVER)
@_MODULE
@_SCHEMA
@click.option("--target", metavar="VERSION", help="The last version, or file name.")
@click.option("--fix", is_flag=True, help="Also run the fixes of the files, and compare what both build.")
async def rehearse(
    context: CommandContext,
    module: str,
    schema: str | None,
    target: str | None,
    fix: bool,
    **service: Unpack[ServerArguments],
) -> int:
    """Run the pending migrations of a module in a scratch schema that is dropped afterwards."""
    async with client_of(context, service) as client:
        found = await client.rehearse_module(module, target=target, schema=schema, fix=fix)
    context.output.line(f"{module}: the rehearsal {'succeeded' if found.succeeded else 'failed'}")
    for one in found.migrations:
        context.output.line(f"  {one.filename}  {one.execution_time_ms:.0f} ms")
    if found.failure is not None:
        for line in rehearsal_failure(found.failure):
            context.output.line(f"  {line}")
    for proof in found.fixes or ():
        context.output.line(f"  the fix of {proof.filename} is {'proved' if proof.proved else 'not proved'}")
        if proof.reason is not None:
            context.output.line(f"    {proof.reason}")
    context.output.document(document_of(found))
    return 0 if found.succeeded else FAILED


@command(None, "revert", SERVER)
@_MODULE
@click.option("--steps", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many migrations.")
@click.option("--reason", metavar="TEXT", help="Why; with --break-glass.")
@click.option(
    "--break-glass",
    is_flag=True,
    help="In an emergency: revert without approvals, or despite a freeze. Needs --reason.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@_SCHEMA
async def revert(
    context: CommandContext,
    module: str,
    steps: int,
    reason: str | None,
    break_glass: bool,
    yes: bool,
    schema: str | None,
    **service: Unpack[ServerArguments],
) -> None:
    """Run the down migrations of the newest applied files of a module."""
    if break_glass is (reason is None):
        raise click.UsageError("--break-glass and --reason require each other.")
    if not yes:
        confirm(f"Revert the newest {steps} of {module}?")
    async with client_of(context, service) as client:
        found = await client.revert_module(module, steps=steps, schema=schema, break_glass=reason)
    for one in found.reverted:
        context.output.line(f"  {one.filename}  {one.execution_time_ms} ms")
    context.output.document(document_of(found))


@command(None, "resolve", SERVER)
@_MODULE
@click.argument("filename")
@click.argument("statement", type=click.IntRange(min=1))
@click.option("--done/--not-done", required=True, default=None, help="Whether the statement took effect.")
@_SCHEMA
async def resolve(
    context: CommandContext,
    module: str,
    filename: str,
    statement: int,
    done: bool,
    schema: str | None,
    **service: Unpack[ServerArguments],
) -> None:
    """Record whether a statement with an unknown outcome took effect."""
    async with client_of(context, service) as client:
        found = await client.resolve_statement(module, filename, statement, done=done, schema=schema)
    context.output.line(f"{module}: {filename}, statement {statement}: {'done' if done else 'not done'}")
    context.output.document(document_of(found))


COMMANDS: tuple[click.Command, ...] = (
    *(modules, status, plan, drift, history, journal, schemas, bundles),
    *(repair, mark, baseline, rehearse, revert, resolve),
)
for one in COMMANDS:
    one.epilog = EXIT_CODES
