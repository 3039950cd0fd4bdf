"""Reading a TOML file whose errors name the file, the key and the fix; with environment variables in its strings."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from .problems import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ..migrations.results import OutOfOrder

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z")
_VARIABLE = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\})?")
_POSITION = re.compile(r"\s*\(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)\Z")


def parse(file: Path) -> dict[str, Any]:
    """The content of ``file``.

    Raises:
        ConfigError: it cannot be read, or is no TOML; with line and column.
    """
    import tomllib

    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError("is not UTF-8.", file=file, hint="Save it as UTF-8.") from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}.", file=file) from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        position = _POSITION.search(message)
        line = column = None
        if position is not None:
            message = message[: position.start()]
            lines = text.rstrip().split("\n")
            line = int(position["line"] or len(lines))
            column = int(position["column"] or len(lines[-1]) + 1)
        raise ConfigError(f"not valid TOML: {message}.", file=file, line=line, column=column) from error


def expand(text: str, file: Path | None, key: str, environ: Mapping[str, str] | None = None) -> str:
    """``text`` with ``${NAME}`` and ``${NAME:-default}`` filled in; ``$${`` stands for ``${``.

    Raises:
        ConfigError: a variable without a default is not set, or a ``${`` has no end.
    """
    known = os.environ if environ is None else environ

    def value_of(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name, default = match["name"], match["default"]
        if name is None:
            raise ConfigError(
                "'${' without a variable and '}' behind it.",
                file=file,
                key=key,
                hint="Write ${NAME} or ${NAME:-default}; $${ stands for a literal ${.",
            )
        value = known.get(name)
        if default is not None:
            return value or default
        if value is None:
            raise ConfigError(
                f"the environment variable {name} is not set.",
                file=file,
                key=key,
                hint=f"Set {name}, or give a default: ${{{name}:-...}}.",
            )
        return value

    return _VARIABLE.sub(value_of, text)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the file, with where it stands, for errors that say so."""

    file: Path
    place: str
    values: dict[str, Any]

    def key(self, name: str) -> str:
        return f"{self.place}.{name}" if self.place else name

    def error(self, name: str, message: str, hint: str | None = None) -> ConfigError:
        return ConfigError(message, file=self.file, key=self.key(name), hint=hint)

    def names(self) -> list[str]:
        return list(self.values)

    def table(self, name: str) -> Table:
        value = self.values.get(name, {})
        if not isinstance(value, dict):
            raise self.error(name, f"must be a table, not {_kind(value)}.", f"Write it as [{self.key(name)}].")
        return Table(self.file, self.key(name), value)

    def raw(self, name: str) -> str | None:
        """A string, its variables not expanded yet."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            raise self.error(name, f"must be a string, not {_kind(value)}.", "Put it in quotes.")
        return value

    def text(self, name: str) -> str | None:
        value = self.raw(name)
        return None if value is None else expand(value, self.file, self.key(name))

    def identifier(self, name: str, default: str) -> str:
        value = self.text(name)
        if value is not None and not _IDENTIFIER.match(value):
            raise self.error(
                name,
                f"{value!r} is not a plain identifier.",
                "Use letters, digits and underscores, at most 63 of them, and no digit in front.",
            )
        return default if value is None else value

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> OutOfOrder:
        value = self.text(name) or default
        if value not in choices:
            raise self.error(name, f"is {value!r}.", f"Choose one of {', '.join(map(repr, choices))}.")
        return cast("Literal['allow', 'reject']", value)

    def flag(self, name: str) -> bool:
        value = self.values.get(name, False)
        if not isinstance(value, bool):
            raise self.error(name, f"must be true or false, not {_kind(value)}.")
        return value

    def seconds(self, name: str, default: float) -> float:
        value = self.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(name, f"must be a number of seconds, not {_kind(value)}.")
        if value < 0:
            raise self.error(name, "cannot be negative.")
        return float(value)

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.values.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(name, "must be a list of strings.", f'Write {name} = ["one", "another"].')
        return tuple(value)

    def finish(self, *known: str) -> None:
        """Refuse keys that nothing reads: most often they are misspelt."""
        for name in self.values:
            if name not in known:
                from difflib import get_close_matches

                close = get_close_matches(name, known, 1)
                raise self.error(
                    name,
                    "there is no such key.",
                    f"Did you mean {close[0]}?" if close else f"Known here: {', '.join(known)}.",
                )


def suggest(given: str, known: Iterable[str], what: str) -> str:
    """The fix for ``given``, which is none of ``known``."""
    from difflib import get_close_matches

    names = list(known)
    close = get_close_matches(given, names, 1)
    if close:
        return f"Did you mean {close[0]}?"
    return f"Known: {', '.join(names)}." if names else f"The file has no {what}s."


def _kind(value: object) -> str:
    """What a TOML value is; never the value, which may be a secret."""
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "a table"}
    return names.get(type(value), "a date")
