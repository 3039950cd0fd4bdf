"""Find words that the project does not use in code, comments, messages or documents.

    python .ci/words.py [PATH …]   list them and fail
    python .ci/words.py --report   count them per folder

Each entry of WORDS has the field's term beside it. A line may keep such a word only if it is in EXCEPTIONS, with the
reason.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("app", "tests", "docs", "examples", "helm", "integrations", "migrations_repo", ".ci")
SUFFIXES = {"", ".py", ".pyi", ".sql", ".md", ".toml", ".yaml", ".yml", ".tpl", ".txt", ".json", ".sh"}
SUFFIXES |= {".html", ".js", ".css"}
AT_THE_ROOT = ("*.md", "*.toml", "*.yml", "Makefile", "Dockerfile", ".dockerignore")
SKIPPED = {".ci/words.py"}
SKIPPED_FOLDERS = ("__pycache__", "swagger-ui", "vendor")

# A pattern, matched against a line with its underscores as spaces, and what to write instead.
WORDS: dict[str, str] = {
    r"anew": "again; recreate, restart",
    r"who(so)?ever|whomever": "the client, anyone who, even if",
    r"somebody|nobody|anybody|everybody": "name the role: client, session, user; no one, anyone, everyone",
    r"ways? back": "down migration; the fix",
    r"wish(es|ed)?": "options, parameters",
    r"(is|are|was|were) at it": "is processing it",
    r"go(es|ing)? on|went on": "continue, resume, keep running",
    r"not right": "invalid",
    r"tells?|telling|told": "report, say, distinguish",
    r"hears?|heard|hearing": "receive, is called with",
    r"look(s|ed|ing)?(?! (like|up)\b)": "read, fetch, poll, check, plan",
    r"tid(y|ies|ied|ying)": "prune, clean up",
    r"good ?bye": "deregister",
    r"begun": "started",
    r"manieth": "attempt number",
    r"pass(ed|es)? over": "skipped, ignored",
    r"left alone|leaves? \w+ alone": "unchanged, ignored",
    r"taken? for": "treated as",
    r"meanwhile": "in the meantime, concurrently",
    r"at once": "immediately, at the same time, in one transaction",
    r"former(ly)?": "previous",
    r"circles?": "cycle",
    r"spelt": "spelled, written",
    r"patiently": "until available",
    r"behind .{1,20} back": "after the response is sent",
    r"for good": "permanently",
    r"aloud": "visibly",
    r"beats?": "heartbeat",
    r"of ours": "of pgdbm, own",
    r"come(s)? along|brings? along": "is included, includes",
    r"the house": "the architecture, the project",
    r"poolers? of transactions": "transaction-pooling proxy",
    r"where (it|they|each|every|all|one|modules?|schemas?) stands?": "status",
    r"torments?|contestants?|patience": "plan, candidate, deadline",
    r"in the way": "the blocking sessions",
    r"as we (do|have|call)": "like pgdbm",
    r"words of the server|the server's (own )?words": "the server's message",
    r"the cure": "the hint, what to do",
    r"for ever": "without end, permanently",
    r"(them|others) alone": "unchanged, not affected",
    r"under (the|a) (call|statement)": "during",
    r"(in|out)side of": "inside, outside",
    r"files? of data": "data file",
    r"an own": "one of its own",
    r"our (own )?(user|tables?|role|queries|statements)": "the connecting user, of pgdbm",
    r"cut by time": "limited by time",
    r"(an)?other (?!rather)[a-z]+ than": "a different … from, … other than",
    r"decisions? (of|by) (people|a person)|what people want": "manual decisions, decisions",
    r"takes? (no )?writes": "accepts writes",
    r"(is|are|was|were) no (finding|superuser|terminal|SQL|migrate|wildcard|public)": "is not a",
    r"(is|are|was|were) none of": "is not one of",
    r"present (batch|content|files|rate|state|one)": "current",
    r"in (the )?words of SQL": "the SQL command",
    r"the way out": "a hint, what to do",
    r"imported late(?!r)": "imported lazily",
    r"(rows|bytes|requests) a second": "per second",
    r"takes? root": "requires root",
    r"for people to": "readable",
    r"(an)?other content": "different content",
    r"how far (a|the|each) (backfill|run|file)": "the progress of",
    r"half-way": "halfway",
    r"exists? already": "already exists",
    r"any more": "no longer",
    r"under way": "in progress, active",
    r"asked for by": "requested by",
    r"stand-ins?": "substitute",
    r"none of theirs": "none of their",
}


class Exempt(NamedTuple):
    path: str
    text: str
    reason: str


# A pattern for Path.match, a part of the line, and why the word stays.
EXCEPTIONS: tuple[Exempt, ...] = (
    Exempt("pyproject.toml", "flake8-tidy-imports", "the name of a plugin"),
    Exempt("app/pgdbm_service/dashboard/drawings.py", "<circle", "an element of SVG"),
    Exempt("app/pgdbm/embedded/launch.py", "nobody", "the Unix account"),
    Exempt("app/pgdbm/embedded/launch.py", "NOBODY", "the Unix account"),
    Exempt("tests/unit/embedded/test_launch.py", "NOBODY", "the Unix account"),
    Exempt("tests/integration/embedded/test_accounts.py", "nobody", "the Unix account"),
    Exempt("tests/integration/embedded/test_accounts.py", "NOBODY", "the Unix account"),
    Exempt("tests/integration/testing/test_databases.py", "the account ``nobody``", "the Unix account"),
    Exempt("tests/**/*.py", "postgresql://nobody", "the name of a role"),
)

_WORDS = {re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE): term for pattern, term in WORDS.items()}
# All of them, to find the few files that need a closer check: that takes a fifth of the time.
_ANY = re.compile(rf"\b(?:{'|'.join(WORDS)})\b", re.IGNORECASE)


class Hit(NamedTuple):
    path: Path
    line: int
    word: str
    term: str
    text: str


def files() -> list[Path]:
    """The text files that are checked."""
    found = [path for pattern in AT_THE_ROOT for path in ROOT.glob(pattern)]
    for folder in SOURCES:
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix in SUFFIXES]
    return sorted(path for path in set(found) if not _skipped(path.relative_to(ROOT)))


def _skipped(path: Path) -> bool:
    return path.as_posix() in SKIPPED or ".min." in path.name or any(part in SKIPPED_FOLDERS for part in path.parts)


def hits_of(path: Path) -> list[Hit]:
    """The words in ``path``, except those that are exempt."""
    relative = path.relative_to(ROOT)
    exempt = [one.text for one in EXCEPTIONS if relative.match(one.path)]
    hits: list[Hit] = []
    content = path.read_text(encoding="utf-8", errors="replace")
    if not _ANY.search(content.replace("_", " ")):
        return hits
    for number, line in enumerate(content.splitlines(), 1):
        if any(text in line for text in exempt):
            continue
        spaced = line.replace("_", " ")
        hits += [
            Hit(relative, number, found[0], term, line.strip())
            for pattern, term in _WORDS.items()
            for found in pattern.finditer(spaced)
        ]
    return hits


def main(arguments: list[str]) -> int:
    hits = [hit for path in files() for hit in hits_of(path)]
    if "--report" in arguments:
        folders = Counter("/".join(hit.path.parts[: 3 if hit.path.parts[0] == "app" else 2][:-1]) for hit in hits)
        print(f"{len(hits)} words to replace: {dict(sorted(folders.items()))}")
        return 0
    wanted = [Path(argument) for argument in arguments] or [Path()]
    hits = [hit for hit in hits if any(hit.path.is_relative_to(one) for one in wanted)]
    for hit in hits:
        print(f"{hit.path}:{hit.line}: {hit.word!r}, instead: {hit.term}\n    {hit.text}")
    return bool(hits)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
