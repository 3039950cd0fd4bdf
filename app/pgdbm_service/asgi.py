"""The composition root: ``uvicorn --factory pgdbm_service.asgi:create_app``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.exceptions import MethodNotAllowedException, NotFoundException
from litestar.middleware import DefineMiddleware

from pgdbm.version import __version__

from .auth.access import Access
from .auth.cookies import Cookies
from .auth.failure_limiter import FailureLimiter
from .auth.middleware import Admission, Authenticator
from .auth.origins import Origins
from .auth.sessions import Sessions
from .auth.sign_in import SignIns
from .auth.verifier import TokenVerifier
from .dashboard.api import get_overview, list_replicas, stream_all_events
from .dashboard.live import LivePages
from .dashboard.overview import OverviewReader
from .dashboard.pages_on_demand import PagesOnDemand
from .dashboard.prefix import with_prefix
from .dashboard.showing import show_unrouted
from .database.idle import answer
from .database.periodic import Job, background
from .database.pool import Database
from .database.slots import Slots
from .features.activity.controller import ActivityController, show_metrics
from .features.approvals import ApprovalController
from .features.audit.controller import get_audit
from .features.audit.recorder import AuditRecorder
from .features.freezes import FreezeController
from .features.health import HealthController, VersionController, version_of
from .features.modules.controller import ModuleController
from .features.modules.views import ModuleViews
from .features.operations.controller import OperationController
from .features.operations.decisions import OperationService
from .features.operations.drift_watch import DriftWatch
from .features.operations.reads import OperationQueries
from .features.registrations.archives import Limits
from .features.registrations.controller import RegistrationController, sync_repository
from .features.registrations.limits import RegistrationLimits
from .features.registrations.registrar import Registrar
from .features.runs.backfills import BackfillController
from .features.runs.controller import RunController, migrate, migrate_all
from .features.schemas.controller import SchemaController
from .features.tokens import TokenController, create_ticket
from .features.webhooks.conditions import ModuleConditions
from .features.webhooks.controller import WebhookController
from .features.webhooks.deliverer import CHANNEL as WEBHOOK_CHANNEL
from .features.webhooks.deliverer import Deliverer
from .features.webhooks.store import WebhookStore
from .lifespan import lifespan_of
from .observability.logs import bind_path_parameters, configure_logs, log_request
from .observability.metrics import Metrics
from .observability.run_observer import Observer
from .observability.sampler import StateSampler
from .registry.file_contents import FileContents
from .registry.modules import Registry
from .registry.policies import ModulePolicies
from .registry.repository_watch import RepositoryWatch
from .registry.store import CHANNEL, RegistrationStore
from .runs.records import RunRecords
from .runs.service import RunService
from .settings import DEFAULT_REPOSITORY, Settings, listed, read_settings
from .status.module_databases import ModuleDatabases
from .status.module_lookup import ModuleLookup
from .status.summaries import Summaries
from .trusted_proxies import TrustedProxies, parse_proxies
from .web.conditional import with_validator
from .web.error_pages import error_page, get_service, list_errors
from .web.headers import cors, with_common_headers
from .web.http_methods import AllowedMethods, answer_head
from .web.openapi import openapi, plugins, static_files
from .web.query_parameters import QueryParameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litestar.plugins import PluginProtocol
    from litestar.types import (
        ControllerRouterHandler,
        LifeSpanReceive,
        LifeSpanScope,
        LifeSpanSend,
        Receive,
        Scope,
        Send,
    )
    from opentelemetry.trace import TracerProvider

    from .observability.tracing import Tracing
    from .web.request import HTTPRequest


# How soon a replica notices registrations made through another replica, and changes to the repository.
_REGISTRY_EVERY_S = 0.5
# A replica that listens is notified of registrations; after reconnecting, it reads them.
_REGISTRY_LISTENING_EVERY_S = 60.0
_REPOSITORY_EVERY_S = 1.0
# Sent every few seconds. Requests to these paths do not resume a suspended database.
_PROBES = ("/health/", "/metrics")
# Form fields other than files.
_FORM_FIELDS = 100
# How often each replica checks whether a reconciliation is due; one of them runs it.
_LEASE_EVERY_S = 30.0
_PRUNE_EVERY_S = 3600.0
# After work that is done once per start, and after it failed.
_ONCE_S, _AGAIN_S = 1e9, 5.0


class Front(NamedTuple):
    """What every request passes, with or without a route."""

    database: Database
    registrations: RegistrationStore
    metrics: Metrics
    tracing: Tracing | None
    audit: AuditRecorder
    pages: PagesOnDemand
    proxies: TrustedProxies
    path_prefix: str


class Service(Litestar):
    """Litestar with a request id, a log line and security headers for every answer, including those without a route."""

    front: Front

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        """Without Litestar's plugins for types of pydantic and attrs: no handler has one, and importing them takes 25
        ms."""
        return plugins

    async def __call__(
        self,
        scope: Scope | LifeSpanScope,
        receive: Receive | LifeSpanReceive,
        send: Send | LifeSpanSend,
    ) -> None:
        if scope["type"] == ScopeType.HTTP:
            front = self.front
            self._read_proxy(scope)  # type: ignore[arg-type]
            call: Any = self._answer_active if front.database.idle.may_pause else self._answer
            if front.tracing is not None:
                call = front.tracing.around(call)
            await log_request(call, scope, receive, send, front.metrics.requests.answered)  # type: ignore[arg-type]
            return

        async def send_in_one_line(message: Any) -> None:
            reason = self.state.get("start_error")
            if reason is not None and message["type"] == "lifespan.startup.failed":
                message = message | {"message": reason}
            await send(message)

        await super().__call__(scope, receive, send_in_one_line)

    def _read_proxy(self, scope: Scope) -> None:
        """Keep what a trusted proxy reports, and strip the configured prefix if the proxy did not strip it."""
        proxies, prefix = self.front.proxies, self.front.path_prefix
        state = scope.setdefault("state", {})
        state["address"] = proxies.client_of(scope)
        state["prefix"] = proxies.prefix_of(scope) or prefix
        if prefix and scope["path"].startswith(f"{prefix}/"):
            scope["path"] = scope["path"].removeprefix(prefix)
            scope["raw_path"] = scope["raw_path"].removeprefix(prefix.encode())

    async def _answer_active(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(_PROBES):
            await self._answer(scope, receive, send)
            return
        front = self.front
        await answer(front.database.idle, front.registrations.catch_up, lambda: self._answer(scope, receive, send))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, front = scope["path"], self.front
        if front.pages.are_missing_for(path):
            await front.pages.register()
        send = with_common_headers(send, scope)
        prefix = scope["state"]["prefix"]
        if prefix and path.startswith("/ui") and scope.get("method") != "HEAD":
            send = with_prefix(send, prefix)
        if scope.get("method") == "HEAD":
            await answer_head(super().__call__, scope, receive, send)
            return
        at = datetime.now(UTC)
        try:
            await super().__call__(scope, receive, with_validator(send, scope))
        finally:
            front.audit.record(scope, at)


def create_app(settings: Settings | None = None, tracer_provider: TracerProvider | None = None) -> Service:
    """The service for ``settings`` (default: from the environment). It connects to the database when it starts.

    ``tracer_provider`` replaces the one that exports traces to ``settings.traces_url``.

    Raises:
        SettingsError: a value in the environment is invalid.
    """
    settings = read_settings() if settings is None else settings
    configure_logs(settings)
    database = Database(settings)
    slots = Slots(limit=settings.migration_connections, wait_s=settings.lock_wait_s, grace_s=settings.shutdown_grace_s)
    registry = Registry()
    registry.required = listed(settings.require_modules)
    # The default folder may be missing, since all modules may be registered.
    repo = settings.migrations_repo
    repository_watch = RepositoryWatch(repo, registry, may_be_missing=repo == DEFAULT_REPOSITORY)
    registrations = RegistrationStore(database, registry)
    policies = ModulePolicies(settings.module_policies)
    databases = ModuleDatabases(database, policies)
    summaries = Summaries(database, databases)
    records = RunRecords(database)
    lookup = ModuleLookup(databases, registry, registrations, summaries, settings.lock_wait_s)
    contents = FileContents(registrations)
    sampler = StateSampler(database, registry, lookup, summaries, records, settings.metrics_sample_s)
    metrics = Metrics(database, slots, sampler, settings.revision)
    tracing = _tracing(settings, tracer_provider)
    runs = RunService(settings, database, slots, registrations, lookup, summaries, Observer(metrics, tracing))
    deliverer = Deliverer(
        database,
        allow_private=settings.webhook_private_addresses,
        disable_after_s=settings.webhook_disable_after_s,
        keep_days=settings.run_retention_days,
        public_origin=settings.public_origin and f"{settings.public_origin}{settings.path_prefix or ''}",
        is_waiting=records.is_waiting,
        is_notified=lambda: runs.notifier.is_listening,
        on_attempt=metrics.webhook_attempted,
    )
    webhooks = WebhookStore(database, maximum=settings.max_webhooks, allow_http=settings.webhook_private_addresses)
    conditions = ModuleConditions(
        database, pending_after_s=settings.webhook_pending_after_s, is_migrating=records.is_migrating
    )
    sampler.on_sample = conditions.sampled
    operation_queries = OperationQueries(database, lookup, conditions.compared)
    verifier = TokenVerifier(database)
    sessions = Sessions(
        database,
        verifier,
        idle_s=settings.session_idle_s,
        lifetime_s=settings.session_lifetime_s,
        issuers=[issuer.issuer for issuer in settings.issuers if issuer.oidc_client_id is not None],
    )
    access = Access(settings)
    proxies = parse_proxies(settings.trusted_proxies)
    cookies = Cookies(proxies, settings.public_origin)
    authenticator, sign_ins = _authentication(settings, verifier, sessions)
    methods = AllowedMethods()
    audit = AuditRecorder(database)
    views = ModuleViews(database, registrations, lookup, summaries, records, runs.start_conditions)
    dependencies: dict[str, Any] = {
        "service_version": version_of(settings.revision),
        "database": database,
        "slots": slots,
        "registry": registry,
        "views": views,
        "overview": OverviewReader(database, slots, views, runs.recent, runs.freezes),
        "live_pages": LivePages(),
        "operation_queries": operation_queries,
        "operations": OperationService(database, slots, lookup, contents, runs.start_conditions),
        "runs": runs,
        "registrar": Registrar(
            database,
            databases,
            registrations,
            summaries,
            contents,
            RegistrationLimits(
                settings.max_modules, settings.max_modules_per_principal, settings.max_registrations_per_hour
            ),
        ),
        "bundle_limits": Limits(settings.max_bundle_bytes, settings.max_bundle_files),
        "repository_watch": repository_watch,
        "metrics": metrics,
        "verifier": verifier,
        "sessions": sessions,
        "sign_ins": sign_ins,
        "jar": cookies,
        "webhooks": webhooks,
    }
    registry_job = Job(
        "read what is registered",
        lambda: _REGISTRY_LISTENING_EVERY_S if runs.notifier.is_listening else _REGISTRY_EVERY_S,
        registrations.catch_up,
        database,
    )
    webhook_job = Job("deliver to webhooks", deliverer.pause_s, deliverer.deliver, database)
    configuring_job = Job(
        "configure the webhooks in the settings",
        lambda: _ONCE_S if webhooks.is_configured else _AGAIN_S,
        lambda: webhooks.configure([(one.name, one, one.secret()) for one in settings.webhooks]),
        database,
    )
    database.on_recreated(configuring_job.wake)
    runs.notifier.subscribe(WEBHOOK_CHANNEL, lambda _: webhook_job.wake())
    runs.notifier.on_return(webhook_job.wake)
    runs.notifier.subscribe(CHANNEL, lambda _: registry_job.wake())
    runs.notifier.on_return(registry_job.wake)
    database.on_recreated(registry_job.wake)
    jobs = [
        registry_job,
        webhook_job,
        configuring_job,
        Job("delete old deliveries", _PRUNE_EVERY_S, deliverer.prune, database),
        Job(
            "compare summaries with histories",
            min(_LEASE_EVERY_S, float(settings.reconcile_s)),
            lambda: summaries.reconcile(list(registry), settings.reconcile_s),
            database,
        ),
    ]
    drift_check_s = settings.drift_check_s
    if drift_check_s is not None:
        watch = DriftWatch(registry, summaries, operation_queries, lambda: conditions.is_drift_due(drift_check_s))
        jobs.append(Job("compare schemas for drift", min(_LEASE_EVERY_S, drift_check_s), watch.compare, database))
    poll = repository_watch.poll if settings.watch_repo else repository_watch.poll_unreadable
    jobs.append(Job("poll the migrations repository", _REPOSITORY_EVERY_S, poll))
    query_parameters = QueryParameters(dependencies)

    async def before_each_call(request: HTTPRequest) -> None:
        bind_path_parameters(request.path_params)
        query_parameters.require_known(request)

    app = Service(
        route_handlers=[static_files()],
        dependencies={name: _provide(part) for name, part in dependencies.items()},
        # Exited in reverse order: the audit is written before the pool closes, and jobs end before the connections to
        # webhooks are closed.
        lifespan=[
            lifespan_of(settings, database, slots, tracing, [runs]),
            deliverer.lifespan,
            background(jobs),
            sampler.lifespan,
            verifier.lifespan,
            sessions.lifespan,
            audit.lifespan,
        ],
        logging_config=None,
        middleware=[
            DefineMiddleware(
                Admission,
                access=access,
                authenticator=authenticator,
                origins=Origins(settings, proxies),
                methods=methods,
                sessions=sessions,
                cookies=cookies,
            ),
        ],
        cors_config=cors(listed(settings.cors_origins)),
        exception_handlers={NotFoundException: show_unrouted, MethodNotAllowedException: show_unrouted},
        openapi_config=openapi(secured=settings.auth != "none"),
        plugins=plugins(),
        request_max_body_size=settings.max_body_bytes,
        multipart_form_part_limit=settings.max_bundle_files + _FORM_FIELDS,
    )

    def register(handlers: Sequence[ControllerRouterHandler]) -> None:
        app.register(Router("/", route_handlers=handlers, before_request=before_each_call))
        access.check(app)
        methods.read(app)

    register(
        [
            HealthController,
            VersionController,
            SchemaController,
            ModuleController,
            RegistrationController,
            OperationController,
            RunController,
            BackfillController,
            ApprovalController,
            FreezeController,
            ActivityController,
            TokenController,
            WebhookController,
            create_ticket,
            migrate,
            migrate_all,
            sync_repository,
            show_metrics,
            get_audit,
            get_overview,
            list_replicas,
            stream_all_events,
            error_page,
            list_errors,
            get_service,
        ]
    )
    prefix = settings.path_prefix or ""
    app.front = Front(database, registrations, metrics, tracing, audit, PagesOnDemand(register), proxies, prefix)
    app.state.update(
        {
            "database": database,
            "registry": registry,
            "trusted_proxies": proxies,
            "sign_ins": sign_ins,
            "cookies": cookies,
        }
    )
    return app


def _provide(part: Any) -> Provide:
    return Provide(lambda: part, sync_to_thread=False, use_cache=True)


def _tracing(settings: Settings, provider: TracerProvider | None) -> Tracing | None:
    """Imports OpenTelemetry only if it is used: it is an optional and slow import."""
    if provider is None and settings.traces_url is None:
        return None
    from .observability.tracing import Tracing, tracing_to

    return tracing_to(settings, __version__) if provider is None else Tracing(provider)


def _authentication(
    settings: Settings, verifier: TokenVerifier, sessions: Sessions
) -> tuple[Authenticator | None, SignIns]:
    limiter = FailureLimiter(settings.auth_failures_per_minute)
    authenticator, issuers, providers = None, None, {}
    if settings.auth == "jwt":
        # This imports cryptography and an HTTP client, which other deployments do not need.
        from .auth.issuer import Issuers
        from .auth.openid_connect import providers_of

        issuers = Issuers(settings.issuers)
        providers = providers_of(settings.issuers, issuers)
    if settings.auth != "none":
        authenticator = Authenticator(verifier, issuers, sessions, limiter)
    return authenticator, SignIns(authenticator, sessions, limiter, providers, settings.public_origin)
