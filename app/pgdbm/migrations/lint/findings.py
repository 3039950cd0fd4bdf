"""Inspection of files before they run: each statement with its locks, and findings.

Pure, except for squawk, which is run as a program if it is installed.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ...pgparse.first_words import recognize
from ...pgparse.labels import label_of
from ...pgparse.lock_levels import Blocks, StatementLock, blocks_of, locks_of
from ...pgparse.tree import statement_node
from ...text import sentence
from .fixes import FIXED_RULES, Fixable
from .ignores import Ignore, ignores_in
from .rules import RULES, Constraints, Rule, SeenFile, SeenStatement, Severity
from .squawk import Report, ask_squawk, find_squawk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ...pgparse.tree import Node
    from ..sources.parser import ParsedFile, ParsedMigration
    from .column_types import Retyped
    from .fixes import Fix

__all__ = ["NOTICES", "Finding", "MigrationInspection", "Notice", "StatementInspection", "inspect"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding about a file. ``rule``: one of pgdbm's ids (PGDBM001), or the name of a squawk rule.

    ``fix``: what replaces the statement in the file's fix.

    ``statement`` is its number, from 1, or None for a finding about the whole file; ``line`` and ``column``, from 1,
    are in the file as its author wrote it.
    """

    rule: str
    severity: Severity
    message: str
    advice: str
    filename: str
    statement: int | None
    line: int
    column: int
    source: Literal["pgdbm", "squawk"]
    fix: Fix | None = None
    table: str | None = None
    not_null: str | None = None
    retyped: Retyped | None = None
    suspected: bool = False


@dataclass(frozen=True, slots=True)
class StatementInspection:
    """A statement before it runs. ``kind`` is the SQL command; ``blocks``: what its locks block.

    Locks on relations that the file itself created are listed, but block nothing.
    """

    number: int
    kind: str
    line: int
    column: int
    locks: tuple[StatementLock, ...]
    blocks: Blocks


@dataclass(frozen=True, slots=True)
class MigrationInspection:
    """A file before it runs. ``ignored``: findings that a comment in the file ignores, with a reason."""

    parsed: ParsedMigration
    statements: tuple[StatementInspection, ...]
    findings: tuple[Finding, ...]
    ignored: tuple[Finding, ...]
    fixables: Mapping[int, Fixable]
    """The statements that may have a fix, by number."""
    fix: Fix | None = None
    """The files that replace this one, see :func:`~.fixing.with_fix`."""

    @property
    def filename(self) -> str:
        return self.parsed.filename


@dataclass(frozen=True, slots=True)
class Notice:
    """A finding about the inspection itself: it has an id like a rule, but no check."""

    id: str
    name: str
    severity: Severity
    advice: str


IGNORED_WITHOUT_REASON = Notice(
    "PGDBM021", "ignore-without-reason", "warning", "Write -- pgdbm:ignore RULE and the reason on one line."
)
IGNORES_NOTHING = Notice("PGDBM022", "ignores-nothing", "warning", "Remove it, or put it before the statement.")
SQUAWK_FAILED = Notice(
    "PGDBM023", "squawk-failed", "warning", "Run squawk --version; pgdbm works with squawk-cli 2.70."
)
NOT_UNDERSTOOD = Notice(
    "PGDBM024", "not-understood", "info", "Review it manually; See PostgreSQL's documentation for what it locks."
)
NOTICES = (IGNORED_WITHOUT_REASON, IGNORES_NOTHING, SQUAWK_FAILED, NOT_UNDERSTOOD)

_RULES = {rule.id: rule for rule in RULES}
_RULES_BY_KIND: dict[str, tuple[Rule, ...]] = {}
_OWN = "PGDBM"
_WITH_TABLE = frozenset({"alter_table_stmt", "delete_stmt", "update_stmt"})
_UNREADABLE = (
    "The parser cannot read this statement: its syntax is newer, or it nests too deeply. Its locks are unknown, no "
    "rule was checked, and only the server knows whether it is valid."
)
_RECOGNIZED = (
    "The parser cannot read this statement. Its first words are those of {}: the locks are those of "
    "that command, no rule "
    "was checked, and only the server knows whether it is valid."
)


