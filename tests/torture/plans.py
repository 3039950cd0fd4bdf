"""Plans of migrations with every kind of statement that the engine treats differently."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

HEAD = "-- pgdbm:no-transaction\n"


@dataclass(frozen=True)
class MigrationPlan:
    """Files, and how to apply them. Once everything is applied, its log table has each of ``marks`` once."""

    name: str
    files: dict[str, str]
    apply: dict[str, Any] = field(default_factory=dict)


def mark(word: str) -> str:
    """A row that shows when a file was applied twice."""
    return f"INSERT INTO {{{{tables.log}}}} VALUES ('{word}');\n"


def _table(number: int) -> str:
    return f"CREATE TABLE {{{{tables.t{number}}}}} (id int PRIMARY KEY, note text);\n"


_LOG = {"001_log.sql": "CREATE TABLE {{tables.log}} (word text NOT NULL);\n" + mark("001")}

_BATCHABLE = _LOG | {f"{number:03}_t.sql": _table(number) + mark(f"{number:03}") for number in range(2, 14)}

_BY_STATEMENT = {
    "002_types.sql": (
        "CREATE TYPE {{schema}}.mood AS ENUM ('sad', 'glad');\n"
        "CREATE TABLE {{tables.people}} (name text, mood {{schema}}.mood);\n" + mark("002")
    ),
    "003_view.sql": "CREATE VIEW {{tables.moods}} AS SELECT DISTINCT mood FROM {{tables.people}};\n" + mark("003"),
    "010_items.sql": (
        "CREATE TABLE {{tables.items}} AS\n"
        "SELECT i AS id, i % 97 AS kind, md5(i::text) AS code FROM generate_series(1, 6000) AS i;\n"
        "ALTER TABLE {{tables.items}} ALTER COLUMN id SET NOT NULL;\n"
        "UPDATE {{tables.items}} SET kind = kind + 1 WHERE id % 10 = 0;\n" + mark("010")
    ),
    "011_partitions.sql": (
        "CREATE TABLE {{tables.happenings}} (at date NOT NULL, note text) PARTITION BY RANGE (at);\n"
        "CREATE TABLE {{tables.happenings_old}} PARTITION OF {{tables.happenings}}\n"
        "    FOR VALUES FROM ('2000-01-01') TO ('2020-01-01');\n"
        "CREATE TABLE {{tables.happenings_new}} PARTITION OF {{tables.happenings}}\n"
        "    FOR VALUES FROM ('2020-01-01') TO ('2040-01-01');\n"
        "INSERT INTO {{tables.happenings}} SELECT date '2019-01-01' + i, i::text FROM generate_series(1, 2000) AS i;\n"
        + mark("011")
    ),
}

_OUTSIDE = {
    "020_indexes.sql": (
        HEAD + "CREATE INDEX CONCURRENTLY items_kind ON {{tables.items}} (kind);\n" + mark("020 first") + ""
        "CREATE UNIQUE INDEX CONCURRENTLY items_id ON {{tables.items}} (id);\n"
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS items_code ON {{tables.items}} (code);\n"
        "CREATE TABLE {{tables.beside}} (id int);\n" + mark("020 second")
    ),
    "021_a.sql": _table(21) + mark("021"),
    "022_b.sql": _table(22) + mark("022"),
    "030_maintenance.sql": (
        HEAD + "REINDEX INDEX CONCURRENTLY {{tables.items_kind}};\n"
        "REINDEX TABLE CONCURRENTLY {{tables.items}};\n"
        "VACUUM (ANALYZE) {{tables.items}};\n"
        "DROP INDEX CONCURRENTLY {{tables.items_kind}};\n" + mark("030 first") + ""
        "DROP INDEX CONCURRENTLY IF EXISTS {{tables.items_code}};\n" + mark("030 second")
    ),
    "040_detach.sql": (
        HEAD + "ALTER TABLE {{tables.happenings}} DETACH PARTITION {{tables.happenings_old}} CONCURRENTLY;\n"
        "ALTER TYPE {{schema}}.mood ADD VALUE 'mad';\n"
        "INSERT INTO {{tables.people}} VALUES ('Ann', 'mad');\n" + mark("040")
    ),
    "041_copies.sql": (
        HEAD + "COPY {{tables.log}} FROM stdin;\n041 first\n\\.\n"
        "BEGIN;\nCOPY {{tables.log}} FROM stdin;\n041 second\n\\.\n" + mark("041 third") + "COMMIT;\n"
    ),
    "042_own.sql": f"BEGIN;\n{mark('042 first')}COMMIT;\n{mark('042 second')}BEGIN;\n{mark('042 third')}COMMIT;\n",
    "050_c.sql": _table(50) + mark("050"),
    "051_d.sql": "ALTER TABLE {{tables.t50}} ADD COLUMN more text;\n" + mark("051"),
    "052_e.sql": "UPDATE {{tables.items}} SET code = upper(code) WHERE id < 100;\n" + mark("052"),
}
_REPEATABLE = {
    "R__totals.sql": (
        "CREATE OR REPLACE VIEW {{tables.totals}} AS SELECT kind, count(*) FROM {{tables.items}} GROUP BY kind;\n"
        + mark("R")
    )
}

MIXED = MigrationPlan("mixed", _LOG | _BY_STATEMENT | _OUTSIDE | _REPEATABLE)
BATCHABLE = MigrationPlan("cheap", _BATCHABLE)
BY_STATEMENT = MigrationPlan("by_statement", _LOG | _BY_STATEMENT | _REPEATABLE)
ALL_BATCHABLE = MigrationPlan("all_cheap", _BATCHABLE, {"atomic": "all"})
ALL = MigrationPlan("all", _LOG | _BY_STATEMENT | _REPEATABLE, {"atomic": "all"})
CONCURRENT = MigrationPlan(
    "concurrent",
    _LOG
    | {
        "002_t.sql": "CREATE TABLE {{tables.t}} AS SELECT i AS id, i % 7 AS kind FROM generate_series(1, 5000) AS i;\n",
        "003_index.sql": (
            HEAD + "CREATE INDEX CONCURRENTLY t_kind ON {{tables.t}} (kind);\n" + mark("003") + ""
            "CREATE UNIQUE INDEX CONCURRENTLY t_id ON {{tables.t}} (id);\nVACUUM {{tables.t}};\n"
        ),
        "004_column.sql": "ALTER TABLE {{tables.t}} ADD COLUMN note text;\n" + mark("004"),
    },
)
EVERY_KIND = (BATCHABLE, CONCURRENT, BY_STATEMENT, ALL, MIXED, ALL_BATCHABLE)

APPLIED_AND_REVERTED = MigrationPlan(
    "there_and_back",
    {
        **_LOG,
        "002_items.sql": (
            "CREATE TABLE {{tables.items}} AS SELECT i AS id, i % 97 AS kind FROM generate_series(1, 3000) AS i;\n"
            + mark("002")
        ),
        "002_items.down.sql": "DROP TABLE {{tables.items}};\n" + mark("002 back"),
        "003_kinds.sql": "CREATE VIEW {{tables.kinds}} AS SELECT DISTINCT kind FROM {{tables.items}};\n" + mark("003"),
        "003_kinds.down.sql": "DROP VIEW {{tables.kinds}};\n" + mark("003 back"),
        "010_indexes.sql": (
            HEAD + "CREATE INDEX CONCURRENTLY items_kind ON {{tables.items}} (kind);\n"
            "CREATE UNIQUE INDEX CONCURRENTLY items_id ON {{tables.items}} (id);\n" + mark("010")
        ),
        "010_indexes.down.sql": (
            HEAD + "DROP INDEX CONCURRENTLY {{tables.items_kind}};\n" + mark("010 back, first") + ""
            "DROP INDEX CONCURRENTLY IF EXISTS {{tables.items_id}};\n" + mark("010 back, second")
        ),
        "020_kinds.sql": "UPDATE {{tables.items}} SET kind = kind + 1;\n" + mark("020"),
        "020_kinds.down.sql": "UPDATE {{tables.items}} SET kind = kind - 1;\n" + mark("020 back"),
    },
)
"""All but the first can be reverted."""
