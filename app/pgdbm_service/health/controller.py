"""GET /health/live and /health/ready."""

from __future__ import annotations

from litestar import Controller, get

from ..database import Database
from ..errors import Problem, documented, is_database_away
from ..executor import Executor
from ..registry import Registry
from .structs import Check, Live, Ready


class HealthController(Controller):
    path = "/health"
    tags = ("health",)

    @get("/live", opt={"needs": None}, responses=documented(open_to_all=True))
    async def live(self) -> Live:
        """Whether the process answers at all. Depends on nothing else."""
        return Live()

    @get("/ready", opt={"needs": "health"}, responses=documented("not_ready"))
    async def ready(self, database: Database, executor: Executor, registry: Registry) -> Ready:
        """Whether the service can do its work now; otherwise 503, with the check that fails."""
        checks = [await _database(database), _modules(registry), _accepting(executor)]
        failing = [check.name for check in checks if not check.ok]
        if failing:
            raise Problem("not_ready", f"Not ready: {', '.join(failing)}.", checks=checks)
        return Ready(checks=checks)


async def _database(database: Database) -> Check:
    if not database.connected.is_set():
        return Check("database", False, database.failure)
    try:
        await database.check_fit()
    except Problem as problem:
        return Check("database", False, problem.detail)
    except Exception as error:
        if not is_database_away(error):
            raise
        return Check("database", False, "The connection to the database was lost or refused.")
    return Check("database", True)


def _modules(registry: Registry) -> Check:
    if not registry.is_complete:
        return Check("modules", False, "It is not known yet which modules are registered.")
    return Check("modules", True)


def _accepting(executor: Executor) -> Check:
    if executor.stopping:
        return Check("accepting_migrations", False, "The service is stopping.")
    return Check("accepting_migrations", True)
