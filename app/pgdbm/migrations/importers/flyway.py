"""Flyway: a row per attempt, with a checksum; ``V1_2__name.sql``, and the same with R, U and B.

The checksum is the CRC-32 of the file's lines in UTF-8 without their ends, as a signed 32-bit number.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ..sources.names import order_of
from .records import ImportRefusedError, Record, ToolHistory, rows_of, some_of, unconverted
from .rewrite import DIRECTIVE, Converted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...core.connection import Connection, Row
    from ..sources.migration import Migration

TABLE: str = "flyway_schema_history"
SCHEMA: str | None = None
COLUMNS = frozenset({"installed_rank", "version", "type", "script", "checksum", "success"})

_Version = tuple[int, ...]

_NAME = re.compile(r"(?P<prefix>[VUBR])(?P<version>\d+(?:[._]\d+)*)?__(?P<title>.*)\.sql\Z")
_CALLBACK = re.compile(r"(?:before|after|create)[A-Z]\w*(?:__.*)?\.sql\Z")
_UNTRANSACTED = re.compile(r"^\s*executeInTransaction\s*=\s*false\s*$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\$\{\w[^}\n]*\}")


async def read(connection: Connection, schema: str, table: str) -> Sequence[Row]:
    """Every attempt, oldest first."""
    return await rows_of(connection, "flyway", schema, table)


def checksum_of(content: str) -> int:
    """Flyway's checksum of a file; ``content`` without a byte order mark."""
    joined = content.replace("\r", "").replace("\n", "").encode()
    return int.from_bytes(zlib.crc32(joined).to_bytes(4, "big"), "big", signed=True)


def match(rows: Sequence[Row], migrations: Sequence[Migration]) -> ToolHistory:
    """Matches files by version, as Flyway does, and repeatable ones by name.

    Raises:
        ImportRefusedError: a version has failed, a file is not the one that was applied, or there is a file that only
            Flyway can execute.
    """
    names = [migration.filename for migration in migrations]
    foreign = [name for name in names if _CALLBACK.match(name) or (name.startswith("U") and _NAME.match(name))]
    if foreign:
        raise unconverted("flyway", foreign, "callbacks and undo scripts would be executed as migrations.")
    ledger = _Ledger.of(rows)
    counting = [*ledger.versions.values(), *([ledger.baseline] if ledger.baseline else [])]
    failed = [row["script"] for row in counting if not row["success"]]
    if failed:
        raise ImportRefusedError(
            f"Flyway has marked {some_of(failed)} as failed. Undo manually what is left of it, "
            f"run `flyway repair`, and "
            f"then import; the file will be pending.",
            "failed",
            failed,
        )
    found = _Matches()
    found.match_versions(ledger, migrations)
    found.match_repeatables(ledger, migrations)
    if found.changed:
        raise ImportRefusedError(
            f"{some_of(found.changed)}: this is not the content that Flyway applied; the checksum "
            f"differs. Restore the file "
            f"and write the change as a new migration. If the change is known to be harmless, "
            f"`flyway repair` accepts it.",
            "checksum",
            found.changed,
        )
    return ToolHistory(
        tuple(found.records),
        unmatched=tuple(found.unmatched),
        failed=tuple(dict.fromkeys(row["script"] for row in rows if not row["success"])),
        checked=tuple(found.checked),
        notes=tuple(found.notes),
    )


@dataclass(slots=True)
class _Ledger:
    """The rows in effect: without undone and deleted versions."""

    versions: dict[_Version, Row] = field(default_factory=dict)
    repeatables: dict[str, Row] = field(default_factory=dict)
    baseline: Row | None = None

    @classmethod
    def of(cls, rows: Sequence[Row]) -> _Ledger:
        ledger = cls()
        for row in rows:
            ledger._take(row)
        return ledger

    def _take(self, row: Row) -> None:
        kind: str = row["type"]
        if kind == "SCHEMA":
            return
        if row["version"] is None:
            if kind == "DELETE":
                for script in [
                    name for name, one in self.repeatables.items() if one["description"] == row["description"]
                ]:
                    del self.repeatables[script]
            else:
                # The newest attempt counts; an older one may have succeeded with different content.
                self.repeatables.pop(_base(row), None)
                self.repeatables[_base(row)] = row
            return
        version = _numbers(row["version"])
        if kind == "DELETE" or (kind.startswith("UNDO") and row["success"]):
            self.versions.pop(version, None)
        elif kind.endswith("BASELINE"):
            self.baseline = row
        else:
            self.versions[version] = row


