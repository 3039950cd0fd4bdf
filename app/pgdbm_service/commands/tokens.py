"""``pgdbm token create``, ``list`` and ``revoke``: directly in the database, so that the first token can be created.

The command line finds them through the entry points ``pgdbm.commands``; ``python -m pgdbm_service token`` works without
the command line. Imported for ``--help``, so imports here must be fast.
"""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

from pgdbm.cli.errors import MISUSED, CommandError
from pgdbm.cli.options import DATABASE, command
from pgdbm.cli.output import utc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgdbm.cli.context import CommandContext
    from pgdbm.core.manager import AsyncDatabaseManager

_BY = "command line"
_PAGE = 200


@click.group()
def token() -> None:
    """Create, list and revoke tokens of the service, in its database."""


@command(token, "create", DATABASE)
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    metavar="SCOPE",
    help="read, register:GLOB, migrate:GLOB, approve:GLOB or admin; may be repeated.",
)
@click.option("--expires", default="90d", show_default=True, metavar="TIME", help="30m, 12h, 90d, 4w or never.")
async def create(context: CommandContext, name: str, scopes: tuple[str, ...], expires: str) -> None:
    """Create a token and print it. It cannot be shown again."""
    async with _service_schema(context) as db:
        from ..auth.tokens import create_token
        from ..database.audit import record_command

        async with db.transaction() as transaction:
            created = await create_token(transaction, name, scopes, expires, _BY)
            await record_command(transaction, _BY, "POST", "/tokens", 201)
    context.output.line(created.token)
    until = f"expires {utc(created.expires_at)}" if created.expires_at else "never expires"
    context.output.note(f"{created.name} ({created.id}) {until}. The token is not shown again.")
    context.output.document(_document(created))


@command(token, "list", DATABASE)
async def list_all(context: CommandContext) -> None:
    """List the tokens, newest first, including revoked ones."""
    async with _service_schema(context) as db:
        from ..auth.tokens import list_tokens

        items, before = await list_tokens(db, _PAGE, None)
        while before is not None:
            more, before = await list_tokens(db, _PAGE, before)
            items += more
    context.output.table(
        [
            ("ID", "NAME", "STATE", "EXPIRES", "LAST USED", "SCOPES"),
            *(
                (
                    one.id,
                    one.name,
                    one.state,
                    utc(one.expires_at) or "never",
                    utc(one.last_used_at),
                    " ".join(one.scopes),
                )
                for one in items
            ),
        ]
    )
    context.output.document({"items": [_document(one) for one in items]})


@command(token, "revoke", DATABASE)
@click.argument("token_name", metavar="NAME_OR_ID")
async def revoke(context: CommandContext, token_name: str) -> None:
    """Revoke a token. Running services refuse it within three seconds."""
    async with _service_schema(context) as db:
        from ..auth.tokens import revoke_token
        from ..database.audit import record_command

        async with db.transaction() as transaction:
            revoked = await revoke_token(transaction, token_name, _BY, by_name=True)
            await record_command(transaction, _BY, "DELETE", "/tokens/{token_id}", 200)
    context.output.line(f"{revoked.name} ({revoked.id}) is revoked.")
    context.output.document(_document(revoked))


@asynccontextmanager
async def _service_schema(context: CommandContext) -> AsyncIterator[AsyncDatabaseManager]:
    """A manager of the service schema, which is created if it is missing. Raises CommandError."""
    try:
        import structlog

        from ..auth.tokens import TokenError
        from ..database.service_schema import SERVICE_SCHEMA, migrate_service_schema
        from ..errors import ServiceError
    except ModuleNotFoundError as error:
        raise CommandError(
            f"Tokens belong to the service, but {error.name} is not installed.",
            "usage",
            exit_code=MISUSED,
            hint="Install pgdbm[service].",
        ) from None
    from pgdbm import AsyncDatabaseManager

    # Logs must not go to stdout, from which scripts read the new token.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        async with context.pool() as pool:
            await migrate_service_schema(pool)
            yield AsyncDatabaseManager(pool=pool, schema=SERVICE_SCHEMA)
    except TokenError as error:
        message = f"{error.message[:1].upper()}{error.message[1:]}."
        raise CommandError(message, "usage", exit_code=MISUSED, field=error.field) from None
    except ServiceError as problem:
        raise CommandError(problem.detail, problem.code) from None


def _document(one: object) -> dict[str, object]:
    import msgspec

    document: dict[str, object] = msgspec.to_builtins(one, builtin_types=())
    return document
