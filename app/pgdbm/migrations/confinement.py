"""Statements that would leave the database role that a module's migrations run as, or their transaction. Pure.

What SQL builds at run time cannot be seen in a file: this finds mistakes and plain attempts, and is no wall. What a
role must not touch, it must have no privileges for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..core.grammar import TreeTooDeepError, parse_tree
from .inspection.parsetree import enum_name, nested, strings
from .parser import refuse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .parser import ParsedMigration

_ROLE_SETTINGS = frozenset({"role", "session_authorization"})
_KEEPS_TRANSACTION = frozenset({"TRANS_STMT_SAVEPOINT", "TRANS_STMT_RELEASE", "TRANS_STMT_ROLLBACK_TO"})
# In the text of functions and DO blocks, which the parser does not look into.
_IN_BODIES = re.compile(
    r"\b(?:re)?set\s+(?:(?:local|session)\s+)?(?:role|session\s+authorization|session_authorization)\b"
    r"|\breset\s+all\b|\bdiscard\s+all\b|\bset_config\b|\bpg_settings\b|\b(?:commit|rollback)\s*;",
    re.IGNORECASE,
)
_ROLE = "it would leave the role that the module's migrations run as. Take it out."


def check_all_stay_in_role(parsed: Iterable[ParsedMigration]) -> None:
    """:func:`check_stays_in_role` for each of ``parsed``."""
    for migration in parsed:
        check_stays_in_role(migration)


def check_stays_in_role(parsed: ParsedMigration) -> None:
    """Refuse a file that would leave its role or its transaction.

    Raises:
        MigrationFileError: with the line and column of the statement.
    """
    import postgast  # here, since it takes a quarter of a second and few modules have a role

    try:
        trees = parse_tree(parsed.rendered.text)
    except (postgast.PgQueryError, TreeTooDeepError):
        trees = ()
    if len(trees) != len(parsed.statements):
        if parsed.statements:
            refuse(parsed, parsed.statements[0], "nobody can tell what it does; a module with a role needs plain SQL.")
        return
    for statement, raw in zip(parsed.statements, trees, strict=True):
        reason = next(_reasons(raw.stmt), None)
        if reason is not None:
            refuse(parsed, statement, reason)


def _reasons(tree: Any) -> Iterator[str]:
    for node in nested(tree):
        kind = type(node).DESCRIPTOR.name
        look = _LOOKS.get(kind)
        if look is not None and look(node):
            yield "it would end or begin a transaction. Take it out." if kind == "TransactionStmt" else _ROLE


def _sets_role(node: Any) -> bool:
    return node.name.lower() in _ROLE_SETTINGS or enum_name(node, "kind") == "VAR_RESET_ALL"


def _calls_set_config(node: Any) -> bool:
    if strings(node.funcname)[-1:] != ["set_config"]:
        return False
    # What is no plain text may be anything.
    constant = node.args[0].a_const if node.args and node.args[0].WhichOneof("node") == "a_const" else None
    return constant is None or constant.WhichOneof("val") != "sval" or constant.sval.sval.lower() in _ROLE_SETTINGS


def _has_such_a_body(node: Any) -> bool:
    if node.defname != "as":
        return False
    texts = [part.sval for part in nested(node.arg) if type(part).DESCRIPTOR.name == "String"]
    return any(_IN_BODIES.search(text) for text in texts)


_LOOKS = {
    "DefElem": _has_such_a_body,
    "DiscardStmt": lambda node: enum_name(node, "target") == "DISCARD_ALL",
    "FuncCall": _calls_set_config,
    "TransactionStmt": lambda node: enum_name(node, "kind") not in _KEEPS_TRANSACTION,
    "UpdateStmt": lambda node: node.relation.relname == "pg_settings",
    "VariableSetStmt": _sets_role,
}
