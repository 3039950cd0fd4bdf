"""The calls of the verbs, under /modules/{module}."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, get, post
from litestar.params import Body, Parameter

from ..database import Database
from ..errors import documented
from ..managers import Managers
from ..optional_bodies import OptionalBodyOperation
from .deciding import Decider, repair
from .looking import Looker
from .structs import (
    Drift,
    JournalList,
    MarkBody,
    Marked,
    ModuleReady,
    Plan,
    RepairBody,
    RepairResult,
    ResolveBody,
    Resolved,
    RevertBody,
    RevertResult,
)

_READ = ("module_unknown", "module_invalid", "database_unavailable", "lock_timeout", "database_error")
_READ_FILES = ("migration_file_invalid", *_READ)
_DECIDE = ("cross_origin", "body_too_large", "migration_error", "busy", "shutting_down", *_READ_FILES)
_DECIDES = {"needs": "migrate"}
_LEFT_OUT = Body(description="May be left out.")


class VerbController(Controller):
    path = "/modules/{module:str}"
    tags = ("verbs",)
    opt = {"needs": "read"}  # noqa: RUF012 - Litestar merges it into each handler's

    @get("/plan", responses=documented("checksum_changed", "out_of_order", "migration_error", *_READ_FILES))
    async def get_plan(
        self,
        looker: Looker,
        module: str,
        target: Annotated[
            str | None, Parameter(min_length=1, description="Nothing behind this version, or file name.")
        ] = None,
    ) -> Plan:
        """What a migrate would do now: every pending statement with its locks, and what is risky about it."""
        return await looker.plan(module, target)

    @get("/drift", responses=documented(*_READ))
    async def get_drift(self, database: Database, looker: Looker, module: str) -> Drift:
        """What is different in the module's schema from when migrations were last applied to it."""
        return await database.within_limit(looker.drift(module))

    @get("/journal", responses=documented(*_READ))
    async def get_journal(
        self,
        database: Database,
        looker: Looker,
        module: str,
        limit: Annotated[int, Parameter(ge=1, le=1000, description="How many entries at most.")] = 50,
    ) -> JournalList:
        """What happened besides success, newest first: attempts, failures, decisions."""
        return await database.within_limit(looker.journal(module, limit))

    @get("/ready", responses=documented("not_migrated", *_READ_FILES))
    async def module_ready(
        self,
        database: Database,
        looker: Looker,
        module: str,
        require: Annotated[
            str | None,
            Parameter(min_length=1, description="The version, or file name, to be applied; without it, everything."),
        ] = None,
    ) -> ModuleReady:
        """Whether the module is migrated; otherwise 503, with what is missing. For init containers."""
        return await database.within_limit(looker.ready(module, require))

    @post("/mark", status_code=200, opt=_DECIDES, responses=documented("migration_unknown", *_DECIDE))
    async def mark_migration(self, decider: Decider, module: str, data: MarkBody) -> Marked:
        """Write into the history that a file is applied, or take it out. Runs no SQL of it."""
        return await decider.mark(module, data.filename, applied=data.applied)

    @post(
        "/repair", status_code=200, opt=_DECIDES, operation_class=OptionalBodyOperation, responses=documented(*_DECIDE)
    )
    async def repair_module(
        self,
        database: Database,
        managers: Managers,
        decider: Decider,
        module: str,
        data: Annotated[RepairBody | None, _LEFT_OUT] = None,
    ) -> RepairResult:
        """The applied files whose content has changed; `accept` takes what they hold now for applied."""
        if data is not None and data.accept:
            return await decider.repair(module)
        manager = managers.of(managers.registered(module))
        return await database.within_limit(repair(manager, accept=False))

    @post(
        "/revert",
        status_code=200,
        opt=_DECIDES,
        operation_class=OptionalBodyOperation,
        responses=documented("migration_failed", "outcome_unknown", *_DECIDE),
    )
    async def revert_module(
        self, decider: Decider, module: str, data: Annotated[RevertBody | None, _LEFT_OUT] = None
    ) -> RevertResult:
        """Run the `.down.sql` files of the newest applied migrations, newest first, each a transaction."""
        return await decider.revert(module, (data or RevertBody()).steps)

    @post("/resolve", status_code=200, opt=_DECIDES, responses=documented("migration_unknown", *_DECIDE))
    async def resolve_statement(self, decider: Decider, module: str, data: ResolveBody) -> Resolved:
        """Say whether a statement outside a transaction, whose outcome is unknown, was done. Then migrate again."""
        return await decider.resolve(module, data.filename, data.statement, done=data.done)