def inspect(
    files: Iterable[ParsedFile],
    server_version: int,
    *,
    schema: str | None = None,
    squawk: bool = True,
    suspected: bool = False,
) -> list[MigrationInspection]:
    """Inspect ``files``, which come in the order in which they run.

    ``server_version`` is PostgreSQL's major version, ``schema`` the one that the files were rendered for; ``squawk``
    False does not run that program. ``suspected``: keep findings that only the catalog can confirm, for
    :func:`~.impact.without_proved`. It blocks for a while: call it in a thread. Raises only what iterating ``files``
    raises.
    """
    constraints = Constraints()
    own = []
    for migration, trees, shifts in files:
        seen = SeenFile(migration, schema, server_version, constraints)
        own.append((migration, *_inspect_file(seen, trees, shifts)))
    program = find_squawk() if squawk and own else None
    report = ask_squawk(program, [migration for migration, *_ in own], server_version) if program else Report()
    inspected = []
    for index, (migration, statements, findings, fixables) in enumerate(own):
        findings += _of_squawk(migration, report, index, findings)
        findings, ignored = _apply_ignores(migration, findings, squawk_ran=index in report.remarks)
        findings += _troubles(migration, report, index)
        findings.sort(key=_order)
        if not suspected:
            findings = [one for one in findings if not one.suspected]
            ignored = [one for one in ignored if not one.suspected]
        inspected.append(MigrationInspection(migration, statements, tuple(findings), tuple(ignored), fixables))
    return inspected


def _order(finding: Finding) -> tuple[int, int, str]:
    return finding.line, finding.column, finding.rule


def _inspect_file(
    file: SeenFile, trees: Iterable[Node | None], shifts: Iterable[int]
) -> tuple[tuple[StatementInspection, ...], list[Finding], dict[int, Fixable]]:
    parsed = file.parsed
    statements = []
    findings = []
    fixables: dict[int, Fixable] = {}
    for statement, tree, file.shift in zip(parsed.statements, trees, shifts, strict=True):
        line, column = parsed.position(statement.start)
        if tree is None:
            known = recognize(parsed.text_of(statement))
            message = _UNREADABLE if known is None else _RECOGNIZED.format(known.label)
            findings.append(_notice(NOT_UNDERSTOOD, parsed, message, statement.start, statement.number))
            kind, locks, blocks = known or ("unknown", (), "unknown")
            felt = blocks if any(one.relation not in file.created for one in locks) or not locks else "nothing"
            statements.append(StatementInspection(statement.number, kind, line, column, locks, felt))
            continue
        kind, node = statement_node(tree)
        locks = locks_of(kind, node, file.server_version)
        seen = SeenStatement(statement.number, statement.start, statement.end, kind, node, locks)
        for rule in _rules_for(kind):
            for hit in rule.check(seen, file):
                if rule.id in FIXED_RULES:
                    fixables[statement.number] = Fixable(seen, file.shift)
                offset = statement.start if hit.location is None else file.offset(hit.location)
                found = _finding(rule, parsed, hit.message, statement.number, offset)
                if rule.id in FIXED_RULES and kind in _WITH_TABLE:
                    found = replace(found, table=seen.table, not_null=hit.not_null, retyped=hit.retyped)
                found = replace(found, suspected=hit.suspected)
                findings.append(found)
        # Checked before it is recorded: no lock is listed on a relation that the statement itself creates.
        blocks = blocks_of(kind, locks, frozenset(file.created | file.temporary))
        statements.append(StatementInspection(statement.number, label_of(kind, node), line, column, locks, blocks))
        file.note(seen)
    return tuple(statements), findings, fixables


