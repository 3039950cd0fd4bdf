"""The calls of the verbs, under /modules/{module}."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, get, post
from litestar.params import Body, Parameter

from ..database import Database
from ..errors import documented
from ..optional_bodies import OptionalBodyOperation
from .deciding import Decider
from .looking import Looker
from .structs import (
    BaselineBody,
    BaselineResult,
    Drift,
    JournalList,
    MarkBody,
    Marked,
    ModuleReady,
    Plan,
    Rehearsal,
    RehearseBody,
    RepairBody,
    RepairResult,
    ResolveBody,
    Resolved,
    RevertBody,
    RevertResult,
)

# invalid_request is documented for every call: here it also says that a schema has to be named.
_READ = ("module_unknown", "module_invalid", "database_unavailable", "lock_timeout", "database_error")
_READ_FILES = ("migration_file_invalid", *_READ)
_DECIDE = ("cross_origin", "body_too_large", "migration_error", "busy", "shutting_down", *_READ_FILES)
_LOOK_AHEAD = ("checksum_changed", "out_of_order", "migration_error")
_DECIDES = {"needs": "migrate"}
_LEFT_OUT = Body(description="May be left out.")
InSchema = Annotated[
    str | None, Parameter(min_length=1, description="One of the module's schemas; without it, the first.")
]


class VerbController(Controller):
    path = "/modules/{module:str}"
    tags = ("verbs",)
    opt = {"needs": "read"}  # noqa: RUF012 - Litestar merges it into each handler's

    @get("/plan", responses=documented(*_LOOK_AHEAD, *_READ_FILES))
    async def get_plan(
        self,
        looker: Looker,
        module: str,
        schema: InSchema = None,
        target: Annotated[
            str | None, Parameter(min_length=1, description="Nothing behind this version, or file name.")
        ] = None,
    ) -> Plan:
        """What a migrate would do now: every pending statement with its locks, and what is risky about it."""
        return await looker.plan(module, schema, target)

    @get("/drift", responses=documented(*_READ))
    async def get_drift(self, database: Database, looker: Looker, module: str, schema: InSchema = None) -> Drift:
        """What is different in the module's schema from when migrations were last applied to it."""
        return await database.within_limit(looker.drift(module, schema))

    @get("/journal", responses=documented(*_READ))
    async def get_journal(
        self,
        database: Database,
        looker: Looker,
        module: str,
        schema: InSchema = None,
        limit: Annotated[int, Parameter(ge=1, le=1000, description="How many entries at most.")] = 50,
    ) -> JournalList:
        """What happened besides success, newest first: attempts, failures, decisions."""
        return await database.within_limit(looker.journal(module, schema, limit))

    @get("/ready", responses=documented("not_migrated", *_READ_FILES))
    async def module_ready(
        self,
        database: Database,
        looker: Looker,
        module: str,
        schema: Annotated[
            str | None, Parameter(min_length=1, description="One of the module's schemas; without it, each of them.")
        ] = None,
        require: Annotated[
            str | None,
            Parameter(min_length=1, description="The version, or file name, to be applied; without it, everything."),
        ] = None,
    ) -> ModuleReady:
        """Whether the module is migrated; otherwise 503, with what is missing. For init containers."""
        return await database.within_limit(looker.ready(module, schema, require))

    @post("/mark", status_code=200, opt=_DECIDES, responses=documented("migration_unknown", *_DECIDE))
    async def mark_migration(self, decider: Decider, module: str, data: MarkBody) -> Marked:
        """Write into the history that a file is applied, or take it out. Runs no SQL of it."""
        return await decider.mark(module, data)

    @post(
        "/baseline",
        status_code=200,
        opt=_DECIDES,
        responses=documented("baseline_mismatch", *_LOOK_AHEAD, *_DECIDE),
    )
    async def baseline_module(self, decider: Decider, module: str, data: BaselineBody) -> BaselineResult:
        """Begin the history of a schema that is there already: up to a version, migrations count as applied.

        They are built in a scratch schema first, and what is there has to be the same.
        """
        return await decider.baseline(module, data)

    @post(
        "/rehearse",
        status_code=200,
        opt=_DECIDES,
        operation_class=OptionalBodyOperation,
        responses=documented(*_LOOK_AHEAD, *_DECIDE),
    )
    async def rehearse_module(
        self, decider: Decider, module: str, data: Annotated[RehearseBody | None, _LEFT_OUT] = None
    ) -> Rehearsal:
        """Run what is pending in a scratch schema, and drop it: the locks really taken, the times, whether it works.

        Answered at its end, also where it failed: `succeeded` says which.
        """
        return await decider.rehearse(module, data or RehearseBody())

    @post(
        "/repair", status_code=200, opt=_DECIDES, operation_class=OptionalBodyOperation, responses=documented(*_DECIDE)
    )
    async def repair_module(
        self, decider: Decider, module: str, data: Annotated[RepairBody | None, _LEFT_OUT] = None
    ) -> RepairResult:
        """The applied files whose content has changed, as diffs; `accept` takes what they hold now for applied."""
        return await decider.repair(module, data or RepairBody())

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
        return await decider.revert(module, data or RevertBody())

    @post("/resolve", status_code=200, opt=_DECIDES, responses=documented("migration_unknown", *_DECIDE))
    async def resolve_statement(self, decider: Decider, module: str, data: ResolveBody) -> Resolved:
        """Say whether a statement outside a transaction, whose outcome is unknown, was done. Then migrate again."""
        return await decider.resolve(module, data)
