"""The findings of squawk, a linter for migrations: one process for many files.

It is run if its program is installed. If it fails, the plan continues, with a :class:`Trouble`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..sources.parser import ParsedMigration
    from .rules import Severity

_MOST_FILES = 1000
"""The number of files per process, which takes about a tenth of a second for them."""

# squawk takes a second, and twenty times the memory, for each million characters.
_LONGEST_CHARACTERS = 4_000_000
_TOO_LONG = f"squawk does not check files of more than {_LONGEST_CHARACTERS:,} characters"
_NOT_UNDERSTOOD = "squawk does not understand this file and checked nothing"
_TIME_LIMIT = 60.0
"""Seconds."""

# Rules that the engine or the parser makes unnecessary.
SETTLED = frozenset(
    {
        "ban-concurrent-index-creation-in-transaction",  # refused by the parser
        "ban-uncommitted-transaction",  # refused by the parser
        "prefer-robust-stmts",  # a file runs once, and resumes at the statement that failed
        "require-lock-timeout",  # the engine sets it
        "require-statement-timeout",  # the engine's policy
        "require-timeout-settings",
        "transaction-nesting",  # refused by the parser
    }
)
_SEVERITIES: dict[str, Severity] = {"Error": "error", "Warning": "warning"}
_SYNTAX = "syntax-error"


@dataclass(frozen=True, slots=True)
class Remark:
    """One violation. ``offset`` is in characters in the rendered text."""

    rule: str
    severity: Severity
    message: str
    advice: str
    offset: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """Files, by index, that squawk did not check (completely), and why; ``broken``: the program failed."""

    files: tuple[int, ...]
    message: str
    broken: bool


@dataclass
class Report:
    """squawk's findings, by index of the file."""

    remarks: dict[int, list[Remark]] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)


def find_squawk() -> str | None:
    """The program in this Python's environment, or the one on PATH."""
    own = shutil.which("squawk", path=sysconfig.get_path("scripts"))
    return own or shutil.which("squawk")


def ask_squawk(program: str, files: Sequence[ParsedMigration], server_version: int) -> Report:
    """Run ``program`` over ``files``; ``server_version`` is the major version of PostgreSQL. Raises nothing."""
    report = Report()
    long = tuple(index for index, parsed in enumerate(files) if len(parsed.rendered.text) > _LONGEST_CHARACTERS)
    if long:
        report.troubles.append(Trouble(long, _TOO_LONG, broken=False))
    for in_transaction in (True, False):
        indexes = [
            index for index, parsed in enumerate(files) if parsed.transactional is in_transaction and index not in long
        ]
        for first in range(0, len(indexes), _MOST_FILES):
            some = indexes[first : first + _MOST_FILES]
            try:
                answer = _run(
                    program, {index: files[index].parsable_text for index in some}, server_version, in_transaction
                )
                for index in some:
                    _read(report, index, files[index].rendered.text, answer.get(index, []))
            except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError, AttributeError) as error:
                for index in some:
                    report.remarks.pop(index, None)
                report.troubles.append(Trouble(tuple(some), _reason(error), broken=True))
    return report


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it did not answer within {_TIME_LIMIT:.0f} s"
    if isinstance(error, OSError | ValueError):
        return str(error).strip().partition("\n")[0]
    return f"its output does not have the expected format ({type(error).__name__}: {error})"


def _run(program: str, texts: dict[int, str], server_version: int, in_transaction: bool) -> dict[int, list[Any]]:
    """The violations in ``texts``, by their keys."""
    with tempfile.TemporaryDirectory(prefix="pgdbm-squawk-") as folder:
        for key, text in texts.items():
            Path(folder, f"{key}.sql").write_text(text, encoding="utf-8", newline="")
        # Ignores a configuration in the working directory.
        Path(folder, "squawk.toml").touch()
        done = subprocess.run(
            [
                program,
                "--config=squawk.toml",
                "--reporter=json",
                f"--pg-version={server_version}.0",
                "--assume-in-transaction" if in_transaction else "--no-assume-in-transaction",
                *(f"{key}.sql" for key in texts),
            ],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIME_LIMIT,
            check=False,
        )
    if done.returncode not in (0, 1):
        raise ValueError(done.stderr.decode(errors="replace").strip() or f"it ended with status {done.returncode}")
    try:
        violations = json.loads(done.stdout)
    except ValueError as error:
        raise ValueError(done.stderr.decode(errors="replace").strip() or "its output is not JSON") from error
    answer: dict[int, list[Any]] = {}
    for violation in violations:
        answer.setdefault(int(Path(violation["file"]).stem), []).append(violation)
    return answer


def _read(report: Report, index: int, text: str, violations: list[Any]) -> None:
    remarks: list[Remark] = []
    lines: list[bytes] = []
    starts: list[int] = []
    for violation in violations:
        rule = violation["rule_name"]
        if rule in SETTLED:
            continue
        if rule == _SYNTAX:
            # PostgreSQL's own parser accepted it: the linter's grammar has a gap.
            report.troubles.append(Trouble((index,), f"{_NOT_UNDERSTOOD}: {violation['message']}", broken=False))
            remarks = []
            break
        if not lines:
            lines = text.encode().split(b"\n")
            starts = _starts(lines)
        line = min(violation["line"], len(lines) - 1)
        # Its columns are bytes.
        column = len(lines[line][: violation["column"]].decode(errors="replace"))
        remarks.append(
            Remark(
                rule,
                _SEVERITIES.get(violation["level"], "warning"),
                violation["message"],
                violation.get("help") or "",
                starts[line] + column,
            )
        )
    report.remarks[index] = remarks


def _starts(lines: list[bytes]) -> list[int]:
    """Where each of ``lines`` begins, in characters."""
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.decode()) + 1)
    return starts
