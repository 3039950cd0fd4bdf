"""The account that the server runs under."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from pgdbm.embedded import EmbeddedPostgres, cluster, launch
from pgdbm.errors import ConfigurationError

from .processes import HOLD_A_SERVER, Script, is_gone, query, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the embedded server is for Linux")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to change the user")
def test_an_ordinary_user_runs_the_server_as_itself(open_folder: Path) -> None:
    probe = "from pgdbm import embedded; embedded.cluster.binaries(); print('fine')"
    ours = open_folder / "ours"
    ours.mkdir()
    os.chown(ours, 65534, 65534)
    options: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/"}
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        try:
            with Script(probe, python=python, **options) as reach:
                reachable = reach.read_line() == "fine"
        except OSError:
            continue
        if reachable:
            break
    else:
        pytest.skip("no Python with our packages that 'nobody' can reach")
    with Script(HOLD_A_SERVER, ours / "data", python=python, **options) as owner:
        pid, dsn = owner.read_line().split()
        assert query(dsn, "SELECT 1") == 1
        assert Path(f"/proc/{pid}").stat().st_uid == 65534
        owner.kill()
        wait_until(lambda: is_gone(int(pid)), "the end of the server")


WITHOUT_NAMESPACES = """
    import ctypes, os
    from pathlib import Path
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000) != 0:
        print("refused", flush=True)
        sys.exit()
    print("unshared", flush=True)
    sys.stdin.readline()
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    from pgdbm.embedded import EmbeddedPostgres
    server = EmbeddedPostgres(Path(sys.argv[1]))
    try:
        server.start()
    except Exception as error:
        print(type(error).__name__, error, flush=True)
        sys.exit()
    print(server.pid, server.dsn(), flush=True)
    sys.stdin.readline()
    server.stop()
"""


def enter_namespace_without_namespaces(script: Script) -> None:
    """Root over all ids, in a user namespace that allows no further ones: which is equivalent to a container for these
    tests."""
    if script.read_line() != "unshared":
        pytest.skip("user namespaces are refused here, so the fallback is what all other tests ran on")
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{script.process.pid}/{name}").write_text("0 0 65536")
    script.say("mapped")


@pytest.mark.skipif(os.geteuid() != 0, reason="the fallback is for root")
def test_root_without_namespaces_runs_as_nobody(open_folder: Path) -> None:
    data_dir = open_folder / "data"
    with Script(WITHOUT_NAMESPACES, data_dir) as owner:
        enter_namespace_without_namespaces(owner)
        answer = owner.read_line()
        if "cannot execute" in answer:
            pytest.skip("the binaries are where 'nobody' cannot reach them")
        pid, dsn = answer.split()
        assert query(dsn, "CREATE TABLE kept AS SELECT 42 AS answer") is None
        assert Path(f"/proc/{pid}").stat().st_uid == 65534
        assert (data_dir / "password").stat().st_uid == 0
        assert data_dir.stat().st_mode & 0o777 == 0o710
        owner.kill()
        wait_until(lambda: is_gone(int(pid)), "the end of the server")
    # Once namespaces are allowed again, the owner of the files changes back.
    with EmbeddedPostgres(data_dir) as postgres:
        assert query(postgres.dsn(), "SELECT answer FROM kept") == 42


@pytest.mark.skipif(os.geteuid() != 0, reason="the fallback is for root")
def test_root_without_namespaces_in_a_closed_folder_gets_the_reason(open_folder: Path) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    with Script(WITHOUT_NAMESPACES, closed / "data") as owner:
        enter_namespace_without_namespaces(owner)
        answer = owner.read_line()
    assert answer.startswith("ConfigurationError")
    assert "user id 65534 cannot" in answer
    assert "DATABASE_URL" in answer


def test_a_call_that_only_linux_has_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="available only on Linux"):
        launch._libc_call("no_such_call")


def test_windows_is_refused() -> None:
    body = """
        import pgdbm
        sys.platform = "win32"
        try:
            import pgdbm.embedded
        except pgdbm.ConfigurationError as error:
            print(error, flush=True)
    """
    with Script(body) as program:
        message = program.read_line()
    assert "does not run on Windows" in message
    assert "DATABASE_URL" in message


def test_alpine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGDBM_POSTGRES_BIN", raising=False)
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(cluster.sysconfig, "get_config_var", lambda name: "x86_64-pc-linux-musl")
    with pytest.raises(ConfigurationError, match=r"no binaries for Alpine.*DATABASE_URL"):
        cluster.binaries.__wrapped__()
