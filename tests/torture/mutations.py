"""Valid files that are damaged: pieces are removed, doubled, swapped, and inserted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

_ROOT = Path(__file__).parent.parent.parent
_DIVIDER = re.compile(rb"^==== .+\n", re.MULTILINE)
_SHARDS = (
    *("'", '"', "$$", "$a$", "$1", "/*", "*/", "--", "\n", "\r\n", "\r", "\t", "\v", "\f", ";", ";;", "\\", "\\."),
    *("E'\\'", "E'a\\'b'", "U&'\\0041'", 'U&"d\\0061t"', " UESCAPE '!'", "B'1'", "x'", "'a'\n'b'", "'a' -- c\n'b'"),
    *("(", ")", "[", "]", ",", ".", "::", ":=", "@", "#", "`", "é", "😀", "\u00a0", "\u2028", "\ufeff", "\u0000"),
    *("{{tables.x}}", "{{schema}}", "{{", "}}", "{{nothing}}", " 1e", " 0x", " 1_0", "-- pgdbm:no-transaction\n"),
    *("BEGIN ATOMIC ", " END", " CASE ", " SELECT ", " COMMIT;", " BEGIN;", " COPY t FROM stdin;\n1\n\\.\n"),
    "CREATE INDEX CONCURRENTLY i ON t (a);",
)


def _sources() -> tuple[bytes, ...]:
    golden = sorted((_ROOT / "tests" / "golden" / "parser").glob("*.sql"))
    cases = [case for path in golden for case in _DIVIDER.split(path.read_bytes()) if case.strip()]
    return (*cases, *(path.read_bytes() for path in sorted((_ROOT / "migrations_repo").rglob("*.sql"))))


SOURCES = _sources()


def mutated(rng: random.Random) -> bytes:
    """One of the files, or two, with one to six mutations."""
    text = rng.choice(SOURCES).decode(errors="surrogateescape")
    for _ in range(rng.randint(1, 6)):
        start = rng.randint(0, len(text))
        end = min(len(text), start + int(rng.expovariate(0.1)))
        match rng.randint(0, 6):
            case 0:
                text = text[:start] + text[end:]
            case 1:
                text = text[:end] + text[start:]
            case 2:
                text = text[:start] + text[start:end].swapcase()[::-1] + text[end:]
            case 3 | 4 | 5:
                text = text[:start] + rng.choice(_SHARDS) + text[start:]
            case _:
                other = rng.choice(SOURCES).decode(errors="surrogateescape")
                text = text[:start] + other[rng.randint(0, len(other)) :]
    raw = text.encode(errors="surrogateescape")
    if rng.random() < 0.05:
        place = rng.randint(0, len(raw))
        raw = raw[:place] + rng.randbytes(2) + raw[place:]
    return raw
