"""Every link between documents leads to a file and, with an anchor, to a heading; named files of the project exist."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .markdown import ROOT, TUTORIAL, anchors, code_spans, documents, links

if TYPE_CHECKING:
    from pathlib import Path

_OURS = re.compile(r"(?:app|tests|docs|examples|helm|integrations|migrations_repo|\.ci)/[\w./*-]+")
# The module that the tutorial makes.
_MADE = ("migrations_repo/notes",)


def test_links() -> None:
    broken = []
    number = 0
    for page in documents():
        for target in links(page):
            number += 1
            path, _, anchor = target.partition("#")
            there = (page.parent / path).resolve() if path else page
            if there.is_dir():
                there /= "README.md"
            inside = there.is_relative_to(ROOT) and there.is_file()
            if not inside or (anchor and there.suffix == ".md" and anchor not in anchors(there)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert number > 50
    assert broken == []


def test_the_index_has_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    listed = {(index.parent / target.partition("#")[0]).resolve() for target in links(index)}
    folders = ("tutorial", "howto", "reference", "explanation")
    pages = {page for folder in folders for page in (ROOT / "docs" / folder).glob("*.md")}
    assert len(pages) > 30
    assert sorted(str(page.relative_to(ROOT)) for page in pages - listed) == []


def test_named_files_exist() -> None:
    named = {(page, span) for page in documents() for span in code_spans(page) if _OURS.fullmatch(span)}
    assert len(named) > 20
    gone = [f"{page.relative_to(ROOT)}: {span}" for page, span in named if not _exists(page, span)]
    assert gone == []


def _exists(page: Path, name: str) -> bool:
    if page == TUTORIAL and name.startswith(_MADE):
        return True
    return any(True for _ in ROOT.glob(name))
