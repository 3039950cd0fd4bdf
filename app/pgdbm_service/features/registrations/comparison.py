"""The differences between two bundles. Pure."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Literal

import msgspec

from ...api.registrations import BundleChange

if TYPE_CHECKING:
    from ...registry.bundles import Bundle


def changes_between(before: Bundle, after: Bundle) -> list[BundleChange]:
    """The files that were added, removed or changed, by name, then the settings."""
    changes = []
    for filename in sorted(before.files.keys() | after.files.keys()):
        old, new = _content(before, filename), _content(after, filename)
        if old != new:
            kind: Literal["added", "removed", "changed"] = "changed"
            if old is None or new is None:
                kind = "added" if old is None else "removed"
            changes.append(BundleChange(kind=kind, filename=filename, diff=_diff(filename, old or "", new or "")))
    if before.settings != after.settings:
        diff = _diff("settings", _as_text(before), _as_text(after))
        changes.append(BundleChange(kind="changed", filename="settings", diff=diff))
    return changes


def _content(bundle: Bundle, filename: str) -> str | None:
    file = bundle.files.get(filename)
    return None if file is None else file.content


def _diff(filename: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), filename, filename, lineterm="")
    return "\n".join(lines)


def _as_text(bundle: Bundle) -> str:
    return msgspec.json.format(msgspec.json.encode(bundle.settings, order="sorted"), indent=2).decode()
