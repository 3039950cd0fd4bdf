"""schemathesis calls the service with what its OpenAPI document allows and with what it does not allow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ...conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

_HERE = Path(__file__).parent
_SAMPLES = ROOT / "migrations_repo"
_EXAMPLES_OF_EACH_CALL = os.environ.get("PGDBM_TEST_API_EXAMPLES", "2")

# Left out: that all valid data is accepted (most generated names are not modules), that all other data is refused (0 is
# read as false), Litestar's own answers to OPTIONS, and access, which has tests of its own.
_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "missing_required_header",
    "unsupported_method",
)


@pytest.mark.slow
def test_no_server_error_and_no_answer_that_is_not_documented(
    start: Callable[..., Any], repo: Any, tmp_path: Path
) -> None:
    shutil.copytree(_SAMPLES, repo.path, dirs_exist_ok=True)
    repo.write("broken", _001_a="CREATE TABEL x ()")
    service = start()
    answer = subprocess.run(
        [
            *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
            *("--config-file", str(_HERE / "schemathesis.toml"), "run", f"{service.url}/docs/openapi.json"),
            *("--checks", ",".join(_CHECKS), "--phases", "coverage,fuzzing", "-n", _EXAMPLES_OF_EACH_CALL),
            *("--continue-on-failure", "--no-color", "--suppress-health-check", "all", "--warnings", "off"),
            # A stream without an end; tests/service/overview follows it.
            *("--exclude-path", "/events"),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout[-8000:] + answer.stderr[-2000:]
    assert "generated" in answer.stdout
