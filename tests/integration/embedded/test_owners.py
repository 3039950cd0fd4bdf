"""The owner of a server, and what remains when it is killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pgdbm.embedded import EmbeddedPostgres, cluster, folder, launch, server
from pgdbm.errors import ConfigurationError
from pgdbm.errors import ConnectionError as ServerError

from .processes import DEADLINE_S, HOLD_A_SERVER, Script, is_gone, query, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the embedded server is for Linux")


def test_a_second_owner_is_refused_with_the_pid_of_the_first(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as postgres:
        with pytest.raises(ConfigurationError, match=f"process {os.getpid()}") as caught:
            EmbeddedPostgres(data_dir).start()
        assert str(data_dir) in str(caught.value)
        assert caught.value.details["owner_pid"] == os.getpid()
        assert query(postgres.dsn(), "SELECT 1") == 1


def test_a_second_owner_in_another_process_is_refused(data_dir: Path) -> None:
    with Script(HOLD_A_SERVER, data_dir) as first:
        pid, dsn = first.read_line().split()
        with pytest.raises(ConfigurationError, match=f"process {first.process.pid}:"):
            EmbeddedPostgres(data_dir).start()
        assert query(dsn, "SELECT 1") == 1
        first.say("stop")
        assert first.process.wait(DEADLINE_S) == 0
        assert is_gone(int(pid))
    with EmbeddedPostgres(data_dir):
        pass


def test_the_server_of_a_killed_owner_ends_and_frees_the_folder(data_dir: Path) -> None:
    with Script(HOLD_A_SERVER, data_dir) as first:
        pid, dsn = first.read_line().split()
        query(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
        first.kill()
        with EmbeddedPostgres(data_dir) as postgres:
            wait_until(lambda: is_gone(int(pid)), "the end of the first server")
            assert query(postgres.dsn(), "SELECT answer FROM kept") == 42


def test_the_server_of_a_killed_owner_stops(data_dir: Path) -> None:
    with Script(HOLD_A_SERVER, data_dir) as first:
        pid = int(first.read_line().split()[0])
        first.kill()
        wait_until(lambda: is_gone(pid), "the end of the server")
    assert not (data_dir / "pgdata" / "postmaster.pid").exists(), "it should have shut down in good order"


BY_PIPE = f"""
    from pgdbm.embedded import launch, spawn
    spawn.NOTICE_BY = launch.BY_PIPE
{HOLD_A_SERVER}"""


def watchers_of(pid: int) -> list[int]:
    """Processes of a launcher that did not become a server, in the session of the server ``pid``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_launcher = launch.__file__.encode() in (process / "cmdline").read_bytes()
            session = int((process / "stat").read_text().rpartition(")")[2].split()[3])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if is_launcher and session == pid:
            found.append(int(process.name))
    return found


