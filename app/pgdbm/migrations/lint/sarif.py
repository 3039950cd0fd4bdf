"""Findings as SARIF 2.1.0, the format in which code hosts read the results of static analysis."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from ...version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .findings import Finding

_LEVELS = {"error": "error", "warning": "warning", "info": "note"}


class Refusal(NamedTuple):
    """Why a file, or a module without a file, cannot be migrated. ``rule`` is the code of the error."""

    rule: str
    message: str
    path: str | None
    line: int | None
    column: int | None


def sarif(findings: Iterable[tuple[str, Finding]], refusal: Refusal | None = None) -> str:
    """A SARIF document of findings, each with the path of its file relative to the root of the repository."""
    found = list(findings)
    rules = {finding.rule: finding.advice for _, finding in found}
    results = [
        _result(
            finding.rule,
            _LEVELS[finding.severity],
            f"{finding.message} {finding.advice}",
            path,
            finding.line,
            finding.column,
        )
        for path, finding in found
    ]
    if refusal is not None:
        rules[refusal.rule] = ""
        results.append(_result(refusal.rule, "error", refusal.message, refusal.path, refusal.line, refusal.column))
    driver = {
        "name": "pgdbm",
        "version": __version__,
        "rules": [_rule(name, advice) for name, advice in sorted(rules.items())],
    }
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _rule(name: str, advice: str) -> dict[str, Any]:
    return {"id": name} | ({"help": {"text": advice}} if advice else {})


def _result(
    rule: str, level: str, message: str, path: str | None, line: int | None, column: int | None
) -> dict[str, Any]:
    result: dict[str, Any] = {"ruleId": rule, "level": level, "message": {"text": message}}
    if path is not None:
        region = {"startLine": line or 1} | ({"startColumn": column} if column else {})
        place = {"artifactLocation": {"uri": quote(path)}, "region": region}
        result["locations"] = [{"physicalLocation": place}]
    return result
