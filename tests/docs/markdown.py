"""Reads documents for the tests: fenced blocks, links, headings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
TUTORIAL = DOCS / "tutorial" / "first-migrations.md"

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>```+)(?P<language>\w*)\s*$")
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
_HEADING = re.compile(r"^#{1,6} (.+?)\s*$")
_LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]*)\)")
_CODE_SPAN = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block. ``line`` is that of its first line; ``not_run`` the reason in the comment above it."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def documents() -> list[Path]:
    """Every document of the project."""
    pages = [
        README,
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        ROOT / "SECURITY.md",
        ROOT / "migrations_repo" / "README.md",
        ROOT / "helm" / "pgdbm" / "README.md",
        *sorted((ROOT / "integrations").rglob("README.md")),
    ]
    return [*pages, *sorted(DOCS.rglob("*.md")), *sorted((ROOT / "examples").rglob("README.md"))]


def blocks(page: Path, *languages: str) -> list[Block]:
    """The fenced blocks of ``page`` in these languages; without languages, all blocks."""
    found: list[Block] = []
    opened: re.Match[str] | None = None
    lines: list[str] = []
    before = ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is None:
            if fence:
                opened, lines, start = fence, [], number + 1
            elif line.strip():
                before = line
        elif fence and fence["ticks"] == opened["ticks"] and not fence["language"]:
            reason = _NOT_RUN.fullmatch(before.strip())
            text = "".join(f"{one.removeprefix(opened['indent'])}\n" for one in lines)
            found.append(Block(page, start, opened["language"], text, reason[1] if reason else None))
            opened, before = None, ""
        else:
            lines.append(line)
    assert opened is None, f"{page}: a block does not end"
    return [block for block in found if not languages or block.language in languages]


def _prose(page: Path) -> list[str]:
    lines: list[str] = []
    inside = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside:
            lines.append(line)
    return lines


def links(page: Path) -> list[str]:
    """The targets of the links and images of ``page`` that do not lead to another host."""
    targets = [found["target"] for line in _prose(page) for found in _LINK.finditer(_CODE_SPAN.sub("`", line))]
    return [target for target in targets if not re.match(r"\w+:", target)]


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of ``page``."""
    found: set[str] = set()
    for line in _prose(page):
        heading = _HEADING.match(line)
        if heading:
            words = re.sub(r"[^\w\- ]", "", heading[1].lower())
            found.add(words.replace(" ", "-"))
    return found


def code_spans(page: Path) -> list[str]:
    """The text between single backticks in the prose of ``page``."""
    return _CODE_SPAN.findall("\n".join(_prose(page)))


def table(page: Path, heading: str) -> list[list[str]]:
    """The rows of the first table of ``page`` whose header begins with ``heading``, without their outer bars."""
    lines = _prose(page)
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows: list[list[str]] = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip().strip("|").split(" | ")])
    return rows
