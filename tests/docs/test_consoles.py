"""The commands of README, tutorial and how-to are run, in the order of the page, and answer as the page shows."""

from __future__ import annotations

import re
import shlex
import shutil
from typing import TYPE_CHECKING

import kubernetes_validate
import pytest
import yaml

from pgdbm import MigrationFileError
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import parse

from .console import SHOWN_ADDRESS, Terminal, commands, targets
from .markdown import DOCS, README, ROOT, TUTORIAL, Block, blocks, documents
from .shown import compare
from .shown import parse as parse_shown

if TYPE_CHECKING:
    from pathlib import Path

DEPLOY = DOCS / "howto" / "deploy.md"
OPERATE = DOCS / "howto" / "operate-over-http.md"
SECURE = DOCS / "howto" / "secure-the-service.md"
RUNS = DOCS / "howto" / "runs.md"
PIPELINE = DOCS / "howto" / "deploy-from-a-pipeline.md"
APPROVE = DOCS / "howto" / "approve-migrations.md"
FREEZE = DOCS / "howto" / "freeze-and-windows.md"
REGISTER = DOCS / "howto" / "register-over-http.md"
WEBHOOKS = DOCS / "howto" / "webhooks.md"
BLOCKERS = DOCS / "howto" / "end-blocking-sessions.md"

RUNBOOKS = DOCS / "runbooks" / "README.md"
OPERATING = (BLOCKERS, FREEZE, OPERATE, PIPELINE, REGISTER, RUNS, WEBHOOKS)
SECURING = (SECURE, APPROVE)
# The pages whose console blocks are run here, or by the tests of the importers.
CONSOLES = frozenset({README, RUNBOOKS, TUTORIAL, *OPERATING, *SECURING, DOCS / "howto" / "move-from-each-tool.md"})

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="the documents call curl, and there is none")


@needs_curl
def test_readme_and_the_init_job(database: str, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, DATABASE_URL=database)
    try:
        for block in blocks(README, "console"):
            terminal.run(block)
        call = _command_of_the_init_job().replace("http://pgdbm:8000", SHOWN_ADDRESS)
        # The commands of the README have migrated every module.
        text = f'$ {call}\n{{"module":"orders","status":"up_to_date",…}}\n'
        terminal.run(Block(DEPLOY, 0, "console", text, None))
        (block,) = blocks(RUNBOOKS, "console")
        terminal.run(block)
    finally:
        terminal.close()


def _command_of_the_init_job() -> str:
    documents = [document for block in blocks(DEPLOY, "yaml") for document in yaml.safe_load_all(block.text)]
    (job,) = [document for document in documents if "apiVersion" in document]
    kubernetes_validate.validate(job, "1.34", strict=True)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return shlex.join(container["command"])


