"""The properties of statements that matter to the engine. Pure: reads nodes of the PostgreSQL parse tree.

Field and node names are those of libpg_query's protobuf, in snake case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .tree import (
    alter_commands,
    definition,
    enum_name,
    name_parts,
    option_is_on,
    owner_name,
    relation_name,
    strings,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .tree import Node


class Refusal(NamedTuple):
    """The reason why something in a file cannot be executed, and what to do."""

    reason: str
    hint: str


_NO_TRANSACTION_HINT = "Put it into a file of its own, with the line `-- pgdbm:no-transaction` at the top."
_CONTROL = Refusal(
    "transaction control does not belong in a transactional migration, except BEGIN as the first statement with COMMIT "
    "as the last, or transactions from BEGIN to COMMIT: the engine begins and commits",
    "Remove it, or put the line `-- pgdbm:no-transaction` at the top of the file.",
)
DISCARD_ALL = Refusal(
    "DISCARD ALL would release the lock that this migration holds; the session is cleaned at the end of every file",
    "Remove the statement, or write RESET ALL, DISCARD TEMP or DEALLOCATE.",
)
_COPY_FROM = Refusal(
    "COPY … FROM stdin has no rows", "Write them from the next line on, and a line \\. after the last one."
)
_COPY_TO = Refusal("COPY … TO stdout sends rows to the client, which has no use for them", "Remove it.")
_OPAQUE = "unknown"


class Traits(NamedTuple):
    """The properties of one statement.

    ``batchable``: executing it twice costs almost nothing. ``batchable_on``: batchable if the same file created this
    table. ``creates``: the tables that it creates. ``non_transactional``: why it cannot run in a transaction block.
    ``may_refuse_transaction``: only the catalog shows whether it can run in a transaction; in a file without one it
    runs outside. ``changes_session``: it may leave settings, temporary objects, prepared statements or cursors in the
    session. ``target``: the names to look up in the catalog to find out whether the statement took effect.
    ``idempotent``: it can run again when its outcome is unknown. ``refused``: why it cannot run in any file.
    ``touches``: the schema, if it is named, and the name of each table whose own description in the catalog is all that
    the statement may change, if no user-defined code, such as a trigger, runs with it; None if it may change
    anything.
    """

    kind: str
    batchable: bool = False
    batchable_on: str | None = None
    creates: tuple[str, ...] = ()
    non_transactional: str | None = None
    may_refuse_transaction: bool = False
    controls_transaction: bool = False
    copies_from_client: bool = False
    copies_to_client: bool = False
    changes_session: bool = True
    target: tuple[str | None, ...] = ()
    idempotent: bool = False
    refused: Refusal | None = None
    touches: tuple[tuple[str, str], ...] | None = None

    @property
    def is_opaque(self) -> bool:
        """Whether the statement has no parse tree, so that it is known only by its first words."""
        return self.kind == _OPAQUE

    def refusal(self, transactional: bool, has_copy_data: bool = False) -> Refusal | None:
        """Why the statement cannot run in a file; None if it can."""
        if self.refused is not None:
            return self.refused
        if self.copies_to_client:
            return _COPY_TO
        if self.copies_from_client and not has_copy_data:
            return _COPY_FROM
        if transactional and self.non_transactional is not None:
            return Refusal(f"{self.non_transactional} cannot run inside a transaction", _NO_TRANSACTION_HINT)
        if transactional and self.controls_transaction:
            return _CONTROL
        return None


UNKNOWN = Traits(_OPAQUE)
"""The traits of a text that the parser does not support."""

ROW_CHANGES = frozenset({"insert_stmt", "update_stmt", "delete_stmt"})
"""The kinds of statements that change rows, and do not affect how later statements are parsed."""

_MOST_ROWS_READ = 100
_CONSTANTS = frozenset({"a_const", "set_to_default"})
_ROLES = ("role", "session_authorization")
_WITH_SCHEMA = 2
# Subcommands of ALTER TABLE that change only the table itself and nothing that depends on it.
_LIMITED_CHANGES = frozenset(
    {
        "AT_AddColumn",
        "AT_AddConstraint",
        "AT_ColumnDefault",
        "AT_DropNotNull",
        "AT_SetNotNull",
        "AT_ValidateConstraint",
    }
)

# These change only catalog entries, whatever the size of the data.
_BATCHABLE = frozenset(
    {
        "alter_default_privileges_stmt",
        "alter_enum_stmt",
        "alter_function_stmt",
        "alter_object_schema_stmt",
        "alter_owner_stmt",
        "alter_seq_stmt",
        "composite_type_stmt",
        "create_domain_stmt",
        "create_enum_stmt",
        "create_function_stmt",
        "create_range_stmt",
        "create_schema_stmt",
        "create_seq_stmt",
        "create_trig_stmt",
        "define_stmt",
        "drop_stmt",
        "grant_stmt",
        "rename_stmt",
        "rule_stmt",
        "view_stmt",
    }
)
_CONTROLLING = frozenset(
    f"TRANS_STMT_{name}"
    for name in (
        "BEGIN",
        "START",
        "COMMIT",
        "ROLLBACK",
        "PREPARE",
        "COMMIT_PREPARED",
        "ROLLBACK_PREPARED",
    )
)
_ALWAYS_AUTOCOMMIT = {
    "alter_system_stmt": "ALTER SYSTEM",
    "create_table_space_stmt": "CREATE TABLESPACE",
    "createdb_stmt": "CREATE DATABASE",
    "drop_table_space_stmt": "DROP TABLESPACE",
    "dropdb_stmt": "DROP DATABASE",
}


def traits_of(kind: str, node: Node) -> Traits:
    """The traits of a statement: ``kind`` is the name of its node, ``node`` the node itself."""
    describe = _DESCRIBERS.get(kind)
    if describe is not None:
        return describe(kind, node)
    if kind in _ALWAYS_AUTOCOMMIT:
        name = node.dbname if kind in ("createdb_stmt", "dropdb_stmt") else None
        return Traits(
            kind,
            non_transactional=_ALWAYS_AUTOCOMMIT[kind],
            target=(name,),
            idempotent=kind == "alter_system_stmt",
        )
    # A statement that calls functions may leave anything in the session.
    return Traits(kind, batchable=kind in _BATCHABLE, changes_session=kind not in _BATCHABLE)


def _regclass(relation: Node) -> str:
    """A relation's name, in the form that to_regclass() expects."""
    return _quoted([relation.schemaname, relation.relname])


