"""Query parameters in errors and logs."""

from __future__ import annotations

import datetime as dt
import decimal
import ipaddress
import re
import uuid
from typing import TYPE_CHECKING, Any

from .asyncpg_errors import without_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LONGEST_SHOWN = 20
_SHOWN = (
    bool,
    int,
    float,
    decimal.Decimal,
    dt.date,
    dt.time,
    dt.timedelta,
    uuid.UUID,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    type(None),
)
_DATA_EXCEPTION = "22"
# From the first quote to the last one: a value may contain quotes.
_LONG_QUOTED = rf'(?s)"(.{{{_LONGEST_SHOWN + 1},}})"'
_LONG_QUOTED_BY_PYTHON = rf"(?s)'(.{{{_LONGEST_SHOWN + 1},}})'"
# The length of asyncpg's excerpt of a parameter that it cannot encode.
_LONGEST_QUOTED = 40


def mask_parameters(parameters: Iterable[object]) -> tuple[object, ...]:
    """``parameters`` with long strings, bytes and objects of unknown types replaced by a description."""
    return tuple(_mask(value) for value in parameters)


def mask_error(error: BaseException, parameters: Iterable[object] | None) -> str:
    """The text of ``error`` without the values that :func:`mask_parameters` replaces.

    The server's DETAIL quotes rows and parts of values. It is omitted if anything was replaced, or if the parameters
    are not known (None).
    """
    text = str(error.args[0] if error.args else "") or type(error).__name__
    hidden = sorted(_hidden(parameters or ()), key=lambda pair: len(pair[0]), reverse=True)
    for value, shown in hidden:
        text = text.replace(value, shown)
    sqlstate = getattr(error, "sqlstate", None)
    if sqlstate is None or sqlstate.startswith(_DATA_EXCEPTION):
        if parameters is None:
            text = without_value(text)
            text = re.sub(_LONG_QUOTED_BY_PYTHON, lambda quoted: f"'{_mask(quoted[1])}'", text)
        text = re.sub(_LONG_QUOTED, lambda quoted: f'"{_mask(quoted[1])}"', text)
    if not hidden and parameters is not None and (detail := getattr(error, "detail", None)):
        text += f"\nDETAIL:  {detail}"
    if hint := getattr(error, "hint", None):
        text += f"\nHINT:  {hint}"
    return text


def _mask(value: Any) -> Any:
    if isinstance(value, str):
        return str(value) if len(value) <= _LONGEST_SHOWN else f"<str of {len(value)} characters>"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, list | tuple | set | frozenset):
        return tuple(_mask(item) for item in value)
    if isinstance(value, dict):
        return {_mask(key): _mask(item) for key, item in value.items()}
    return value if isinstance(value, _SHOWN) else f"<{type(value).__name__}>"


def _hidden(values: Iterable[object]) -> Iterator[tuple[str, str]]:
    """The texts in which masked values may appear in an error, and their replacements."""
    for value in values:
        if isinstance(value, dict):
            parts = list(_hidden((*value, *value.values())))
        elif isinstance(value, list | tuple | set | frozenset):
            parts = list(_hidden(value))
        elif isinstance(value, str):
            parts = [(value, _mask(value))] if len(value) > _LONGEST_SHOWN else []
        else:
            parts = [] if isinstance(value, _SHOWN) else [(repr(value), _mask(value))]
        if parts:
            yield from parts
            yield repr(value), str(_mask(value))
            yield repr(value)[:_LONGEST_QUOTED] + "...", str(_mask(value))
