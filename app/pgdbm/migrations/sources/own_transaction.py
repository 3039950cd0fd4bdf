"""BEGIN and COMMIT in files without a directive: redundant, or dividing the file into transactions. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ...patterns import late_pattern
from ...pgparse.traits import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...core.templating import Rendered
    from .statements import Statement

_BEGIN = late_pattern(r"(?:BEGIN(?:\s+(?:WORK|TRANSACTION)\b)?|START\s+TRANSACTION\b)\s*(?P<modes>.*)\Z", re.I | re.S)
_COMMIT = late_pattern(r"(?:COMMIT|END)(?:\s+(?:WORK|TRANSACTION))?(?:\s+AND\s+NO\s+CHAIN)?\s*\Z", re.IGNORECASE)
# Ways to end a transaction that leave no record of it, or begin the next one immediately.
_OTHER_END = late_pattern(
    r"(?:COMMIT|END|ROLLBACK|ABORT|PREPARE)\b(?!(?:\s+(?:WORK|TRANSACTION))?\s+TO\b)", re.IGNORECASE
)
_NOT_INSIDE = "cannot run inside a transaction, and this is inside one"
_BETWEEN = "Put it between the transactions of the file, or into a file of its own with `-- pgdbm:no-transaction`."
_NO_COMMIT = Refusal("the transaction that the file begins has no end", "Write COMMIT at its end.")
_NO_RECORD = Refusal(
    "each of several transactions in a file must end with COMMIT, because its success is recorded inside it so that "
    "it is never executed twice; this leaves no record",
    "Write COMMIT, or remove the transaction.",
)
_LARGE_OBJECT = late_pattern(r"SELECT pg_catalog\.(?:lo_open|lowrite|lo_close)\(")
_NOT_A_LINE_BREAK = late_pattern(r"[^\n]")


class OwnTransaction(NamedTuple):
    """The indexes of BEGIN and COMMIT, in order, and the modes of BEGIN, such as ``ISOLATION LEVEL SERIALIZABLE``."""

    indexes: tuple[int, ...]
    modes: str = ""


def own_transaction(rendered: Rendered, statements: Sequence[Statement]) -> OwnTransaction | None:
    """The BEGIN and COMMIT that can be removed from ``statements``; None if there are none, or removing them would
    change the result.

    They are around the whole file, after settings; or, in the output of pg_dump, around each large object.
    """
    if statements and statements[-1].traits.controls_transaction:
        found = _around_the_file(rendered, statements)
        if found is not None:
            return found
    return _around_large_objects(rendered, statements) if "lo_open" in rendered.text else None


def _around_the_file(rendered: Rendered, statements: Sequence[Statement]) -> OwnTransaction | None:
    begin, *others = _controls(statements)
    if len(others) != 1 or any(one.traits.kind != "variable_set_stmt" for one in statements[:begin]):
        return None
    begins = _BEGIN.match(_text(rendered, statements[begin]))
    if begins is None or "--" in begins["modes"] or not _COMMIT.match(_text(rendered, statements[-1])):
        return None
    return OwnTransaction((begin, *others), begins["modes"].strip())


def _around_large_objects(rendered: Rendered, statements: Sequence[Statement]) -> OwnTransaction | None:
    controls = _controls(statements)
    for begin, commit in zip(controls[::2], controls[1::2], strict=False):
        between = statements[begin + 1 : commit]
        begins = _BEGIN.match(_text(rendered, statements[begin]))
        if begins is None or begins["modes"] or not _COMMIT.match(_text(rendered, statements[commit])):
            return None
        if not all(_LARGE_OBJECT.match(_text(rendered, one)) for one in between):
            return None
    return OwnTransaction(tuple(controls)) if controls and len(controls) % 2 == 0 else None


def _controls(statements: Sequence[Statement]) -> list[int]:
    return [index for index, one in enumerate(statements) if one.traits.controls_transaction]


class OwnBlocks(NamedTuple):
    """The transactions of a file that has several of its own, or statements outside its only one.

    ``refused``: the index of a statement that cannot run there, and why.
    """

    refused: tuple[int, Refusal] | None = None


def own_blocks(rendered: Rendered, statements: Sequence[Statement]) -> OwnBlocks | None:
    """The transactions of a file that begins two or more, or one among other statements; None for any other file."""
    controls = _controls(statements)
    begins = [one for one in controls if _BEGIN.match(_text(rendered, statements[one]))]
    if not begins or (len(begins) == 1 and not _is_among_others(rendered, statements, controls)):
        return None
    opened: int | None = None
    for index, one in enumerate(statements):
        if not one.traits.controls_transaction:
            if opened is not None and one.traits.non_transactional is not None:
                return OwnBlocks((index, Refusal(f"{one.traits.non_transactional} {_NOT_INSIDE}", _BETWEEN)))
            continue
        text = _text(rendered, one)
        if _BEGIN.match(text):
            if opened is not None:
                return OwnBlocks((opened, _NO_COMMIT))
            opened = index
        elif opened is not None and _COMMIT.match(text):
            opened = None
        elif opened is None or _OTHER_END.match(text):
            return OwnBlocks((index, _NO_RECORD))
    return OwnBlocks() if opened is None else OwnBlocks((opened, _NO_COMMIT))


def _is_among_others(rendered: Rendered, statements: Sequence[Statement], controls: Sequence[int]) -> bool:
    """Whether the ``controls`` are one BEGIN and COMMIT that do not enclose the whole file.

    Other tools that run each statement separately write such files.
    """
    if len(controls) != 2 or not _COMMIT.match(_text(rendered, statements[controls[1]])):
        return False
    return controls[0] < controls[1] and (controls[0] > 0 or controls[1] < len(statements) - 1)


def blanked(rendered: Rendered, statements: Sequence[Statement]) -> Rendered:
    """``rendered`` with spaces in place of ``statements``, so that every offset stays valid."""
    parts: list[str] = []
    position = 0
    for one in statements:
        parts += (rendered.text[position : one.start], _NOT_A_LINE_BREAK.sub(" ", _text(rendered, one)))
        position = one.end
    return replace(rendered, text="".join((*parts, rendered.text[position:])))


def _text(rendered: Rendered, statement: Statement) -> str:
    return rendered.text[statement.start : statement.end]
