"""The composition root: ``uvicorn --factory pgdbm_service.asgi:create_app``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.enums import ScopeType

from .auth import loopback_only, same_origin
from .database import Database
from .executor import Executor
from .health.controller import HealthController
from .lifespan import lifespan_of
from .logs import configure_logs, log_request
from .managers import Managers
from .modules.controller import ModuleController
from .modules.views import ModuleViews
from .pages import error_page, to_docs
from .plugins import openapi, plugins, static_files
from .query_parameters import known_query_parameters
from .registered_modules import RegisteredModules
from .registry import Registry
from .repository import read_repository
from .runs.background import Runs
from .runs.controller import RunController, migrate, migrate_all
from .schemas.controller import SchemaController
from .settings import Settings, read_settings
from .verbs.controller import VerbController
from .verbs.deciding import Decider
from .verbs.looking import Looker

if TYPE_CHECKING:
    from litestar.types import Guard, LifeSpanReceive, LifeSpanScope, LifeSpanSend, Receive, Scope, Send


class Service(Litestar):
    """Litestar, with a request id and a line in the log for every answer, also where no route matches."""

    async def __call__(
        self,
        scope: Scope | LifeSpanScope,
        receive: Receive | LifeSpanReceive,
        send: Send | LifeSpanSend,
    ) -> None:
        if scope["type"] == ScopeType.HTTP:
            await log_request(super().__call__, scope, receive, send)  # type: ignore[arg-type]
            return

        async def send_in_one_line(message: Any) -> None:
            reason = self.state.get("start_error")
            if reason is not None and message["type"] == "lifespan.startup.failed":
                message = message | {"message": reason}
            await send(message)

        await super().__call__(scope, receive, send_in_one_line)


def create_app(settings: Settings | None = None) -> Service:
    """The service for ``settings`` (default: from the environment). Nothing is connected before it is started.

    Raises:
        SettingsError: a value that it cannot start with.
    """
    settings = read_settings() if settings is None else settings
    configure_logs(settings)
    database = Database(settings)
    executor = Executor(
        limit=settings.migration_connections, wait_s=settings.lock_wait_s, grace_s=settings.shutdown_grace_s
    )
    registry = Registry(read_repository(settings.migrations_repo))
    registered_modules = RegisteredModules(database, registry)
    managers = Managers(database, registry, registered_modules, settings.lock_wait_s)
    runs = Runs(settings, database, executor, managers)
    dependencies: dict[str, Any] = {
        "settings": settings,
        "database": database,
        "executor": executor,
        "registry": registry,
        "managers": managers,
        "views": ModuleViews(database, registry, managers),
        "looker": Looker(database, managers),
        "decider": Decider(database, executor, managers),
        "runs": runs,
    }
    calls = Router(
        "/",
        route_handlers=[
            HealthController,
            SchemaController,
            ModuleController,
            VerbController,
            RunController,
            migrate,
            migrate_all,
            error_page,
        ],
        guards=[known_query_parameters],
    )
    guards: list[Guard] = [same_origin]
    if settings.loopback_only:
        guards.insert(0, loopback_only)
    app = Service(
        route_handlers=[calls, to_docs, static_files()],
        dependencies={name: _provide(value) for name, value in dependencies.items()},
        guards=guards,
        lifespan=[lifespan_of(settings, database, executor, [runs])],
        logging_config=None,
        openapi_config=openapi(),
        plugins=plugins(),
        request_max_body_size=settings.max_body_bytes,
    )
    app.state.update({"database": database, "registry": registry})
    return app


def _provide(value: Any) -> Provide:
    return Provide(lambda: value, sync_to_thread=False, use_cache=True)
