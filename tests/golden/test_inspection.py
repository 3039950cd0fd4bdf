"""Golden files for the inspection: ``inspection/NAME.sql``, and the locks and findings, ``inspection/NAME.expected``.

A case is one file of migrations; lines ``==== title`` divide them. After a change that is meant, write the
expectations again with ``python -m tests.golden.test_inspection`` and read the difference.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgdbm.migrations.lint.findings import inspect
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import parse_file

FOLDER = Path(__file__).with_name("inspection")
_DIVIDER = re.compile(r"^==== (.+)\n", re.MULTILINE)


def split(path: Path) -> dict[str, str]:
    """{title: content} of the cases in ``path``."""
    parts = _DIVIDER.split(path.read_text(encoding="utf-8")) if path.exists() else [""]
    assert not parts[0].strip(), f"{path.name} must begin with a line ==== title"
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert len(found) == len(parts) // 2, f"{path.name} has a title twice"
    return found


CASES = [(path.stem, title, body) for path in sorted(FOLDER.glob("*.sql")) for title, body in split(path).items()]


def inspected(content: str) -> str:
    """A case as the inspection sees it, in readable form."""
    (file,) = inspect([parse_file(read_migration("case.sql", content.encode()), "app")], 18, schema="app", squawk=False)
    lines = []
    for one in file.statements:
        locks = ", ".join(f"{lock.mode.sql} on {lock.relation or 'others'}" for lock in one.locks) or "no locks"
        lines.append(f"{one.number} at {one.line}:{one.column} {one.kind}: {locks}; blocks {one.blocks}")
    for word, findings in (("", file.findings), ("ignored ", file.ignored)):
        lines += [
            f"{word}{one.rule} {one.severity} at {one.line}:{one.column} in {one.statement}: {one.message}"
            for one in findings
        ]
    return "\n".join(lines) + "\n"


def update() -> None:
    """Write the expectations as they are now."""
    for group in {group for group, *_ in CASES}:
        text = "".join(f"==== {title}\n{inspected(body)}" for name, title, body in CASES if name == group)
        (FOLDER / f"{group}.expected").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(("group", "title", "content"), CASES, ids=[f"{group}: {title}" for group, title, _ in CASES])
def test_is_inspected_as_expected(group: str, title: str, content: str) -> None:
    assert inspected(content) == split(FOLDER / f"{group}.expected")[title]


def test_every_expectation_has_its_case() -> None:
    for group in {group for group, *_ in CASES}:
        assert list(split(FOLDER / f"{group}.expected")) == [title for name, title, _ in CASES if name == group]


if __name__ == "__main__":
    update()
