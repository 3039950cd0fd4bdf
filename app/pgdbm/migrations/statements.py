"""What the engine has to know of a kind of statement. Pure: reads nodes of the PostgreSQL parse tree.

Field and node names are those of libpg_query's protobuf, in snake case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_NO_TRANSACTION_FIX = "put the line `-- pgdbm:no-transaction` at the top of a file of its own for it."
_CONTROL = (
    "transaction control does not belong into a transactional migration: the engine begins and commits. Take it out, "
    "or put the line `-- pgdbm:no-transaction` at the top of the file."
)
_COPY = "COPY from or to the client needs a client that sends the rows: use INSERT, or COPY with a file on the server."


class Traits(NamedTuple):
    """What matters of one statement.

    ``cheap``: running it twice costs next to nothing. ``cheap_on``: it is cheap if the file itself made that table.
    ``creates``: the tables that it makes. ``autocommit_only``: why it cannot run in a transaction. ``concerns``: by
    which names the catalog can be asked whether such a statement was done. ``repeats_safely``: whether running it
    again does no harm when it is not known whether it was done.
    """

    kind: str
    cheap: bool = False
    cheap_on: str | None = None
    creates: tuple[str, ...] = ()
    autocommit_only: str | None = None
    controls_transaction: bool = False
    copies_with_client: bool = False
    changes_session: bool = False
    concerns: tuple[str | None, ...] = ()
    repeats_safely: bool = False

    def refusal(self, transactional: bool) -> str | None:
        """Why the statement may not stand in a file, and what to do; None where it may."""
        if self.copies_with_client:
            return _COPY
        if transactional and self.autocommit_only is not None:
            return f"{self.autocommit_only} cannot run inside a transaction: {_NO_TRANSACTION_FIX}"
        if transactional and self.controls_transaction:
            return _CONTROL
        return None


UNKNOWN = Traits("unknown", changes_session=True)
"""Of a text that the parser does not understand."""

# Catalog entries only, whatever the size of the data.
_CHEAP = frozenset(
    {
        "alter_default_privileges_stmt",
        "alter_enum_stmt",
        "alter_function_stmt",
        "alter_object_schema_stmt",
        "alter_owner_stmt",
        "alter_seq_stmt",
        "comment_stmt",
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


def traits_of(kind: str, node: Any) -> Traits:
    """The traits of a statement: ``kind`` names its node, ``node`` is that."""
    describe = _DESCRIBERS.get(kind)
    if describe is not None:
        return describe(kind, node)
    if kind in _ALWAYS_AUTOCOMMIT:
        name = node.dbname if kind in ("createdb_stmt", "dropdb_stmt") else None
        return Traits(
            kind,
            autocommit_only=_ALWAYS_AUTOCOMMIT[kind],
            concerns=(name,),
            repeats_safely=kind == "alter_system_stmt",
        )
    return Traits(kind, cheap=kind in _CHEAP)


def _table(relation: Any) -> str:
    return f"{relation.schemaname}.{relation.relname}"


def _regclass(relation: Any) -> str:
    """A relation's name as to_regclass() takes it."""
    return _quoted([relation.schemaname, relation.relname])


def _quoted(parts: Iterable[str]) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts if part)


def _create_table(kind: str, node: Any) -> Traits:
    # A partition has the default one scanned for its rows, and IF NOT EXISTS may find a table full of them.
    if node.HasField("partbound") or node.if_not_exists:
        return Traits(kind, cheap=not node.HasField("partbound"))
    return Traits(kind, cheap=True, creates=(_table(node.relation),))


def _create_index(kind: str, node: Any) -> Traits:
    if node.concurrent:
        table = node.relation
        return Traits(
            kind,
            autocommit_only="CREATE INDEX CONCURRENTLY",
            concerns=(table.schemaname or None, table.relname, node.idxname or None),
        )
    return Traits(kind, cheap_on=_table(node.relation))


def _alter_table(kind: str, node: Any) -> Traits:
    for command in node.cmds:
        change = command.alter_table_cmd
        if getattr(change, "def").WhichOneof("node") != "partition_cmd":
            continue
        if getattr(change, "def").partition_cmd.concurrent:
            partition = getattr(change, "def").partition_cmd.name
            return Traits(
                kind,
                autocommit_only="ALTER TABLE … DETACH PARTITION CONCURRENTLY",
                concerns=(_regclass(node.relation), _regclass(partition)),
            )
    return Traits(kind, cheap_on=_table(node.relation))


