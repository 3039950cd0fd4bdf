"""Errors as the command line shows them: codes, exit codes, and the line of the file that is to blame."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..errors import AsyncDBError
    from .config import Module

FAILED = 1
MISUSED = 2
PENDING = 3

_WIDEST_LINE = 160


class CommandError(Exception):
    """A command cannot do what was asked. ``code`` is stable, for programs; ``fields`` go into the JSON."""

    def __init__(
        self, message: str, code: str, *, exit_code: int = FAILED, hint: str | None = None, **fields: Any
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.exit_code = exit_code
        self.fields: dict[str, Any] = {**fields, **({"hint": hint} if hint else {})}


class ConfigError(CommandError):
    """The configuration is not right. ``key`` is where in the file; a line there is for broken TOML only."""

    def __init__(
        self,
        message: str,
        *,
        file: Path | None = None,
        key: str | None = None,
        line: int | None = None,
        column: int | None = None,
        hint: str | None = None,
    ) -> None:
        where = [str(file)] if file else []
        if line is not None:
            where[-1:] = [f"{file}:{line}:{column}"]
        if key is not None:
            where.append(key)
        super().__init__(
            ": ".join([*where, message]),
            "config_invalid",
            exit_code=MISUSED,
            hint=hint,
            file=str(file) if file else None,
            key=key,
            line=line,
            column=column,
        )


class ModuleFailedError(Exception):
    """``cause`` happened to ``module``. ``done`` has the results of the modules before it."""

    def __init__(
        self,
        module: Module,
        cause: AsyncDBError,
        done: Sequence[Mapping[str, Any]] = (),
        not_reached: Sequence[str] = (),
    ) -> None:
        super().__init__(str(cause))
        self.module = module
        self.cause = cause
        self.done = list(done)
        self.not_reached = list(not_reached)


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as data."""

    type: str
    code: str
    message: str
    exit_code: int
    fields: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As it stands under ``error`` in the JSON; fields without a value are left out."""
        known = {name: value for name, value in self.fields.items() if value is not None}
        return {"type": self.type, "code": self.code, "message": self.message, **known}


def describe(error: BaseException) -> Problem:
    """``error`` as data."""
    if isinstance(error, ModuleFailedError):
        inner = describe(error.cause)
        context = {
            "module": error.module.name,
            "schema": error.module.schema,
            **inner.fields,
            "modules": error.done,
            "not_reached": error.not_reached,
        }
        return Problem(inner.type, inner.code, inner.message, inner.exit_code, context)
    if isinstance(error, CommandError):
        return Problem(type(error).__name__, error.code, error.message, error.exit_code, error.fields)
    from .. import errors

    if isinstance(error, errors.AsyncDBError):
        return _describe_own(error)
    if isinstance(error, OSError):
        return Problem(type(error).__name__, "system_error", str(error), FAILED, {"filename": error.filename})
    return Problem(type(error).__name__, "internal_error", f"{type(error).__name__}: {error}", FAILED)


def _describe_own(error: AsyncDBError) -> Problem:
    from .. import errors

    code, exit_code, fields = "failed", FAILED, dict[str, Any]()
    match error:
        case errors.MigrationError():
            code = error.code
            fields["filename"] = error.migration_file
            fields.update(_migration_fields(error))
        case errors.ConfigurationError():
            code, exit_code, fields = "config_invalid", MISUSED, {"key": error.config_field}
        case errors.SchemaError():
            code, exit_code, fields = "schema_invalid", MISUSED, {"schema": error.schema}
        case errors.ConnectionError() | errors.PoolError():
            code, fields = "database_unavailable", dict(error.details)
        case errors.QueryError():
            original = error.original_error
            code = "database_error"
            fields = {"sqlstate": getattr(original, "sqlstate", None), "database_message": str(original or "")}
        case _:
            pass
    return Problem(type(error).__name__, code, error.message, exit_code, fields)


def _migration_fields(error: AsyncDBError) -> dict[str, Any]:
    from .. import errors

    match error:
        case errors.MigrationExecutionError():
            return {
                "statement": error.statement,
                "line": error.line,
                "column": error.column,
                "sqlstate": error.sqlstate,
                "database_message": error.sql_error,
                "database_detail": error.detail,
                "hint": error.hint,
                "applied": error.applied,
            }
        case errors.MigrationFileError():
            return {"line": error.line, "column": error.column, "hint": error.hint}
        case errors.ChecksumMismatchError():
            return {"recorded_checksum": error.recorded, "current_checksum": error.current}
        case errors.OutOfOrderError():
            return {"newest_applied": error.newest_applied}
        case errors.MigrationLockTimeoutError():
            return {"waited_s": error.waited_s, "holder": error.holder}
        case _:
            return {}


def explain(problem: Problem, error: BaseException) -> str:
    """``problem`` for people: the message, the line that is to blame with a caret under it, then the rest."""
    first, *rest = problem.message.split("\n")
    lines = [first]
    fields = problem.fields
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
    if hint and hint not in problem.message:
        lines.append(f"Hint: {hint}")
    return "\n".join(lines)


def excerpt(file: Path | str, line: int, column: int | None) -> list[str]:
    """Line ``line`` of ``file`` with a caret under ``column`` (both from 1); nothing where it cannot be read."""
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
        # Tabs stay tabs, so that the caret stands under its character whatever the terminal makes of them.
        before = "".join("\t" if character == "\t" else " " for character in text[shown_from : column - 1])
        shown.append(" " * (len(margin) - 2) + "| " + before + "^")
    return shown
