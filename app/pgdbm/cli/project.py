"""The project of a command: its modules and its database, from ``pgdbm.toml`` if there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..migrations.results import NO_LIMITS

if TYPE_CHECKING:
    from pathlib import Path

    from ..migrations.results import OutOfOrder, PlanLimits

FILE_NAME = "pgdbm.toml"


class ModuleConfig(NamedTuple):
    """A module: a named set of migrations and their schema."""

    name: str
    path: Path
    schema: str = "public"
    depends_on: tuple[str, ...] = ()
    out_of_order: OutOfOrder = "allow"
    limits: PlanLimits = NO_LIMITS


class Project(NamedTuple):
    """The content of the configuration file for one environment. Without a file, all values are defaults.

    ``url`` may contain variables: call :func:`~.toml.expand` before use.
    """

    file: Path | None = None
    name: str | None = None
    environment: str | None = None
    url: str | None = None
    url_key: str = "database.url"
    pooler: bool = False
    modules: tuple[ModuleConfig, ...] = ()
    migrations_table: str = "schema_migrations"
    lock_timeout: float | None = 5.0
    lock_wait_timeout: float = 600.0


def find(start: Path) -> Path | None:
    """The ``pgdbm.toml`` in ``start``, or in the nearest folder above it."""
    for folder in (start, *start.parents):
        file = folder / FILE_NAME
        if file.is_file():
            return file
    return None
