"""Query parameters as they may be shown in errors and logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST_SHOWN = 20


def mask_parameters(parameters: Iterable[Any]) -> tuple[Any, ...]:
    """``parameters`` with strings over 20 characters and all bytes replaced by what they are."""
    return tuple(_mask(value) for value in parameters)


def _mask(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_SHOWN else f"<str of {len(value)} characters>"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, list | tuple | set | frozenset):
        return tuple(_mask(item) for item in value)
    if isinstance(value, dict):
        return {key: _mask(item) for key, item in value.items()}
    return value
