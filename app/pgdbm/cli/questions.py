"""Questions that a command asks before it does something that cannot be undone."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from .errors import MISUSED, CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator


def confirm(question: str) -> None:
    """Ask ``question``, which ends with a question mark; returns if the answer is yes.

    Raises:
        click.Abort: the answer is no, or the command was interrupted.
        CommandError: the input ended without an answer.
    """
    try:
        with _default_signals():
            click.confirm(question, abort=True, err=True)
    except click.Abort as abort:
        if not isinstance(abort.__context__, EOFError):
            raise
        click.echo(err=True)
        raise CommandError(
            f"{question} The input ended without an answer.",
            "not_confirmed",
            exit_code=MISUSED,
            hint="With --yes the command does not ask.",
        ) from None


@contextmanager
def _default_signals() -> Iterator[None]:
    """A block in which SIGINT and SIGTERM end a prompt. An event loop only records signals, and a prompt blocks the
    loop."""
    changed = {}
    if threading.current_thread() is threading.main_thread():
        for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            # A shell starts background jobs with SIGINT ignored.
            if (before := signal.getsignal(number)) is not signal.SIG_IGN:
                changed[number] = before
                signal.signal(number, default)
    try:
        yield
    finally:
        for number, before in changed.items():
            signal.signal(number, before)
