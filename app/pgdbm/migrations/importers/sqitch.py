"""Sqitch: a row per change with the hash of its script.

``sqitch.plan`` has the order, ``deploy/`` and ``revert/`` the SQL. The hash is the SHA-1 of the deploy script.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from .exports import NOTHING, stem_of
from .records import Record, ToolHistory, changed_since, rows_of, unconverted
from .rewrite import Converted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...core.connection import Connection, Row
    from ..sources.migration import Migration

TABLE: str = "changes"
SCHEMA: str | None = "sqitch"
COLUMNS = frozenset({"change_id", "change", "project", "script_hash", "committed_at"})

PLAN = "sqitch.plan"

_MARK = re.compile(r"^-- Sqitch change (?P<project>\S+):(?P<change>\S+) (?P<hash>[0-9a-f]{40})[ \t]*\r?$", re.MULTILINE)
_PROJECT = re.compile(r"^%project=(\S+)", re.MULTILINE)


@dataclass(slots=True)
class _Change:
    """A change in the plan, and the tags between it and the next change with that name."""

    name: str
    tags: list[str] = field(default_factory=list)
    is_reworked: bool = False


async def read(connection: Connection, schema: str, table: str) -> Sequence[Row]:
    """Each deployed change, oldest first."""
    return await rows_of(connection, "sqitch", schema, table)


def match(rows: Sequence[Row], migrations: Sequence[Migration]) -> ToolHistory:
    """Matches changes and files by the line ``-- Sqitch change …`` in a converted file. A change that was reworked has
    several files, in order.

    Raises:
        ImportRefusedError: no file has such a line, or a script is not the one that was deployed.
    """
    files: dict[tuple[str, str], list[tuple[Migration, str]]] = {}
    for migration in migrations:
        mark = _MARK.search(migration.content)
        if mark:
            files.setdefault((mark["project"], mark["change"]), []).append((migration, mark["hash"]))
    if rows and migrations and not files:
        names = [migration.filename for migration in migrations]
        raise unconverted("sqitch", names, "no file has the line `-- Sqitch change …`, which identifies changes.")
    projects = {project for project, _ in files}
    records: list[Record] = []
    unmatched: list[str] = []
    changed: list[str] = []
    checked: list[str] = []
    for row in rows:
        if row["project"] not in projects:
            continue
        waiting = files.get((row["project"], row["change"]))
        if not waiting:
            unmatched.append(row["change"])
            continue
        migration, script = waiting.pop(0)
        records.append(Record(migration, row["committed_at"], row["committer_name"]))
        if row["script_hash"] == script:
            checked.append(migration.filename)
        elif row["script_hash"] is not None:
            changed.append(migration.filename)
    if changed:
        raise changed_since(
            "Sqitch",
            changed,
            "set its `script_hash` in sqitch.changes to the hash in the file's line `-- Sqitch change`",
        )
    return ToolHistory(tuple(records), unmatched=tuple(unmatched), checked=tuple(checked))


def convert(files: Mapping[str, str]) -> Converted:
    """A file per change of the plan, from ``deploy/`` and ``revert/``, with the script's hash in a line at the top."""
    converted = Converted()
    paths = {PurePosixPath(path): text for path, text in files.items()}
    plan = next((path for path in paths if path.name == PLAN), None)
    if plan is None:
        return converted
    project = _PROJECT.search(paths[plan])
    changes = _changes(paths[plan])
    for number, change in enumerate(changes, 1):
        deploy = _script(paths, plan.parent / "deploy", change)
        if deploy is None:
            converted.notes.append(f"{change.name}: is in {PLAN}, but has no file in deploy/; skipped.")
            continue
        stem = stem_of(number, len(changes), change.name)
        script = paths[deploy]
        digest = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        mark = f"-- Sqitch change {project[1] if project else '-'}:{change.name} {digest}\n"
        converted.add(f"{stem}.sql", mark + (script if script.strip() else NOTHING))
        revert = _script(paths, plan.parent / "revert", change)
        if revert is not None and paths[revert].strip():
            converted.add(f"{stem}.down.sql", paths[revert])
    return converted


def _changes(plan: str) -> list[_Change]:
    """The changes of a plan, in order."""
    changes: list[_Change] = []
    newest: dict[str, _Change] = {}
    for line in plan.splitlines():
        words = line.split()
        if not words or words[0].startswith(("%", "#")):
            continue
        name = words[0].lstrip("+")
        if name.startswith("@"):
            for change in newest.values():
                change.tags.append(name)
            continue
        if name in newest:
            newest[name].is_reworked = True
        newest[name] = _Change(name)
        changes.append(newest[name])
    return changes


def _script(paths: Mapping[PurePosixPath, str], folder: PurePosixPath, change: _Change) -> PurePosixPath | None:
    """The script of a change. The name of a reworked change's file has a tag."""
    names = [f"{change.name}{tag}.sql" for tag in change.tags] if change.is_reworked else [f"{change.name}.sql"]
    return next((folder / name for name in names if folder / name in paths), None)
