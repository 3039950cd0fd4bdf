"""What a plan shows of files before they run: each statement with its locks, and what there is to say against it.

Pure, but for the process of squawk, if that is installed.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ...core.grammar import TreeTooDeepError, parse_tree
from .ignores import Ignore, ignores_in
from .locklevels import Blocks, StatementLock, blocks_of, locks_of
from .rules import RULES, Constraints, Rule, SeenFile, SeenStatement, Severity
from .sqlwords import words_of
from .squawk import Report, ask_squawk, find_squawk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..parser import ParsedMigration

__all__ = ["NOTICES", "Finding", "MigrationInspection", "Notice", "StatementInspection", "inspect"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to say against a file. ``rule``: an id of ours (PGDBM001), or the name of a rule of squawk.

    ``statement`` is its number, from 1, None for what is about the file; ``line`` and ``column``, from 1, are in the
    file as its author wrote it.
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


@dataclass(frozen=True, slots=True)
class StatementInspection:
    """A statement before it runs. ``kind`` in words of SQL; ``blocks``: who has to wait while its locks are held.

    Locks on relations that the file itself made are listed, and block nobody.
    """

    number: int
    kind: str
    line: int
    column: int
    locks: tuple[StatementLock, ...]
    blocks: Blocks


@dataclass(frozen=True, slots=True)
class MigrationInspection:
    """A file before it runs. ``ignored`` are findings that its author has answered, with a reason."""

    filename: str
    statements: tuple[StatementInspection, ...]
    findings: tuple[Finding, ...]
    ignored: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Notice:
    """What is said of an inspection itself: an id like that of a rule, without anything to look for."""

    id: str
    name: str
    severity: Severity
    advice: str


IGNORED_WITHOUT_REASON = Notice(
    "PGDBM021", "ignore-without-reason", "warning", "Write -- pgdbm:ignore RULE and why, on one line."
)
IGNORES_NOTHING = Notice("PGDBM022", "ignores-nothing", "warning", "Take it out, or put it before the statement.")
SQUAWK_FAILED = Notice(
    "PGDBM023", "squawk-failed", "warning", "Run squawk --version; pgdbm works with squawk-cli 2.70."
)
NOT_UNDERSTOOD = Notice("PGDBM024", "not-understood", "info", "Look at the file yourself.")
NOTICES = (IGNORED_WITHOUT_REASON, IGNORES_NOTHING, SQUAWK_FAILED, NOT_UNDERSTOOD)

_RULES = {rule.id: rule for rule in RULES}
_RULES_BY_KIND: dict[str, tuple[Rule, ...]] = {}
_OWN = "PGDBM"


def inspect(
    parsed: Sequence[ParsedMigration], server_version: int, *, schema: str | None = None, squawk: bool = True
) -> list[MigrationInspection]:
    """Every file of ``parsed``, which come in the order in which they run.

    ``server_version`` is PostgreSQL's major version, ``schema`` the one that the files were rendered for; ``squawk``
    False leaves that program alone. Takes a while, some of it in another process: give it a thread. Raises nothing.
    """
    program = find_squawk() if squawk and parsed else None
    report = ask_squawk(program, parsed, server_version) if program else Report()
    constraints = Constraints()
    inspected = []
    for index, migration in enumerate(parsed):
        file = SeenFile(migration, schema, server_version, constraints)
        statements, findings = _inspect_file(file)
        findings += _of_squawk(migration, report, index, findings)
        findings, ignored = _apply_ignores(migration, findings, squawk_looked=index in report.remarks)
        findings += _troubles(migration, report, index)
        findings.sort(key=_order)
        inspected.append(MigrationInspection(migration.filename, statements, tuple(findings), tuple(ignored)))
    return inspected


def _order(finding: Finding) -> tuple[int, int, str]:
    return finding.line, finding.column, finding.rule


def _inspect_file(file: SeenFile) -> tuple[tuple[StatementInspection, ...], list[Finding]]:
    parsed = file.parsed
    nodes = _nodes(parsed)
    if nodes is None:
        (whole,) = parsed.statements
        line, column = parsed.position(whole.start)
        notice = _notice(
            NOT_UNDERSTOOD, parsed, "The parser does not know this syntax: locks and rules are unknown.", 0
        )
        return (StatementInspection(1, "unknown", line, column, (), "unknown"),), [notice]
    statements = []
    findings = []
    for statement, (kind, node) in zip(parsed.statements, nodes, strict=True):
        locks = locks_of(kind, node, file.server_version)
        seen = SeenStatement(statement.number, statement.start, statement.end, kind, node, locks)
        for rule in _rules_for(kind):
            for hit in rule.check(seen, file):
                offset = statement.start if hit.location is None else file.offset(hit.location)
                findings.append(_finding(rule, parsed, hit.message, statement.number, offset))
        line, column = parsed.position(statement.start)
        # Before it is noted: a statement that makes a relation takes no lock on it that is listed.
        blocks = blocks_of(kind, locks, frozenset(file.created | file.temporary))
        statements.append(StatementInspection(statement.number, words_of(kind, node), line, column, locks, blocks))
        file.note(seen)
    return tuple(statements), findings


def _nodes(parsed: ParsedMigration) -> list[tuple[str, object]] | None:
    """(kind, node) of each statement; None where only a newer server can tell."""
    import postgast

    try:
        raw_statements = parse_tree(parsed.rendered.text)
    except (postgast.PgQueryError, TreeTooDeepError):
        return None
    kinds = [raw.stmt.WhichOneof("node") for raw in raw_statements]
    return [(kind, getattr(raw.stmt, kind)) for kind, raw in zip(kinds, raw_statements, strict=True)]


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
    """What squawk said, less what a rule of ours says of the same statement."""
    said = {
        (finding.statement, name) for finding in ours if finding.rule in _RULES for name in _RULES[finding.rule].squawk
    }
    starts = [statement.start for statement in parsed.statements]
    for remark in report.remarks.get(index, []):
        at = bisect_right(starts, remark.offset) - 1
        statement = parsed.statements[at].number if at >= 0 else None
        if (statement, remark.rule) not in said:
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
    parsed: ParsedMigration, findings: list[Finding], *, squawk_looked: bool
) -> tuple[list[Finding], list[Finding]]:
    """(findings that stand, findings that are ignored); comments that are not right, or silence nothing, stand too."""
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
        kept += _about_ignore(parsed, ignore, squawk_looked)
    return kept, ignored


def _means(name: str, finding: Finding) -> bool:
    """Whether ``name`` is the rule of ``finding``, or says the same in the words of the other linter."""
    if name == finding.rule:
        return True
    if finding.source == "pgdbm":
        return finding.rule in _RULES and name in _RULES[finding.rule].squawk
    return name in _RULES and finding.rule in _RULES[name].squawk


def _about_ignore(parsed: ParsedMigration, ignore: Ignore, squawk_looked: bool) -> Iterator[Finding]:
    where = None if ignore.whole_file else ignore.statement
    if not ignore.rules or not ignore.reason:
        missing = "reason" if ignore.rules else "rule and no reason"
        yield _notice(
            IGNORED_WITHOUT_REASON, parsed, f"This ignore gives no {missing}: it has no effect.", ignore.offset, where
        )
        return
    for name in ignore.rules:
        if name not in ignore.used and (squawk_looked or name.startswith(_OWN)):
            yield _notice(IGNORES_NOTHING, parsed, f"There is no {name} here to ignore.", ignore.offset, where)


def _troubles(parsed: ParsedMigration, report: Report, index: int) -> Iterator[Finding]:
    for trouble in report.troubles:
        if trouble.broken and index == trouble.files[0]:
            count = f" ({len(trouble.files)} files)" if len(trouble.files) > 1 else ""
            yield _notice(SQUAWK_FAILED, parsed, f"squawk did not look at this{count}: {trouble.message}.", 0)
        elif not trouble.broken and index in trouble.files:
            yield _notice(
                NOT_UNDERSTOOD,
                parsed,
                f"squawk does not understand this file, and checked nothing: {trouble.message}.",
                0,
            )
