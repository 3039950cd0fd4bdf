"""Every setting with its default and its meaning. ``Settings`` is the only place that describes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from pgdbm.dsn import is_loopback

from .policies import Login, ModulePolicy, logins_of
from .webhooks import WebhookSetting

PREFIX = "PGDBM_"
_WITHOUT_PREFIX = {"database_url": "DATABASE_URL"}
# Connections that requests and health checks can count on while migrations run.
RESERVED_CONNECTIONS = 2
DEFAULT_REPOSITORY = Path("migrations_repo")


class SettingsError(Exception):
    """A variable has a value with which the service cannot start. The text is one line that names the variable."""


class IssuerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An issuer of JWTs: the settings ``PGDBM_JWT_…``, ``PGDBM_JWKS_…`` and ``PGDBM_OIDC_…`` without their prefix."""

    issuer: str
    audience: str
    scope_claim: str = "scope"
    subject_scopes: dict[str, list[str]] = {}
    claim_scopes: dict[str, dict[str, list[str]]] = {}
    jwks_url: str | None = None
    jwks_ca_file: Path | None = None
    jwks_token_file: Path | None = None
    oidc_client_id: str | None = None
    oidc_client_secret_file: Path | None = None
    oidc_scopes: str = "openid"
    oidc_name: str = "SSO"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting with its default and its meaning. The variable is ``PGDBM_`` and the name in upper case."""

    database_url: Annotated[
        str | None,
        Meta(description="The database, postgresql://…, on one or several hosts. Unset: an embedded PostgreSQL."),
    ] = None
    direct_url: Annotated[
        str | None,
        Meta(
            description="The same database without the transaction-pooling proxy of DATABASE_URL, for statements "
            "that need a real session."
        ),
    ] = None
    data_dir: Annotated[Path, Meta(description="The data directory of the embedded PostgreSQL.")] = Path(".pgdbm/data")
    migrations_repo: Annotated[
        Path, Meta(description="The folder that contains one folder of migrations per module.")
    ] = DEFAULT_REPOSITORY
    require_modules: Annotated[
        str | None,
        Meta(
            description="Names of modules, or patterns such as billing-*, separated by commas. While one of them "
            "matches no module with files, because a mount is missing for example, the service is not ready and "
            "refuses POST /migrate."
        ),
    ] = None
    host: Annotated[str, Meta(description="The address to listen on.", min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(description="The port to listen on; 0 selects a free one.", ge=0, le=65535)] = 8000
    auth: Annotated[
        Literal["none", "tokens", "jwt"],
        Meta(
            description="Authentication: none (only clients on this machine), tokens (created by `pgdbm token "
            "create`), or jwt (those, and JWTs of PGDBM_JWT_ISSUER)."
        ),
    ] = "none"
    allow_unauthenticated: Annotated[
        bool,
        Meta(
            description="Serve other machines although no auth is configured: "
            "everyone who can reach the port can then migrate the database."
        ),
    ] = False
    auth_for_health: Annotated[
        bool, Meta(description="Whether /health/ready requires a token with read. /health/live never does.")
    ] = False
    auth_for_metrics: Annotated[bool, Meta(description="Whether /metrics requires a token with read.")] = False
    auth_failures_per_minute: Annotated[
        int,
        Meta(
            description="Requests without a token, or with an invalid one, that an address may make per minute.",
            ge=1,
            le=10000,
        ),
    ] = 30
    trusted_proxies: Annotated[
        str | None,
        Meta(
            description="Proxies whose X-Forwarded-* headers are trusted: addresses and networks separated by commas, "
            "or `*` for every peer. Unset: none."
        ),
    ] = None
    path_prefix: Annotated[
        str | None,
        Meta(
            description="The path under which a reverse proxy publishes the service, such as /pgdbm, if it does not "
            "send X-Forwarded-Prefix."
        ),
    ] = None
    allowed_hosts: Annotated[
        str | None,
        Meta(
            description="Host names that requests may be addressed to, with `*` as a wildcard, separated by commas; "
            "localhost and IP addresses are always allowed. Unset: any name if auth is configured, otherwise none."
        ),
    ] = None
    public_origin: Annotated[
        str | None,
        Meta(
            description="The origin under which browsers reach the service, such as https://pgdbm.example.com, without "
            "PGDBM_PATH_PREFIX. Needed to sign in at an identity provider."
        ),
    ] = None
    cors_origins: Annotated[
        str | None,
        Meta(
            description="Origins of web pages that may call the service, separated by commas, or `*`: "
            "https://dashboard.example.com. Unset: only its own pages."
        ),
    ] = None
    jwt_issuer: Annotated[str | None, Meta(description="The `iss` of accepted JWTs; https, or http on loopback.")] = (
        None
    )
    jwt_audience: Annotated[str | None, Meta(description="The value that the `aud` of a JWT must contain.")] = None
    jwt_scope_claim: Annotated[
        str,
        Meta(description="The claim of a JWT that lists scopes: an array, or words separated by spaces.", min_length=1),
    ] = "scope"
    jwt_subject_scopes: Annotated[
        dict[str, list[str]],
        Meta(
            description='Scopes by the `sub` of a JWT, a glob: {"system:serviceaccount:shop:*": ["read", "migrate:*"]}.'
        ),
    ] = msgspec.field(default_factory=dict)
    jwt_claim_scopes: Annotated[
        dict[str, dict[str, list[str]]],
        Meta(
            description='Scopes by the values of other claims, globs: {"groups": {"dba": ["admin"]}, "email": '
            '{"*@example.com": ["read"]}}. `email` counts only if `email_verified` is true.'
        ),
    ] = msgspec.field(default_factory=dict)
    jwks_url: Annotated[
        str | None,
        Meta(description="The URL of the issuer's keys. Unset: as in its /.well-known/openid-configuration."),
    ] = None
    jwks_ca_file: Annotated[
        Path | None,
        Meta(description="The CA certificates that the issuer's certificate is verified with. Unset: the system's."),
    ] = None
    jwks_token_file: Annotated[
        Path | None, Meta(description="A file with the bearer token that PGDBM_JWKS_URL requires, as on Kubernetes.")
    ] = None
    jwt_issuers: Annotated[
        list[IssuerSettings],
        Meta(
            description='More issuers: [{"issuer": …, "audience": …}], each with scope_claim, subject_scopes, '
            "claim_scopes, jwks_url, jwks_ca_file, jwks_token_file and the oidc_ settings if needed."
        ),
    ] = msgspec.field(default_factory=list)
    oidc_client_id: Annotated[
        str | None,
        Meta(
            description="The client id of the service at PGDBM_JWT_ISSUER, through which people can then sign in to "
            "the dashboard with OpenID Connect."
        ),
    ] = None
    oidc_client_secret_file: Annotated[
        Path | None,
        Meta(description="A file with the secret of that client. Unset: a public client, which uses only PKCE."),
    ] = None
    oidc_scopes: Annotated[
        str, Meta(description="The OAuth scopes to request, separated by spaces, including openid.", min_length=1)
    ] = "openid"
    oidc_name: Annotated[
        str,
        Meta(
            description="The name on the button to sign in. In lower case it is part of the redirect URI: "
            "PGDBM_PUBLIC_ORIGIN/ui/sign-in/sso/callback.",
            min_length=1,
        ),
    ] = "SSO"
    session_idle_s: Annotated[
        float,
        Meta(
            description="Seconds without opening a page of the dashboard after which a user is signed out.",
            ge=1,
            le=2592000,
        ),
    ] = 7200.0
    session_lifetime_s: Annotated[
        float,
        Meta(description="Seconds after which a user has to sign in to the dashboard again.", ge=1, le=2592000),
    ] = 43200.0
    module_policies: Annotated[
        dict[str, ModulePolicy],
        Meta(
            description="The schemas and the role that modules may have, the login that migrates them, and the limits "
            "max_rewrite, max_blocked and findings, by globs of "
            'their names: {"billing*": {"schemas": ["billing*"], "login": "billing", "password_file": '
            '"/run/secrets/billing"}}. The first match applies. Unset: any.'
        ),
    ] = msgspec.field(default_factory=dict)
    min_connections: Annotated[int, Meta(description="Connections that the pool keeps open.", ge=0, le=1000)] = 2
    max_connections: Annotated[
        int,
        Meta(description="The maximum size of the pool; two of its connections never run migrations.", ge=3, le=1000),
    ] = 10
    login_connections: Annotated[
        int,
        Meta(
            description="The maximum number of connections of each login in PGDBM_MODULE_POLICIES; two "
            "of them never migrate.",
            ge=3,
            le=100,
        ),
    ] = 5
    database_timeout_s: Annotated[
        float,
        Meta(description="Seconds after which a statement is cancelled, except in migrations.", gt=0, le=300),
    ] = 5.0
    lock_wait_s: Annotated[
        float,
        Meta(
            description="Seconds that a migration waits for other runners of the module, and for "
            "locks of other sessions.",
            ge=0,
            le=86400,
        ),
    ] = 60.0
    pause_after_idle_s: Annotated[
        float | None,
        Meta(
            description="Seconds without a request or a run after which this replica sends nothing to the database "
            "until the next one, so that a serverless database can be suspended. Unset: never.",
            ge=0,
            le=86400,
        ),
    ] = None
    shutdown_grace_s: Annotated[
        float,
        Meta(description="Seconds that running migrations may take to finish when the service stops.", ge=0, le=86400),
    ] = 30.0
    takeover_s: Annotated[
        float,
        Meta(
            description="Seconds without a heartbeat after which other replicas take over the work of a replica.",
            ge=1,
            le=25,
        ),
    ] = 15.0
    stream_keep_alive_s: Annotated[
        float,
        Meta(description="Seconds without an event after which a stream of events sends a comment.", ge=0.1, le=300),
    ] = 15.0
    run_retention_days: Annotated[
        float, Meta(description="Days for which a run is kept after its end.", ge=0, le=36500)
    ] = 90.0
    request_timeout_s: Annotated[
        float,
        Meta(description="Seconds within which a request, including its body, must arrive.", gt=0, le=86400),
    ] = 60.0
    max_body_bytes: Annotated[int, Meta(description="The maximum size of a request body.", ge=1024, le=2**30)] = (
        10 * 1024 * 1024
    )
    max_bundle_bytes: Annotated[
        int,
        Meta(description="The maximum total size of the files of a registered module.", ge=1024, le=2**30),
    ] = 20 * 1024 * 1024
    max_bundle_files: Annotated[
        int, Meta(description="The maximum number of files of a registered module.", ge=1, le=100_000)
    ] = 5000
    max_modules: Annotated[int, Meta(description="The maximum number of registered modules.", ge=1, le=1_000_000)] = (
        10_000
    )
    max_modules_per_principal: Annotated[
        int, Meta(description="The maximum number of registered modules of a principal.", ge=1, le=1_000_000)
    ] = 1000
    max_registrations_per_hour: Annotated[
        int,
        Meta(
            description="Registrations with changes that a principal may make within an hour. Each stores a bundle.",
            ge=1,
            le=1_000_000,
        ),
    ] = 1000
    max_webhooks: Annotated[
        int, Meta(description="The maximum number of webhooks that are created over HTTP.", ge=0, le=10_000)
    ] = 100
    webhooks: Annotated[
        list[WebhookSetting],
        Meta(
            description='Webhooks that are defined here: [{"name": …, "url": …, "secret_file": …}], each with '
            "events, modules, format and blocked_after_s if needed, and secret_variable instead of a file."
        ),
    ] = msgspec.field(default_factory=list)
    webhook_private_addresses: Annotated[
        bool,
        Meta(description="Whether webhooks may be sent to private, loopback and link-local addresses, also over HTTP."),
    ] = False
    webhook_disable_after_s: Annotated[
        float,
        Meta(
            description="Seconds for which every delivery of a webhook must have failed before it is disabled.",
            gt=0,
            le=31536000,
        ),
    ] = 172800.0
    webhook_pending_after_s: Annotated[
        float,
        Meta(
            description="Seconds for which migrations of a module must have been pending before webhooks report it.",
            ge=0,
            le=31536000,
        ),
    ] = 3600.0
    drift_check_s: Annotated[
        float | None,
        Meta(
            description="Seconds between checks of all schemas for drift, which webhooks report. "
            "Unset: only when someone requests a check.",
            ge=1,
            le=31536000,
        ),
    ] = None
    watch_repo: Annotated[
        bool, Meta(description="Whether to check every second for changed files in the migrations repository.")
    ] = True
    reconcile_s: Annotated[
        float,
        Meta(
            description="Seconds between comparisons of the summaries of schemas with their histories.", ge=1, le=86400
        ),
    ] = 60.0
    revision: Annotated[
        str | None,
        Meta(description="The revision of the sources that the image was built from, for /version. The image sets it."),
    ] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The lowest level that is logged.")
    ] = "info"
    log_format: Annotated[
        Literal["auto", "console", "json"],
        Meta(description="console is readable text, json is for programs; auto: console on a terminal, else json."),
    ] = "auto"

    metrics_sample_s: Annotated[
        float,
        Meta(description="Seconds between samples of what is pending, for the metrics.", gt=0, le=3600),
    ] = 15.0
    traces_url: Annotated[
        str | None,
        Meta(
            description="The URL that OpenTelemetry traces are sent to, as OTLP over HTTP: http://collector:4318/v1/traces."
        ),
    ] = None

    @property
    def migration_connections(self) -> int:
        """How many connections may run migrations at the same time."""
        return self.max_connections - RESERVED_CONNECTIONS

    @property
    def login_migrations(self) -> int:
        """How many connections of a login may run migrations at the same time."""
        return self.login_connections - RESERVED_CONNECTIONS

    @property
    def logins(self) -> dict[str, Login]:
        """The database logins of modules, by name."""
        return logins_of(self.module_policies)

    @property
    def issuers(self) -> list[IssuerSettings]:
        """Every issuer whose JWTs are accepted, the one in ``jwt_issuer`` first."""
        if self.jwt_issuer is None or self.jwt_audience is None:
            return self.jwt_issuers
        single = IssuerSettings(
            issuer=self.jwt_issuer,
            audience=self.jwt_audience,
            scope_claim=self.jwt_scope_claim,
            subject_scopes=self.jwt_subject_scopes,
            claim_scopes=self.jwt_claim_scopes,
            jwks_url=self.jwks_url,
            jwks_ca_file=self.jwks_ca_file,
            jwks_token_file=self.jwks_token_file,
            oidc_client_id=self.oidc_client_id,
            oidc_client_secret_file=self.oidc_client_secret_file,
            oidc_scopes=self.oidc_scopes,
            oidc_name=self.oidc_name,
        )
        return [single, *self.jwt_issuers]

    @property
    def loopback_only(self) -> bool:
        """Whether only clients on this machine are served."""
        return self.auth == "none" and not self.allow_unauthenticated


def listed(text: str | None) -> tuple[str, ...]:
    """The entries of a comma-separated setting."""
    return tuple(entry.strip() for entry in (text or "").split(",") if entry.strip())


def variable_of(field: str) -> str:
    """The environment variable that sets ``field``."""
    return _WITHOUT_PREFIX.get(field, PREFIX + field.upper())


def is_safe_url(url: str) -> bool:
    """Whether an answer from ``url`` is authentic: https, or http on loopback."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))
