"""The commands of each example's README, run by a shell in a copy of its folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.docs.markdown import blocks
from tests.support.programs import free_port

from .conftest import DEADLINE_S, EXAMPLES

if TYPE_CHECKING:
    from pathlib import Path

# What the last command of each prints.
PRINTS = {
    "background_worker": "",
    "dual_mode_library": "",
    "multi_tenant": '[{"id":1,"title":"Rockets"}]',
    "shared_pool_monolith": "",
    "standalone_service": '"email":"ada@example.com"',
}
SERVE = """{python} -m uvicorn {application} --port {port} &
for attempt in $(seq 300); do curl -so /dev/null localhost:{port} && break; sleep 0.1; done"""


@pytest.mark.parametrize("name", PRINTS)
def test_the_commands_run(name: str, database: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    (block,) = blocks(EXAMPLES / name / "README.md", "sh")
    port = str(free_port())
    script = re.sub(r"postgresql://\S+", f"'{database}'", block.text).replace("localhost:8000", f"localhost:{port}")
    # test_dual_mode_library.py builds the package, and installs it.
    script = script.replace("pip install .\n", "")
    script = re.sub(
        r"^uvicorn (\S+) &$",
        lambda found: SERVE.format(python=sys.executable, application=found[1], port=port),
        script,
        flags=re.MULTILINE,
    )
    script = re.sub(r"^python ", f"{sys.executable} ", script, flags=re.MULTILINE)
    script = re.sub(r"^curl ", "curl -sS --fail-with-body ", script, flags=re.MULTILINE)
    # As in a terminal: with jobs, and the background ones end with it.
    script = f"set -em\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n{script}"
    packages = f"{folder / 'src'}:{os.environ['PYTHONPATH']}"
    output = tmp_path / "output"
    with output.open("w") as file:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": packages, "NO_PROXY": "*"},
            stdout=file,
            stderr=subprocess.STDOUT,
            timeout=2 * DEADLINE_S,
        )
    assert done.returncode == 0, output.read_text()
    assert PRINTS[name] in output.read_text()
    assert "Traceback" not in output.read_text(), output.read_text()


def test_every_example_is_run() -> None:
    """That of the service needs one: test_migrated_by_the_service.py."""
    folders = {entry.name for entry in EXAMPLES.iterdir() if (entry / "README.md").exists()}
    assert folders == {*PRINTS, "migrated_by_the_service"}
