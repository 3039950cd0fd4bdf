"""Recognizes other tools' files that the engine would execute incorrectly. Pure."""

from __future__ import annotations

import re

from ...patterns import late_pattern
from ...pgparse.lexer import comments
from ...pgparse.traits import Refusal

# Files that another tool runs at a different time, or instead of others, by the pattern of their names.
_NAMES = (
    (late_pattern(r"U\d+(?:[._]\d+)*__"), "an undo script of flyway"),
    (late_pattern(r"B\d+(?:[._]\d+)*__"), "a baseline script of flyway"),
    (
        late_pattern(r"(?:before|after)(?:Each)?(?:Migrate|Clean|Info|Validate|Baseline|Repair|Undo)"),
        "a callback of flyway",
    ),
    (late_pattern(r".*\.rollback\.sql\Z"), "a rollback of yoyo"),
    (late_pattern(r"post-apply\b"), "a hook of yoyo"),
)
# The comment that starts the down section of a file, by tool.
_DOWN_SECTIONS = (
    ("goose", late_pattern(r"--[ \t]*\+goose[ \t]+down\b", re.IGNORECASE)),
    ("dbmate", late_pattern(r"--[ \t]*migrate:down\b", re.IGNORECASE)),
    ("sql-migrate", late_pattern(r"--[ \t]*\+migrate[ \t]+down\b", re.IGNORECASE)),
    ("node-pg-migrate", late_pattern(r"--[ \t]*down[ \t]+migration\b", re.IGNORECASE)),
    ("micrate", late_pattern(r"--[ \t]*\+micrate[ \t]+down\b", re.IGNORECASE)),
    ("rambler", late_pattern(r"--[ \t]*rambler[ \t]+down\b", re.IGNORECASE)),
    ("MyBatis", late_pattern(r"--[ \t]*//[ \t]*@undo\b", re.IGNORECASE)),
    ("Play", late_pattern(r"--[ \t-]*!downs\b", re.IGNORECASE)),
    ("tern", late_pattern(r"----[ \t]*create above[ \t]*/[ \t]*drop below[ \t]*----", re.IGNORECASE)),
)
_SQITCH_REVERT = late_pattern(r"--[ \t]*revert[ \t]+\S+[ \t]+from[ \t]+\w+[ \t]*\Z", re.IGNORECASE)
_CHECKPOINT = late_pattern(r"--[ \t]*atlas:checkpoint\b")
_LIQUIBASE = "liquibase formatted sql"
_CHOSEN_CHANGESET = late_pattern(
    r"--[ \t]*changeset[ \t]+\S+.*?[ \t](context|contextFilter|labels|dbms):", re.IGNORECASE
)
# For tools that mark both sections with one word each.
_UP = late_pattern(r"--[ \t=#*+@!:\[<-]*(?:up|do|forward)[ \t=#*+:\]>-]*\Z", re.IGNORECASE)
_DOWN = late_pattern(r"--[ \t=#*+@!:\[<-]*(?:down|undo|rollback|revert|backward)[ \t=#*+:\]>-]*\Z", re.IGNORECASE)
_MAY_BE_DOWN = late_pattern(
    r"^[ \t]*--[^\n]*(?:down|undo|drop below|rollback|revert|backward)", re.IGNORECASE | re.MULTILINE
)
_SIGNS = (_LIQUIBASE, "atlas:checkpoint")
_CONVERTED = frozenset({"goose", "dbmate"})


def foreign_format(filename: str, content: str) -> tuple[int, Refusal] | None:
    """(offset in characters, refusal) for a file of another tool; None for any other."""
    refused = foreign_name(filename)
    if refused is not None:
        return 0, refused
    # Almost no file has such a comment.
    if "--" not in content or not (_MAY_BE_DOWN.search(content) or any(sign in content for sign in _SIGNS)):
        return None
    has_up = False
    for _, start, end in comments(content):
        for tool, mark in _DOWN_SECTIONS:
            if mark.match(content, start, end):
                return start, _down_section(tool)
        if _SQITCH_REVERT.match(content, start, end):
            return start, Refusal(
                "a sqitch revert script would be executed as a migration", "Rename it: NAME.down.sql reverts NAME.sql."
            )
        if _CHECKPOINT.match(content, start, end):
            return start, Refusal(
                "an Atlas checkpoint builds what the files before it build, but would be executed after them",
                "Remove either the file or those before it.",
            )
        chosen = _CHOSEN_CHANGESET.match(content, start, end)
        if chosen is not None and _LIQUIBASE in content:
            return start, Refusal(
                f"this liquibase changeset would be executed regardless of its {chosen[1]}",
                f"Put the SQL that should run here into files without `{chosen[1]}:`.",
            )
        if _UP.match(content, start, end):
            has_up = True
        elif has_up and _DOWN.match(content, start, end):
            return start, _down_section("another tool")
    return None


def foreign_name(filename: str) -> Refusal | None:
    """The refusal of a file whose name has a special meaning for another tool; None for any other."""
    if filename[:1].isdecimal() and ".rollback." not in filename:
        return None
    for pattern, what in _NAMES:
        if pattern.match(filename):
            tool = what.rpartition(" ")[2]
            return Refusal(
                f"{what} would be executed as a migration",
                f"Write files for pgdbm with `pgdbm migrate convert --from {tool}`, or rename it: NAME.down.sql "
                f"reverts NAME.sql.",
            )
    return None


def _down_section(tool: str) -> Refusal:
    hint = "Put what follows into NAME.down.sql beside NAME.sql."
    if tool in _CONVERTED:
        convert = f"pgdbm migrate convert --from {tool}"
        hint = f"Write files for pgdbm with `{convert}`, or put what follows into NAME.down.sql."
    return Refusal(f"this section of {tool} would be executed with the rest of the file", hint)
