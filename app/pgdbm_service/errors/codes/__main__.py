"""Write the page of every error code into a folder, as ``CODE.md``."""

from __future__ import annotations

import sys
from pathlib import Path

from . import ERROR_KINDS


def write_pages(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ERROR_KINDS.values():
        (folder / f"{kind.code}.md").write_text(kind.page(), encoding="utf-8")


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
