"""Limits how much may be registered: by each principal, and in total."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ...errors import ServiceError

if TYPE_CHECKING:
    from ...registry.store import RegistrationCounts


class RegistrationLimits(NamedTuple):
    """``per_hour`` counts the registrations of a principal that change something."""

    modules: int
    modules_per_principal: int
    per_hour: int

    def check(self, counts: RegistrationCounts, principal: str, *, is_new: bool) -> None:
        """Refuse a registration beyond the limits. ``is_new``: the module is not registered yet.

        Raises:
            ServiceError: too_many_modules, too_many_registrations.
        """
        if is_new and counts.modules >= self.modules:
            raise ServiceError(
                "too_many_modules",
                f"{counts.modules} modules are registered, which is the most that PGDBM_MAX_MODULES allows.",
                limit=self.modules,
            )
        if is_new and counts.modules_of_principal >= self.modules_per_principal:
            raise ServiceError(
                "too_many_modules",
                f"{principal} has registered {counts.modules_of_principal} modules, which is the most that "
                f"PGDBM_MAX_MODULES_PER_PRINCIPAL allows.",
                limit=self.modules_per_principal,
            )
        if counts.within_hour >= self.per_hour:
            raise ServiceError(
                "too_many_registrations",
                f"{principal} has registered {counts.within_hour} bundles within the last hour, which is the most that "
                f"PGDBM_MAX_REGISTRATIONS_PER_HOUR allows.",
                limit=self.per_hour,
                retry_after_s=counts.next_s,
            )
