"""Everything that can be known of files before they are run is looked at when they are registered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgdbm.migrations.confinement import check_stays_in_role
from pgdbm.migrations.files import in_order, is_migration_name, read_migration
from pgdbm.migrations.parser import parse
from pgdbm.migrations.plan import check_versions

from ..bundles import Bundle, digest_of
from ..errors import Problem
from ..module_settings import SettingError, check_schema

if TYPE_CHECKING:
    from pgdbm.migrations import Migration

    from ..module_settings import CheckedSettings
    from .submissions import Submission

# Stands for the schemas that a pattern names, wherever SQL says {{schema}}.
_ANY_SCHEMA = "any_schema"


def checked_bundle(name: str, submission: Submission, server_version: int) -> Bundle:
    """The bundle of what is submitted for the module ``name``. Takes a while for many files.

    Raises:
        Problem: module_invalid. MigrationFileError: with file, line and column.
    """
    schema = _schema_of(name, submission.settings)
    files = {filename: read_migration(filename, raw) for filename, raw in submission.files.items()}
    migrations = in_order(file for file in files.values() if is_migration_name(file.filename))
    if not migrations:
        raise Problem("module_invalid", f"There is no migration for module {name}: no file NAME.sql was sent.")
    check_versions(migrations, {migration.filename for migration in migrations})
    for file in (*migrations, *(file for file in files.values() if not is_migration_name(file.filename))):
        _check(file, schema, submission.settings, server_version)
    return Bundle(
        digest=digest_of(submission.settings, files.values()),
        settings=submission.settings,
        files={filename: raw.decode() for filename, raw in submission.files.items()},
    )


def _check(file: Migration, schema: str, settings: CheckedSettings, server_version: int) -> None:
    parsed = parse(file, schema, server_version)
    if settings.role is not None:
        check_stays_in_role(parsed)


def _schema_of(name: str, settings: CheckedSettings) -> str:
    if isinstance(settings.schemas, str):
        return _ANY_SCHEMA
    if settings.schemas is not None:
        return settings.schemas[0]
    try:
        check_schema(name)
    except SettingError as error:
        raise Problem(
            "module_invalid",
            f"schema: {error.reason}.",
            key="schema",
            hint="Without a schema, the module's name is that of its schema: name one.",
        ) from None
    return name
