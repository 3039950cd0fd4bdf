"""``pgdbm token create``, ``list`` and ``revoke``: directly on the database, so that there can be a first token.

The entry point group ``pgdbm.commands`` gives them to the command line, which knows nothing of the service;
``python -m pgdbm_service token`` is the same where that is not installed. This module is read for ``--help``: it may
import nothing that takes time.
"""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

from pgdbm.cli.options import DATABASE, command
from pgdbm.cli.output import utc
from pgdbm.cli.problems import MISUSED, CommandError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgdbm.cli.session import Session
    from pgdbm.core.manager import AsyncDatabaseManager

_BY = "command line"
_PAGE = 200


@click.group()
def token() -> None:
    """Make, list and revoke tokens of the service, in its database."""


@command(token, "create", DATABASE)
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    metavar="SCOPE",
    help="read, register:GLOB, migrate:GLOB or admin; may be repeated.",
)
@click.option("--expires", default="90d", show_default=True, metavar="TIME", help="30m, 12h, 90d, 4w or never.")
async def create(session: Session, name: str, scopes: tuple[str, ...], expires: str) -> None:
    """Make a token, and print it. It cannot be shown again."""
    async with _own_schema(session) as db:
        from .auth.tokens import create_token

        made = await create_token(db, name, scopes, expires, _BY)
    session.output.line(made.token)
    until = f"expires {utc(made.expires_at)}" if made.expires_at else "never expires"
    session.output.note(f"{made.name} ({made.id}) {until}. The token is not shown again.")
    session.output.document(_document(made))


@command(token, "list", DATABASE)
async def list_all(session: Session) -> None:
    """List the tokens, newest first, the revoked ones too."""
    async with _own_schema(session) as db:
        from .auth.tokens import list_tokens

        items, before = await list_tokens(db, _PAGE, None)
        while before is not None:
            more, before = await list_tokens(db, _PAGE, before)
            items += more
    session.output.table(
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
    session.output.document({"items": [_document(one) for one in items]})


@command(token, "revoke", DATABASE)
@click.argument("token_name", metavar="NAME_OR_ID")
async def revoke(session: Session, token_name: str) -> None:
    """Revoke a token. Running services refuse it within three seconds."""
    async with _own_schema(session) as db:
        from .auth.tokens import revoke_token

        revoked = await revoke_token(db, token_name, _BY, by_name=True)
    session.output.line(f"{revoked.name} ({revoked.id}) is revoked.")
    session.output.document(_document(revoked))


@asynccontextmanager
async def _own_schema(session: Session) -> AsyncIterator[AsyncDatabaseManager]:
    """A manager of the service's schema, which is made if it is not there yet; errors in the command line's words."""
    try:
        import structlog

        from .auth.tokens import TokenError
        from .errors import Problem
        from .own_schema import OWN_SCHEMA, prepare_own_schema
    except ModuleNotFoundError as error:
        raise CommandError(
            f"Tokens belong to the service, and {error.name} is not installed.",
            "usage",
            exit_code=MISUSED,
            hint="Install pgdbm[service].",
        ) from None
    from pgdbm import AsyncDatabaseManager

    # The service's own logger would write to stdout, where a new token is read from.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        async with session.pool() as pool:
            await prepare_own_schema(pool)
            yield AsyncDatabaseManager(pool=pool, schema=OWN_SCHEMA)
    except TokenError as error:
        message = f"{error.message[:1].upper()}{error.message[1:]}."
        raise CommandError(message, "usage", exit_code=MISUSED, field=error.field) from None
    except Problem as problem:
        raise CommandError(problem.detail, problem.code) from None


def _document(one: object) -> dict[str, object]:
    import msgspec

    document: dict[str, object] = msgspec.to_builtins(one, builtin_types=())
    return document
