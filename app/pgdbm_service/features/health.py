"""GET /health/live, /health/ready and /version."""

from __future__ import annotations

from litestar import Controller, get

from pgdbm.text import sentence
from pgdbm.version import __version__

from ..api.health import Check, Live, Ready, Version
from ..database.failures import service_error_of
from ..database.pool import Database
from ..database.slots import Slots
from ..errors import ServiceError
from ..registry.modules import Registry, missing_modules
from ..web.problems import error_responses
from ..web.request import HTTPRequest, may_read


class HealthController(Controller):
    path = "/health"
    tags = ("health",)

    @get("/live", opt={"needs": None}, responses=error_responses(open_to_all=True))
    async def live(self) -> Live:
        """Whether the process answers. Does not depend on the database."""
        return Live()

    @get("/ready", opt={"needs": "health"}, responses=error_responses("not_ready"))
    async def ready(self, request: HTTPRequest, database: Database, slots: Slots, registry: Registry) -> Ready:
        """Whether the service can handle requests now; otherwise 503, with the check that fails."""
        readable = may_read(request)
        checks = [await _database(database, may_read=readable), _modules(registry), _accepting(slots)]
        if registry.repo_problem is not None:
            checks.append(Check("repository", False, registry.repo_problem))
        checks += _logins(database, may_read=readable)
        failing = [check.name for check in checks if not check.ok]
        if failing:
            raise ServiceError("not_ready", f"Not ready: {', '.join(failing)}.", checks=checks)
        return Ready(checks=checks, warnings=registry.warnings)


class VersionController(Controller):
    path = "/version"
    tags = ("health",)

    @get("/", opt={"needs": "health"}, responses=error_responses())
    async def version(self, service_version: Version) -> Version:
        """The version of the service, and the revision that its image was built from."""
        return service_version


def version_of(revision: str | None) -> Version:
    """The answer of GET /version for an image that was built from ``revision``."""
    return Version(version=__version__, revision=revision)


async def _database(database: Database, *, may_read: bool) -> Check:
    if database.idle.is_paused:
        return Check("database", True, "Not checked: the replica is idle.")
    try:
        await database.check_fit()
    except Exception as error:
        problem = service_error_of(error)
        words = problem.fields.get("database_message")
        return Check("database", False, f"{problem.detail} ({words})" if words and may_read else problem.detail)
    return Check("database", True)


def _logins(database: Database, *, may_read: bool) -> list[Check]:
    """Logins that are refused. Other modules are not affected, so the replica stays ready."""
    refused = {name: one.refusal for name, one in database.login_numbers().items() if one.refusal is not None}
    if not refused:
        return []
    words = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
    detail = f"{len(refused)} database logins of modules are refused"
    return [Check("logins", True, sentence(f"{detail}. {words}") if may_read else f"{detail}.")]


def _modules(registry: Registry) -> Check:
    if not registry.is_complete:
        return Check("modules", False, "The registered modules have not been read yet.")
    if registry.missing:
        return Check("modules", False, missing_modules(registry).detail)
    return Check("modules", True)


def _accepting(slots: Slots) -> Check:
    if slots.stopping:
        return Check("accepting_migrations", False, "The service is stopping.")
    return Check("accepting_migrations", True)
