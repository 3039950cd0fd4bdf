"""Alembic: its table has only the newest revisions. Revisions are Python, so their SQL has to be exported.

``alembic upgrade heads --sql`` writes the SQL of all revisions, each below a line with the previous and the new
revision.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .exports import export_of, steps
from .records import ImportRefusedError, Record, ToolHistory, rows_of, some_of
from .rewrite import Converted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...core.connection import Connection, Row
    from ..sources.migration import Migration

TABLE: str = "alembic_version"
SCHEMA: str | None = None
COLUMNS = frozenset({"version_num"})

_UPGRADE = re.compile(r"^-- Running upgrade (?P<below>.*?) ?-> (?P<revision>.+?)[ \t]*\r?$\n?", re.MULTILINE)
_DOWNGRADE = re.compile(r"^-- Running downgrade (?P<revision>.+?) -> ?(?P<below>.*?)[ \t]*\r?$\n?", re.MULTILINE)
_FRAME = re.compile(r"^(?:BEGIN|COMMIT);[ \t]*\r?$\n?", re.MULTILINE)
_BOOKKEEPING = re.compile(
    r"^(?:INSERT INTO \S+ \(version_num\)|UPDATE \S+ SET version_num\b|DELETE FROM \S+ WHERE \S*\bversion_num\b"
    r"|DROP TABLE (?:\S+\.)?alembic_version\b)[^;]*;[ \t]*\r?$\n?",
    re.MULTILINE,
)
# The rows that a step removes or replaces: those of the revisions below it, and of those that it depends on.
_REPLACED = re.compile(
    r"^(?:UPDATE|DELETE FROM) [^;]*?\bWHERE \S*\bversion_num = '(?P<revision>[^']+)'[^;]*;", re.MULTILINE
)


async def read(connection: Connection, schema: str, table: str) -> Sequence[Row]:
    """The heads of the applied revisions: one, unless the revisions branch."""
    return await rows_of(connection, "alembic", schema, table)


def match(rows: Sequence[Row], migrations: Sequence[Migration]) -> ToolHistory:
    """The files of the heads and of all revisions below them: ``NNN_<revision>.sql`` or ``NNN_<revision>_name.sql``.

    The revisions below come from the lines of ``--sql``, if every file has one; otherwise from the order of names.

    Raises:
        ImportRefusedError: a head has no file, or there are several heads without such lines.
    """
    heads = [row["version_num"] for row in rows]
    by_revision = {head: one for head in heads for one in migrations if _is_of(one.filename, head)}
    lost = [head for head in heads if head not in by_revision]
    if lost:
        raise ImportRefusedError(
            f"There is no file for revision {some_of(lost)}, which Alembic has applied, so it is unknown what else "
            f"has been applied. Export the revisions (`alembic upgrade heads --sql`) and name their files "
            f"NNN_<revision>_name.sql, in order.",
            "unknown_revision",
            lost,
        )
    graph = _Graph.of(migrations)
    if graph is not None:
        applied = graph.down_from(heads)
    elif len(heads) > 1:
        raise ImportRefusedError(
            f"Alembic has several heads, {some_of(heads)}, and the files do not show which revision "
            f"follows which. Keep the "
            f"lines `-- Running upgrade … -> …` of `alembic upgrade heads --sql` in them, or merge first "
            f"(`alembic merge heads`, `alembic upgrade head`).",
            "unknown_revision",
            heads,
        )
    else:
        names = [migration.filename for migration in migrations]
        reached = names.index(by_revision[heads[0]].filename) + 1 if heads else 0
        applied = frozenset(names[:reached])
    records = tuple(Record(migration) for migration in migrations if migration.filename in applied)
    note = "Alembic keeps neither times nor checksums, so it is not known whether the files are the "
    "ones that it applied."
    return ToolHistory(records, notes=(note,) if records else ())


@dataclass(slots=True)
class _Graph:
    """The revisions that each one follows, from the line at the top of its file."""

    files: dict[str, str] = field(default_factory=dict)
    below: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, migrations: Sequence[Migration]) -> _Graph | None:
        """The graph of ``migrations``; None if a file has no such line."""
        graph = cls()
        for migration in migrations:
            steps = list(_UPGRADE.finditer(migration.content))
            if len(steps) != 1 or not _is_of(migration.filename, steps[0]["revision"]):
                return None
            graph.files[steps[0]["revision"]] = migration.filename
            graph.below[steps[0]["revision"]] = [one for one in steps[0]["below"].split(", ") if one]
        return graph

    def down_from(self, heads: Sequence[str]) -> frozenset[str]:
        """The files of ``heads`` and of everything below."""
        seen: set[str] = set()
        waiting = list(heads)
        while waiting:
            revision = waiting.pop()
            if revision in self.files and revision not in seen:
                seen.add(revision)
                waiting += self.below[revision]
        return frozenset(self.files[revision] for revision in seen)


def convert(files: Mapping[str, str]) -> Converted:
    """A file per revision from ``upgrade.sql`` (``alembic upgrade heads --sql``), with its down migration from
    ``downgrade.sql`` (``alembic downgrade head:base --sql``) if that exists."""
    converted = Converted()
    ups = steps(_UPGRADE, export_of(files, "upgrade.sql"))
    downs = {step["revision"]: (step, sql) for step, sql in steps(_DOWNGRADE, export_of(files, "downgrade.sql"))}
    width = max(3, len(str(len(ups))))
    for number, (step, sql) in enumerate(ups, 1):
        stem = f"{number:0{width}}_{step['revision']}"
        body, autocommit = _bare(sql)
        converted.add(f"{stem}.sql", f"{_line(step, sql)}\n{body}".strip() + "\n", no_transaction=autocommit)
        if step["revision"] in downs:
            back, autocommit = _bare(downs[step["revision"]][1])
            if back:
                converted.add(f"{stem}.down.sql", back + "\n", no_transaction=autocommit)
    return converted


def _line(step: re.Match[str], sql: str) -> str:
    """The line at the top of a file, with the revisions in other branches that the step depends on (``depends_on``).

    Alembic names only those below. If one of the others was a head, the step replaces its row.
    """
    below = [one for one in step["below"].split(", ") if one]
    bookkeeping = "".join(found[0] for found in _BOOKKEEPING.finditer(sql))
    others = [one["revision"] for one in _REPLACED.finditer(bookkeeping) if one["revision"] not in below]
    return f"-- Running upgrade {', '.join(below + others)} -> {step['revision']}" if others else step[0].strip()


def _bare(sql: str) -> tuple[str, bool]:
    """``sql`` without Alembic's own statements, and whether some of the rest run outside the transaction."""
    commit = re.search(r"^COMMIT;", sql, re.MULTILINE)
    rest = _BOOKKEEPING.sub("", sql)
    autocommit = commit is not None and bool(_FRAME.sub("", _BOOKKEEPING.sub("", sql[commit.end() :])).strip())
    return _FRAME.sub("", rest).strip(), autocommit


def _is_of(filename: str, revision: str) -> bool:
    """Whether a file belongs to a revision: ``NNN_<revision>.sql`` or ``NNN_<revision>_name.sql``."""
    number, _, rest = filename.removesuffix(".sql").partition("_")
    return number.isdecimal() and (rest == revision or rest.startswith(f"{revision}_"))
