"""The database user of each module: its own login if the operator has given it one, otherwise the service's user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..database.sql import statement
from ..errors import ServiceError
from .history_tables import Reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pgdbm.core.manager import AsyncDatabaseManager

    from ..database.pool import Database
    from ..registry.policies import ModulePolicies

ModuleSchema = tuple[str, str]
"""A module's name and a schema."""


class ModuleDatabases:
    """Managers on the connections of a module's user.

    A login's tables are read only by that login, because reading can execute functions of a table's owner.
    """

    def __init__(self, database: Database, policies: ModulePolicies) -> None:
        self.policies = policies
        self.with_timeout = database.with_timeout
        self._database = database

    def of(self, module: str, schema: str = "public") -> AsyncDatabaseManager:
        """The manager of ``schema`` for the module of this name.

        Raises:
            ServiceError: database_unavailable, before the first connection.
        """
        return self._database.manager(schema, login=self.policies.login_of(module))

    @property
    def everywhere(self) -> Reader:
        """Reads the histories of all schemas, except those of logins."""
        return Reader(self._database.manager(), self._database.login_names)

    def reader(self, module: str) -> Reader:
        """Reads the histories of the module of this name."""
        return self._reader(self.policies.login_of(module))

    def grouped(self, keys: Iterable[ModuleSchema]) -> Iterator[tuple[Reader, list[ModuleSchema]]]:
        """``keys`` without duplicates, grouped by the reader of their histories."""
        groups: dict[str | None, list[ModuleSchema]] = {}
        for key in dict.fromkeys(keys):
            groups.setdefault(self.policies.login_of(key[0]), []).append(key)
        for login, some in groups.items():
            yield self._reader(login), some

    def _reader(self, login: str | None) -> Reader:
        return self.everywhere if login is None else Reader(self._database.manager(login=login), is_login=True)

    async def require_own_schema(self, module: str, schema: str) -> None:
        """Refuse to migrate a module as the service's database user in a schema that a login owns or can own.

        Raises:
            ServiceError: policy_violated.
        """
        logins = self._database.login_names
        if not logins or self.policies.login_of(module) is not None:
            return
        owner = await self._database.manager().fetch_value(statement("histories", "login_of_schema"), schema, logins)
        if owner is not None:
            raise ServiceError(
                "policy_violated",
                f"The operator's policy does not allow this: the schema {schema} belongs to the login {owner}, but "
                f"{module} is migrated by the service's database user.",
                module=module,
                schema=schema,
                hint="Name another schema, or ask the operator of the service to change PGDBM_MODULE_POLICIES.",
            )
