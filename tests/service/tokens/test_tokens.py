"""Tokens: created over HTTP or on the command line, used, expired, revoked."""

from __future__ import annotations

import hashlib
import re
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from pgdbm_service.__main__ import main

from ...conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import httpx2


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def code_of(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def test_a_token_is_created_used_and_revoked(
    start: Callable[..., Any], sql: Callable[..., Any], make_token: Any, eventually: Callable[..., Any]
) -> None:
    service, other = start(auth="tokens"), start(auth="tokens")
    admin = bearer(make_token("admin", name="root"))
    body = {"name": "ci/orders", "scopes": ["read", "migrate:orders", "read"], "expires": "12h"}
    answer = service.post("/tokens", headers=admin, json=body)
    assert answer.status_code == 201
    made = answer.json()
    assert made["scopes"] == ["read", "migrate:orders"]
    assert (made["state"], made["created_by"], made["last_used_at"]) == ("active", "token:root", None)
    token = made.pop("token")
    headers = bearer(token)

    stored = sql("SELECT * FROM pgdbm_service.tokens WHERE id = $1", made["id"])[0]
    assert stored["digest"] == hashlib.sha256(token.encode()).digest()
    assert token not in repr(stored)

    for one in (service, other):
        assert one.get("/modules", headers=headers).status_code == 200
    listed = eventually(lambda: [item for item in _tokens(service, admin) if item["last_used_at"]])
    assert {item["name"] for item in _tokens(service, admin)} == {"root", "ci/orders"}
    assert made["id"] in {item["id"] for item in listed}

    assert code_of(service.post("/tokens", headers=admin, json=body)) == (409, "token_exists")
    revoked = service.client.delete(f"/tokens/{made['id']}", headers=admin).json()
    assert (revoked["state"], revoked["revoked_by"]) == ("revoked", "token:root")
    # On this replica immediately, on others after a moment.
    assert code_of(service.get("/modules", headers=headers)) == (401, "unauthenticated")
    eventually(lambda: other.get("/modules", headers=headers).status_code == 401)
    # Revoking again changes nothing, and the name is free.
    assert service.client.delete(f"/tokens/{made['id']}", headers=admin).json() == revoked
    assert service.post("/tokens", headers=admin, json=body).status_code == 201
    assert code_of(service.client.delete("/tokens/nothing", headers=admin)) == (404, "token_unknown")
    # A name is not an id over HTTP.
    assert service.client.delete("/tokens/root", headers=admin).status_code == 404


def _tokens(service: Any, headers: dict[str, str]) -> Any:
    return service.get("/tokens", headers=headers).json()["items"]


@pytest.mark.settings(auth="tokens", auth_failures_per_minute=10000)
def test_an_expired_token_is_refused(service: Any, sql: Callable[..., Any], make_token: Any) -> None:
    admin, late = bearer(make_token("admin")), make_token("admin", name="late")
    sql("UPDATE pgdbm_service.tokens SET expires_at = now() WHERE name = 'late'")
    assert code_of(service.get("/modules", headers=bearer(late))) == (401, "unauthenticated")
    assert [one["state"] for one in _tokens(service, admin) if one["name"] == "late"] == ["expired"]
    forever = make_token("read", name="forever", expires="never")
    assert service.get("/modules", headers=bearer(forever)).status_code == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "a b"),
        ("name", "x" * 101),
        ("name", "x\x00"),
        ("scopes", ["write"]),
        ("scopes", ["migrate:"]),
        ("scopes", ["migrate:[a]"]),
        ("scopes", ["admin:x"]),
        ("scopes", ["read\n"]),
        ("expires", "90"),
        ("expires", "0d"),
        ("expires", "soon"),
        ("expires", "99999w"),
    ],
)
def test_an_invalid_token_request_is_refused(service: Any, field: str, value: Any) -> None:
    body = {"name": "x", "scopes": ["read"]} | {field: value}
    answer = service.post("/tokens", json=body)
    assert code_of(answer) == (400, "invalid_request")
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert _tokens(service, {}) == []