def _drop(kind: str, node: Any) -> Traits:
    if not node.concurrent:
        return Traits(kind, cheap=True)
    # It takes one index, and no more.
    name = [part.string.sval for part in node.objects[0].list.items]
    return Traits(
        kind, autocommit_only="DROP INDEX CONCURRENTLY", concerns=(_quoted(name),), repeats_safely=node.missing_ok
    )


def _insert(kind: str, node: Any) -> Traits:
    return Traits(kind, cheap=len(node.select_stmt.select_stmt.values_lists) > 0)


def _reindex(kind: str, node: Any) -> Traits:
    if option_is_on(node.params, "concurrently"):
        relation = _regclass(node.relation) if node.HasField("relation") else None
        concerns = (relation, node.name or None)
        return Traits(kind, autocommit_only="REINDEX CONCURRENTLY", concerns=concerns, repeats_safely=True)
    whole = type(node).DESCRIPTOR.fields_by_name["kind"].enum_type.values_by_number[node.kind].name
    if whole in ("REINDEX_OBJECT_DATABASE", "REINDEX_OBJECT_SYSTEM", "REINDEX_OBJECT_SCHEMA"):
        return Traits(kind, autocommit_only=f"REINDEX {whole.rpartition('_')[2]}", repeats_safely=True)
    return Traits(kind)


def _vacuum(kind: str, node: Any) -> Traits:
    return Traits(kind, autocommit_only="VACUUM", repeats_safely=True) if node.is_vacuumcmd else Traits(kind)


def _cluster(kind: str, node: Any) -> Traits:
    if node.HasField("relation"):
        return Traits(kind)
    return Traits(kind, autocommit_only="CLUSTER without a table", repeats_safely=True)


def _alter_database(kind: str, node: Any) -> Traits:
    moves = any(option.def_elem.defname == "tablespace" for option in node.options)
    return Traits(kind, autocommit_only="ALTER DATABASE … SET TABLESPACE" if moves else None)


def _subscription(kind: str, node: Any) -> Traits:
    makes_slot = option_is_on(node.options, "create_slot", default=option_is_on(node.options, "connect", default=True))
    return Traits(kind, autocommit_only="CREATE SUBSCRIPTION with a slot" if makes_slot else None)


def _discard(kind: str, node: Any) -> Traits:
    target = type(node).DESCRIPTOR.fields_by_name["target"].enum_type.values_by_number[node.target].name
    return Traits(kind, autocommit_only="DISCARD ALL" if target == "DISCARD_ALL" else None, changes_session=True)


def _transaction(kind: str, node: Any) -> Traits:
    name = type(node).DESCRIPTOR.fields_by_name["kind"].enum_type.values_by_number[node.kind].name
    return Traits(kind, controls_transaction=name in _CONTROLLING)


def _copy(kind: str, node: Any) -> Traits:
    return Traits(kind, copies_with_client=not node.filename and not node.is_program)


def _set(kind: str, node: Any) -> Traits:
    return Traits(kind, cheap=node.is_local, changes_session=not node.is_local)


def _select(kind: str, _node: Any) -> Traits:
    # set_config() may hide in any query, and asking is cheap; what a query costs nobody knows.
    return Traits(kind, changes_session=True)


def option_is_on(options: Any, name: str, *, default: bool = False) -> bool:
    for option in options:
        if option.def_elem.defname == name:
            argument = option.def_elem.arg
            chosen = argument.WhichOneof("node")
            if chosen is None:
                return True
            if chosen == "boolean":
                return bool(argument.boolean.boolval)
            if chosen == "integer":
                return bool(argument.integer.ival)
            # Words that are not reserved, such as off, are parsed as the name of a type.
            word = argument.string.sval if chosen == "string" else argument.type_name.names[-1].string.sval
            return str(word).lower() not in ("false", "off", "0")
    return default


_DESCRIBERS = {
    "alter_database_stmt": _alter_database,
    "alter_table_stmt": _alter_table,
    "cluster_stmt": _cluster,
    "copy_stmt": _copy,
    "create_stmt": _create_table,
    "create_subscription_stmt": _subscription,
    "discard_stmt": _discard,
    "drop_stmt": _drop,
    "index_stmt": _create_index,
    "insert_stmt": _insert,
    "reindex_stmt": _reindex,
    "select_stmt": _select,
    "transaction_stmt": _transaction,
    "vacuum_stmt": _vacuum,
    "variable_set_stmt": _set,
}
