"""A project on a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .project import Project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path, database: str) -> Project:
    return Project(tmp_path, database)
