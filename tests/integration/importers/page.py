"""The commands for each tool on the page ``docs/howto/move-from-each-tool.md``."""

from __future__ import annotations

from tests.docs.console import commands
from tests.docs.markdown import DOCS, Block, blocks

PAGE = DOCS / "howto" / "move-from-each-tool.md"


def section_of(tool: str) -> list[Block]:
    """The blocks of a tool's section."""
    lines = PAGE.read_text().splitlines()
    headings = [number for number, line in enumerate(lines, 1) if line.startswith("## ")]
    (start,) = [number for number in headings if lines[number - 1].removeprefix("## ").lower() == tool]
    end = min((number for number in headings if number > start), default=len(lines))
    return [block for block in blocks(PAGE) if start < block.line <= end]


def commands_of(tool: str) -> list[str]:
    """The commands of a tool's section, in order."""
    return [command for block in section_of(tool) if block.language == "console" for command, _ in commands(block.text)]


def scripts_of(tool: str) -> dict[str, str]:
    """The programs of a tool's section, by the name in their first line."""
    programs = [block.text for block in section_of(tool) if block.language == "js"]
    return {text.splitlines()[0].removeprefix("// "): text for text in programs}


def configuration() -> str:
    """The ``pgdbm.toml`` of the page."""
    (block,) = blocks(PAGE, "toml")
    return block.text
