"""The connection strings of hosted databases and of psql, given to the service."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.support.waiting import eventually

from ..running_service import http_get

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    "query", ["channel_binding=prefer&connect_timeout=10", "gssencmode=disable&keepalives=1&load_balance_hosts=random"]
)
def test_parameters_of_libpq(fork: Callable[..., Any], database: str, query: str) -> None:
    service = fork(DATABASE_URL=urlunsplit(urlsplit(database)._replace(query=query)))
    ready = f"{service.url()}/health/ready"
    eventually(lambda: http_get(ready).status_code == 200)


def test_a_password_file_that_a_group_may_read(fork: Callable[..., Any], database: str, tmp_path: Path) -> None:
    """Like a Secret that Kubernetes mounts with fsGroup. No warning is in plain text in a log of JSON."""
    parts = urlsplit(database)
    file = tmp_path / "pgpass"
    file.write_text(f"*:*:*:*:{parts.password}\n")
    file.chmod(0o640)
    without = urlunsplit(parts._replace(netloc=f"{parts.username}@{parts.hostname}:{parts.port}"))
    service = fork(DATABASE_URL=without, PGPASSFILE=str(file), PGDBM_LOG_FORMAT="json")
    ready = f"{service.url()}/health/ready"
    eventually(lambda: http_get(ready).status_code == 200)
    for line in service.err.splitlines():
        json.loads(line)