@needs_curl
@pytest.mark.slow
def test_tutorial(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    try:
        for block in blocks(TUTORIAL, "console"):
            terminal.run(block)
    finally:
        terminal.close()
    assert not (tmp_path / "migrations_repo" / "notes").exists()


@needs_curl
@pytest.mark.parametrize("page", OPERATING, ids=lambda page: page.stem)
def test_operating(database: str, tmp_path: Path, page: Path) -> None:
    terminal = Terminal(tmp_path, forks=True, DATABASE_URL=database)
    try:
        for block in blocks(page, "console"):
            terminal.run(block)
    finally:
        terminal.close()


@needs_curl
def test_curl_waits_for_the_end_of_a_run(database: str, tmp_path: Path) -> None:
    """The two scripts of the page, after its first block: the first one migrates, the second one finds it done."""
    terminal = Terminal(tmp_path, forks=True, DATABASE_URL=database)
    try:
        terminal.run(blocks(RUNS, "console")[0])
        waiting, streaming = blocks(RUNS, "sh")
        for block, shown in ((waiting, ""), (streaming, "event: result\n")):
            script = block.text.replace("\\\n", "").strip()
            terminal.run(Block(RUNS, block.line, "console", f"$ {script}\n{shown}", None))
        assert '"status":"success"' in (tmp_path / "answer.json").read_text()
    finally:
        terminal.close()


@needs_curl
@pytest.mark.parametrize("page", SECURING, ids=lambda page: page.stem)
def test_securing(database: str, tmp_path: Path, page: Path) -> None:
    terminal = Terminal(tmp_path, forks=True, DATABASE_URL=database, PGDBM_AUTH="tokens")
    try:
        for block in blocks(page, "console"):
            terminal.run(block)
    finally:
        terminal.close()


def test_every_target_that_a_document_names_exists() -> None:
    named = {
        (page.name, name)
        for page in documents()
        for name in re.findall(r"(?:^\$ |`)make ([a-z][a-z-]*)", page.read_text(), re.MULTILINE)
    }
    assert ("README.md", "run") in named
    assert {one for one in named if one[1] not in targets()} == set()


# A call of curl up to the end of its line, with its continuation lines.
_CURL = re.compile(r"\bcurl\b(?:[^\n]*\\\n)*[^\n]*")
_MIGRATES = re.compile(r"/migrate\b(?!/)")


def _in_doubt(text: str) -> list[str]:
    """The calls of curl in ``text`` that migrate, and may exit with 0 before the migration has succeeded."""
    return [
        call
        for call in _CURL.findall(text)
        if _MIGRATES.search(call)
        and not ("require_done=true" in call and ("--fail-with-body" in call or "%{http_code}" in call))
        and not ("text/event-stream" in call and "| grep '^event: result'" in call)
        # These say that they do not wait, or that they change nothing.
        and "respond-async" not in call
        and "dry_run" not in call
    ]


def test_a_migrate_with_curl_fails_unless_it_has_ended() -> None:
    suffixes = {".md", ".yaml", ".yml", ".txt", ".html", ".sh", ".py"}
    folders = [ROOT / name for name in ("app", "docs", "examples", "helm", "integrations")]
    found = [path for folder in folders for path in folder.rglob("*") if path.suffix in suffixes]
    pages = [page for page in {*found, *documents()} if "static" not in page.parts]
    assert {f"{page.relative_to(ROOT)}: {call}" for page in pages for call in _in_doubt(page.read_text())} == set()


@pytest.mark.parametrize(
    "call",
    [
        "curl -X POST http://127.0.0.1:8000/migrate",
        "curl -X POST 'http://127.0.0.1:8000/modules/m/migrate?require_done=true'",
        "curl --fail-with-body \\\n  -X POST http://127.0.0.1:8000/modules/m/migrate",
        "curl -X POST -H 'Accept: text/event-stream' http://127.0.0.1:8000/modules/m/migrate | tee events",
    ],
)
def test_a_migrate_that_may_not_have_ended_is_found(call: str) -> None:
    assert _in_doubt(f"$ {call}\n") == [call]


def test_the_mistake_that_the_readme_shows() -> None:
    (shown,) = blocks(README, "text")
    text = "CREATE INDEX i ON {{tables.a}} (id);\nCREATE INDEX CONCURRENTLY ON {{tables.a}} (id);"
    with pytest.raises(MigrationFileError) as caught:
        parse(read_migration("002_index.sql", text.encode()), "app")
    assert str(caught.value).split() == shown.text.split()


def test_a_console_block_becomes_commands() -> None:
    text = "$ cat > a <<'EOF'\n$ not a command\nEOF\n$ cat a\n$ not a command\n^C\n"
    # Output that looks like a command is treated as one: a document must not show any.
    assert commands(text) == [
        ("cat > a <<'EOF'\n$ not a command\nEOF", []),
        ("cat a", []),
        ("not a command", []),
        ("^C", []),
    ]


@pytest.mark.parametrize(
    ("shown", "real", "fits"),
    [
        ('{"a":1,…}', {"a": 1, "b": 2}, True),
        ('{"a":1}', {"a": 1, "b": 2}, False),
        ('{"a":1,"c":3,…}', {"a": 1, "b": 2}, False),
        ('{"a":[1,…]}', {"a": [1, 2]}, True),
        ('{"a":[1]}', {"a": [1, 2]}, False),
        ('{"a":"x…"}', {"a": "xyz"}, True),
        ('{"a":"y…"}', {"a": "xyz"}, False),
        ('{"a":"\\"…"}', {"a": '"…'}, True),
        ('{"took_ms":1}', {"took_ms": 2}, True),
        ('{"took_ms":1}', {"took_ms": None}, False),
    ],
)
def test_expected_output_may_leave_lines_out(shown: str, real: object, fits: bool) -> None:
    if fits:
        compare(parse_shown(shown), real)
    else:
        with pytest.raises(AssertionError):
            compare(parse_shown(shown), real)
