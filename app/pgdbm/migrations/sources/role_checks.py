"""Finds statements that would leave the role that a module's migrations are executed as, or end their transaction.

Pure. This catches mistakes and simple attempts, but not SQL that is built at run time. Only a lack of privileges keeps
a role from using an object.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ...pgparse.lexer import tokens, without_comments
from ...pgparse.parse import SQLParseError, split
from ...pgparse.traits import Refusal
from ...pgparse.tree import enum_name, nested, strings
from .parser import refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...pgparse.tree import Node
    from .parser import ParsedFile

_ROLE_SETTINGS = frozenset({"role", "session_authorization"})
_KEEPS_TRANSACTION = frozenset({"TRANS_STMT_SAVEPOINT", "TRANS_STMT_RELEASE", "TRANS_STMT_ROLLBACK_TO"})
# Matched in the bodies of functions and DO blocks, which the parser does not parse.
_IN_BODIES = re.compile(
    r"\b(?:re)?set\s+(?:(?:local|session)\s+)?(?:role|session\s+authorization|session_authorization)\b"
    r"|\breset\s+all\b|\bdiscard\s+all\b|\bset_config\b|\bpg_settings\b|\b(?:commit|rollback)\s*;",
    re.IGNORECASE,
)
# Statements of these kinds can set a role only with a word that _IN_BODIES finds.
_PLAIN_COMMANDS = frozenset(("create", "delete", "insert", "merge", "select", "table", "update", "values", "with"))
_UNICODE_ESCAPES = re.compile(r"\bu&['\"]", re.IGNORECASE)
_LEAVES_ROLE = Refusal("it would leave the role that the module's migrations run as", "Remove it.")
_ENDS_TRANSACTION = Refusal("it would end or begin a transaction", "Remove it.")
_UNREADABLE = Refusal(
    "it cannot be checked", "Write SQL that the parser can read, which a module with a role requires."
)


def check_keeps_role(file: ParsedFile) -> None:
    """Refuse a file that would leave its role or end its transaction.

    Raises:
        MigrationFileError: with the line and column of the statement.
    """
    for statement, tree in zip(file.migration.statements, file.trees, strict=True):
        text = file.migration.text_of(statement)
        refusal = _refusal_without_tree(text) if tree is None else next(_refusals(tree), None)
        if refusal is not None:
            refuse(file.migration, statement, refusal)


def _refusal_without_tree(text: str) -> Refusal | None:
    """For a statement that nests too deeply to be decoded; statements unknown to the grammar are refused."""
    try:
        is_one = len(split(text)) == 1
    except SQLParseError:
        is_one = False
    if not is_one:
        return _UNREADABLE
    first = next(tokens(text), None)
    command = text[first.start : first.end].lower() if first is not None else ""
    is_plain = command in _PLAIN_COMMANDS and not _is_such_a_body(text) and not _UNICODE_ESCAPES.search(text)
    return None if is_plain else _UNREADABLE


def _refusals(tree: Node) -> Iterator[Refusal]:
    for node in nested(tree):
        kind = node.DESCRIPTOR.name
        check = _CHECKS.get(kind)
        if check is not None and check(node):
            yield _ENDS_TRANSACTION if kind == "TransactionStmt" else _LEAVES_ROLE


def _sets_role(node: Node) -> bool:
    return node.name.lower() in _ROLE_SETTINGS or enum_name(node, "kind") == "VAR_RESET_ALL"


def _calls_set_config(node: Node) -> bool:
    if strings(node.funcname)[-1:] != ["set_config"]:
        return False
    # An argument that is not a constant may name any setting.
    constant = node.args[0].a_const if node.args and node.args[0].WhichOneof("node") == "a_const" else None
    return constant is None or constant.WhichOneof("val") != "sval" or constant.sval.sval.lower() in _ROLE_SETTINGS


def _has_such_a_body(node: Node) -> bool:
    if node.defname != "as":
        return False
    return any(_is_such_a_body(part.sval) for part in nested(node.arg) if part.DESCRIPTOR.name == "String")


def _is_such_a_body(text: str) -> bool:
    return _IN_BODIES.search(without_comments(text).replace('"', "")) is not None


def _calls(node: Node) -> bool:
    """Whether a function call sets a role, or executes SQL that does, as query_to_xml() can."""
    constants = [argument.a_const for argument in node.args if argument.WhichOneof("node") == "a_const"]
    given = [constant.sval.sval for constant in constants if constant.WhichOneof("val") == "sval"]
    return _calls_set_config(node) or any(map(_is_such_a_body, given))


_CHECKS = {
    "DefElem": _has_such_a_body,
    "DiscardStmt": lambda node: enum_name(node, "target") == "DISCARD_ALL",
    "FuncCall": _calls,
    "TransactionStmt": lambda node: enum_name(node, "kind") not in _KEEPS_TRANSACTION,
    "UpdateStmt": lambda node: node.relation.relname == "pg_settings",
    "VariableSetStmt": _sets_role,
}
