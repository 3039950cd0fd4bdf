# ruff: noqa: PTH101, PTH116, PTH118, PTH120, PTH123
"""Turns itself into a PostgreSQL program that ends with its parent and does not run as root.

Run by path, ``python -I -S launch.py PARENT FOLDER PROGRAM ARGS...``: FOLDER is the directory that PROGRAM must own;
PARENT is ``PID`` or ``PID:DESCRIPTOR:WAY``, see :func:`die_with_parent`. The process id stays the same, because the
last step is ``execv``. A failure is reported in one line on stderr, with the exit code ``EXIT_REFUSED``. No pathlib or
typing here: importing them would double the time this takes.

PostgreSQL refuses to run as root, so there are two methods for root, tried in this order:

1. A user namespace in which root's id appears as ``nobody``. No file changes its owner, and a virtual environment in a
   folder that only root can enter still works.
2. If namespaces are refused (as in a container with default privileges), the real ``nobody``: it
   becomes the owner of FOLDER, and every folder on the way to it and to the binaries must be open to that account.

An ordinary user without an entry in the account database is run by the first method too, because initdb needs a name.
"""

from __future__ import annotations

import ctypes
import errno
import os
import pwd
import select
import signal
import stat
import sys
from collections.abc import Callable  # noqa: TC003

EXIT_REFUSED = 78

PLAIN = "plain"
MAPPED = "mapped"
NOBODY = "nobody"

BY_KERNEL = "kernel"
BY_PIPE = "pipe"

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_MOST_DESCRIPTORS = 65536


class RefusedError(Exception):
    """The program cannot be run; the text is one line for the user."""


def choose_account(euid: int, *, has_name: bool, can_map: Callable[[], bool]) -> str:
    """How to run for this user; ``can_map`` is called only if the answer matters."""
    if euid != 0 and has_name:
        return PLAIN
    if can_map():
        return MAPPED
    return NOBODY if euid == 0 else PLAIN