def test_tokens_are_paged(service: Any) -> None:
    for number in range(5):
        assert service.post("/tokens", json={"name": f"t{number}", "scopes": ["read"]}).status_code == 201
    names, after = [], ""
    while after is not None:
        page = service.get(f"/tokens?limit=2{after and f'&next={after}'}").json()
        names += [one["name"] for one in page["items"]]
        after = page["next"]
        assert (page["total"], page["total_is_capped"]) == (5, False)
    assert names == ["t4", "t3", "t2", "t1", "t0"]
    assert code_of(service.get("/tokens?next=x")) == (400, "invalid_request")


@pytest.fixture
def command(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], watch: Any
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """``command(*arguments)`` is ``python -m pgdbm_service token …`` in this process: its exit code, stdout, stderr."""
    logging_of_others = structlog.get_config()
    monkeypatch.setenv("DATABASE_URL", database)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pgdbm_service", "token", *arguments])
        # A service in this process logs, too.
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        watch.see("output", out + err)
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    yield run
    structlog.configure(**logging_of_others)


def test_the_command_line_creates_the_first_token(
    launch: Callable[..., Any], command: Any, start: Callable[..., Any], database: str, watch: Any
) -> None:
    made = launch("-m", "pgdbm_service", "token", "create", "root", "--scope", "admin", DATABASE_URL=database)
    assert made.wait() == 0, made.err
    # Alone on a line, so that a shell can read it.
    token = made.out.strip()
    watch.plant("a token", token)
    assert re.fullmatch(r"pgdbm_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", token)
    service = start(auth="tokens")
    assert service.get("/modules", headers=bearer(token)).status_code == 200

    code, _, err = command("create", "root", "--scope", "admin")
    assert (code, err.count("\n")) == (1, 1)
    assert "root" in err
    for wrong in (("--scope", "all"), ("--scope", "read", "--expires", "3"), ()):
        code, _, err = command("create", "x", *wrong)
        assert code == 2
        assert err
    code, out, _ = command("list")
    assert code == 0
    assert re.search(r"root +active .* admin", out)
    assert token not in out
    assert command("revoke", "root")[0] == 0
    assert command("revoke", "root")[0] == 1
    assert re.search(r"root +revoked", command("list")[1])


def test_the_command_line_finds_the_commands_of_installed_packages(
    launch: Callable[..., Any], tmp_path: Path, database: str
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    added = project["entry-points"]["pgdbm.commands"]
    info = tmp_path / "site" / "added-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: added\nVersion: 1.0\n")
    lines = [f"{name} = {where}\n" for name, where in added.items()]
    (info / "entry_points.txt").write_text(f"[pgdbm.commands]\n{''.join(lines)}")
    app = str(ROOT / "app")

    def run(*arguments: str, paths: Sequence[str]) -> Any:
        process = launch("-m", "pgdbm.cli", *arguments, DATABASE_URL=database, PYTHONPATH=":".join(paths))
        process.wait()
        return process

    both = (app, str(tmp_path / "site"))
    assert re.search(r"^  token +Create, list and revoke tokens", run("--help", paths=both).out, re.MULTILINE)
    assert run("token", "create", "x", "--scope", "read", "--json", paths=both).popen.returncode == 0
    assert "'nothing'" in run("nothing", paths=both).err


def test_the_command_line_is_in_the_audit(command: Any, sql: Callable[..., Any]) -> None:
    assert command("create", "ci", "--scope", "read")[0] == 0
    assert command("create", "ci", "--scope", "read")[0] == 1
    assert command("revoke", "ci")[0] == 0
    entries = sql("SELECT principal, address, method, path, http_status FROM pgdbm_service.audit ORDER BY id")
    assert [tuple(entry) for entry in entries] == [
        ("command line", "local", "POST", "/tokens", 201),
        ("command line", "local", "DELETE", "/tokens/{token_id}", 200),
    ]
