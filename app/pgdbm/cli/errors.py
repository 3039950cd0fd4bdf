"""Exceptions of commands, and exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..errors import AsyncDBError
    from .project import ModuleConfig

FAILED = 1
MISUSED = 2
PENDING = 3


class CommandError(Exception):
    """A command failed. ``code`` is stable; ``fields`` are part of the JSON document."""

    def __init__(
        self, message: str, code: str, *, exit_code: int = FAILED, hint: str | None = None, **fields: Any
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.exit_code = exit_code
        self.fields: dict[str, Any] = {**fields, **({"hint": hint} if hint else {})}


class ConfigError(CommandError):
    """The configuration is invalid. ``key`` is the path of the key in the file; ``line`` is set for invalid TOML
    only."""

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
    """A module failed with ``cause``, after ``notices`` of the server.

    ``done`` holds the results of the modules before it.
    """

    def __init__(
        self,
        module: ModuleConfig,
        cause: AsyncDBError,
        done: Sequence[Mapping[str, Any]] = (),
        not_reached: Sequence[str] = (),
        notices: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(str(cause))
        self.module = module
        self.cause = cause
        self.done = list(done)
        self.not_reached = list(not_reached)
        self.notices = list(notices)
