"""The schemas, the database role and the login that the operator of the service allows a module."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ..errors import ServiceError
from ..settings.policies import VARIABLE as _VARIABLE
from .approvals import combined

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgdbm.migrations.results import PlanLimits

    from ..api.common import Approvals, Blockers, Windows
    from ..settings import ModulePolicy
    from .modules import Module


class ModulePolicies:
    """The policies in the settings, by the glob of module names; the first one that matches a module applies to it.

    Without any policy, every module may have every schema and role. If there are policies but none matches a module,
    the module is refused.
    """

    def __init__(self, policies: Mapping[str, ModulePolicy]) -> None:
        self._policies = policies
        self._has_logins = any(policy.login is not None for policy in policies.values())

    def check(self, module: Module) -> None:
        """Check the role of ``module``, and its schemas unless it has a pattern of them.

        Raises:
            ServiceError: policy_violated.
        """
        for schema in module.schemas or (None,):
            self.check_in(module, schema)

    def check_in(self, module: Module, schema: str | None) -> None:
        """Check the role of ``module``, and one of its schemas.

        Raises:
            ServiceError: policy_violated.
        """
        if not self._policies:
            return
        policy = self._policy_of(module.name)
        if policy is None:
            raise _violated(module.name, f"no policy in {_VARIABLE} matches module {module.name}")
        if schema is not None and not any(fnmatchcase(schema, glob) for glob in policy.schemas):
            allowed = ", ".join(policy.schemas)
            raise _violated(
                module.name, f"module {module.name} may not use the schema {schema}, only {allowed}", schema
            )
        if policy.role is not None and module.role != policy.role:
            raise _violated(module.name, f"module {module.name} must have the role {policy.role}", schema)
        if schema is not None:
            self.check_reading(module.name, schema)

    def check_reading(self, name: str, schema: str) -> None:
        """Check that, if ``schema`` may belong to a login, the module ``name`` has a login, too.

        Otherwise code that the login created there would be executed as the service's database user.

        Raises:
            ServiceError: policy_violated.
        """
        if self._has_logins and self.login_of(name) is None and (owner := self._login_in(schema)) is not None:
            raise _violated(name, f"the schema {schema} belongs to the login {owner} of other modules", schema)

    def login_of(self, name: str) -> str | None:
        """The database login of the module ``name``; None: it is migrated by the service's database user."""
        policy = self._policy_of(name)
        return None if policy is None else policy.login

    def limits_of(self, module: Module) -> PlanLimits:
        """What pending files of ``module`` may do, according to its own settings and the operator's."""
        policy = self._policy_of(module.name)
        limits = module.settings.limits
        return limits if policy is None else limits.with_stricter(policy.limits)

    def windows_of(self, module: Module) -> list[Windows]:
        """The windows that must all be open for a run of ``module`` to start: its own and the operator's."""
        policy = self._policy_of(module.name)
        given = (module.settings.windows, None if policy is None else policy.windows)
        return [windows for windows in given if windows is not None]

    def approvals_of(self, module: Module) -> Approvals | None:
        """The approvals that a run of ``module`` needs, according to its own settings and the operator's; None:
        none."""
        policy = self._policy_of(module.name)
        return combined(module.settings.approvals, None if policy is None else policy.approvals)

    def blockers_of(self, name: str) -> Blockers | None:
        """Which sessions that block migrations of the module ``name`` are ended; None: none."""
        policy = self._policy_of(name)
        return None if policy is None else policy.blockers

    def _policy_of(self, name: str) -> ModulePolicy | None:
        return next((one for glob, one in self._policies.items() if fnmatchcase(name, glob)), None)

    def _login_in(self, schema: str) -> str | None:
        """The login of the first policy whose schemas include ``schema``."""
        for policy in self._policies.values():
            if any(fnmatchcase(schema, glob) for glob in policy.schemas):
                return policy.login
        return None


def _violated(name: str, reason: str, schema: str | None = None) -> ServiceError:
    return ServiceError(
        "policy_violated",
        f"The operator's policy does not allow this: {reason}.",
        module=name,
        schema=schema,
        hint=f"Correct the schema and the role in the module's settings, or ask the operator of the "
        f"service to change {_VARIABLE}.",
    )
