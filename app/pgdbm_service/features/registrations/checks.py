"""Checks of files when they are registered: everything that can be known before they are run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pgdbm.migrations.sources.migration import check_versions, in_order, read_migration
from pgdbm.migrations.sources.names import is_migration_name, is_repeatable_name
from pgdbm.migrations.sources.parser import parse_file
from pgdbm.migrations.sources.previous import diff_to
from pgdbm.migrations.sources.role_checks import check_keeps_role

from ...errors import ServiceError
from ...registry.bundles import bundle_of
from ...registry.settings import SettingError, check_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgdbm.migrations import Migration

    from ...registry.bundles import Bundle
    from ...registry.file_contents import FileContents
    from ...registry.settings import CheckedSettings
    from ...status.applied_sets import AppliedSet
    from ...status.summaries import Summaries
    from .submissions import Submission


class AppliedFiles:
    """Compares files with the histories of all schemas."""

    def __init__(self, summaries: Summaries, contents: FileContents) -> None:
        self._summaries = summaries
        self._contents = contents

    async def check(self, name: str, bundle: Bundle) -> None:
        """Compare ``bundle`` with the applied files of the module ``name``.

        Raises:
            ServiceError: checksum_changed, with a diff where the previous content is known.
        """
        checksums = {
            filename: file.checksum for filename, file in bundle.files.items() if not is_repeatable_name(filename)
        }
        found = await self._summaries.applied_sets_of(name)
        if not any(_changes(one, checksums) for one in found):
            return
        # The history may have been repaired since the summaries were written.
        await self._summaries.recheck(name, [one for one in found if _changes(one, checksums)])
        changed = {
            filename: (checksum, schema)
            for applied_set, schema in (await self._summaries.applied_sets_of(name)).items()
            for filename, checksum in _changes(applied_set, checksums).items()
        }
        if not changed:
            return
        filename = min(changed)
        checksum, schema = changed[filename]
        previous = await self._contents.of(name, [checksum])
        now, content = checksums[filename], bundle.files[filename].content
        more = f" {len(changed) - 1} more files have changed, too." if len(changed) > 1 else ""
        raise ServiceError(
            "checksum_changed",
            f"{filename} is applied in schema {schema} with different content.{more} Nothing was registered.",
            module=name,
            filename=filename,
            schema=schema,
            recorded_checksum=checksum,
            current_checksum=now,
            diff=await asyncio.to_thread(diff_to, filename, checksum, now, content, previous),
            changed=sorted(changed),
        )


def _changes(applied_set: AppliedSet, checksums: Mapping[str, str]) -> dict[str, str]:
    """The recorded checksum of each file whose checksum is now different."""
    return {
        filename: recorded
        for filename, recorded in applied_set.applied
        if checksums.get(filename, recorded) != recorded
    }


# The value of {{schema}} while checking files for a pattern of schemas.
_ANY_SCHEMA = "any_schema"


def checked_bundle(name: str, submission: Submission, server_version: int) -> Bundle:
    """The bundle submitted for the module ``name``. Parses every file.

    Raises:
        ServiceError: module_invalid. MigrationFileError: with file, line and column.
    """
    schema = _schema_of(name, submission.settings)
    files = {filename: read_migration(filename, raw) for filename, raw in submission.files.items()}
    migrations = in_order(file for file in files.values() if is_migration_name(file.filename))
    if not migrations:
        raise ServiceError("module_invalid", f"Module {name} has no migrations: send at least one file NAME.sql.")
    check_versions(migrations, {migration.filename for migration in migrations})
    for file in (*migrations, *(file for file in files.values() if not is_migration_name(file.filename))):
        _check(file, schema, submission.settings, server_version)
    return bundle_of(submission.settings, files.values())


def _check(file: Migration, schema: str, settings: CheckedSettings, server_version: int) -> None:
    parsed = parse_file(file, schema, server_version)
    if settings.role is not None:
        check_keeps_role(parsed)


def _schema_of(name: str, settings: CheckedSettings) -> str:
    if isinstance(settings.schemas, str):
        return _ANY_SCHEMA
    if settings.schemas is not None:
        return settings.schemas[0]
    try:
        check_schema(name)
    except SettingError as error:
        raise ServiceError(
            "module_invalid",
            f"schema: {error.reason}.",
            key="schema",
            hint="Without a schema, the module's name is the schema's name. Set schema.",
        ) from None
    return name