def _libc_call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, name):
        raise OSError(errno.ENOSYS, f"{name}: available only on Linux")
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def enter_user_namespace(uid: int, gid: int) -> None:
    """Make the current user and group appear as ``uid`` and ``gid``. A failure halfway through cannot be undone."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    _libc_call("unshare", _CLONE_NEWUSER)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {outer_uid} 1")
    _write("/proc/self/gid_map", f"{gid} {outer_gid} 1")


def can_enter_user_namespace(uid: int, gid: int) -> bool:
    """Tested in a child process: unshare may succeed where writing the maps is refused."""
    child = os.fork()
    if child == 0:
        try:
            enter_user_namespace(uid, gid)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _raise(error: OSError) -> None:
    raise error


def change_owner(folder: str, uid: int, gid: int) -> None:
    """Make ``uid`` the owner of ``folder`` and everything in it; of the folder itself last, so that an interrupted run
    is repeated."""
    if os.stat(folder).st_uid == uid:
        return
    for parent, folders, files in os.walk(folder, topdown=False, onerror=_raise):
        for name in folders + files:
            os.chown(os.path.join(parent, name), uid, gid, follow_symlinks=False)
    os.chown(folder, uid, gid)


def make_searchable(folder: str, gid: int) -> None:
    """Let group ``gid`` pass through ``folder``, without letting it list its content."""
    status = os.stat(folder)
    if status.st_mode & stat.S_IXOTH or (status.st_gid == gid and status.st_mode & stat.S_IXGRP):
        return
    os.chown(folder, -1, gid)
    os.chmod(folder, stat.S_IMODE(status.st_mode) & ~stat.S_IRWXG | stat.S_IXGRP)  # noqa: S103


def become_nobody(folder: str, uid: int, gid: int) -> None:
    try:
        change_owner(folder, uid, gid)
        make_searchable(os.path.dirname(folder), gid)
        os.setgroups([])
        # Called by root, they set the real, the effective and the saved id.
        os.setgid(gid)
        os.setuid(uid)
    except OSError as error:
        raise RefusedError(
            "PostgreSQL does not run as root, and this process may neither open a user namespace "
            f"nor become 'nobody' ({error.strerror}); run as an ordinary user, or set DATABASE_URL"
        ) from error


def switch_account(folder: str) -> None:
    euid = os.geteuid()
    try:
        pwd.getpwuid(euid)
        has_name = True
    except KeyError:
        has_name = False
    try:
        account = pwd.getpwnam("nobody")
        uid, gid = account.pw_uid, account.pw_gid
    except KeyError:
        if euid != 0:
            return
        raise RefusedError(
            "PostgreSQL does not run as root, and there is no account 'nobody' to run it as; "
            "run as an ordinary user, or set DATABASE_URL"
        ) from None
    way = choose_account(euid, has_name=has_name, can_map=lambda: can_enter_user_namespace(uid, gid))
    if way == MAPPED:
        try:
            change_owner(folder, euid, os.getegid())
        except OSError as error:
            raise RefusedError(
                f"{folder} belongs to another account, and its owner cannot be changed: {error.strerror}"
            ) from error
        enter_user_namespace(uid, gid)
    elif way == NOBODY:
        become_nobody(folder, uid, gid)


def check_access(folder: str, program: str) -> None:
    """Report in one line what PostgreSQL would report less clearly."""
    advice = "open the folders on the way to it, run as an ordinary user, or set DATABASE_URL"
    if not os.access(program, os.X_OK):
        raise RefusedError(f"user id {os.getuid()} cannot execute {program}: {advice}")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise RefusedError(f"user id {os.getuid()} cannot use {folder}: {advice}")


def die_with_parent(parent: int, pipe: int | None, way: str) -> None:
    """Arrange for this process to receive SIGINT when ``parent`` ends.

    ``BY_KERNEL`` uses a feature of the kernel that only Linux has. Elsewhere, and with ``BY_PIPE``, another process
    waits for the end of ``pipe``, whose other end only the parent has. It must come last: the kernel clears the setting
    whenever the credentials change, and the process that waits has to be allowed to send the signal.

    The signal has its default action until PostgreSQL installs a handler: Python's own handler would only record the
    signal, and ``execv`` would lose it.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        if way == BY_PIPE and pipe is not None:
            raise OSError(errno.ENOSYS, "not to be used")
        _libc_call("prctl", _PR_SET_PDEATHSIG, signal.SIGINT)
    except OSError:
        if pipe is None:
            raise
        start_watcher(pipe)
    if pipe is not None:
        os.close(pipe)
    if os.getppid() != parent:
        raise RefusedError("the process that started the server has exited")


def start_watcher(pipe: int) -> None:
    """Start a process that sends SIGINT to this one at the end of ``pipe``, and that ends with this one."""
    program = os.getpid()
    ours, programs = os.pipe()
    child = os.fork()
    if child == 0:
        # Not as a child of the program: PostgreSQL logs the end of a child that it did not start.
        if os.fork() == 0:
            os.close(programs)
            watch(pipe, ours, program)
        os._exit(0)
    os.waitpid(child, 0)
    os.close(ours)
    # Closed by the kernel when the program and its last child have ended.
    os.set_inheritable(programs, True)


def watch(pipe: int, alive: int, program: int) -> None:
    """Wait for the end of ``pipe`` or ``alive``; interrupt ``program`` if ``pipe`` has ended."""
    keep = sorted({0, 1, 2, pipe, alive})
    for lower, upper in zip(keep, [*keep[1:], _MOST_DESCRIPTORS], strict=True):
        os.closerange(lower + 1, upper)
    # Its standard streams are the log file, whose lock the next server needs.
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    ended, _, _ = select.select([pipe, alive], [], [])
    if alive not in ended:
        os.kill(program, signal.SIGINT)
    os._exit(0)


def main(arguments: list[str]) -> None:
    parent, folder, program = arguments[0].split(":"), arguments[1], arguments[2]
    try:
        switch_account(folder)
        check_access(folder, program)
        if len(parent) == 1:
            die_with_parent(int(parent[0]), None, BY_KERNEL)
        else:
            die_with_parent(int(parent[0]), int(parent[1]), parent[2])
        os.execv(program, arguments[2:])  # noqa: S606
    except RefusedError as refusal:
        sys.stderr.write(f"{refusal}\n")
    except OSError as error:
        sys.stderr.write(f"cannot start {program}: {error}\n")
    sys.exit(EXIT_REFUSED)


if __name__ == "__main__":
    main(sys.argv[1:])
