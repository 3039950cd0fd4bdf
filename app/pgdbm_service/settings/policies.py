"""The policies of the operator for modules: their schemas, their role, and a database login of their own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from pgdbm.dsn import parse_dsn
from pgdbm.migrations.results import Blocked, PlanLimits, bytes_of
from pgdbm.text import sentence

from ..api.common import Approvals, Blockers, Windows
from .windows import check_windows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

VARIABLE = "PGDBM_MODULE_POLICIES"
_LONGEST_LOGIN = 63


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """A database user that modules are migrated by, instead of the service's.

    Its password is the content of ``password_file``, read for each connection, or in the variable
    ``password_variable``; without either, libpq's password file (PGPASSFILE) is used.
    """

    name: str
    password_file: Path | None = None
    password_variable: str | None = None


class ModulePolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy of the operator for modules: schemas, as globs, and the role that they must have.

    ``login``: the database user that they are migrated by, with the fields of :class:`Login`. ``max_rewrite``,
    ``max_blocked`` and ``findings`` limit what their files may do, in addition to the limits that they set themselves.
    ``windows``: when their runs may start; the module's own windows must be open, too.
    ``approvals``: what their runs need to start; a module can require more, but not less.
    ``blockers``: which sessions that block their migrations are ended; by default none.
    """

    schemas: tuple[str, ...] = ("*",)
    role: str | None = None
    login: str | None = None
    password_file: Path | None = None
    password_variable: str | None = None
    max_rewrite: str | None = None
    max_blocked: Blocked = "reads and writes"
    findings: Literal["allow", "refuse"] = "allow"
    windows: Windows | None = None
    approvals: Approvals | None = None
    blockers: Blockers | None = None

    @property
    def limits(self) -> PlanLimits:
        """What pending files may do."""
        size = None if self.max_rewrite is None else bytes_of(self.max_rewrite)
        return PlanLimits(size, self.max_blocked, self.findings)


def logins_of(policies: Mapping[str, ModulePolicy]) -> dict[str, Login]:
    """The logins in ``policies``, by name."""
    return {
        policy.login: Login(
            name=policy.login, password_file=policy.password_file, password_variable=policy.password_variable
        )
        for policy in policies.values()
        if policy.login is not None
    }


def problems_of(policies: Mapping[str, ModulePolicy], urls: Mapping[str, str | None]) -> Iterator[str]:
    """What is wrong with ``policies``, each problem as the part of a line that follows the name of the setting.

    ``urls``: the addresses of the database, by variable.
    """
    logins = logins_of(policies)
    for glob, policy in policies.items():
        for pattern in (glob, *policy.schemas):
            if "[" in pattern:
                yield f", {pattern!r}: only * and ? are wildcards."
        if policy.max_rewrite is not None:
            try:
                bytes_of(policy.max_rewrite)
            except ValueError as error:
                yield sentence(f", {glob!r}: max_rewrite: {error}")
        if policy.windows is not None:
            try:
                check_windows(policy.windows)
            except ValueError as error:
                yield sentence(f", {glob!r}: windows: {error}")
        blockers = policy.blockers
        if blockers is not None and blockers.action == "cancel" and blockers.idle_in_transaction_s is not None:
            yield f", {glob!r}: blockers: an idle session has nothing to cancel: use the action terminate."
        if policy.login is None:
            if policy.password_file is not None or policy.password_variable is not None:
                yield f", {glob!r}: a password without a login."
            continue
        yield from (f", {glob!r}: {problem}" for problem in _problems_of_login(policy, logins[policy.login]))
    if not logins:
        return
    for variable, url in urls.items():
        if url is not None and "service" in parse_dsn(url, variable).parameters:
            yield f": a login needs the address of the server in {variable}, which names a service instead."
    if urls.get("DATABASE_URL") is None:
        yield ": logins need DATABASE_URL; the embedded PostgreSQL has a single user."


def _problems_of_login(policy: ModulePolicy, login: Login) -> Iterator[str]:
    if not 0 < len(login.name.encode()) <= _LONGEST_LOGIN or "\0" in login.name:
        yield f"the name of a login must have 1 to {_LONGEST_LOGIN} bytes."
    if (policy.password_file, policy.password_variable) != (login.password_file, login.password_variable):
        yield f"another policy has the login {login.name} with a different password."
    if policy.password_file is not None and policy.password_variable is not None:
        yield "set password_file or password_variable, not both."
    if policy.password_file is not None and not policy.password_file.is_file():
        yield f"there is no file '{policy.password_file}'."
    if policy.password_variable is not None and not os.environ.get(policy.password_variable):
        yield f"the environment variable {policy.password_variable} is not set."
    if policy.password_file is None and policy.password_variable is None and os.environ.get("PGPASSWORD"):
        yield f"PGPASSWORD would be sent for the login {login.name}, too: name a password_file."
