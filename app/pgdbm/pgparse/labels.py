"""The kind of a statement as an SQL command: ``CREATE INDEX CONCURRENTLY``. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .tree import alter_commands, definition, enum_name, object_type, option_is_on

if TYPE_CHECKING:
    from collections.abc import Callable

    from .tree import Node

_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_MOST_SUBCOMMANDS = 3


def label_of(kind: str, node: Node) -> str:
    """The SQL command of a statement; ``kind`` is the name of its node in the parse tree, ``node`` the node itself."""
    describe = _DESCRIBERS.get(kind)
    if describe is not None:
        return describe(node)
    return _WORDS.get(kind, kind.removesuffix("_stmt").replace("_", " ").upper())


def _alter_table(node: Node) -> str:
    """ALTER TABLE with its subcommands, such as ``ALTER TABLE ADD COLUMN, SET NOT NULL``."""
    done = list(dict.fromkeys(_subcommand(kind, command) for kind, command in alter_commands(node)))
    shown = ", ".join(done[:_MOST_SUBCOMMANDS])
    if enum_name(node, "objtype") == "OBJECT_TYPE":
        shown = shown.replace("COLUMN", "ATTRIBUTE")
    return f"ALTER {object_type(node, 'objtype')} {shown}{', …' if len(done) > _MOST_SUBCOMMANDS else ''}"


def _subcommand(kind: str, command: Node) -> str:
    if kind == "AT_AddConstraint":
        constraint = definition(command).constraint
        words = f"ADD {_CONSTRAINTS[enum_name(constraint, 'contype')]}"
        if constraint.indexname:
            return f"{words} USING INDEX"
        return f"{words} NOT VALID" if constraint.skip_validation and constraint.is_enforced else words
    if kind == "AT_ColumnDefault":
        return "SET DEFAULT" if definition(command).WhichOneof("node") else "DROP DEFAULT"
    if kind == "AT_DetachPartition" and definition(command).partition_cmd.concurrent:
        return "DETACH PARTITION CONCURRENTLY"
    return _SUBCOMMANDS.get(kind) or _HUMP.sub(" ", kind.removeprefix("AT_")).upper()


_CONSTRAINTS = {
    "CONSTR_CHECK": "CHECK",
    "CONSTR_EXCLUSION": "EXCLUDE",
    "CONSTR_FOREIGN": "FOREIGN KEY",
    "CONSTR_NOTNULL": "NOT NULL",
    "CONSTR_PRIMARY": "PRIMARY KEY",
    "CONSTR_UNIQUE": "UNIQUE",
}
# For nodes whose name differs from the SQL command.
_SUBCOMMANDS = {
    "AT_AddIdentity": "ADD GENERATED AS IDENTITY",
    "AT_AddInherit": "INHERIT",
    "AT_AddOf": "OF",
    "AT_AlterColumnGenericOptions": "OPTIONS",
    "AT_AlterColumnType": "ALTER COLUMN TYPE",
    "AT_ChangeOwner": "OWNER TO",
    "AT_ClusterOn": "CLUSTER ON",
    "AT_DetachPartitionFinalize": "DETACH PARTITION FINALIZE",
    "AT_DisableTrig": "DISABLE TRIGGER",
    "AT_DisableTrigAll": "DISABLE TRIGGER ALL",
    "AT_DisableTrigUser": "DISABLE TRIGGER USER",
    "AT_DropCluster": "SET WITHOUT CLUSTER",
    "AT_DropInherit": "NO INHERIT",
    "AT_DropOf": "NOT OF",
    "AT_DropOids": "SET WITHOUT OIDS",
    "AT_EnableAlwaysTrig": "ENABLE ALWAYS TRIGGER",
    "AT_EnableReplicaTrig": "ENABLE REPLICA TRIGGER",
    "AT_EnableRowSecurity": "ENABLE ROW LEVEL SECURITY",
    "AT_DisableRowSecurity": "DISABLE ROW LEVEL SECURITY",
    "AT_EnableTrig": "ENABLE TRIGGER",
    "AT_EnableTrigAll": "ENABLE TRIGGER ALL",
    "AT_EnableTrigUser": "ENABLE TRIGGER USER",
    "AT_ForceRowSecurity": "FORCE ROW LEVEL SECURITY",
    "AT_GenericOptions": "OPTIONS",
    "AT_NoForceRowSecurity": "NO FORCE ROW LEVEL SECURITY",
    "AT_ResetRelOptions": "RESET",
    "AT_SetRelOptions": "SET",
    "AT_SetTableSpace": "SET TABLESPACE",
    "AT_SetUnLogged": "SET UNLOGGED",
}


def _create_table(node: Node) -> str:
    temporary = "TEMPORARY " if node.relation.relpersistence == "t" else ""
    return f"CREATE {temporary}TABLE{' PARTITION OF' if node.HasField('partbound') else ''}"


def _create_table_as(node: Node) -> str:
    return f"CREATE {object_type(node, 'objtype')}{'' if enum_name(node, 'objtype') == 'OBJECT_MATVIEW' else ' AS'}"


def _create_index(node: Node) -> str:
    return f"CREATE {'UNIQUE ' if node.unique else ''}INDEX{_concurrently(node.concurrent)}"


def _drop(node: Node) -> str:
    return f"DROP {object_type(node, 'remove_type')}{_concurrently(node.concurrent)}"


def _define(node: Node) -> str:
    return f"CREATE {object_type(node, 'kind')}"


def _view(node: Node) -> str:
    return "CREATE OR REPLACE VIEW" if node.replace else "CREATE VIEW"


def _function(node: Node) -> str:
    return f"CREATE {'OR REPLACE ' if node.replace else ''}{'PROCEDURE' if node.is_procedure else 'FUNCTION'}"


def _rename(node: Node) -> str:
    renamed = enum_name(node, "rename_type")
    if renamed == "OBJECT_TABCONSTRAINT":
        return "ALTER TABLE RENAME CONSTRAINT"
    if renamed in ("OBJECT_ATTRIBUTE", "OBJECT_COLUMN"):
        return f"ALTER {object_type(node, 'relation_type')} RENAME {object_type(node, 'rename_type')}"
    return f"ALTER {object_type(node, 'rename_type')} RENAME"


def _set_schema(node: Node) -> str:
    return f"ALTER {object_type(node, 'object_type')} SET SCHEMA"


def _owner(node: Node) -> str:
    return f"ALTER {object_type(node, 'object_type')} OWNER TO"


def _enum(node: Node) -> str:
    return "ALTER TYPE RENAME VALUE" if node.old_val else "ALTER TYPE ADD VALUE"


def _comment(node: Node) -> str:
    return f"COMMENT ON {object_type(node, 'objtype')}"


def _grant(node: Node) -> str:
    return "GRANT" if node.is_grant else "REVOKE"


def _reindex(node: Node) -> str:
    whole = enum_name(node, "kind").removeprefix("REINDEX_OBJECT_")
    return f"REINDEX {whole}{_concurrently(option_is_on(node.params, 'concurrently'))}"


def _vacuum(node: Node) -> str:
    if not node.is_vacuumcmd:
        return "ANALYZE"
    return "VACUUM FULL" if option_is_on(node.options, "full") else "VACUUM"


def _refresh(node: Node) -> str:
    return f"REFRESH MATERIALIZED VIEW{_concurrently(node.concurrent)}"


def _copy(node: Node) -> str:
    return "COPY FROM" if node.is_from else "COPY TO"


def _transaction(node: Node) -> str:
    return enum_name(node, "kind").removeprefix("TRANS_STMT_").replace("_", " ")


def _set(node: Node) -> str:
    return "RESET" if enum_name(node, "kind") in ("VAR_RESET", "VAR_RESET_ALL") else "SET"


def _concurrently(concurrent: bool) -> str:
    return " CONCURRENTLY" if concurrent else ""


_DESCRIBERS: dict[str, Callable[[Node], str]] = {
    "alter_enum_stmt": _enum,
    "alter_object_schema_stmt": _set_schema,
    "alter_owner_stmt": _owner,
    "alter_table_stmt": _alter_table,
    "comment_stmt": _comment,
    "copy_stmt": _copy,
    "create_function_stmt": _function,
    "create_stmt": _create_table,
    "create_table_as_stmt": _create_table_as,
    "define_stmt": _define,
    "drop_stmt": _drop,
    "grant_stmt": _grant,
    "index_stmt": _create_index,
    "refresh_mat_view_stmt": _refresh,
    "reindex_stmt": _reindex,
    "rename_stmt": _rename,
    "transaction_stmt": _transaction,
    "vacuum_stmt": _vacuum,
    "variable_set_stmt": _set,
    "view_stmt": _view,
}
_WORDS = {
    "alter_database_refresh_coll_stmt": "ALTER DATABASE",
    "alter_database_set_stmt": "ALTER DATABASE SET",
    "alter_event_trig_stmt": "ALTER EVENT TRIGGER",
    "alter_object_depends_stmt": "ALTER DEPENDS ON EXTENSION",
    "alter_table_space_options_stmt": "ALTER TABLESPACE",
    "grant_role_stmt": "GRANT",
    "alter_fdw_stmt": "ALTER FOREIGN DATA WRAPPER",
    "alter_extension_contents_stmt": "ALTER EXTENSION",
    "alter_foreign_server_stmt": "ALTER SERVER",
    "alter_op_family_stmt": "ALTER OPERATOR FAMILY",
    "alter_seq_stmt": "ALTER SEQUENCE",
    "alter_stats_stmt": "ALTER STATISTICS",
    "alter_table_move_all_stmt": "ALTER TABLE ALL IN TABLESPACE",
    "alter_tsconfiguration_stmt": "ALTER TEXT SEARCH CONFIGURATION",
    "alter_tsdictionary_stmt": "ALTER TEXT SEARCH DICTIONARY",
    "check_point_stmt": "CHECKPOINT",
    "close_portal_stmt": "CLOSE",
    "composite_type_stmt": "CREATE TYPE",
    "constraints_set_stmt": "SET CONSTRAINTS",
    "create_am_stmt": "CREATE ACCESS METHOD",
    "create_enum_stmt": "CREATE TYPE",
    "create_event_trig_stmt": "CREATE EVENT TRIGGER",
    "create_fdw_stmt": "CREATE FOREIGN DATA WRAPPER",
    "create_foreign_server_stmt": "CREATE SERVER",
    "create_op_class_stmt": "CREATE OPERATOR CLASS",
    "create_op_family_stmt": "CREATE OPERATOR FAMILY",
    "create_plang_stmt": "CREATE LANGUAGE",
    "create_range_stmt": "CREATE TYPE",
    "create_seq_stmt": "CREATE SEQUENCE",
    "create_stats_stmt": "CREATE STATISTICS",
    "create_table_space_stmt": "CREATE TABLESPACE",
    "create_trig_stmt": "CREATE TRIGGER",
    "createdb_stmt": "CREATE DATABASE",
    "drop_table_space_stmt": "DROP TABLESPACE",
    "dropdb_stmt": "DROP DATABASE",
    "lock_stmt": "LOCK TABLE",
    "rule_stmt": "CREATE RULE",
    "sec_label_stmt": "SECURITY LABEL",
    "variable_show_stmt": "SHOW",
}
