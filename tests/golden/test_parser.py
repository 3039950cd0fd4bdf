"""Golden files for the parser: ``parser/NAME.sql`` and its statements, ``parser/NAME.expected``.

A case may hold several files, divided by lines ``==== title``. After a change of the parser that is meant, write the
expectations again with ``python -m tests.golden.test_parser`` and read the difference.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgdbm import MigrationFileError
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import parse

FOLDER = Path(__file__).with_name("parser")
_DIVIDER = re.compile(rb"^==== (.+)\n", re.MULTILINE)


def cases() -> list[tuple[str, str, bytes]]:
    """(group, title, content) of every case."""
    found = []
    for path in sorted(FOLDER.glob("*.sql")):
        parts = _DIVIDER.split(path.read_bytes())
        assert not parts[0].strip(), f"{path.name} must begin with a line ==== title"
        found += [(path.stem, title.decode(), body) for title, body in zip(parts[1::2], parts[2::2], strict=True)]
    return found


def described(content: bytes) -> str:
    """A case as the parser sees it, in readable form."""
    try:
        parsed = parse(read_migration("case.sql", content), "app")
    except MigrationFileError as error:
        return f"refused {error}\n"
    lines = [
        f"{'transactional' if parsed.transactional else 'no transaction'}{', batchable' if parsed.batchable else ''}"
    ]
    for statement in parsed.statements:
        line, column = parsed.position(statement.start)
        lines.append(f"{statement.number} at {line}:{column} {statement.traits.kind}: {parsed.text_of(statement)!r}")
    return "\n".join(lines) + "\n"


def expectations(group: str) -> dict[str, str]:
    path = FOLDER / f"{group}.expected"
    parts = re.split(r"^==== (.+)\n", path.read_text(), flags=re.MULTILINE) if path.exists() else [""]
    return dict(zip(parts[1::2], parts[2::2], strict=True))


CASES = cases()


def update() -> None:
    """Write the expectations as the parser has it now."""
    for group in {group for group, _, _ in CASES}:
        text = "".join(f"==== {title}\n{described(body)}" for name, title, body in CASES if name == group)
        (FOLDER / f"{group}.expected").write_text(text)


@pytest.mark.parametrize(("group", "title", "content"), CASES, ids=[f"{group}: {title}" for group, title, _ in CASES])
def test_is_parsed_as_expected(group: str, title: str, content: bytes) -> None:
    assert described(content) == expectations(group)[title]


def test_titles_are_unique() -> None:
    names = [(group, title) for group, title, _ in CASES]
    assert len(names) == len(set(names))
    for group in {group for group, _ in names}:
        assert set(expectations(group)) == {title for name, title in names if name == group}


if __name__ == "__main__":
    update()
