"""Modules whose files are applied under another name: after a module was renamed, they would be applied again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pgdbm.errors import QueryError

from ..database.rows import numbered, reading_rows
from ..database.sql import statement
from ..errors import ServiceError
from .history_tables import chunks, history_of, readable_among, was_dropped

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ..registry.modules import Registry
    from .history_tables import Reader


class SameFiles(msgspec.Struct, frozen=True):
    """``same`` of the ``applied`` files of ``module`` in ``schema`` have the names and checksums of another module's
    files."""

    schema: str
    module: str
    same: int
    applied: int


async def find_same_files(
    reader: Reader, name: str, schemas: Collection[str], checksums: Mapping[str, str]
) -> list[SameFiles]:
    """Other modules with these files, by name, in the ``schemas`` in which nothing of ``name`` is applied."""
    found: list[SameFiles] = []
    for some in chunks(await readable_among(reader, schemas)):
        query = " UNION ALL ".join(
            statement("histories", "same_files", number=str(number), history=history_of(schema))
            for number, schema in enumerate(some)
        )
        try:
            rows = await reader.db.fetch_all(query, name, list(checksums), list(checksums.values()))
        except QueryError as error:
            if not was_dropped(error):
                raise
            continue
        with reading_rows():
            found += [
                SameFiles(numbered(some, row), row["module"], row["same"], row["applied"])
                for row in rows
                if not row["is_started"]
            ]
    return found


async def require_not_renamed(
    reader: Reader, registry: Registry, name: str, schemas: Collection[str], checksums: Mapping[str, str]
) -> None:
    """Refuse to apply the files of a module that seems to have been renamed.

    It seems so if all files of another module, which no longer exists, are among these.

    Raises:
        ServiceError: module_conflict.
    """
    for one in await find_same_files(reader, name, schemas, checksums):
        if one.same == one.applied and registry.find(one.module) is None:
            raise ServiceError(
                "module_conflict",
                f"In the schema {one.schema}, {one.same} of the files of {name} are applied as the module "
                f"{one.module}, which no longer exists. Nothing was applied.",
                module=name,
                schema=one.schema,
                applied_as=one.module,
                hint=f"If {one.module} was renamed to {name}, mark these files as applied: POST /modules/{name}/mark. "
                f"If they are separate modules, restore {one.module} first.",
            )


def describe(one: SameFiles, name: str) -> str:
    """The warning, as a sentence."""
    return (
        f"In the schema {one.schema}, {one.same} of the files of {name} are applied as the module {one.module}. A "
        f"migrate applies them again. If {one.module} was renamed to {name}, mark them as applied instead: POST "
        f"/modules/{name}/mark."
    )
