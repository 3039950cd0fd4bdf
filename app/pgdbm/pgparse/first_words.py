"""What is known about a statement without a parse tree: from its first words, and from clauses outside brackets. Pure.

The syntax is that of PostgreSQL 19, including what its beta versions had and the release does not. Commands that are
not listed here are unknown: nothing is derived from words that merely resemble a command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .lexer import tokens
from .lock_modes import LockMode, StatementLock, strongest
from .traits import DISCARD_ALL, UNKNOWN, Traits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .lock_modes import Blocks

Part = str | tuple[str, ...]
"""A token in lower case, unless it is quoted; or the tokens of an outermost pair of brackets."""


class Recognized(NamedTuple):
    """A statement that was recognized by its words. ``blocks``: what it blocks at worst."""

    label: str
    locks: tuple[StatementLock, ...]
    blocks: Blocks


def traits_without_tree(text: str) -> Traits:
    """The traits of a statement without a parse tree. Its kind is always ``unknown``."""
    parts = outline(text)
    match parts:
        case ["begin" | "start" | "commit" | "end" | "abort", *_] | ["prepare", "transaction", *_]:
            return UNKNOWN._replace(controls_transaction=True)
        case ["rollback", *rest]:
            return UNKNOWN._replace(controls_transaction="to" not in rest)
        case ["discard", "all", *_]:
            return UNKNOWN._replace(refused=DISCARD_ALL)
        case ["copy", *rest]:
            return UNKNOWN._replace(
                copies_from_client=_has(rest, "from", "stdin"), copies_to_client=_has(rest, "to", "stdout")
            )
        case ["repack", *rest]:
            return _repack_traits(rest)
        case ["wait", "for", *_] | ["cluster", *_] | ["reindex", *_] if _outside_only(parts) is None:
            return UNKNOWN._replace(may_refuse_transaction=True, idempotent=True)
        case ["checkpoint", *_]:
            return UNKNOWN._replace(idempotent=True)
        case ["create" | "alter" | "drop", "subscription", *_]:
            return UNKNOWN._replace(may_refuse_transaction=True)
    return UNKNOWN._replace(non_transactional=_outside_only(parts), idempotent=parts[:1] in (["vacuum"], ["reindex"]))


def recognize(text: str) -> Recognized | None:
    """The command of a statement without a parse tree, and its locks; None for an unknown one."""
    parts = outline(text)
    match parts:
        case ["repack", *rest]:
            return _repack(rest)
        case ["wait", "for", "lsn", *_]:
            return Recognized("WAIT FOR LSN", (), "nothing")
        case ["checkpoint", tuple()]:
            return Recognized("CHECKPOINT", (), "nothing")
        case ["alter", "table", *rest]:
            return _alter_table(rest)
        case ["insert", "into", *rest] if _has(rest, "on", "conflict") and _has(rest, "do", "select"):
            return _of_rows("INSERT ON CONFLICT DO SELECT", rest)
        case ["update", *rest] if _has(rest, "for", "portion", "of"):
            return _of_rows("UPDATE FOR PORTION OF", rest)
        case ["delete", "from", *rest] if _has(rest, "for", "portion", "of"):
            return _of_rows("DELETE FOR PORTION OF", rest)
        case ["select", *rest] if _has(rest, "group", "by", "all") or "graph_table" in rest:
            # With FOR UPDATE it takes ROW SHARE, which blocks nothing either.
            return Recognized("SELECT", (StatementLock(LockMode.ACCESS_SHARE, None),), "nothing")
        case ["drop", "property", "graph", *rest]:
            return _certain("DROP PROPERTY GRAPH", [StatementLock(LockMode.ACCESS_EXCLUSIVE, _name(rest))])
        case ["create" | "alter" as done, *rest] if _has(rest[:4], "property", "graph"):
            return Recognized(f"{done.upper()} PROPERTY GRAPH", (), "unknown")
    return None


def outline(text: str) -> list[Part]:
    """The tokens of ``text`` outside brackets; a pair of brackets with its content is one part. Comments are left
    out."""
    parts: list[Part] = []
    inside: list[str] = []
    depth = 0
    for kind, start, end in tokens(text):
        if kind == "comment":
            continue
        part = text[start:end].lower() if kind == "word" else text[start:end]
        if kind == "punctuation" and part in "([":
            depth += 1
            if depth == 1:
                inside = []
                continue
        elif kind == "punctuation" and part in ")]" and depth:
            depth -= 1
            if depth == 0:
                parts.append(tuple(inside))
                continue
        if depth:
            inside.append(part)
        else:
            parts.append(part)
    return parts


_OUTSIDE_ONLY = (
    (("vacuum",), "VACUUM"),
    (("alter", "system"), "ALTER SYSTEM"),
    (("create", "database"), "CREATE DATABASE"),
    (("drop", "database"), "DROP DATABASE"),
    (("create", "tablespace"), "CREATE TABLESPACE"),
    (("drop", "tablespace"), "DROP TABLESPACE"),
    (("create", "index", "concurrently"), "CREATE INDEX CONCURRENTLY"),
    (("create", "unique", "index", "concurrently"), "CREATE INDEX CONCURRENTLY"),
    (("drop", "index", "concurrently"), "DROP INDEX CONCURRENTLY"),
    (("reindex", "database"), "REINDEX DATABASE"),
    (("reindex", "schema"), "REINDEX SCHEMA"),
    (("reindex", "system"), "REINDEX SYSTEM"),
)


def _outside_only(parts: Sequence[Part]) -> str | None:
    """The command, if it can never run inside a transaction block."""
    for words, command in _OUTSIDE_ONLY:
        if tuple(parts[: len(words)]) == words:
            return command
    if parts[:1] == ["reindex"] and "concurrently" in (*parts, *_options(parts[1:])):
        return "REINDEX CONCURRENTLY"
    return "CLUSTER without a table" if tuple(parts) == ("cluster",) else None


def _repack_traits(rest: Sequence[Part]) -> Traits:
    options, table = _options(rest), _repacked(rest)
    command = None
    if "concurrently" in options:
        command = "REPACK (CONCURRENTLY)"
    elif table is None:
        command = "REPACK without a table"
    # With one table it can run in a block unless the table is partitioned.
    return UNKNOWN._replace(non_transactional=command, may_refuse_transaction=command is None, idempotent=True)


def _repack(rest: Sequence[Part]) -> Recognized:
    # With CONCURRENTLY the strongest lock is held only for the last step, after the copy is complete.
    label = "REPACK (CONCURRENTLY)" if "concurrently" in _options(rest) else "REPACK"
    return _certain(label, [StatementLock(LockMode.ACCESS_EXCLUSIVE, _repacked(rest))])


def _repacked(rest: Sequence[Part]) -> str | None:
    after = rest[1:] if rest and isinstance(rest[0], tuple) else rest
    return None if after[:2] == ["using", "index"] else _name(after)


def _options(rest: Sequence[Part]) -> tuple[str, ...]:
    """The options in brackets directly after a command, except those that are off."""
    if not rest or not isinstance(rest[0], tuple):
        return ()
    given = rest[0]
    return tuple(
        word for word, value in zip(given, (*given[1:], ""), strict=True) if value not in ("off", "false", "0", "no")
    )


def _alter_table(rest: Sequence[Part]) -> Recognized | None:
    table = _name(_without_if_exists(rest))
    for done in ("merge partitions", "split partition"):
        verb, noun = done.split()
        index = _index(rest, verb, noun)
        if index is None:
            continue
        named = rest[index + 2 :]
        given = " ".join(named[0]) if named and isinstance(named[0], tuple) else ""
        partitions = _names(given) if given else [_name(named)]
        relations = [table, *partitions, None]
        return _certain(
            f"ALTER TABLE {done.upper()}", [StatementLock(LockMode.ACCESS_EXCLUSIVE, one) for one in relations]
        )
    return None


def _of_rows(label: str, rest: Sequence[Part]) -> Recognized:
    """A statement that changes rows of the first relation and may read others."""
    target = StatementLock(LockMode.ROW_EXCLUSIVE, _name(rest[1:] if rest[:1] == ["only"] else rest))
    return _certain(label, [target, StatementLock(LockMode.ACCESS_SHARE, None)])


def _certain(label: str, locks: Sequence[StatementLock]) -> Recognized:
    return Recognized(label, strongest(locks), max(lock.mode for lock in locks).blocks)


def _without_if_exists(parts: Sequence[Part]) -> Sequence[Part]:
    parts = parts[2:] if list(parts[:2]) == ["if", "exists"] else parts
    return parts[1:] if list(parts[:1]) == ["only"] else parts


def _name(parts: Sequence[Part]) -> str | None:
    """The name at the start of ``parts``, as the parser would return it: ``schema.table``; None if there is none."""
    found: list[str] = []
    for index, part in enumerate(parts):
        if index % 2:
            if part != ".":
                break
        elif isinstance(part, str) and _is_name(part):
            found.append(part[1:-1].replace('""', '"') if part.startswith('"') else part)
        else:
            return None
    return ".".join(found) or None


def _names(text: str) -> Iterator[str | None]:
    found: list[Part] = []
    for part in (*outline(text), ","):
        if part == ",":
            yield _name(found)
            found = []
        else:
            found.append(part)


def _is_name(part: str) -> bool:
    return part.startswith('"') or part[:1] == "_" or part[:1].isalpha()


def _has(parts: Sequence[Part], *words: str) -> bool:
    return _index(parts, *words) is not None


def _index(parts: Sequence[Part], *words: str) -> int | None:
    """The position of the consecutive ``words`` in ``parts``."""
    length = len(words)
    return next((at for at in range(len(parts)) if tuple(parts[at : at + length]) == words), None)