@dataclass(slots=True)
class _Matches:
    """The files of the ledger's rows."""

    records: list[Record] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def match_versions(self, ledger: _Ledger, migrations: Sequence[Migration]) -> None:
        """Versioned files, those below the baseline, and baseline scripts."""
        by_version = {_version(one.filename): one for one in migrations if _version(one.filename)}
        scripts = {
            one.filename: one for one in migrations if one.filename.startswith("B") and _NAME.match(one.filename)
        }
        if ledger.baseline is not None:
            self._match_baseline(ledger, ledger.baseline, by_version)
            script = scripts.pop(_base(ledger.baseline), None)
            if script is not None:
                self._match(ledger.baseline, script)
        for version, row in ledger.versions.items():
            migration = by_version.get(version)
            if migration is None:
                self.unmatched.append(row["script"])
            else:
                self._match(row, migration)
        if scripts and (ledger.versions or ledger.baseline):
            self.records += map(Record, scripts.values())
            self.notes.append(
                f"{some_of(scripts)}: baseline scripts, which Flyway does not run in this database; counted as "
                f"applied. Remove them from the folder: in a new database pgdbm would run them after the others."
            )

    def _match_baseline(self, ledger: _Ledger, row: Row, by_version: Mapping[_Version, Migration]) -> None:
        end = _numbers(row["version"])
        below = [by_version[one] for one in sorted(by_version) if one <= end and one not in ledger.versions]
        self.records += [Record(one, row["installed_on"], row["installed_by"]) for one in below]
        if below:
            self.notes.append(
                f"{some_of(one.filename for one in below)}: not above Flyway's baseline {row['version']}, so "
                f"counted as applied."
            )

    def match_repeatables(self, ledger: _Ledger, migrations: Sequence[Migration]) -> None:
        """Repeatable files with the content that was applied last."""
        by_name = {one.filename: one for one in migrations}
        for name, row in ledger.repeatables.items():
            migration = by_name.get(name)
            if migration is None:
                self.unmatched.append(row["script"])
            elif row["success"] and _is_content(row, migration):
                self._match(row, migration)
            else:
                self.notes.append(f"{name}: a repeatable migration that Flyway would run again, so it is pending.")

    def _match(self, row: Row, migration: Migration) -> None:
        is_sql = row["type"].startswith("SQL") and row["checksum"] is not None
        if is_sql and not _is_content(row, migration):
            self.changed.append(migration.filename)
        elif is_sql:
            self.checked.append(migration.filename)
        self.records.append(Record(migration, row["installed_on"], row["installed_by"], row["execution_time"]))


def convert(files: Mapping[str, str]) -> Converted:
    """``V…`` and ``R…`` keep their names, ``U1_2__x.sql`` becomes the ``.down.sql`` of its version's file.

    Their text is kept, apart from an additional first line, so that the checksums can still be verified.
    """
    converted = Converted()
    sources = {path: _NAME.match(PurePosixPath(path).name) for path in files}
    stems = {
        _numbers(name["version"]): name[0].removesuffix(".sql")
        for name in sources.values()
        if name and name["prefix"] == "V" and name["version"]
    }
    for path, name in sources.items():
        untransacted = _UNTRANSACTED.search(files.get(f"{path}.conf", "")) is not None
        if name is not None and name["prefix"] in "VR":
            converted.add(name[0], files[path], no_transaction=untransacted, verbatim=True)
            if _PLACEHOLDER.search(files[path]):
                converted.notes.append(
                    f"{name[0]}: has Flyway placeholders (${{…}}), which pgdbm does not replace. That does not "
                    f"matter where the file is already applied; for a new database, write the value."
                )
        elif name is not None and name["prefix"] == "U" and _numbers(name["version"]) in stems:
            stem = stems[_numbers(name["version"])]
            converted.add(f"{stem}.down.sql", files[path], no_transaction=untransacted)
        elif not path.endswith(".conf"):
            converted.notes.append(f"{path}: skipped; pgdbm has no equivalent.")
    return converted


def _is_content(row: Row, migration: Migration) -> bool:
    contents = (migration.content, migration.content.removeprefix(DIRECTIVE))
    return row["checksum"] in map(checksum_of, contents)


def _version(filename: str) -> _Version:
    """The numbers of a file's version; empty without a version."""
    order = order_of(filename)
    return order.numbers if order.group == 0 else ()


def _numbers(version: str | None) -> _Version:
    return _version(f"V{version}__.sql")


def _base(row: Row) -> str:
    return PurePosixPath(row["script"]).name
