"""Every block of every document is run, or accepted by the program that reads it: nothing is only text.

Commands and Python are run by ``test_consoles.py`` and ``test_python.py``, and by the tests of the importers and of the
examples. Here are settings, values of the chart, pipelines, queries, and the commands that need a cluster, an engine or
an index of packages.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import pytest
import yaml

import pgdbm
from pgdbm.embedded.cluster import binaries
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import parse
from pgdbm_service.api.common import ModuleSettings
from pgdbm_service.api.runs import MigrateBody
from pgdbm_service.api.webhooks import ALL_EVENTS
from pgdbm_service.registry.settings import checked
from pgdbm_service.settings import read_settings, unknown_variables
from tests.deploy.conftest import program
from tests.deploy.pipelines import GitHubJob

from .markdown import DOCS, README, ROOT, Block, blocks, documents
from .test_consoles import CONSOLES, RUNS

if TYPE_CHECKING:
    from collections.abc import Iterable

HOWTO = DOCS / "howto"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
HOOK = ROOT / "integrations" / "helm"
FLUX = ROOT / "integrations" / "flux" / "README.md"
DUMP = HOWTO / "start-from-a-dump.md"
MOVE = HOWTO / "move-from-each-tool.md"
EXAMPLES = ROOT / "examples"
APP = str(Path(str(pgdbm.__file__)).parents[1])
_SETTING = re.compile(r"([A-Z][A-Z0-9_]+)=(.*)")
# What other settings need: a setting is shown without those that another block of its page has.
BASE = {
    "DATABASE_URL": "postgresql://app:secret@db/shop",
    "PGDBM_AUTH": "jwt",
    "PGDBM_JWT_ISSUER": "https://login.example.com",
    "PGDBM_JWT_AUDIENCE": "pgdbm",
}
OF_OIDC = {"PGDBM_OIDC_CLIENT_ID": "pgdbm", "PGDBM_PUBLIC_ORIGIN": "https://pgdbm.example.com"}


def _lines(block: Block) -> list[str]:
    return [line for line in block.text.replace("\\\n", " ").splitlines() if line.strip() and line.strip()[0] != "#"]


def reader_of(block: Block) -> str:
    """What reads ``block``; empty if nothing does."""
    page, language = block.page, block.language
    if language in ("python", "py", "sql", "js", "text") or (language == "console" and page in CONSOLES):
        return "another test"
    if (
        page in (MOVE, DUMP)
        or (page == RUNS and language == "sh")
        or (page.parent.parent == EXAMPLES and language == "sh")
    ):
        return "another test"
    if page == README and "pip install" in block.text:
        return "pip"
    if language == "yaml":
        return _reader_of_yaml(block)
    if all(_SETTING.match(line) for line in _lines(block)):
        return "the settings"
    words = {line.removeprefix("$ ").split()[0] for line in _lines(block)}
    if words == {"helm"}:
        return "helm"
    if "docker" in block.text:
        return "docker"
    if language in ("console", "") and "pgdbm" in words:
        return "the command line"
    if "staticClients:" in block.text:
        return "yaml"
    if "# oauth2-proxy" in block.text:
        return "toml"
    return {"promql": "promtool", "json": "json", "toml": "module.toml", "ini": "ini"}.get(language, "")


def _reader_of_yaml(block: Block) -> str:
    if block.page == FLUX:
        return "flux"
    if block.page.parent == HOOK / "pgdbm-hook":
        return "the example chart"
    first = block.text.lstrip()
    if first.startswith("on:"):
        return "github"
    if first.startswith("include:"):
        return "gitlab"
    # The Job in deploy.md is run by test_consoles.py.
    return "another test" if first.startswith("apiVersion:") else "values"


EVERY = [block for page in documents() for block in blocks(page)]


def read_by(reader: str) -> Any:
    found = [block for block in EVERY if reader_of(block) == reader]
    assert found, reader
    return pytest.mark.parametrize("block", found, ids=str)


def test_every_block_has_a_reader() -> None:
    assert len(EVERY) > 250
    assert [str(block) for block in EVERY if not reader_of(block)] == []


def accepted(given: dict[str, str], folder: Path) -> None:
    """The service accepts the settings; a file that they name is there."""
    for name in re.findall(r"/run/secrets/([\w/-]+)", json.dumps(given)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("whsec_" + "QUJD" * 8)
    local = {name: value.replace("/run/secrets", str(folder)) for name, value in given.items()}
    if any(name.startswith("PGDBM_OIDC") for name in local):
        (folder / "secret").write_text("secret")
        local = OF_OIDC | {"PGDBM_OIDC_CLIENT_SECRET_FILE": str(folder / "secret")} | local
    base = BASE if local.get("PGDBM_AUTH", "jwt") == "jwt" else {"DATABASE_URL": BASE["DATABASE_URL"]}
    settings = base | local
    read_settings({**settings, "PGDBM_MIGRATIONS_REPO": str(folder)})
    assert list(unknown_variables(settings)) == []


@read_by("the settings")
def test_the_service_accepts_the_settings(block: Block, tmp_path: Path) -> None:
    given = dict(_SETTING.fullmatch(line).groups() for line in _lines(block))  # type: ignore[union-attr]
    if block.language == "sh":
        given = {name: shlex.split(value)[0] for name, value in given.items()}
    accepted({name: value for name, value in given.items() if not name.startswith("OTEL_")}, tmp_path)


@read_by("values")
def test_the_chart_accepts_the_values(block: Block, tmp_path: Path) -> None:
    values = yaml.safe_load(block.text)
    values.setdefault("database", {"existingSecret": "orders-database"})
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    command = [program("helm"), "template", "x", ROOT / "helm" / "pgdbm", "--values", tmp_path / "values.yaml"]
    done = subprocess.run(command, env={"HOME": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (deployment,) = [one for one in yaml.safe_load_all(done.stdout) if one and one["kind"] == "Deployment"]
    service = deployment["spec"]["template"]["spec"]["containers"][0]
    given = {one["name"]: one["value"] for one in service["env"] if "value" in one}
    for name in ("PGDBM_JWKS_CA_FILE", "PGDBM_JWKS_TOKEN_FILE"):
        if name in given:
            (tmp_path / name).touch()
            given[name] = str(tmp_path / name)
    accepted(given, tmp_path)


@read_by("helm")
def test_helm_accepts_the_commands(block: Block, tmp_path: Path) -> None:
    """Without a cluster: ``test_chart_install.py`` installs, and runs the test, on a substitute for one."""
    (tmp_path / "helm").symlink_to(ROOT / "helm")
    for values in blocks(block.page, "yaml"):
        if values.text.startswith("# values.yaml"):
            (tmp_path / "values.yaml").write_text(values.text)
    for line in _lines(block):
        words = shlex.split(line.removeprefix("$ "))[1:]
        assert words[0] in ("install", "test")
        words += ["--dry-run=client"] if words[0] == "install" else ["--help"]
        environment = {"HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none")}
        done = subprocess.run([program("helm"), *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def refusal(words: list[str]) -> str:
    """Why ``pgdbm`` does not accept these arguments; empty if it does. Options are parsed before --help ends it."""
    command = [sys.executable, "-m", "pgdbm_service", "pgdbm", *words, "--help"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": APP}, capture_output=True, text=True)
    return done.stderr if done.returncode else ""


def test_a_wrong_command_is_noticed() -> None:
    assert "No such option '--directory'" in refusal(["deploy", "orders", "--directory", "x"])
    assert "No such command 'undo'" in refusal(["migrate", "undo"])


def _pgdbm_words(lines: Iterable[str]) -> list[list[str]]:
    """The arguments of each call of pgdbm, also of one inside a container."""
    split = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [words[words.index("pgdbm") + 1 :] for words in split if "pgdbm" in words]


@read_by("the command line")
def test_pgdbm_accepts_the_arguments(block: Block) -> None:
    calls = _pgdbm_words(_lines(block))
    assert calls
    assert [refused for words in calls if (refused := refusal(words))] == []


@read_by("docker")
def test_docker_s_commands_name_what_there_is(block: Block) -> None:
    """``make image-test`` and ``make compose-test`` run the like with an engine."""
    for line in _lines(block):
        words = shlex.split(line.removeprefix("$ "), comments=True)
        variables = {word.partition("=")[0] for word in words[: words.index("docker")]} if "docker" in words else set()
        assert all(f"${{{name}:-" in (ROOT / "docker-compose.yml").read_text() for name in variables)
        if "compose" not in words:
            continue
        if "--profile" in words:
            profile = words[words.index("--profile") + 1]
            assert any(profile in one.get("profiles", []) for one in COMPOSE["services"].values())
        if "run" in words:
            assert words[-1] in COMPOSE["services"]
    calls = _pgdbm_words(line for line in _lines(block) if "docker run" in line)
    assert [refused for words in calls if (refused := refusal(words))] == []


@read_by("github")
def test_the_action_has_the_inputs(block: Block, tmp_path: Path) -> None:
    (job,) = yaml.safe_load(block.text)["jobs"].values()
    (step,) = [one for one in job["steps"] if "/integrations/github@" in one["uses"]]
    GitHubJob(step["with"], {}, tmp_path, {"event_name": "push"})


@read_by("gitlab")
def test_the_component_has_the_inputs(block: Block) -> None:
    (one,) = yaml.safe_load(block.text)["include"]
    component = next(yaml.safe_load_all((ROOT / "integrations/gitlab/templates/pgdbm.yml").read_text()))
    declared = component["spec"]["inputs"]
    required = {name for name, given in declared.items() if "default" not in given}
    assert required <= set(one["inputs"]) <= set(declared)


@read_by("the example chart")
def test_the_example_chart_has_the_lines(block: Block) -> None:
    """Whose hooks and init container the tests in ``tests/deploy`` run."""
    comment, *lines = block.text.splitlines()
    file = re.match(r"# ([\w./]+)", comment)
    assert file is not None
    written = {line.strip() for line in (HOOK / "example" / file[1]).read_text().splitlines()}
    assert {line.strip() for line in lines} <= written


@read_by("flux")
def test_flux_waits_longer_than_the_job(block: Block) -> None:
    values = yaml.safe_load((HOOK / "pgdbm-hook" / "values.yaml").read_text())
    objects = {one["metadata"]["name"]: one for one in yaml.safe_load_all(block.text)}
    for one in objects.values():
        minutes = int(one["spec"].get("timeout", "65m").removesuffix("m"))
        assert minutes * 60 > values["deadline"]
        assert all(needed["name"] in objects for needed in one["spec"].get("dependsOn", []))


@read_by("promtool")
def test_prometheus_reads_the_queries(block: Block, tmp_path: Path) -> None:
    rules = [{"record": f"a:{number}", "expr": query} for number, query in enumerate(_lines(block))]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "a", "rules": rules}]}))
    command = [program("promtool"), "check", "rules", str(tmp_path / "rules.yaml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    known = (DOCS / "reference" / "metrics.md").read_text()
    for name in set(re.findall(r"\bpgdbm_\w+", block.text)):
        assert re.sub(r"_(bucket|sum|count)$", "", name) in known, name


@read_by("json")
def test_the_service_reads_the_json(block: Block, tmp_path: Path) -> None:
    document = json.loads(block.text)
    if isinstance(document, list):
        accepted({"PGDBM_WEBHOOKS": json.dumps(document)}, tmp_path)
    elif "type" in document:
        assert document["type"] in ALL_EVENTS
    else:
        msgspec.json.decode(block.text, type=MigrateBody)


@read_by("module.toml")
def test_a_module_accepts_the_settings(block: Block) -> None:
    checked(msgspec.convert(tomllib.loads(block.text), ModuleSettings))


@read_by("ini")
def test_the_pooler_reads_the_settings(block: Block) -> None:
    read = configparser.ConfigParser()
    read.read_string(block.text)
    names = {one.strip() for one in read["pgbouncer"]["ignore_startup_parameters"].split(",")}
    of_compose = COMPOSE["services"]["pgbouncer"]["environment"]
    assert names <= set(of_compose["IGNORE_STARTUP_PARAMETERS"].split(","))
    assert read["pgbouncer"]["pool_mode"] == of_compose["POOL_MODE"]


@read_by("yaml")
def test_it_is_yaml(block: Block) -> None:
    assert "pgdbm-dashboard" in str(yaml.safe_load(block.text))


@read_by("toml")
def test_it_is_toml(block: Block) -> None:
    assert tomllib.loads(block.text)["upstreams"] == ["http://pgdbm:8000"]


@pytest.mark.slow
@read_by("pip")
def test_the_wheel_of_a_checkout_starts_the_service(block: Block, database: str, tmp_path: Path) -> None:
    """The commands of the README, with the packages that are installed here instead of those of an index."""
    (ROOT / ".cache").mkdir(exist_ok=True)
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (tmp_path / "migrations_repo" / "orders").mkdir(parents=True)
    (tmp_path / "migrations_repo" / "orders" / "001_a.sql").write_text("SELECT 1;\n")
    script = block.text.replace("postgresql://me:secret@db.example.com/shop", shlex.quote(database))
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    environment = {
        "PATH": f"{Path(sys.executable).resolve().parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
        "PGDBM_PORT": "0",
    }
    # The last command is the service: the packages that it needs are those of these tests.
    *first, last = script.splitlines()
    script = "\n".join(["set -e", *first, f"PYTHONPATH={packages} exec {last}"])
    with subprocess.Popen(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as service:
        try:
            assert service.stdout is not None
            said = next((line for line in service.stdout if re.search(r"serves http://127\.0\.0\.1:\d+", line)), None)
            assert said is not None
        finally:
            service.terminate()


def test_pg_dump_writes_a_migration(postgres_dsn: str, database: str, tmp_path: Path) -> None:
    (block,) = blocks(DUMP, "sh")
    server = urlsplit(database)
    environment = os.environ | {
        "PATH": f"{binaries()}:{os.environ['PATH']}",
        "PGHOST": str(server.hostname),
        "PGPORT": str(server.port),
        "PGUSER": str(server.username),
        "PGPASSWORD": str(server.password),
    }
    name = server.path.removeprefix("/")
    (tmp_path / "migrations").mkdir()
    made = f"psql -qc 'CREATE SCHEMA shop' -c 'CREATE TABLE shop.orders (id bigint)' {name}"
    script = f"set -e\n{made}\n" + block.text.replace(" shop >", f" {name} >")
    subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, check=True)
    text = (tmp_path / "migrations" / "001_shop.sql").read_bytes()
    assert b"CREATE TABLE shop.orders" in text
    assert parse(read_migration("001_shop.sql", text), "shop").statements
