"""PostgreSQL's own parser, as libpg_query has it, without the two things that libpg_query gets wrong.

Importing ``postgast`` takes a quarter of a second, and most programs never need it: everything here imports it late.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


_DEEPEST_COMMENT = 1000
_COMMENT_ENDS = re.compile(r"/\*|\*/")


class TreeTooDeepError(Exception):
    """The text is right, and nests too deeply for its tree to be handed over: some fifty operators or UNIONs do."""


@cache
def _decode_error() -> type[Exception]:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    found: type[Exception] = DecodeError
    return found


def parse_tree(sql: str) -> Sequence[Any]:
    """The statements in ``sql``: libpg_query's RawStmt messages, with ``stmt_location`` and ``stmt_len`` in bytes.

    Raises:
        postgast.PgQueryError: a syntax error; its ``cursorpos`` counts characters, from 1.
        TreeTooDeepError: see there.
    """
    import postgast

    statements: Sequence[Any]
    try:
        try:
            statements = postgast.parse(sql).stmts
        except postgast.PgQueryError as error:
            bare = without_comments(sql)
            if bare is None:
                raise
            # PostgreSQL takes a comment between words that belong together, as in NOT /* … */ IN.
            try:
                statements = postgast.parse(bare).stmts
            except postgast.PgQueryError:
                raise error from None
    except _decode_error() as error:
        raise TreeTooDeepError from error
    return statements


def too_deep_a_comment(sql: str) -> int | None:
    """Where, in characters, ``sql`` opens more comments inside of comments than anybody writes; None where it does not.

    PostgreSQL's scanner takes time with the square of their depth: a file of 40 KB would keep it busy for ten seconds.
    What stands in strings is counted too.
    """
    if sql.count("/*") <= _DEEPEST_COMMENT:
        return None
    depth = 0
    for found in _COMMENT_ENDS.finditer(sql):
        depth = depth + 1 if found[0] == "/*" else max(depth - 1, 0)
        if depth > _DEEPEST_COMMENT:
            return found.start()
    return None


def without_comments(sql: str) -> str | None:
    """``sql`` with spaces for its comments, every byte of them; None where there are none, or nobody can tell."""
    import postgast

    if "--" not in sql and "/*" not in sql:
        return None
    bare = bytearray(sql.encode())
    try:
        tokens = postgast.scan(sql).tokens
    except postgast.PgQueryError:
        return None
    comments = [token for token in tokens if bare[token.start : token.start + 2].startswith((b"--", b"/*"))]
    for token in comments:
        bare[token.start : token.end] = b" " * (token.end - token.start)
    return bare.decode() if comments else None
