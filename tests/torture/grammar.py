"""Random plans of migrations, every one of them valid: statements from a small grammar, cut into files anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from .plans import HEAD

if TYPE_CHECKING:
    from collections.abc import Callable

_TYPES = {"int": "0", "text": "''", "numeric(10, 2)": "1.5", "timestamptz": "'2020-01-01 00:00:00+00'"}


@dataclass
class Table:
    columns: list[str] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)
    views: list[str] = field(default_factory=list)
    rows: int = 0


@dataclass(frozen=True)
class RandomPlan:
    """``statements`` are what ``files`` hold, in order, with templates for the schema."""

    statements: tuple[str, ...]
    files: dict[str, str]


class Author:
    """Writes one statement after another, and remembers the objects that exist."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._tables: dict[str, Table] = {}
        self._enums: dict[str, int] = {}
        self._made = 0

    def next(self, *, outside: bool) -> str:
        """A statement; ``outside`` may make it one that cannot run in a transaction."""
        kinds: list[Callable[[], str]] = [self._create_table, self._create_enum]
        if self._enums:
            kinds += [self._add_value]
        if self._tables:
            kinds += [self._insert, self._insert_many, self._add_column, self._update, self._comment]
            kinds += [self._create_index, self._create_view, self._set_default]
            if outside:
                kinds += [self._create_index_outside, self._vacuum, self._reindex]
        if self._indexed():
            kinds += [self._drop_index_outside if outside else self._drop_index]
        if self._unseen():
            kinds += [self._drop_column, self._drop_table]
        return self._draw(st.sampled_from(kinds))()

    def _name(self, prefix: str) -> str:
        self._made += 1
        return f"{prefix}{self._made}"

    def _table(self) -> str:
        return self._draw(st.sampled_from(list(self._tables)))

    def _indexed(self) -> list[str]:
        return [name for name, table in self._tables.items() if table.indexes]

    def _unseen(self) -> list[str]:
        return [name for name, table in self._tables.items() if not table.views and table.columns]

    def _create_table(self) -> str:
        name, columns = self._name("t"), [self._name("c") for _ in range(self._draw(st.integers(1, 3)))]
        self._tables[name] = Table(columns)
        definitions = "".join(f", {column} {self._type()}" for column in columns)
        return f"CREATE TABLE {{{{tables.{name}}}}} (id int PRIMARY KEY{definitions})"

    def _type(self) -> str:
        of_enum: bool = self._draw(st.booleans())
        if self._enums and of_enum:
            return "{{schema}}." + self._draw(st.sampled_from(list(self._enums)))
        name = self._draw(st.sampled_from(list(_TYPES)))
        return f"{name} NOT NULL DEFAULT {_TYPES[name]}" if self._draw(st.booleans()) else name

    def _add_column(self) -> str:
        table, column = self._table(), self._name("c")
        self._tables[table].columns.append(column)
        return f"ALTER TABLE {{{{tables.{table}}}}} ADD COLUMN {column} {self._type()}"

    def _drop_column(self) -> str:
        table = self._draw(st.sampled_from(self._unseen()))
        column = self._draw(st.sampled_from(self._tables[table].columns))
        self._tables[table].columns.remove(column)
        self._tables[table].indexes = [index for index in self._tables[table].indexes if f"_{column}_" not in index]
        return f"ALTER TABLE {{{{tables.{table}}}}} DROP COLUMN {column}"

    def _set_default(self) -> str:
        return f"ALTER TABLE {{{{tables.{self._table()}}}}} ALTER COLUMN id SET DEFAULT {self._draw(st.integers(0, 9))}"

    def _drop_table(self) -> str:
        table = self._draw(st.sampled_from(self._unseen()))
        del self._tables[table]
        return f"DROP TABLE {{{{tables.{table}}}}}"

    def _index(self, how: str) -> str:
        table = self._table()
        column = self._draw(st.sampled_from([*self._tables[table].columns, "id"]))
        name = self._name(f"i_{column}_")
        self._tables[table].indexes.append(name)
        return f"CREATE INDEX {how}{name} ON {{{{tables.{table}}}}} ({column})"

    def _create_index(self) -> str:
        return self._index("")

    def _create_index_outside(self) -> str:
        return self._index(self._draw(st.sampled_from(["CONCURRENTLY ", "CONCURRENTLY IF NOT EXISTS "])))

    def _drop(self, how: str) -> str:
        table = self._tables[self._draw(st.sampled_from(self._indexed()))]
        name = self._draw(st.sampled_from(table.indexes))
        table.indexes.remove(name)
        return f"DROP INDEX {how}{{{{tables.{name}}}}}"

    def _drop_index(self) -> str:
        return self._drop("")

    def _drop_index_outside(self) -> str:
        return self._drop("CONCURRENTLY ")

    def _create_view(self) -> str:
        table, name = self._table(), self._name("v")
        self._tables[table].views.append(name)
        return f"CREATE VIEW {{{{tables.{name}}}}} AS SELECT count(*) AS n, max(id) AS id FROM {{{{tables.{table}}}}}"

    def _create_enum(self) -> str:
        name = self._name("e")
        self._enums[name] = 1
        return f"CREATE TYPE {{{{schema}}}}.{name} AS ENUM ('v0')"

    def _add_value(self) -> str:
        name = self._draw(st.sampled_from(list(self._enums)))
        self._enums[name] += 1
        return f"ALTER TYPE {{{{schema}}}}.{name} ADD VALUE 'v{self._enums[name]}'"

    def _insert(self) -> str:
        table = self._table()
        self._tables[table].rows += 1
        return f"INSERT INTO {{{{tables.{table}}}}} (id) VALUES ({self._tables[table].rows})"

    def _insert_many(self) -> str:
        table = self._table()
        first = self._tables[table].rows + 1
        self._tables[table].rows += 300
        return f"INSERT INTO {{{{tables.{table}}}}} (id) SELECT generate_series({first}, {first + 299})"

    def _update(self) -> str:
        return f"UPDATE {{{{tables.{self._table()}}}}} SET id = -id WHERE id % 7 = {self._draw(st.integers(0, 6))}"

    def _comment(self) -> str:
        return f"COMMENT ON TABLE {{{{tables.{self._table()}}}}} IS 'it''s; \u00e9 -- {self._draw(st.integers(0, 9))}'"

    def _vacuum(self) -> str:
        return f"VACUUM {{{{tables.{self._table()}}}}}"

    def _reindex(self) -> str:
        return f"REINDEX TABLE CONCURRENTLY {{{{tables.{self._table()}}}}}"


@st.composite
def random_plans(draw: st.DrawFn) -> RandomPlan:
    author = Author(draw)
    statements: list[str] = []
    files: dict[str, str] = {}
    for number in range(1, draw(st.integers(1, 8)) + 1):
        outside = draw(st.integers(0, 3)) == 0
        held = [author.next(outside=outside) for _ in range(draw(st.integers(1, 5)))]
        statements += held
        end = draw(st.sampled_from([";\n", ";\n-- done; really\n", " ;;\n", "; /* ; */\n"]))
        files[f"{number}_x.sql"] = (HEAD if outside else "") + "".join(one + end for one in held)
    return RandomPlan(tuple(statements), files)
