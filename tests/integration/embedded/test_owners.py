"""Who owns a server, and what is left when its owner is killed."""

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

from pgdbm.embedded import EmbeddedPostgres, cluster, launch, server
from pgdbm.errors import ConfigurationError
from pgdbm.errors import ConnectionError as ServerError

from .processes import HOLD_A_SERVER, PATIENCE, Script, is_gone, query, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the embedded server is for Linux")


def test_second_owner_learns_who_is_first(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as postgres:
        with pytest.raises(ConfigurationError, match=f"process {os.getpid()}") as caught:
            EmbeddedPostgres(data_dir).start()
        assert str(data_dir) in str(caught.value)
        assert caught.value.details["owner_pid"] == os.getpid()
        assert query(postgres.dsn(), "SELECT 1") == 1


def test_second_owner_in_another_process(data_dir: Path) -> None:
    with Script(HOLD_A_SERVER, data_dir) as first:
        pid, dsn = first.hear().split()
        with pytest.raises(ConfigurationError, match=f"process {first.process.pid}:"):
            EmbeddedPostgres(data_dir).start()
        assert query(dsn, "SELECT 1") == 1
        first.say("stop")
        assert first.process.wait(PATIENCE) == 0
        assert is_gone(int(pid))
    with EmbeddedPostgres(data_dir):
        pass


def test_killed_owner_takes_its_server_along_and_blocks_nobody(data_dir: Path) -> None:
    with Script(HOLD_A_SERVER, data_dir) as first:
        pid, dsn = first.hear().split()
        query(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
        first.kill()
        with EmbeddedPostgres(data_dir) as postgres:
            wait_until(lambda: is_gone(int(pid)), "the end of the first server")
            assert query(postgres.dsn(), "SELECT answer FROM kept") == 42


def test_server_of_a_killed_owner_ends_by_itself(data_dir: Path) -> None:
    with Script(HOLD_A_SERVER, data_dir) as first:
        pid = int(first.hear().split()[0])
        first.kill()
        wait_until(lambda: is_gone(pid), "the end of the server")
    assert not (data_dir / "pgdata" / "postmaster.pid").exists(), "it should have shut down in good order"


def test_owner_killed_in_the_middle_of_initdb(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with Script(HOLD_A_SERVER, data_dir) as first:
        wait_until(lambda: list(data_dir.glob("initdb-*/pgdata/global")), "initdb at work")
        first.kill()
        assert not (data_dir / "pgdata").exists()
        with EmbeddedPostgres(data_dir, durable=False) as postgres:
            assert query(postgres.dsn(), "SELECT 1") == 1
    assert not list(data_dir.glob("initdb-*"))


def test_server_outlives_the_thread_that_started_it(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir)
    starter = threading.Thread(target=postgres.start)
    starter.start()
    starter.join(PATIENCE)
    tid = starter.native_id
    wait_until(lambda: not Path(f"/proc/self/task/{tid}").exists(), "the end of the thread")
    try:
        # Were the server told to stop, it would refuse connections within milliseconds.
        for _ in range(20):
            assert query(postgres.dsn(), "SELECT 1") == 1
            time.sleep(0.01)
    finally:
        postgres.stop()


def test_forked_child_cannot_stop_the_server_and_can_have_one_of_its_own(data_dir: Path, seed: Path) -> None:
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
        status, running, dsn = parent.hear().split()
        assert (status, running) == ("0", "True")
        assert query(dsn, "SELECT 1") == 1
        with pytest.raises(ConfigurationError, match=f"process {parent.process.pid}:"):
            EmbeddedPostgres(data_dir).start()


def test_recycled_pid_in_a_stale_pidfile_does_not_block(data_dir: Path) -> None:
    pidfile = data_dir / "pgdata" / "postmaster.pid"
    with Script(HOLD_A_SERVER, data_dir) as first:
        pid = int(first.hear().split()[0])
        stale = pidfile.read_text().splitlines()
        first.kill()
        wait_until(lambda: is_gone(pid), "the end of the server")
    with Script("print('alive', flush=True); sys.stdin.readline()") as bystander:
        assert bystander.hear() == "alive"
        pidfile.write_text("\n".join([str(bystander.process.pid), *stale[1:]]) + "\n")
        with EmbeddedPostgres(data_dir) as postgres:
            assert query(postgres.dsn(), "SELECT 1") == 1
        assert bystander.process.poll() is None


def test_foreign_server_in_our_folder_is_not_harmed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        foreign.wait(PATIENCE)


def read_bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
