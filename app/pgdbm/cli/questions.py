"""Questions that a command asks before it does what cannot be undone."""

from __future__ import annotations

import click

from .errors import MISUSED, CommandError


def confirm(question: str) -> None:
    """Ask ``question``, which ends with a question mark; return if the answer is yes.

    Raises:
        click.Abort: it is no, or the command was interrupted.
        CommandError: the input has ended without an answer.
    """
    try:
        click.confirm(question, abort=True, err=True)
    except click.Abort as abort:
        if not isinstance(abort.__context__, EOFError):
            raise
        click.echo(err=True)
        raise CommandError(
            f"{question} The input has ended without an answer.",
            "not_confirmed",
            exit_code=MISUSED,
            hint="With --yes the command does not ask.",
        ) from None