def _named(relation: Node) -> tuple[tuple[str, str]] | None:
    """The table in a RangeVar, as ``touches`` has it; None if it is in another database, which is an error."""
    return None if relation.catalogname else ((relation.schemaname, relation.relname),)


def _quoted(parts: Iterable[str]) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts if part)


def _create_table(kind: str, node: Node) -> Traits:
    # Creating a partition scans the default one for matching rows, and IF NOT EXISTS may find a table with rows.
    if node.HasField("partbound") or node.if_not_exists:
        return Traits(kind, batchable=not node.HasField("partbound"), changes_session=False)
    is_plain = not (
        node.inh_relations
        or node.HasField("partspec")
        or node.HasField("of_typename")
        or node.relation.relpersistence == "t"
        # LIKE may also create statistics.
        or any(one.WhichOneof("node") == "table_like_clause" for one in node.table_elts)
    )
    return Traits(
        kind,
        batchable=True,
        creates=(relation_name(node.relation),),
        changes_session=False,
        touches=_named(node.relation) if is_plain else None,
    )


def _create_index(kind: str, node: Node) -> Traits:
    if node.concurrent:
        table = node.relation
        return Traits(
            kind,
            non_transactional="CREATE INDEX CONCURRENTLY",
            target=(table.schemaname or None, table.relname, node.idxname or None),
        )
    table = node.relation
    return Traits(kind, batchable_on=relation_name(table), changes_session=False, touches=_named(table))


def _alter_table(kind: str, node: Node) -> Traits:
    for command in node.cmds:
        about = definition(command.alter_table_cmd)
        if about.WhichOneof("node") == "partition_cmd" and about.partition_cmd.concurrent:
            partition = about.partition_cmd.name
            return Traits(
                kind,
                non_transactional="ALTER TABLE … DETACH PARTITION CONCURRENTLY",
                target=(_regclass(node.relation), _regclass(partition)),
            )
    is_limited = enum_name(node, "objtype") == "OBJECT_TABLE" and not node.missing_ok
    is_limited = is_limited and all(name in _LIMITED_CHANGES for name, _ in alter_commands(node))
    table = node.relation
    touches = _named(table) if is_limited else None
    return Traits(kind, batchable_on=relation_name(table), changes_session=False, touches=touches)


def _comment(kind: str, node: Node) -> Traits:
    name = owner_name(enum_name(node, "objtype"), name_parts(node.object))
    # Only for a table's columns, rules, triggers and constraints do the parts of the name show the table.
    is_of_table = enum_name(node, "objtype") in ("OBJECT_TABLE", "OBJECT_COLUMN", "OBJECT_TABCONSTRAINT")
    touches = ((".".join(name[:-1]), name[-1]),) if is_of_table and name and len(name) <= _WITH_SCHEMA else None
    return Traits(kind, batchable=True, changes_session=False, touches=touches)


def _drop(kind: str, node: Node) -> Traits:
    if not node.concurrent:
        return Traits(kind, batchable=True, changes_session=False)
    # DROP INDEX CONCURRENTLY takes exactly one index.
    name = strings(node.objects[0].list.items)
    return Traits(
        kind, non_transactional="DROP INDEX CONCURRENTLY", target=(_quoted(name),), idempotent=node.missing_ok
    )


