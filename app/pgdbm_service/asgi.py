"""The composition root: ``uvicorn --factory pgdbm_service.asgi:create_app``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.middleware import DefineMiddleware

from .audit.controller import get_audit
from .audit.recorder import AuditRecorder
from .auth.access import Access
from .auth.attempts import Attempts
from .auth.guards import loopback_only, same_origin
from .auth.middleware import Authentication, Authenticator
from .auth.verifier import TokenVerifier
from .database import Database
from .executor import Executor
from .health.controller import HealthController
from .lifespan import lifespan_of
from .logs import configure_logs, log_request
from .managers import Managers
from .modules.controller import ModuleController, migrate_all
from .modules.migrate import Migrator
from .modules.views import ModuleViews
from .pages import error_page, to_docs
from .plugins import openapi, plugins, static_files
from .query_parameters import known_query_parameters
from .registry import read_registry
from .schemas.controller import SchemaController
from .secure_headers import with_secure_headers
from .settings import Settings, read_settings
from .tokens.controller import TokenController
from .verbs.controller import VerbController
from .verbs.deciding import Decider
from .verbs.looking import Looker

if TYPE_CHECKING:
    from litestar.types import Guard, LifeSpanReceive, LifeSpanScope, LifeSpanSend, Receive, Scope, Send


class Service(Litestar):
    """Litestar, with a request id, a line in the log and the same headers for every answer, also without a route."""

    async def __call__(
        self,
        scope: Scope | LifeSpanScope,
        receive: Receive | LifeSpanReceive,
        send: Send | LifeSpanSend,
    ) -> None:
        if scope["type"] == ScopeType.HTTP:
            await log_request(self._answer, scope, receive, send)  # type: ignore[arg-type]
            return

        async def send_in_one_line(message: Any) -> None:
            reason = self.state.get("start_error")
            if reason is not None and message["type"] == "lifespan.startup.failed":
                message = message | {"message": reason}
            await send(message)

        await super().__call__(scope, receive, send_in_one_line)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        audit: AuditRecorder = self.state["audit"]
        await audit.record(super().__call__, scope, receive, with_secure_headers(send, scope["path"]))


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
    registry = read_registry(settings.migrations_repo)
    managers = Managers(database, registry, settings.lock_wait_s)
    verifier = TokenVerifier(database)
    access = Access(settings)
    audit = AuditRecorder(database)
    dependencies: dict[str, Any] = {
        "database": database,
        "executor": executor,
        "registry": registry,
        "managers": managers,
        "migrator": Migrator(database, executor, managers),
        "views": ModuleViews(database, registry, managers),
        "looker": Looker(database, managers),
        "decider": Decider(database, executor, managers),
        "verifier": verifier,
    }
    calls = Router(
        "/",
        route_handlers=[
            HealthController,
            SchemaController,
            ModuleController,
            VerbController,
            TokenController,
            migrate_all,
            get_audit,
            error_page,
        ],
        guards=[known_query_parameters],
    )
    guards: list[Guard] = [same_origin, access.guard]
    if settings.loopback_only:
        guards.insert(0, loopback_only)
    app = Service(
        route_handlers=[calls, to_docs, static_files()],
        dependencies={
            **{name: _provide(value) for name, value in dependencies.items()},
            "registered_names": Provide(registry.names_by_schema, sync_to_thread=False),
        },
        guards=guards,
        # Left in the reverse order: the audit is written while there is a database.
        lifespan=[lifespan_of(settings, database, executor), verifier.lifespan, audit.lifespan],
        logging_config=None,
        middleware=[
            DefineMiddleware(Authentication, access=access, authenticator=_authenticator(settings, verifier)),
        ],
        openapi_config=openapi(secured=settings.auth != "none"),
        plugins=plugins(),
        request_max_body_size=settings.max_body_bytes,
    )
    access.check(app)
    app.state.update({"database": database, "registry": registry, "audit": audit})
    return app


def _authenticator(settings: Settings, verifier: TokenVerifier) -> Authenticator | None:
    if settings.auth == "none":
        return None
    issuer = None
    if settings.auth == "jwt":
        # Cryptography and an HTTP client: only for those who need them.
        from .auth.issuer import Issuer

        issuer = Issuer(settings)
    return Authenticator(verifier, issuer, Attempts(settings.auth_failures_per_minute))


def _provide(value: Any) -> Provide:
    return Provide(lambda: value, sync_to_thread=False, use_cache=True)