def _rules_for(kind: str) -> tuple[Rule, ...]:
    known = _RULES_BY_KIND.get(kind)
    if known is None:
        known = tuple(rule for rule in RULES if not rule.kinds or kind in rule.kinds)
        _RULES_BY_KIND[kind] = known
    return known


def _finding(rule: Rule, parsed: ParsedMigration, message: str, statement: int, offset: int) -> Finding:
    line, column = parsed.position(offset)
    return Finding(rule.id, rule.severity, message, rule.advice, parsed.filename, statement, line, column, "pgdbm")


def _notice(
    notice: Notice, parsed: ParsedMigration, message: str, offset: int, statement: int | None = None
) -> Finding:
    line, column = parsed.position(offset)
    source: Literal["pgdbm"] = "pgdbm"
    return Finding(notice.id, notice.severity, message, notice.advice, parsed.filename, statement, line, column, source)


def _of_squawk(parsed: ParsedMigration, report: Report, index: int, ours: list[Finding]) -> Iterator[Finding]:
    """squawk's findings, without those that a rule of pgdbm covers for the same statement."""
    covered = {
        (finding.statement, name) for finding in ours if finding.rule in _RULES for name in _RULES[finding.rule].squawk
    }
    starts = [statement.start for statement in parsed.statements]
    for remark in report.remarks.get(index, []):
        at = bisect_right(starts, remark.offset) - 1
        statement = parsed.statements[at].number if at >= 0 else None
        if (statement, remark.rule) not in covered:
            line, column = parsed.position(remark.offset)
            yield Finding(
                remark.rule,
                remark.severity,
                remark.message,
                remark.advice,
                parsed.filename,
                statement,
                line,
                column,
                "squawk",
            )


def _apply_ignores(
    parsed: ParsedMigration, findings: list[Finding], *, squawk_ran: bool
) -> tuple[list[Finding], list[Finding]]:
    """(findings that remain, findings that are ignored); invalid and unused comments are findings too."""
    ignores = ignores_in(parsed)
    kept: list[Finding] = []
    ignored: list[Finding] = []
    for finding in findings:
        silenced = False
        for ignore in ignores:
            for name in ignore.rules:
                if ignore.covers(finding.statement) and _means(name, finding):
                    ignore.used.add(name)
                    silenced = True
        (ignored if silenced else kept).append(finding)
    for ignore in ignores:
        kept += _about_ignore(parsed, ignore, squawk_ran)
    return kept, ignored


def _means(name: str, finding: Finding) -> bool:
    """Whether ``name`` is the rule of ``finding``, or the equivalent rule of the other linter."""
    if name == finding.rule:
        return True
    if finding.source == "pgdbm":
        return finding.rule in _RULES and name in _RULES[finding.rule].squawk
    return name in _RULES and finding.rule in _RULES[name].squawk


def _about_ignore(parsed: ParsedMigration, ignore: Ignore, squawk_ran: bool) -> Iterator[Finding]:
    where = None if ignore.whole_file else ignore.statement
    if not ignore.rules or not ignore.reason:
        missing = "reason" if ignore.rules else "rule and no reason"
        yield _notice(
            IGNORED_WITHOUT_REASON, parsed, f"This ignore gives no {missing}: it has no effect.", ignore.offset, where
        )
        return
    for name in ignore.rules:
        if name not in ignore.used and (squawk_ran or name.startswith(_OWN)):
            yield _notice(IGNORES_NOTHING, parsed, f"There is no {name} here to ignore.", ignore.offset, where)


def _troubles(parsed: ParsedMigration, report: Report, index: int) -> Iterator[Finding]:
    for trouble in report.troubles:
        if trouble.broken and index == trouble.files[0]:
            count = f" ({len(trouble.files)} files)" if len(trouble.files) > 1 else ""
            yield _notice(SQUAWK_FAILED, parsed, sentence(f"squawk did not check this{count}: {trouble.message}"), 0)
        elif not trouble.broken and index in trouble.files:
            yield _notice(NOT_UNDERSTOOD, parsed, sentence(trouble.message), 0)
