"""Folders for embedded servers."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgdbm.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped cluster to copy, since initdb is what takes the time."""
    data_dir = tmp_path_factory.mktemp("seed") / "data"
    with EmbeddedPostgres(data_dir, durable=False):
        pass
    return data_dir


@pytest.fixture
def data_dir(seed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(seed, tmp_path / "data"))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any account can enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