def _insert(kind: str, node: Node) -> Traits:
    rows = node.select_stmt.select_stmt.values_lists
    if not 0 < len(rows) <= _MOST_ROWS_READ:
        return Traits(kind, batchable=len(rows) > 0)
    # Not a generator: most data files consist of small INSERTs, for which one would be slow.
    for row in rows:
        for value in row.list.items:
            if value.WhichOneof("node") not in _CONSTANTS:
                return Traits(kind, batchable=True)
    is_plain = not any(node.HasField(f"{clause}_clause") for clause in ("on_conflict", "with", "returning"))
    touches = _named(node.relation) if is_plain else None
    return Traits(kind, batchable=True, changes_session=False, touches=touches)


def _reindex(kind: str, node: Node) -> Traits:
    if option_is_on(node.params, "concurrently"):
        relation = _regclass(node.relation) if node.HasField("relation") else None
        target = (relation, node.name or None)
        return Traits(kind, non_transactional="REINDEX CONCURRENTLY", target=target, idempotent=True)
    whole = enum_name(node, "kind")
    if whole in ("REINDEX_OBJECT_DATABASE", "REINDEX_OBJECT_SYSTEM", "REINDEX_OBJECT_SCHEMA"):
        return Traits(kind, non_transactional=f"REINDEX {whole.rpartition('_')[2]}", idempotent=True)
    # This fails in a transaction if the table is partitioned.
    return Traits(kind, may_refuse_transaction=True, idempotent=True)


def _vacuum(kind: str, node: Node) -> Traits:
    return Traits(kind, non_transactional="VACUUM", idempotent=True) if node.is_vacuumcmd else Traits(kind)


def _cluster(kind: str, node: Node) -> Traits:
    if node.HasField("relation"):
        # This fails in a transaction if the table is partitioned.
        return Traits(kind, may_refuse_transaction=True, idempotent=True)
    return Traits(kind, non_transactional="CLUSTER without a table", idempotent=True)


def _alter_database(kind: str, node: Node) -> Traits:
    moves = any(option.def_elem.defname == "tablespace" for option in node.options)
    return Traits(kind, non_transactional="ALTER DATABASE … SET TABLESPACE" if moves else None)


def _create_subscription(kind: str, node: Node) -> Traits:
    makes_slot = option_is_on(node.options, "create_slot", default=option_is_on(node.options, "connect", default=True))
    return Traits(kind, non_transactional="CREATE SUBSCRIPTION with a slot" if makes_slot else None)


def _alter_subscription(kind: str, node: Node) -> Traits:
    done = enum_name(node, "kind").removeprefix("ALTER_SUBSCRIPTION_")
    if done == "REFRESH":
        return Traits(kind, non_transactional="ALTER SUBSCRIPTION … REFRESH PUBLICATION", idempotent=True)
    if done.endswith("_PUBLICATION") and option_is_on(node.options, "refresh", default=True):
        return Traits(
            kind, non_transactional="ALTER SUBSCRIPTION … PUBLICATION with a refresh", idempotent=done.startswith("SET")
        )
    # Some options, such as two_phase, cannot be set in a transaction.
    return Traits(kind, may_refuse_transaction=done == "OPTIONS", idempotent=done == "OPTIONS")


def _drop_subscription(kind: str, node: Node) -> Traits:
    # Only without a slot.
    return Traits(kind, may_refuse_transaction=True, idempotent=node.missing_ok)


def _discard(kind: str, node: Node) -> Traits:
    return Traits(kind, refused=DISCARD_ALL if enum_name(node, "target") == "DISCARD_ALL" else None)


def _transaction(kind: str, node: Node) -> Traits:
    name = enum_name(node, "kind")
    return Traits(kind, controls_transaction=name in _CONTROLLING)


def _copy(kind: str, node: Node) -> Traits:
    with_client = not node.filename and not node.is_program
    return Traits(
        kind, copies_from_client=with_client and node.is_from, copies_to_client=with_client and not node.is_from
    )


def _set(kind: str, node: Node) -> Traits:
    return Traits(kind, batchable=node.is_local, changes_session=not node.is_local or node.name in _ROLES)


_DESCRIBERS = {
    "alter_database_stmt": _alter_database,
    "alter_subscription_stmt": _alter_subscription,
    "alter_table_stmt": _alter_table,
    "cluster_stmt": _cluster,
    "comment_stmt": _comment,
    "copy_stmt": _copy,
    "create_stmt": _create_table,
    "create_subscription_stmt": _create_subscription,
    "discard_stmt": _discard,
    "drop_stmt": _drop,
    "drop_subscription_stmt": _drop_subscription,
    "index_stmt": _create_index,
    "insert_stmt": _insert,
    "reindex_stmt": _reindex,
    "transaction_stmt": _transaction,
    "vacuum_stmt": _vacuum,
    "variable_set_stmt": _set,
}
