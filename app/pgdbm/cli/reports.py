"""Errors as the command line reports them: as JSON, as text with the line of the file, and as an exit code."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import (
    AsyncDBError,
    ConfigurationError,
    ConnectionError,
    MigrationError,
    PoolError,
    QueryError,
    SchemaError,
)
from .errors import FAILED, MISUSED, CommandError, ModuleFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_WIDEST_LINE = 160


class ErrorReport(NamedTuple):
    """An error as data."""

    type: str
    code: str
    message: str
    exit_code: int
    fields: Mapping[str, Any] = MappingProxyType({})

    def document(self) -> dict[str, Any]:
        """The value of ``error`` in the JSON document, without the fields that are None."""
        known = {name: value for name, value in self.fields.items() if value is not None}
        return {"type": self.type, "code": self.code, "message": self.message, **known}


def report_of(error: BaseException) -> ErrorReport:
    if isinstance(error, ModuleFailedError):
        inner = report_of(error.cause)
        context = {
            "module": error.module.name,
            "schema": error.module.schema,
            **inner.fields,
            "modules": error.done,
            "not_reached": error.not_reached,
            "notices": error.notices or None,
        }
        return ErrorReport(inner.type, inner.code, inner.message, inner.exit_code, context)
    if isinstance(error, CommandError):
        return ErrorReport(type(error).__name__, error.code, error.message, error.exit_code, error.fields)
    if isinstance(error, AsyncDBError):
        return _report_library_error(error)
    if isinstance(error, OSError):
        return ErrorReport(type(error).__name__, "system_error", str(error), FAILED, {"filename": error.filename})
    return ErrorReport(type(error).__name__, "internal_error", f"{type(error).__name__}: {error}", FAILED)


def _report_library_error(error: AsyncDBError) -> ErrorReport:
    code, exit_code = "failed", FAILED
    match error:
        case MigrationError():
            code = error.code
        case ConfigurationError():
            code, exit_code = "config_invalid", MISUSED
        case SchemaError():
            code, exit_code = "schema_invalid", MISUSED
        case ConnectionError() | PoolError():
            code = "database_unavailable"
        case QueryError():
            code = "database_error"
    return ErrorReport(type(error).__name__, code, error.message, exit_code, error.fields())


def explain(report: ErrorReport, error: BaseException) -> str:
    """``report`` as text: the first line of the message, the line of the file with a caret below it, then the rest."""
    first, *rest = report.message.split("\n")
    lines = [first]
    fields = report.fields
    if isinstance(error, ModuleFailedError):
        if fields.get("line") is not None and fields.get("filename"):
            file = error.module.path / fields["filename"]
            lines[0] = first.replace(fields["filename"], str(file), 1)
            lines += excerpt(file, fields["line"], fields.get("column"))
        lines += rest
        lines.append(f"Module {error.module.name}, schema {error.module.schema}.")
        if error.not_reached:
            lines[-1] += f" Not reached: {', '.join(error.not_reached)}."
    else:
        lines += rest
        if isinstance(error, CommandError) and fields.get("line") is not None and fields.get("file"):
            lines += excerpt(fields["file"], fields["line"], fields.get("column"))
    hint = fields.get("hint")
    if hint and hint not in report.message:
        lines.append(f"Hint: {hint}")
    return "\n".join(lines)


def excerpt(file: Path | str, line: int, column: int | None) -> list[str]:
    """Line ``line`` of ``file`` with a caret under ``column``, both counted from 1; empty if it cannot be read."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as opened:  # noqa: PTH123 - str or Path alike
            lines = opened.read().replace("\r\n", "\n").split("\n")
        text = lines[line - 1]
    except (OSError, UnicodeDecodeError, IndexError):
        return []
    margin = f"  {line} | "
    shown_from = max(0, (column or 1) - 1 - _WIDEST_LINE // 2) if len(text) > _WIDEST_LINE else 0
    shown = [margin + text[shown_from : shown_from + _WIDEST_LINE]]
    if column is not None:
        # Tabs are kept, so that the caret lines up for every tab width.
        before = "".join("\t" if character == "\t" else " " for character in text[shown_from : column - 1])
        shown.append(" " * (len(margin) - 2) + "| " + before + "^")
    return shown
