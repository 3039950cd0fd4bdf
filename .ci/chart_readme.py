"""Write the table of values in the README.md of each chart from the comments in values.yaml.

    python .ci/chart_readme.py           write it
    python .ci/chart_readme.py --check   fail if it would change

A comment describes the value below it. The text above the marker in README.md is written by hand.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHARTS = (ROOT / "helm" / "pgdbm", ROOT / "integrations" / "helm" / "pgdbm-hook")
MARKER = "<!-- Generated from values.yaml by .ci/chart_readme.py: edit the comments there. -->\n"

_KEY = re.compile(r"^(?P<indent> *)(?P<name>[A-Za-z][A-Za-z0-9]*):(?P<rest>.*)$")


class Value(NamedTuple):
    path: tuple[str, ...]
    default: Any
    description: str


def values(text: str) -> list[Value]:
    """Every value that has a default, and every group that has a comment."""
    defaults = yaml.safe_load(text)
    found: list[Value] = []
    parents: list[str] = []
    comment: list[str] = []
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("#"):
            comment.append(bare.removeprefix("#").strip())
            continue
        key = _KEY.match(line)
        if key is None:
            # A blank line ends a comment about the file. A list item belongs to the value above it.
            comment = []
            continue
        depth = len(key["indent"]) // 2
        parents = [*parents[:depth], key["name"]]
        default = _at(defaults, parents)
        if default is not _MISSING and (comment or not isinstance(default, dict) or not default):
            found.append(Value(tuple(parents), default, " ".join(comment)))
        comment = []
    return _without_parts_of_defaults(found)


_MISSING = object()


def _at(defaults: Any, path: list[str]) -> Any:
    for name in path:
        if not isinstance(defaults, dict) or name not in defaults:
            return _MISSING
        defaults = defaults[name]
    return defaults


def _without_parts_of_defaults(found: list[Value]) -> list[Value]:
    """Groups have no default of their own: their values show it. A default that spans several lines is kept whole."""
    return [
        value._replace(default=_MISSING)
        if any(other.path[: len(value.path)] == value.path and other is not value for other in found)
        else value
        for value in found
    ]


def table(text: str) -> str:
    rows = ["| value | default | meaning |", "|---|---|---|"]
    for value in values(text):
        default = "" if value.default is _MISSING else f"`{_cell(json.dumps(value.default, ensure_ascii=False))}`"
        rows.append(f"| `{'.'.join(value.path)}` | {default} | {_cell(value.description)} |")
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def readme(chart: Path) -> str:
    """The expected README."""
    by_hand, marker, _ = (chart / "README.md").read_text().partition(MARKER)
    if not marker:
        raise SystemExit(f"{chart.name}/README.md lacks the line {MARKER.strip()}")
    return f"{by_hand}{MARKER}\n{table((chart / 'values.yaml').read_text())}"


def main(arguments: list[str]) -> int:
    for chart in CHARTS:
        current, wanted = (chart / "README.md").read_text(), readme(chart)
        if "--check" in arguments and current != wanted:
            print(f"{chart.name}/README.md is out of date: python .ci/chart_readme.py", file=sys.stderr)
            return 1
        (chart / "README.md").write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
