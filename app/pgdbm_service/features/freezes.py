"""PUT, GET and DELETE /freeze."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from litestar import Controller, delete, get, put
from litestar.params import Parameter

from ..api.freezes import LONGEST_REASON, Freeze, FreezeBody, FreezeList
from ..database.pool import Database
from ..errors import invalid_request
from ..runs.service import RunService
from ..web.problems import error_responses
from ..web.request import HTTPRequest, principal_of

_ANY = ("database_unavailable", "lock_timeout")
_CHANGE = ("cross_origin", *_ANY)


class FreezeController(Controller):
    path = "/freeze"
    tags = ("runs",)
    opt = {"needs": "admin"}  # noqa: RUF012 - Litestar merges it into each handler's

    @put(responses=error_responses("invalid_request", *_CHANGE))
    async def freeze(self, request: HTTPRequest, database: Database, runs: RunService, data: FreezeBody) -> Freeze:
        """Let no run of the modules start until the freeze ends. Runs that have started continue."""
        if data.until is not None and data.until <= datetime.now(UTC):
            raise invalid_request([{"field": "until", "message": "it is in the past"}])
        request.scope["state"] |= {"reason": data.reason, "modules": data.modules}
        return await database.with_timeout(runs.freezes.put(data, principal_of(request).name))

    @get(opt={"needs": "read"}, responses=error_responses(*_ANY))
    async def list_freezes(self, database: Database, runs: RunService) -> FreezeList:
        """The freezes in force."""
        return FreezeList(await database.with_timeout(runs.freezes.in_force()))

    @delete(status_code=200, responses=error_responses(*_CHANGE))
    async def lift_freeze(
        self,
        request: HTTPRequest,
        database: Database,
        runs: RunService,
        modules: Annotated[
            str | None, Parameter(min_length=1, description="The glob of the freeze to end. Default: all of them.")
        ] = None,
        reason: Annotated[
            str | None, Parameter(min_length=1, max_length=LONGEST_REASON, description="Written into the audit.")
        ] = None,
    ) -> FreezeList:
        """End freezes: the runs that they held start. Returns those that were ended."""
        request.scope["state"] |= {"reason": reason, "modules": modules}
        return FreezeList(await database.with_timeout(runs.freezes.lift(modules)))
