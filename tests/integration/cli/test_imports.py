"""What a command does not load, because it does not need it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .project import DEADLINE_S, Project, environment

_NOT_FOR_NOTHING = {
    *("difflib", "importlib.resources", "msgspec", "postgast", "rich", "shutil", "structlog", "tempfile"),
    *("pgdbm.fixtures", "pgdbm.monitoring", "pgdbm.testing"),
    *(f"pgdbm.cli.{name}" for name in ("checks", "database", "dev", "fix", "importing", "init", "operations")),
    *(f"pgdbm.cli.{name}" for name in ("repair", "review", "schema")),
    *(
        f"pgdbm.migrations.{name}"
        for name in ("lint", "operations", "rehearsal", "sources.parser", "state.drift", "state.snapshots")
    ),
    *(f"pgdbm.migrations.engine.{name}" for name in ("blockers", "events", "execution_errors", "monitor", "planning")),
    *(f"pgdbm.migrations.engine.{name}" for name in ("script", "session")),
}
# What a few files without directives, errors and psql's commands do not need either.
_NOT_FOR_PLAIN_FILES = {
    *("difflib", "importlib.resources", "msgspec", "postgast", "rich", "shutil", "structlog", "tempfile"),
    *(f"pgdbm.pgparse.{name}" for name in ("first_words", "lock_modes", "long_values")),
    *(f"pgdbm.migrations.state.{name}" for name in ("changes", "drift")),
    *("pgdbm.migrations.engine.events", "pgdbm.migrations.engine.migration_plan", "pgdbm.migrations.sources.backfill"),
    *("pgdbm.migrations.sources.psql_commands", "pgdbm.migrations.lint", "pgdbm.migrations.operations"),
}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["migrate", "apply", "--help"], ["db", "--help"]])
def test_help_does_not_load_what_it_does_not_need(arguments: list[str]) -> None:
    probe = (
        "import sys\nfrom pgdbm.cli.app import run\n"
        f"code = run({arguments!r})\n"
        "heavy = {'asyncpg', 'asyncio', 'postgast', 'rich', 'tomllib', 'ssl'} & set(sys.modules)\n"
        "sys.exit(f'{code} {sorted(heavy)}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        # Measuring coverage loads some of these.
        env=environment(COVERAGE_PROCESS_CONFIG=""),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.stderr.strip() == "0 []"
    assert done.stdout


def test_nothing_pending_does_not_load_what_applies(project: Project) -> None:
    assert project.run("migrate", "apply").returncode == 0
    assert "up to date" in applied_without(project, _NOT_FOR_NOTHING)


def test_plain_files_do_not_load_what_other_files_need(project: Project) -> None:
    assert "1 applied" in applied_without(project, _NOT_FOR_PLAIN_FILES)


def applied_without(project: Project, unneeded: set[str]) -> str:
    """The output of `pgdbm migrate apply`, which loads none of ``unneeded``."""
    probe = (
        "import sys\nbefore = set(sys.modules)\nfrom pgdbm.cli.app import run\n"
        "code = run(['migrate', 'apply'])\n"
        f"unneeded = {unneeded!r} & (set(sys.modules) - before)\n"
        "sys.exit(f'{code} {sorted(unneeded)}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        cwd=project.folder,
        env=environment(**project.variables),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.stderr.strip() == "0 []"
    return done.stdout
