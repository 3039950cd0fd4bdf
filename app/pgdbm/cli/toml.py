"""Reading a TOML file, with errors that name the file, the key and the correction."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..text import sentence
from .errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z")
_VARIABLE = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\})?")
_POSITION = re.compile(r"\s*\(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)\Z")
_KINDS = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "a table"}

Choice = TypeVar("Choice", bound=str)


def parse(file: Path) -> dict[str, Any]:
    """The content of ``file``.

    Raises:
        ConfigError: it cannot be read, or is not valid TOML; with line and column.
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
        # Before Python 3.14 the position is only in the text.
        message = str(error)
        position = _POSITION.search(message)
        line = column = None
        if position is not None:
            message = message[: position.start()]
            lines = text.rstrip().split("\n")
            line = int(position["line"] or len(lines))
            column = int(position["column"] or len(lines[-1]) + 1)
        raise ConfigError(sentence(f"not valid TOML: {message}"), file=file, line=line, column=column) from error
    except ValueError as error:
        # Python limits the number of digits of an integer.
        raise ConfigError("an integer in it has too many digits.", file=file) from error
    except RecursionError as error:
        raise ConfigError("its values are nested too deeply.", file=file) from error


def expand(text: str, file: Path | None, key: str, environ: Mapping[str, str] | None = None) -> str:
    """``text`` with ``${NAME}`` and ``${NAME:-default}`` expanded; ``$${`` stands for ``${``.

    Raises:
        ConfigError: a variable without a default is not set, or a ``${`` is not closed.
    """
    known = os.environ if environ is None else environ

    def value_of(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name, default = match["name"], match["default"]
        if name is None:
            hint = "Write ${NAME} or ${NAME:-default}; $${ is a literal ${."
            raise ConfigError("'${' is not followed by a variable and '}'.", file=file, key=key, hint=hint)
        if default is None and name not in known:
            hint = f"Set {name}, or give a default: ${{{name}:-...}}."
            raise ConfigError(f"the environment variable {name} is not set.", file=file, key=key, hint=hint)
        return known.get(name) or default or ""

    return _VARIABLE.sub(value_of, text)


class TomlTable(NamedTuple):
    """A table of the file. ``place`` is its name within the file, for errors."""

    file: Path
    place: str
    values: dict[str, Any]

    def key(self, name: str) -> str:
        return f"{self.place}.{name}" if self.place else name

    def error(self, name: str, message: str, hint: str | None = None) -> ConfigError:
        return ConfigError(message, file=self.file, key=self.key(name), hint=hint)

    def table(self, name: str) -> TomlTable:
        return TomlTable(self.file, self.key(name), self._value(name, dict, "a table", f"[{self.key(name)}]") or {})

    def raw(self, name: str) -> str | None:
        """A string, without expanding its variables."""
        value: str | None = self._value(name, str, "a string", f'{name} = "..."')
        return value

    def text(self, name: str) -> str | None:
        value = self.raw(name)
        return None if value is None else expand(value, self.file, self.key(name))

    def identifier(self, name: str, default: str) -> str:
        value = self.text(name)
        if value is not None and not _IDENTIFIER.match(value):
            hint = "Use letters, digits and underscores, at most 63, and do not begin with a digit."
            raise self.error(name, f"{value!r} is not a plain identifier.", hint)
        return default if value is None else value

    def choice(self, name: str, choices: tuple[Choice, ...], default: Choice) -> Choice:
        value = self.text(name) or default
        for choice in choices:
            if choice == value:
                return choice
        raise self.error(name, f"is {value!r}.", f"Choose one of {', '.join(map(repr, choices))}.")

    def flag(self, name: str) -> bool:
        return bool(self._value(name, bool, "true or false", f"{name} = true"))

    def seconds(self, name: str, default: float) -> float:
        value = self._value(name, (int, float), "a number of seconds", f"{name} = {default:g}")
        if value is not None and value < 0:
            raise self.error(name, "must not be negative.")
        return default if value is None else float(value)

    def texts(self, name: str) -> tuple[str, ...]:
        example = f'{name} = ["one", "another"]'
        value = self._value(name, list, "a list of strings", example) or []
        if not all(isinstance(item, str) for item in value):
            raise self.error(name, "must be a list of strings.", f"Write {example}.")
        return tuple(value)

    def refuse_unknown(self, *known: str) -> None:
        """Raise ConfigError for a key that nothing reads, usually a misspelled one."""
        for name in self.values:
            if name not in known:
                raise self.error(name, "there is no such key.", suggest(name, known, "key"))

    def _value(self, name: str, kind: type | tuple[type, ...], expected: str, example: str) -> Any:
        value = self.values.get(name)
        # A boolean is an int, too.
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            # Without the value: it may be a secret.
            found = _KINDS.get(type(value), "a date")
            raise self.error(name, f"must be {expected}, not {found}.", f"Write {example}.")
        return value


def suggest(given: str, known: Iterable[str], what: str) -> str:
    """The hint for ``given``, which is not one of ``known``."""
    from difflib import get_close_matches  # imported lazily: only errors need it

    names = list(known)
    close = get_close_matches(given, names, 1)
    if close:
        return f"Did you mean {close[0]}?"
    return f"Known: {', '.join(names)}." if names else f"The file has no {what}s."
