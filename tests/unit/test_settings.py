"""The service's settings: defaults, and one-line errors that name the variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgdbm_service.settings import Settings, SettingsError, read_settings, unknown_variables, variable_of

URL = "postgresql://u:hunter2@127.0.0.1:5432/x"
AUDIENCE = "pgdbm"


JWT = {"PGDBM_AUTH": "jwt", "PGDBM_JWT_ISSUER": "https://issuer.example", "PGDBM_JWT_AUDIENCE": "pgdbm"}
CLIENT = JWT | {"PGDBM_OIDC_CLIENT_ID": "x", "PGDBM_PUBLIC_ORIGIN": "https://pgdbm.example"}
SAME_NAME = '[{"issuer": "https://other.example", "audience": "x", "oidc_client_id": "x", "oidc_name": "sso"}]'


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"PGDBM_PUBLIC_ORIGIN": ""}, "PGDBM_PUBLIC_ORIGIN"),
        ({"PGDBM_PUBLIC_ORIGIN": "pgdbm.example"}, "PGDBM_PUBLIC_ORIGIN"),
        ({"PGDBM_PUBLIC_ORIGIN": "https://pgdbm.example/x"}, "PGDBM_PUBLIC_ORIGIN"),
        ({"PGDBM_OIDC_CLIENT_SECRET_FILE": "/nowhere"}, "PGDBM_OIDC_CLIENT_SECRET_FILE"),
        ({"PGDBM_OIDC_CLIENT_ID": "", "PGDBM_OIDC_CLIENT_SECRET_FILE": __file__}, "PGDBM_OIDC_CLIENT_ID"),
        ({"PGDBM_OIDC_SCOPES": "profile"}, "PGDBM_OIDC_SCOPES"),
        ({"PGDBM_OIDC_NAME": "a/b"}, "PGDBM_OIDC_NAME"),
        ({"PGDBM_JWT_CLAIM_SCOPES": '{"groups": {"dba": ["all"]}}'}, "PGDBM_JWT_CLAIM_SCOPES"),
        ({"PGDBM_JWT_CLAIM_SCOPES": '{"groups": {"[a]": ["read"]}}'}, "PGDBM_JWT_CLAIM_SCOPES"),
        ({"PGDBM_JWT_ISSUERS": SAME_NAME}, "oidc_name"),
    ],
)
def test_settings_of_an_identity_provider(variables: dict[str, str], named: str) -> None:
    assert read_settings({"DATABASE_URL": URL} | CLIENT).issuers[0].oidc_client_id == "x"
    with pytest.raises(SettingsError, match=named):
        read_settings({"DATABASE_URL": URL} | CLIENT | variables)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"PGDBM_PORT": "eighty"}, "PGDBM_PORT"),
        ({"PGDBM_PORT": "70000"}, "PGDBM_PORT"),
        ({"PGDBM_MAX_CONNECTIONS": "2"}, "PGDBM_MAX_CONNECTIONS"),
        ({"PGDBM_MIN_CONNECTIONS": "11"}, "PGDBM_MIN_CONNECTIONS"),
        ({"PGDBM_DATABASE_TIMEOUT_S": "0"}, "PGDBM_DATABASE_TIMEOUT_S"),
        ({"PGDBM_DATABASE_TIMEOUT_S": "nan"}, "PGDBM_DATABASE_TIMEOUT_S"),
        ({"PGDBM_SHUTDOWN_GRACE_S": "-1"}, "PGDBM_SHUTDOWN_GRACE_S"),
        ({"PGDBM_LOG_LEVEL": "loud"}, "PGDBM_LOG_LEVEL"),
        ({"PGDBM_LOG_FORMAT": "xml"}, "PGDBM_LOG_FORMAT"),
        ({"PGDBM_ALLOW_UNAUTHENTICATED": "perhaps"}, "PGDBM_ALLOW_UNAUTHENTICATED"),
        ({"PGDBM_HOST": "0.0.0.0"}, "PGDBM_ALLOW_UNAUTHENTICATED"),
        ({"PGDBM_HOST": "::"}, "PGDBM_ALLOW_UNAUTHENTICATED"),
        ({"PGDBM_HOST": "example.com"}, "PGDBM_HOST"),
        ({"DATABASE_URL": "mysql://u:hunter2@h/x"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://u:hunter2@h:port/x"}, "DATABASE_URL"),
        ({"DATABASE_URL": "host=h hunter2"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://u:hunter2/x@h/x"}, "Percent-encode"),
        ({"DATABASE_URL": "postgresql://u:hunter2@h/x?schema=public"}, "schema belongs to Prisma"),
        ({"DATABASE_URL": "postgresql://u:hunter2@h/x?sslmode=verify-full"}, "sslrootcert=system"),
    ],
)
def test_bad_settings_are_one_line(variables: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({"DATABASE_URL": URL} | variables)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_defaults_and_given_values_are_read() -> None:
    settings = read_settings({"DATABASE_URL": URL, "PGDBM_PORT": "", "PGDBM_UNRELATED": "1"})
    assert (settings.host, settings.port, settings.max_connections) == ("127.0.0.1", 8000, 10)
    assert settings.migrations_repo == Path("migrations_repo")
    changed = read_settings(
        {"DATABASE_URL": URL, "PGDBM_HOST": "0.0.0.0", "PGDBM_ALLOW_UNAUTHENTICATED": "True", "PGDBM_PORT": "0"}
    )
    assert (changed.host, changed.port, changed.loopback_only) == ("0.0.0.0", 0, False)
    assert list(unknown_variables({"PGDBM_PORT": "1", "PGDBM_PROT": "1", "OTHER": ""})) == ["PGDBM_PROT"]
    assert variable_of("database_url") == "DATABASE_URL"
    assert {variable_of(field) for field in Settings.__struct_fields__} >= {"PGDBM_HOST", "PGDBM_SHUTDOWN_GRACE_S"}


def test_an_auth_mode_overrides_allow_unauthenticated() -> None:
    """One variable is enough to enable it, even if a compose file sets the other one."""
    settings = read_settings(
        {"DATABASE_URL": URL, "PGDBM_HOST": "0.0.0.0", "PGDBM_AUTH": "tokens", "PGDBM_ALLOW_UNAUTHENTICATED": "true"}
    )
    assert settings.auth == "tokens"
    assert not settings.loopback_only


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"PGDBM_AUTH": "basic"}, "PGDBM_AUTH"),
        ({"PGDBM_HOST": "0.0.0.0"}, "PGDBM_AUTH=tokens"),
        ({"PGDBM_JWT_ISSUER": "https://issuer.example"}, "PGDBM_JWT_ISSUER"),
        ({"PGDBM_AUTH": "tokens", "PGDBM_JWKS_URL": "https://issuer.example"}, "PGDBM_JWKS_URL"),
        ({"PGDBM_AUTH": "tokens", "PGDBM_OIDC_CLIENT_ID": "x"}, "PGDBM_OIDC_CLIENT_ID"),
        ({"PGDBM_AUTH": "jwt"}, "PGDBM_JWT_ISSUER"),
        ({"PGDBM_AUTH": "jwt", "PGDBM_JWT_ISSUER": "https://issuer.example"}, "PGDBM_JWT_AUDIENCE"),
        ({"PGDBM_AUTH_FAILURES_PER_MINUTE": "0"}, "PGDBM_AUTH_FAILURES_PER_MINUTE"),
    ],
)
def test_contradicting_settings_are_refused(variables: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named) as caught:
        read_settings({"DATABASE_URL": URL} | variables)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"PGDBM_JWT_ISSUER": "http://issuer.example"}, "PGDBM_JWT_ISSUER"),
        ({"PGDBM_JWKS_URL": "ftp://issuer.example"}, "PGDBM_JWKS_URL"),
        ({"PGDBM_JWKS_URL": "https://[x"}, "PGDBM_JWKS_URL"),
        ({"PGDBM_JWKS_CA_FILE": "/nowhere"}, "PGDBM_JWKS_CA_FILE"),
        ({"PGDBM_JWKS_TOKEN_FILE": "/etc/passwd"}, "PGDBM_JWKS_URL"),
        ({"PGDBM_JWT_SUBJECT_SCOPES": "read"}, "PGDBM_JWT_SUBJECT_SCOPES"),
        ({"PGDBM_JWT_SUBJECT_SCOPES": '{"a": "read"}'}, "PGDBM_JWT_SUBJECT_SCOPES"),
        ({"PGDBM_JWT_SUBJECT_SCOPES": '{"a": ["write"]}'}, "PGDBM_JWT_SUBJECT_SCOPES"),
        ({"PGDBM_JWT_SUBJECT_SCOPES": '{"[a]": ["read"]}'}, "PGDBM_JWT_SUBJECT_SCOPES"),
    ],
)
def test_settings_of_an_issuer_are_checked(variables: dict[str, str], named: str) -> None:
    usual = {
        "DATABASE_URL": "postgresql://u@h/x",
        "PGDBM_AUTH": "jwt",
        "PGDBM_JWT_ISSUER": "https://issuer.example",
        "PGDBM_JWT_AUDIENCE": AUDIENCE,
    }
    assert read_settings(usual).jwt_subject_scopes == {}
    with pytest.raises(SettingsError, match=named) as caught:
        read_settings(usual | variables)
    assert "\n" not in str(caught.value)
    given = read_settings(usual | {"PGDBM_JWT_SUBJECT_SCOPES": '{"a*": ["read", "migrate:*"]}'})
    assert given.jwt_subject_scopes == {"a*": ["read", "migrate:*"]}


def test_a_direct_url_needs_a_database_url() -> None:
    with pytest.raises(SettingsError, match=r"^PGDBM_DIRECT_URL is set, but DATABASE_URL is not"):
        read_settings({"PGDBM_DIRECT_URL": "postgresql://h/d"})
    with pytest.raises(SettingsError, match=r"^PGDBM_DIRECT_URL: .* must begin with postgresql://") as caught:
        read_settings({"DATABASE_URL": "postgresql://h/d", "PGDBM_DIRECT_URL": "mysql://u:hunter2@h/d"})
    assert "hunter2" not in str(caught.value)
