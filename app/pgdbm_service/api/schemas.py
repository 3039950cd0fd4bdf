"""Answers of the schema calls."""

from __future__ import annotations

import msgspec


class SchemaSummary(msgspec.Struct):
    """``size_bytes`` is None while a lock on one of its tables prevents reading the size."""

    name: str
    owner: str
    tables: int
    size_bytes: int | None
    modules: list[str]


class SchemaList(msgspec.Struct):
    items: list[SchemaSummary]
    next: str | None = None


class Index(msgspec.Struct):
    """``valid`` is false for an index that a failed CREATE INDEX CONCURRENTLY left behind."""

    name: str
    size_bytes: int | None
    unique: bool
    valid: bool


class Table(msgspec.Struct):
    """``rows`` is PostgreSQL's estimate, None before the first ANALYZE; sizes are None while the table is locked."""

    name: str
    rows: int | None
    dead_rows: int
    size_bytes: int | None
    indexes_bytes: int | None
    indexes: list[Index]


class SchemaDetail(msgspec.Struct):
    name: str
    owner: str
    size_bytes: int | None
    modules: list[str]
    tables: list[Table]
