"""Output: results on stdout, as text or as one JSON document; everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import click

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.progress import Progress

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "applied": "green", "pending": "yellow"}


class Output:
    """Writes results. The text may change between releases; the JSON is stable.

    ``interrupted_message`` is printed when the command is interrupted.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.interrupted_message = "Interrupted. Uncommitted changes were rolled back."
        self._colour = False if os.environ.get("NO_COLOR") else None
        for stream in (sys.stdout, sys.stderr):
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                # A file name that the terminal's encoding cannot represent must not abort the command.
                reconfigure(errors="backslashreplace")

    def line(self, text: str = "") -> None:
        """A line of text; prints nothing with ``--json``."""
        if not self.as_json:
            self._write(text)

    def table(self, rows: Sequence[Sequence[object]]) -> None:
        """Rows in columns; the first row is the heading. Nothing with ``--json``."""
        cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            self.line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def document(self, document: Mapping[str, Any], *, one_line: bool = False) -> None:
        """A JSON document; prints nothing without ``--json``."""
        if self.as_json:
            self._write(json.dumps(document, indent=None if one_line else 2, default=_plain))

    def note(self, text: str) -> None:
        """A line on stderr; prints nothing with ``--json``."""
        if not self.as_json:
            click.echo(text, err=True, color=self._colour)

    def progress_bar(self) -> Progress | None:
        """A progress bar on stderr, a context manager; None with ``--json``, without rich, and if stderr is not a
        terminal."""
        if self.as_json or not sys.stderr.isatty():
            return None
        try:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                SpinnerColumn,
                TextColumn,
                TimeElapsedColumn,
            )
        except ModuleNotFoundError:
            # The image does not contain rich: progress is printed as lines there.
            return None

        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            # Redirected output is written to the file, not to the terminal.
            redirect_stdout=sys.stdout.isatty(),
        )

    def verdict(self, verdict: str) -> str:
        """``verdict`` in its color, if the terminal has colors."""
        return click.style(verdict, fg=_COLOURS.get(verdict))

    def error(self, error: BaseException, *, one_line: bool = False) -> int:
        """Report ``error``; returns its exit code."""
        from .reports import explain, report_of  # imported lazily: most commands have no error

        report = report_of(error)
        if self.as_json:
            self.document({"error": report.document()}, one_line=one_line)
        else:
            click.echo(click.style("error: ", fg="red") + explain(report, error), err=True, color=self._colour)
        return report.exit_code

    def usage_error(self, error: click.UsageError) -> int:
        """Report a usage error; returns 2."""
        message = error.format_message()
        if self.as_json:
            self.document({"error": {"type": "UsageError", "code": "usage", "message": message}})
        else:
            command = error.ctx.command_path if error.ctx else "pgdbm"
            click.echo(f"error: {message}\nSee '{command} --help'.", err=True)
        return 2

    def interrupted(self, exit_code: int) -> int:
        """Report an interrupt by the user or the system; returns ``exit_code``."""
        message = self.interrupted_message
        if self.as_json:
            self.document({"error": {"type": "Interrupted", "code": "interrupted", "message": message}})
        else:
            click.echo(message, err=True)
        return exit_code

    def close_stdout(self) -> None:
        """Discard further output: its reader has exited, but the command continues."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _write(self, text: str) -> None:
        try:
            click.echo(text, color=self._colour)
        except BrokenPipeError:
            self.close_stdout()


def utc(moment: datetime | None) -> str | None:
    """``moment`` as ``2026-01-31T12:00:00Z``; a naive one is UTC."""
    if moment is None:
        return None
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='seconds')}Z"


def size(count: int) -> str:
    """``count`` bytes in a readable unit."""
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


class BackfillNumbers(Protocol):
    """The progress of a backfill, from the library or from a service."""

    @property
    def total_rows(self) -> int | None: ...
    @property
    def processed_rows(self) -> int: ...
    @property
    def rows_per_s(self) -> float | None: ...
    @property
    def paused(self) -> bool: ...
    @property
    def ended_at(self) -> datetime | None: ...


def backfill_state(one: BackfillNumbers) -> str:
    return "applied" if one.ended_at is not None else "paused" if one.paused else "backfilling"


def backfill_progress(one: BackfillNumbers) -> str:
    """Rows, percent and the time left, such as ``1,000,000 of 4,000,000 rows (25 %), 25,000 a second, 2 min left``."""
    if one.ended_at is not None:
        return f"{one.processed_rows:,} rows"
    total = f" of {one.total_rows:,}" if one.total_rows else ""
    percent = f" ({min(100 * one.processed_rows / one.total_rows, 99):.0f} %)" if one.total_rows else ""
    parts = [f"{one.processed_rows:,}{total} rows{percent}"]
    if one.rows_per_s:
        parts.append(f"{one.rows_per_s:,.0f} a second")
        if one.total_rows:
            parts.append(f"{max(one.total_rows - one.processed_rows, 0) / one.rows_per_s / 60:.0f} min left")
    return ", ".join(parts)


class RehearsalFailure(Protocol):
    """The failure of a rehearsal, of the library or of the service."""

    @property
    def filename(self) -> str: ...
    @property
    def statement(self) -> int | None: ...
    @property
    def line(self) -> int | None: ...
    @property
    def column(self) -> int | None: ...
    @property
    def message(self) -> str: ...
    @property
    def hint(self) -> str | None: ...


def rehearsal_failure(one: RehearsalFailure) -> list[str]:
    """The lines of text about ``one``: where it failed and why, and what to do if that is known."""
    where = one.filename if one.line is None else f"{one.filename}:{one.line}:{one.column}: statement {one.statement}"
    return [f"{where}: {one.message}", *([one.hint] if one.hint else [])]
