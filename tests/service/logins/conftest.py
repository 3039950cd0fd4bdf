"""A service whose operator has given modules database logins of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from pgdbm_service.settings import ModulePolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass
class Roles:
    """Creates roles for a test, which has to request this fixture before ``start``: roles are dropped after the service
    has stopped.

    Their names are unique in the server. ``files`` have their passwords."""

    sql: Callable[..., Any]
    database: str
    folder: Path
    watch: Any
    names: list[str] = field(default_factory=list)

    @property
    def suffix(self) -> str:
        return urlsplit(self.database).path.strip("/").removeprefix("test_")[:8]

    def make(self, kind: str, options: str = "LOGIN") -> str:
        """A role ``kind`` that may log in with a password of its own."""
        name = f"{kind}_{self.suffix}"
        self.sql(f"CREATE ROLE {name} {options}")
        self.names.append(name)
        self.set_password(name, f"the-password-of-{name}")
        return name

    def set_password(self, name: str, password: str) -> None:
        self.sql(f"ALTER ROLE {name} PASSWORD '{password}'")
        self.watch.plant("the password of a login", password)
        self.file(name).write_text(f"{password}\n")

    def file(self, name: str) -> Path:
        return self.folder / name

    def url(self, name: str) -> str:
        """The database as ``name``."""
        parts = urlsplit(self.database)
        password = self.file(name).read_text().strip()
        return urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.hostname}:{parts.port}"))

    def policy(self, name: str, *schemas: str) -> ModulePolicy:
        return ModulePolicy(schemas=schemas, login=name, password_file=self.file(name))

    def drop(self) -> None:
        for name in reversed(self.names):
            self.sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = $1", name)
            self.sql(f"REASSIGN OWNED BY {name} TO CURRENT_USER")
            self.sql(f"DROP OWNED BY {name}")
            self.sql(f"DROP ROLE {name}")


@pytest.fixture
def roles(sql: Callable[..., Any], database: str, tmp_path: Path, watch: Any) -> Iterator[Roles]:
    folder = tmp_path / "secrets"
    folder.mkdir()
    roles = Roles(sql, database, folder, watch)
    yield roles
    roles.drop()


@pytest.fixture
def service_user(roles: Roles, sql: Callable[..., Any]) -> str:
    """The URL of a database user that is not a superuser but may create schemas, as recommended for a service."""
    sql("DROP SCHEMA pgdbm_service CASCADE")
    name = roles.make("service")
    sql(f"GRANT CREATE ON DATABASE {urlsplit(roles.database).path.strip('/')} TO {name}")
    return roles.url(name)


@pytest.fixture
def billing(roles: Roles, sql: Callable[..., Any]) -> str:
    """A login with the schema ``billing``."""
    name = roles.make("billing")
    sql(f"CREATE SCHEMA billing AUTHORIZATION {name}")
    return name


@pytest.fixture
def with_logins(roles: Roles, service_user: str, billing: str, start: Callable[..., Any]) -> Any:
    """A service, not a superuser, that migrates ``billing*`` by the login, and every other module by its own user."""
    return start(
        database_url=service_user,
        module_policies={"billing*": roles.policy(billing, "billing*"), "*": ModulePolicy()},
        reconcile_s=1,
        metrics_sample_s=0.05,
    )