def test_a_server_notices_by_a_pipe_that_its_owner_was_killed(data_dir: Path) -> None:
    with Script(BY_PIPE, data_dir) as first:
        pid, dsn = first.read_line().split()
        (watcher,) = watchers_of(int(pid))
        query(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
        first.kill()
        wait_until(lambda: is_gone(int(pid)), "the end of the server")
        wait_until(lambda: is_gone(watcher), "the end of its watcher")
    assert not (data_dir / "pgdata" / "postmaster.pid").exists(), "it should have shut down in good order"
    with EmbeddedPostgres(data_dir) as postgres:
        assert query(postgres.dsn(), "SELECT answer FROM kept") == 42


def test_the_watcher_ends_with_the_server_and_holds_no_lock(data_dir: Path) -> None:
    with Script(BY_PIPE, data_dir) as first:
        pid = int(first.read_line().split()[0])
        (watcher,) = watchers_of(pid)
        files = {str(one.readlink()) for one in Path(f"/proc/{watcher}/fd").iterdir()}
        assert not [name for name in files if str(data_dir) in name], "it would hold the lock of the folder"
        first.say("stop")
        assert first.process.wait(DEADLINE_S) == 0
        wait_until(lambda: is_gone(watcher), "the end of the watcher")


def test_a_fork_of_the_owner_does_not_keep_the_server_alive(data_dir: Path) -> None:
    body = """
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on forks beside threads
        from pathlib import Path
        from pgdbm.embedded import EmbeddedPostgres, launch, spawn
        spawn.NOTICE_BY = launch.BY_PIPE
        server = EmbeddedPostgres(Path(sys.argv[1])).start()
        child = os.fork()
        if child == 0:
            sys.stdin.readline()
            os._exit(0)
        print(server.pid, child, flush=True)
        sys.stdin.readline()
    """
    with Script(body, data_dir) as owner:
        pid, child = map(int, owner.read_line().split())
        owner.kill()
        try:
            wait_until(lambda: is_gone(pid), "the end of the server")
        finally:
            if not is_gone(child):
                os.kill(child, signal.SIGKILL)


def test_an_earlier_server_is_recognized_without_proc(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_PROC", data_dir / "missing")
    with Script(HOLD_A_SERVER, data_dir) as first:
        pid, dsn = first.read_line().split()
        assert folder._is_postgres(int(pid))
        assert not folder._is_postgres(os.getpid())
        query(dsn, "SELECT 1")
        first.kill()
        with EmbeddedPostgres(data_dir) as postgres:
            assert query(postgres.dsn(), "SELECT 1") == 1


def test_an_owner_killed_during_initdb_leaves_a_usable_folder(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with Script(HOLD_A_SERVER, data_dir) as first:
        wait_until(lambda: list(data_dir.glob("initdb-*/pgdata/global")), "initdb at work")
        first.kill()
        assert not (data_dir / "pgdata").exists()
        with EmbeddedPostgres(data_dir, durable=False) as postgres:
            assert query(postgres.dsn(), "SELECT 1") == 1
    assert not list(data_dir.glob("initdb-*"))


def test_the_server_outlives_the_thread_that_started_it(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir)
    starter = threading.Thread(target=postgres.start)
    starter.start()
    starter.join(DEADLINE_S)
    tid = starter.native_id
    wait_until(lambda: not Path(f"/proc/self/task/{tid}").exists(), "the end of the thread")
    try:
        # A server that is shutting down refuses connections within milliseconds.
        for _ in range(20):
            assert query(postgres.dsn(), "SELECT 1") == 1
            time.sleep(0.01)
    finally:
        postgres.stop()


def test_a_forked_child_cannot_stop_the_server_of_its_parent(data_dir: Path, seed: Path) -> None:
    body = """
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on forks beside threads
        from pathlib import Path
        from pgdbm.embedded import EmbeddedPostgres
        server = EmbeddedPostgres(Path(sys.argv[1])).start()
        child = os.fork()
        if child == 0:
            server.stop()
            with EmbeddedPostgres(Path(sys.argv[2])) as own:
                os._exit(0 if own.running else 1)
        print(os.waitpid(child, 0)[1], server.running, server.dsn(), flush=True)
        sys.stdin.readline()
        server.stop()
    """
    second = Path(shutil.copytree(seed, data_dir.with_name("second")))
    with Script(body, data_dir, second) as parent:
        status, running, dsn = parent.read_line().split()
        assert (status, running) == ("0", "True")
        assert query(dsn, "SELECT 1") == 1
        with pytest.raises(ConfigurationError, match=f"process {parent.process.pid}:"):
            EmbeddedPostgres(data_dir).start()


def test_a_recycled_pid_in_a_stale_pidfile_does_not_block(data_dir: Path) -> None:
    pidfile = data_dir / "pgdata" / "postmaster.pid"
    with Script(HOLD_A_SERVER, data_dir) as first:
        pid = int(first.read_line().split()[0])
        stale = pidfile.read_text().splitlines()
        first.kill()
        wait_until(lambda: is_gone(pid), "the end of the server")
    with Script("print('alive', flush=True); sys.stdin.readline()") as other_process:
        assert other_process.read_line() == "alive"
        pidfile.write_text("\n".join([str(other_process.process.pid), *stale[1:]]) + "\n")
        with EmbeddedPostgres(data_dir) as postgres:
            assert query(postgres.dsn(), "SELECT 1") == 1
        assert other_process.process.poll() is None


def test_a_server_started_by_hand_in_the_folder_is_not_stopped(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_EARLIER_SERVER_SECONDS", 0.2)
    pgdata = data_dir / "pgdata"
    port = server._free_port()
    program = str(cluster.binaries() / "postgres")
    command = [program, "-D", str(pgdata), "-h", "127.0.0.1", "-p", str(port), "-k", ""]
    launcher = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), str(pgdata)]
    foreign = subprocess.Popen([*launcher, *command], stderr=subprocess.DEVNULL)
    try:
        password = (data_dir / "password").read_text().strip()
        wait_until(lambda: b"ready" in read_bytes(pgdata / "postmaster.pid"), "the foreign server")
        with pytest.raises(ServerError, match=f"process {foreign.pid}") as caught:
            EmbeddedPostgres(data_dir).start()
        assert caught.value.details["pid"] == foreign.pid
        assert query(f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres", "SELECT 1") == 1
    finally:
        foreign.send_signal(signal.SIGINT)
        foreign.wait(DEADLINE_S)


def read_bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
