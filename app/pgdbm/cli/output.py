"""What goes to the terminal: results on stdout, as text or as one JSON document; the rest on stderr."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from .problems import describe, explain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "applied": "green", "pending": "yellow"}


class Output:
    """Writes results. Text is for people and may change; the JSON is for programs and is stable.

    ``interrupted_message`` is what is said when the command is stopped.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.interrupted_message = "Interrupted. What was not committed is undone."
        self._colour = False if os.environ.get("NO_COLOR") else None
        for stream in (sys.stdout, sys.stderr):
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                # A file name that the terminal's encoding lacks must not end the work.
                reconfigure(errors="backslashreplace")

    def line(self, text: str = "") -> None:
        """A line of text; nothing with ``--json``."""
        if not self.as_json:
            self._write(text)

    def table(self, rows: Sequence[Sequence[object]]) -> None:
        """Rows in columns, the first row being the heading; nothing with ``--json``."""
        cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            self.line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def document(self, document: Mapping[str, Any], *, one_line: bool = False) -> None:
        """A JSON document; nothing without ``--json``."""
        if self.as_json:
            import json

            self._write(json.dumps(document, indent=None if one_line else 2, default=_plain))

    def note(self, text: str) -> None:
        """A line on stderr, without ``--json`` only."""
        if not self.as_json:
            click.echo(text, err=True, color=self._colour)

    def verdict(self, verdict: str) -> str:
        """``verdict`` in its colour, where the terminal has colours."""
        return click.style(verdict, fg=_COLOURS.get(verdict))

    def error(self, error: BaseException, *, one_line: bool = False) -> int:
        """Report ``error``; returns the exit code that it asks for."""
        problem = describe(error)
        if self.as_json:
            self.document({"error": problem.document()}, one_line=one_line)
        else:
            click.echo(click.style("error: ", fg="red") + explain(problem, error), err=True, color=self._colour)
        return problem.exit_code

    def usage_error(self, error: click.UsageError) -> int:
        """Report what was wrong on the command line; returns 2."""
        message = error.format_message()
        if self.as_json:
            self.document({"error": {"type": "UsageError", "code": "usage", "message": message}})
        else:
            command = error.ctx.command_path if error.ctx else "pgdbm"
            click.echo(f"error: {message}\nSee '{command} --help'.", err=True)
        return 2

    def interrupted(self, exit_code: int) -> int:
        """Report that the user, or the system, wants us to stop; returns ``exit_code``."""
        message = self.interrupted_message
        if self.as_json:
            self.document({"error": {"type": "Interrupted", "code": "interrupted", "message": message}})
        else:
            click.echo(message, err=True)
        return exit_code

    def close_stdout(self) -> None:
        """Nobody reads us any more: the work goes on, in silence."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _write(self, text: str) -> None:
        try:
            click.echo(text, color=self._colour)
        except BrokenPipeError:
            self.close_stdout()


def utc(moment: datetime | None) -> str | None:
    """``moment`` (naive ones are UTC) as ``2026-01-31T12:00:00Z``."""
    if moment is None:
        return None
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='seconds')}Z"


def size(count: int) -> str:
    """``count`` bytes, for people."""
    number = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TB"


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return utc(value)
    return str(value)
