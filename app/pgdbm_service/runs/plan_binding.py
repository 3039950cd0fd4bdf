"""The plan that a run is bound to if its module needs approvals: the run applies nothing else."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pgdbm.migrations.engine.migration_plan import plan_digest

from ..errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgdbm.migrations.engine.plan import Plan

    from ..api.common import Approvals
    from ..registry.bundles import Bundle
    from ..registry.modules import Module
    from ..status.module_lookup import ModuleLookup

_WORTH_APPROVING = ("warning", "error")


class BoundPlan(NamedTuple):
    """``digest`` identifies ``plans``, the digests of the plans in each schema, in order.

    ``approvals``: what the module requires; ``needed``: how many of them this plan needs.
    """

    bundle: Bundle
    digest: str
    schemas: Sequence[str]
    plans: Sequence[str]
    approvals: Approvals
    needed: int


class PlanBinding:
    def __init__(self, lookup: ModuleLookup) -> None:
        self._lookup = lookup

    async def bind(self, module: Module, schemas: Sequence[str], target: str | None) -> BoundPlan | None:
        """The plan that a run of ``module`` up to ``target`` would be bound to; None if its runs need no approvals.

        Raises what planning raises.
        """
        approvals = self._lookup.policies.approvals_of(module)
        if approvals is None:
            return None
        bundle = await self._lookup.bundle(module)
        module = msgspec.structs.replace(module, bundle=bundle)
        found = await self._plans(module, schemas, target)
        # A concurrent run may have applied everything since the request was planned.
        is_pending = any(plan.pending for plan in found)
        is_needed = is_pending and (approvals.when == "always" or await self._has_warning(module, schemas, target))
        needed = approvals.count if is_needed else 0
        plans = _digests(module, schemas, found)
        return BoundPlan(bundle, digest_of_plans(schemas, plans), schemas, plans, approvals, needed)

    async def require_unmoved(
        self, name: str, bundle: str, target: str | None, plans: Sequence[tuple[str, str | None]], digest: str | None
    ) -> None:
        """Raise a ServiceError (plan_moved) unless the module has that bundle and the same migrations are pending in
        each schema.

        ``plans``: the schemas with the digests of their plans.
        """
        module = await self._lookup.get(name, latest=True)
        current = await self._lookup.bundle(module)
        if current.digest != bundle:
            raise ServiceError(
                "plan_moved",
                f"The files of {name} were changed since the plan was made. Its approvals are void, and nothing was "
                "applied.",
                module=name,
                plan=digest,
                bundle=bundle,
                current_bundle=current.digest,
            )
        schemas = [schema for schema, _ in plans]
        module = msgspec.structs.replace(module, bundle=current)
        now = _digests(module, schemas, await self._plans(module, schemas, target))
        if now != [plan for _, plan in plans]:
            raise ServiceError(
                "plan_moved",
                f"The pending migrations of {name} differ from the plan. Its approvals are void. Nothing was applied.",
                module=name,
                plan=digest,
                current_plan=digest_of_plans(schemas, now),
            )

    async def _plans(self, module: Module, schemas: Sequence[str], target: str | None) -> list[Plan]:
        found = []
        for schema in schemas:
            manager = await self._lookup.reader(module, schema)
            found.append(await self._lookup.databases.with_timeout(manager.plan_pending(target=target)))
        return found

    async def _has_warning(self, module: Module, schemas: Sequence[str], target: str | None) -> bool:
        """Whether the plan has such a finding in any schema; some findings are omitted if a table is empty."""
        for schema in schemas:
            plan = await (await self._lookup.reader(module, schema)).plan(target=target)
            if any(finding.severity in _WORTH_APPROVING for one in plan.pending for finding in one.findings):
                return True
        return False


def _digests(module: Module, schemas: Sequence[str], plans: Sequence[Plan]) -> list[str]:
    return [plan_digest(module.name, schema, plan.to_run) for schema, plan in zip(schemas, plans, strict=True)]


def digest_of_plans(schemas: Sequence[str], plans: Sequence[str]) -> str:
    """The digest of the only plan; for several plans, a digest of their digests."""
    if len(plans) == 1:
        return plans[0]
    text = "\n".join(f"{schema} {plan}" for schema, plan in zip(schemas, plans, strict=True))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
