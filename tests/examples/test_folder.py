"""What all examples have in common."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# The places where a statement names a table without a schema.
BARE_TABLE = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE|TABLE|REFERENCES|INDEX \w+ ON) (?!\{\{)[a-z]\w*")


def test_every_example_is_listed_and_explained(examples: Path) -> None:
    folders = {entry.name for entry in examples.iterdir() if entry.is_dir() and not entry.name.startswith((".", "_"))}
    listed = re.findall(r"^\| \[\w+\]\((\w+)\)", (examples / "README.md").read_text(), re.MULTILINE)
    assert set(listed) == folders
    for folder in folders:
        assert (examples / folder / "README.md").read_text().startswith("# ")


def test_every_table_is_named_by_a_template(examples: Path) -> None:
    sources = [path for kind in ("*.sql", "*.py") for path in sorted(examples.rglob(kind))]
    assert len(sources) > 20
    bare = {str(path): found for path in sources if (found := BARE_TABLE.findall(path.read_text()))}
    assert bare == {}
    assert BARE_TABLE.findall("SELECT id FROM users")


def test_every_link_leads_somewhere(examples: Path) -> None:
    guide = examples.parent / "docs" / "explanation" / "choosing-a-pattern.md"
    for page in (guide, *examples.rglob("README.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"
