"""Applying files with an engine of the module ``m``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import pgdbm
from pgdbm import AsyncMigrationManager

if TYPE_CHECKING:
    from pgdbm import AsyncDatabaseManager


async def apply(db: AsyncDatabaseManager, files: dict[str, str], **options: Any) -> dict[str, Any]:
    return await AsyncMigrationManager(db, files, "m", **options).apply_pending_migrations()


async def failure(db: AsyncDatabaseManager, files: dict[str, str], **options: Any) -> pgdbm.MigrationExecutionError:
    """The error of a statement in ``files``."""
    with pytest.raises(pgdbm.MigrationExecutionError) as caught:
        await apply(db, files, **options)
    return caught.value
