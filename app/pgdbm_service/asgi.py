"""The composition root: ``uvicorn --factory pgdbm_service.asgi:create_app``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.middleware import DefineMiddleware

from .activity.controller import ActivityController, show_metrics
from .audit.controller import get_audit
from .audit.recorder import AuditRecorder
from .auth.access import Access
from .auth.attempts import Attempts
from .auth.guards import loopback_only, same_origin
from .auth.middleware import Authentication, Authenticator
from .auth.verifier import TokenVerifier
from .background import Job, background
from .database import Database
from .executor import Executor
from .health.controller import HealthController
from .last_look import LastLook
from .lifespan import lifespan_of
from .logs import configure_logs, log_request, name_what_it_is_about
from .managers import Managers
from .metrics import Metrics
from .modules.controller import ModuleController
from .modules.views import ModuleViews
from .observer import Observer
from .pages import error_page, to_docs
from .plugins import openapi, our_version, plugins, static_files
from .query_parameters import known_query_parameters
from .registered_modules import RegisteredModules
from .registrations.controller import RegistrationController, sync_repository
from .registrations.limits import Limits
from .registrations.registrar import Registrar
from .registry import Registry
from .repository import read_repository
from .repository_sync import RepositorySync
from .run_records import RunRecords
from .runs.background import Runs
from .runs.controller import RunController, migrate, migrate_all
from .schemas.controller import SchemaController
from .secure_headers import with_secure_headers
from .settings import Settings, read_settings
from .summaries import Summaries
from .tokens.controller import TokenController
from .verbs.controller import VerbController
from .verbs.deciding import Decider
from .verbs.looking import Looker

if TYPE_CHECKING:
    from litestar.types import Guard, LifeSpanReceive, LifeSpanScope, LifeSpanSend, Receive, Scope, Send
    from opentelemetry.trace import TracerProvider

    from .tracing import Tracing


# A replica knows within this time what was registered through another, and what has come into the repository.
_REGISTRY_EVERY_S = 0.5
_REPOSITORY_EVERY_S = 1.0
# Fields of a form beside its files.
_FORM_FIELDS = 100
# How often a replica asks whether it is time to reconcile; one of them does it.
_LEASE_EVERY_S = 5.0


class Service(Litestar):
    """Litestar, with a request id, a line in the log and the same headers for every answer, also without a route."""

    async def __call__(
        self,
        scope: Scope | LifeSpanScope,
        receive: Receive | LifeSpanReceive,
        send: Send | LifeSpanSend,
    ) -> None:
        if scope["type"] == ScopeType.HTTP:
            call: Any = self._answer
            tracing: Tracing | None = self.state.tracing
            if tracing is not None:
                call = tracing.around(call)
            await log_request(call, scope, receive, send, self.state.metrics.answered)  # type: ignore[arg-type]
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


def create_app(settings: Settings | None = None, tracer_provider: TracerProvider | None = None) -> Service:
    """The service for ``settings`` (default: from the environment). Nothing is connected before it is started.

    ``tracer_provider``: makes the traces, instead of one that sends them to ``settings.traces_url``.

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
    summaries = Summaries(database)
    managers = Managers(database, registry, registered_modules, summaries, settings.lock_wait_s)
    last_look = LastLook(database, registry, managers, summaries, settings.metrics_look_s)
    metrics = Metrics(database, executor, last_look)
    tracing = _tracing(settings, tracer_provider)
    runs = Runs(settings, database, executor, managers, summaries, Observer(metrics, tracing))
    repository_sync = RepositorySync(settings.migrations_repo, registry)
    verifier = TokenVerifier(database)
    access = Access(settings)
    audit = AuditRecorder(database)
    dependencies: dict[str, Any] = {
        "settings": settings,
        "database": database,
        "executor": executor,
        "registry": registry,
        "managers": managers,
        "views": ModuleViews(registry, managers, summaries, RunRecords(database)),
        "looker": Looker(database, managers),
        "decider": Decider(database, executor, managers),
        "runs": runs,
        "registrar": Registrar(database, registry, registered_modules, summaries),
        "bundle_limits": Limits(settings.max_bundle_bytes, settings.max_bundle_files),
        "repository_sync": repository_sync,
        "metrics": metrics,
        "verifier": verifier,
    }
    jobs = [
        Job("look what is registered", _REGISTRY_EVERY_S, registered_modules.catch_up, database),
        Job(
            "compare summaries with histories",
            _LEASE_EVERY_S,
            lambda: summaries.reconcile(list(registry), settings.reconcile_s),
            database,
        ),
    ]
    if settings.watch_repo:
        jobs.append(Job("watch the migrations repository", _REPOSITORY_EVERY_S, repository_sync.look))
    calls = Router(
        "/",
        route_handlers=[
            HealthController,
            SchemaController,
            ModuleController,
            RegistrationController,
            VerbController,
            RunController,
            ActivityController,
            TokenController,
            migrate,
            migrate_all,
            sync_repository,
            show_metrics,
            get_audit,
            error_page,
        ],
        guards=[name_what_it_is_about, known_query_parameters],
    )
    guards: list[Guard] = [same_origin, access.guard]
    if settings.loopback_only:
        guards.insert(0, loopback_only)
    app = Service(
        route_handlers=[calls, to_docs, static_files()],
        dependencies={name: _provide(value) for name, value in dependencies.items()},
        guards=guards,
        # Left in the reverse order: the audit is written while there is a database.
        lifespan=[
            lifespan_of(settings, database, executor, tracing, [runs]),
            background(jobs),
            last_look.lifespan,
            verifier.lifespan,
            audit.lifespan,
        ],
        logging_config=None,
        middleware=[
            DefineMiddleware(Authentication, access=access, authenticator=_authenticator(settings, verifier)),
        ],
        openapi_config=openapi(secured=settings.auth != "none"),
        plugins=plugins(),
        request_max_body_size=settings.max_body_bytes,
        multipart_form_part_limit=settings.max_bundle_files + _FORM_FIELDS,
    )
    access.check(app)
    app.state.update(
        {"database": database, "registry": registry, "metrics": metrics, "tracing": tracing, "audit": audit}
    )
    return app


def _tracing(settings: Settings, provider: TracerProvider | None) -> Tracing | None:
    """Imports OpenTelemetry only where it is used: it is an extra, and takes its time."""
    if provider is None and settings.traces_url is None:
        return None
    from .tracing import Tracing, tracing_to

    return tracing_to(settings, our_version()) if provider is None else Tracing(provider)


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
