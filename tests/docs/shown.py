"""Answers as the documents show them, shortened with ``…``, compared with real ones."""

from __future__ import annotations

import json
from typing import Any

MORE = "…"
# Values that differ each time, or after each edit of a sample module.
_VARYING = ("checksum", "applied_at", "applied_by")


def parse(text: str) -> Any:
    """``text`` as JSON; an ellipsis outside strings becomes a member or an element of that name."""
    parts: list[str] = []
    nesting: list[str] = []
    inside = escaped = False
    for character in text:
        if inside:
            inside = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            inside, escaped = True, False
        elif character in "{[":
            nesting.append(character)
        elif character in "}]":
            nesting.pop()
        elif character == MORE:
            parts.append(f'"{MORE}": 0' if nesting[-1] == "{" else f'"{MORE}"')
            continue
        parts.append(character)
    return json.loads("".join(parts))


def compare(shown: Any, real: Any, where: str = "$") -> None:
    """Fail unless ``real`` matches ``shown``; of times and checksums only the form is compared."""
    if isinstance(shown, dict):
        assert isinstance(real, dict), f"{where} is {real!r}"
        names = {name for name in shown if name != MORE}
        missing = names - real.keys()
        assert not missing, f"{where} has no {sorted(missing)}: {real!r}"
        unnamed = real.keys() - names
        assert MORE in shown or not unnamed, f"{where} also has {sorted(unnamed)}"
        for name in names:
            if name in _VARYING or name.endswith("_ms"):
                assert type(shown[name]) is type(real[name]), f"{where}.{name} is {real[name]!r}"
            else:
                compare(shown[name], real[name], f"{where}.{name}")
    elif isinstance(shown, list):
        items = [item for item in shown if item != MORE]
        complete = len(items) == len(shown)
        assert len(items) == len(real) if complete else len(items) <= len(real), f"{where} has {len(real)} items"
        for number, item in enumerate(items):
            compare(item, real[number], f"{where}[{number}]")
    elif isinstance(shown, str) and shown.endswith(MORE):
        assert real.startswith(shown.removesuffix(MORE)), f"{where} is {real!r}"
    else:
        assert shown == real, f"{where} is {real!r}, shown as {shown!r}"
