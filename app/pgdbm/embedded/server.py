"""Starting and stopping the server."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from pgdbm.embedded.cluster import SUPERUSER, binaries, ended_early, ensure_cluster
from pgdbm.embedded.folder import Folder
from pgdbm.embedded.spawn import Command, spawn
from pgdbm.errors import ConfigurationError, ConnectionError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_HOST = "127.0.0.1"
_EARLIER_SERVER_SECONDS = 20.0
_PORT_ATTEMPTS = 5
_POLL_SECONDS = 0.002
_QUIT_SECONDS = 10.0

_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_OURS = frozenset({"listen_addresses", "port", "unix_socket_directories", "data_directory", "logging_collector"})
_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


class _PortTakenError(Exception):
    pass


class EmbeddedPostgres:
    """A PostgreSQL server on 127.0.0.1, with a random password.

    ``data_dir`` is created if necessary. It contains ``pgdata/``, ``password`` (mode 0600), ``server.log`` and
    ``lock``, and can be used by one process at a time. With ``port`` None a free port is chosen at each start.
    ``settings`` are server settings by name. ``durable=False`` disables fsync and the like, for tests: the data does
    not survive a crash of the machine.

    The server stops when the process that started it ends, even if it is killed, but not when the thread that started
    it ends. After a fork the child can use the DSN, but not start or stop the server. Methods block, usually for
    milliseconds: use ``asyncio.to_thread`` in an event loop.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
    ) -> None:
        self._folder = Folder(Path(data_dir).resolve())
        self._fixed_port = port
        self._settings = _checked(settings or {})
        self._durable = durable
        self._mutex = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner_pid: int | None = None
        self._claim: int | None = None
        self._port: int | None = None
        self._password: str | None = None

    def __repr__(self) -> str:
        state = f"port={self._port}" if self.running else "stopped"
        return f"EmbeddedPostgres({str(self.data_dir)!r}, {state})"

    @property
    def data_dir(self) -> Path:
        return self._folder.path

    @property
    def host(self) -> str:
        return _HOST

    @property
    def port(self) -> int:
        """Raises ConnectionError before the start and after the stop."""
        return self._started()[0]

    @property
    def pid(self) -> int | None:
        """None while the server is not running."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def running(self) -> bool:
        return self.pid is not None

    def dsn(self, database: str = "postgres") -> str:
        """Includes the superuser's name and password. Raises ConnectionError before the start and after the stop."""
        port, password = self._started()
        return f"postgresql://{SUPERUSER}:{password}@{_HOST}:{port}/{quote(database, safe='')}"

    def start(self, *, timeout: float = 60.0) -> Self:
        """Start the server unless it is running, and return once it accepts connections.

        ``timeout`` in seconds is for the server alone, crash recovery included; the first start also creates the
        cluster. Raises ConfigurationError if the folder, the port or the installation is not usable, and
        ConnectionError, with the end of server.log, if the server gives up or is not ready in time.
        """
        with self._mutex:
            if self.running:
                return self
            self._release()
            binaries()
            self._claim = self._folder.claim()
            self._owner_pid = os.getpid()
            try:
                log = self._folder.open_log(_EARLIER_SERVER_SECONDS)
                try:
                    self._password = ensure_cluster(self._folder, log, durable=self._durable)
                    self._start_on_some_port(log, timeout)
                finally:
                    os.close(log)
            except BaseException:
                self._terminate(grace=0.0)
                self._release()
                raise
        return self

    def stop(self, *, timeout: float = 30.0) -> None:
        """Shut down: terminate all connections and write a checkpoint. Can be called more than once.

        A server that takes longer than ``timeout`` seconds is killed, and recovers at its next start.
        """
        with self._mutex:
            if self._owner_pid == os.getpid():
                self._terminate(grace=timeout)
            self._release()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _started(self) -> tuple[int, str]:
        if self._port is None or self._password is None:
            raise ConnectionError(f"The embedded PostgreSQL in {self.data_dir} is not running: call start().")
        return self._port, self._password

    def _start_on_some_port(self, log: int, timeout: float) -> None:
        port = self._fixed_port
        for _ in range(_PORT_ATTEMPTS):
            port = self._fixed_port if self._fixed_port is not None else _free_port()
            try:
                self._start_on(port, log, timeout)
            except _PortTakenError:
                if self._fixed_port is not None:
                    break
            else:
                self._port = port
                return
        raise ConfigurationError(
            f"Port {port} on {_HOST} is taken: choose another, or omit it to use a free one.",
            config_field="port",
            details={"port": port},
        )

    def _start_on(self, port: int, log: int, timeout: float) -> None:
        settings = {
            **({} if self._durable else _NOT_DURABLE),
            **self._settings,
            "listen_addresses": _HOST,
            "port": str(port),
            "unix_socket_directories": "",
        }
        arguments = ["-D", str(self._folder.pgdata)]
        for name, value in settings.items():
            arguments += ["-c", f"{name}={value}"]
        log_start = self._folder.log_size()
        deadline = time.monotonic() + timeout
        command = Command(binaries() / "postgres", tuple(arguments), self._folder.pgdata, log)
        self._process = process = spawn(command)
        while not self._folder.is_ready(process.pid):
            exit_code = process.poll()
            if exit_code is not None:
                if any("Address already in use" in line for line in self._folder.log_tail(log_start)):
                    raise _PortTakenError
                raise ended_early("PostgreSQL exited during startup", self._folder, exit_code, log_start)
            if time.monotonic() > deadline:
                tail = "\n".join(self._folder.log_tail(log_start))
                raise ConnectionError(
                    f"PostgreSQL was not ready after {timeout:g} s. {self._folder.log} ends with:\n{tail}",
                    details={"data_dir": str(self.data_dir)},
                )
            time.sleep(_POLL_SECONDS)

    def _terminate(self, *, grace: float) -> None:
        if self._process is None:
            return
        for number, seconds in ((signal.SIGINT, grace), (signal.SIGQUIT, _QUIT_SECONDS)):
            if seconds > 0 and self._process.poll() is None:
                self._process.send_signal(number)
                try:
                    self._process.wait(seconds)
                except subprocess.TimeoutExpired:
                    continue
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _release(self) -> None:
        self._process = None
        self._port = None
        self._password = None
        self._owner_pid = None
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None


def _checked(settings: Mapping[str, str]) -> dict[str, str]:
    for name in settings:
        if not _SETTING_NAME.fullmatch(name):
            raise ConfigurationError(f"{name!r} is not the name of a server setting.", config_field="settings")
        if name.lower() in _OURS:
            raise ConfigurationError(
                f"The embedded PostgreSQL sets {name} itself: remove it from the settings.",
                config_field="settings",
            )
    return {name.lower(): value for name, value in settings.items()}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((_HOST, 0))
        port: int = listener.getsockname()[1]
        return port
