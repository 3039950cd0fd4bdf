"""The plan of a deployment, for its reviewers: as a comment in a pull request, or as SARIF."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pgdbm.migrations.lint import Finding, MigrationInspection
    from pgdbm.migrations.lint.sarif import Refusal

    from ..api.registrations import Registration

Format = Literal["github", "gitlab", "markdown", "sarif"]
FORMATS: tuple[Format, ...] = ("github", "gitlab", "markdown", "sarif")

# The longest comment that the code hosts accept, in characters.
_MOST = {"github": 65_536, "gitlab": 1_000_000, "markdown": 1_000_000}
_ALERTS = {"error": "CAUTION", "warning": "WARNING", "info": "NOTE"}


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What a deployment would do. ``refusal``: why the deployment would be refused; ``registration`` is None then.

    ``folder`` contains the files; it is a path in the pipeline's checkout.
    """

    module: str
    folder: Path
    registration: Registration | None
    migrations: Sequence[MigrationInspection]
    refusal: Refusal | None = None

    def rendered(self, form: Format) -> str:
        """The report as text."""
        if form == "sarif":
            from pgdbm.migrations.lint.sarif import sarif

            return sarif(((self._path(one.filename), one) for one in self._findings()), self.refusal)
        comment = _Comment(self, form).text(with_sql=len(self.migrations))
        shown = len(self.migrations)
        while len(comment) > _MOST[form] and shown:
            shown -= 1
            comment = _Comment(self, form).text(with_sql=shown)
        return comment[: _MOST[form]]

    def _findings(self) -> Iterator[Finding]:
        for migration in self.migrations:
            yield from migration.findings

    def _path(self, filename: str) -> str:
        return (self.folder / filename).as_posix()


@dataclass(frozen=True, slots=True)
class _Comment:
    report: PlanReport
    form: Format

    def text(self, with_sql: int) -> str:
        """The comment, with the SQL of the first ``with_sql`` files."""
        report = self.report
        # A pipeline finds its previous comment by this line, and replaces it.
        blocks = [f"<!-- pgdbm plan {report.module} -->", f"### pgdbm: {report.module}, {self._outcome()}"]
        if report.registration is not None:
            blocks.append(_where(report.registration))
        if report.refusal is not None:
            place = "" if report.refusal.path is None else f"{_code(_place(report.refusal))}: "
            blocks.append(self._alert("error", f"{place}{_plain(report.refusal.message)}"))
        warnings = report.registration.warnings if report.registration else []
        blocks += [self._alert("warning", _plain(warning)) for warning in warnings]
        if report.migrations:
            blocks.append("\n".join(self._table()))
        blocks += self._findings()
        blocks += [self._sql(one) for one in report.migrations[:with_sql]]
        left_out = len(report.migrations) - with_sql
        if left_out:
            blocks.append(f"The SQL of {left_out} more files does not fit into the comment.")
        return "\n\n".join(blocks) + "\n"

    def _outcome(self) -> str:
        if self.report.refusal is not None:
            return "refused"
        pending = len(self.report.migrations)
        return "nothing to apply" if not pending else f"{pending} pending migration{'s' if pending > 1 else ''}"

    def _table(self) -> Iterator[str]:
        yield "| file | statements | transaction | blocks |"
        yield "|---|---|---|---|"
        for one in self.report.migrations:
            blocked = sorted(
                {
                    f"{statement.blocks}{_relations(statement)}"
                    for statement in one.statements
                    if statement.blocks != "nothing"
                }
            )
            transaction = "one" if one.parsed.transactional else "none"
            cells = (_code(one.filename), len(one.statements), transaction, "; ".join(blocked) or "nothing")
            yield f"| {' | '.join(map(str, cells))} |"

    def _findings(self) -> Iterator[str]:
        for migration in self.report.migrations:
            for finding in migration.findings:
                place = f"{self.report.folder.as_posix()}/{finding.filename}:{finding.line}:{finding.column}"
                text = f"{_code(place)} {finding.rule}: {_plain(finding.message)}\n{_plain(finding.advice)}"
                yield self._alert(finding.severity, text)

    def _alert(self, severity: str, text: str) -> str:
        heading = f"**{severity.capitalize()}**" if self.form == "markdown" else f"[!{_ALERTS[severity]}]"
        return "\n".join(f"> {line}" for line in (heading, *text.splitlines()))

    def _sql(self, migration: MigrationInspection) -> str:
        sql = migration.parsed.migration.content.rstrip()
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", sql)), default=0))
        block = f"{fence}sql\n{sql}\n{fence}"
        if self.form == "markdown":
            return f"{_code(migration.filename)}\n\n{block}"
        return f"<details><summary><code>{_html(migration.filename)}</code></summary>\n\n{block}\n\n</details>"


def _where(registration: Registration) -> str:
    if registration.schema:
        schemas = f"Schema {_code(registration.schema)}"
    elif isinstance(registration.schemas, str):
        schemas = f"Schemas like {_code(registration.schemas)}"
    else:
        schemas = f"Schemas {', '.join(map(_code, registration.schemas))}"
    return (
        f"{schemas}, {len(registration.migrations)} files, bundle {_code(registration.digest[: len('sha256:') + 12])}."
    )


def _relations(statement: object) -> str:
    relations = sorted({lock.relation for lock in getattr(statement, "locks", ()) if lock.relation})
    return f" on {', '.join(map(_code, relations))}" if relations else ""


def _place(refusal: Refusal) -> str:
    return f"{refusal.path}:{refusal.line}:{refusal.column or 1}" if refusal.line else str(refusal.path)


def _code(text: str) -> str:
    """A code span that is also valid in a table. A file name may contain anything."""
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    padding = " " if "`" in text else ""
    return f"{fence}{padding}{' '.join(text.split())}{padding}{fence}".replace("|", "\\|")


def _plain(text: str) -> str:
    """``text`` escaped for Markdown and HTML: the server's messages quote names and literals from files."""
    return re.sub(r"([\\`*_\[\]<>|#~@!])", r"\\\1", text)


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
