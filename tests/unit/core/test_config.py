"""DatabaseConfig: validation, and the values derived from it."""

from __future__ import annotations

import copy
import ssl
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdbm import ConfigurationError, DatabaseConfig, SchemaError

DEFAULTS = {
    "connection_string": None,
    "direct_connection_string": None,
    "host": "localhost",
    "port": 5432,
    "database": "postgres",
    "user": "postgres",
    "password": None,
    "password_file": None,
    "schema": None,
    "min_connections": 10,
    "max_connections": 20,
    "max_queries": 50000,
    "max_inactive_connection_lifetime": 300.0,
    "connect_timeout": 10.0,
    "command_timeout": 60.0,
    "statement_cache_size": 1000,
    "max_cached_statement_lifetime": 300.0,
    "server_settings": None,
    "init_commands": None,
    "shared_pool_search_path": "pg_catalog",
    "transaction_search_path": None,
    "ssl_enabled": False,
    "ssl_mode": None,
    "ssl_ca_file": None,
    "ssl_cert_file": None,
    "ssl_key_file": None,
    "ssl_key_password": None,
    "statement_timeout_ms": 60000,
    "idle_in_transaction_session_timeout_ms": 60000,
    "lock_timeout_ms": 5000,
    "retry_attempts": 3,
    "retry_delay": 1.0,
    "retry_backoff": 2.0,
    "retry_max_delay": 30.0,
}


def test_the_defaults() -> None:
    config = DatabaseConfig()
    assert {field.name: getattr(config, field.name) for field in fields(config)} == DEFAULTS
    assert config.schema_name is None
    assert config.get_schema() is None


def test_construction_is_keyword_only() -> None:
    with pytest.raises(TypeError):
        DatabaseConfig("postgresql://localhost/db")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", 0),
        ("port", 65536),
        ("port", "five"),
        ("port", 5432.5),
        ("port", True),
        ("port", None),
        ("host", None),
        ("host", 5),
        ("user", b"me"),
        ("connection_string", 5),
        ("min_connections", -1),
        ("min_connections", 21),
        ("max_connections", 0),
        ("max_queries", 0),
        ("max_inactive_connection_lifetime", -1),
        ("max_cached_statement_lifetime", -1),
        ("max_inactive_connection_lifetime", float("nan")),
        ("max_inactive_connection_lifetime", float("inf")),
        ("direct_connection_string", 5),
        ("connect_timeout", 0),
        ("connect_timeout", None),
        ("command_timeout", 0),
        ("command_timeout", -1),
        ("command_timeout", "soon"),
        ("statement_cache_size", -1),
        ("server_settings", {"work_mem": 64}),
        ("server_settings", "work_mem=64"),
        ("init_commands", "SET work_mem = 64"),
        ("init_commands", [1]),
        ("shared_pool_search_path", '"$user", public'),
        ("shared_pool_search_path", "public;"),
        ("shared_pool_search_path", ""),
        ("shared_pool_search_path", "public,"),
        ("ssl_enabled", "perhaps"),
        ("ssl_mode", "prefer"),
        ("ssl_mode", ""),
        ("statement_timeout_ms", -1),
        ("idle_in_transaction_session_timeout_ms", -1),
        ("lock_timeout_ms", -1),
        ("lock_timeout_ms", "5s"),
        ("retry_attempts", 0),
        ("retry_delay", -0.1),
        ("retry_backoff", 0.9),
        ("retry_max_delay", -1),
    ],
)
def test_a_bad_value_raises_and_names_its_field(field: str, value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        DatabaseConfig(**{field: value})
    assert caught.value.config_field == field
    assert field in str(caught.value)


@pytest.mark.parametrize("schema", ["", "1a", "a-b", "a b", 'a"b', "a.b", "ü", "a" * 64, "a\n", 5])
def test_a_bad_schema_is_a_schema_error(schema: Any) -> None:
    with pytest.raises(SchemaError):
        DatabaseConfig(schema=schema)


def test_a_refused_secret_is_not_shown() -> None:
    for field in ("password", "connection_string", "direct_connection_string", "ssl_key_password"):
        with pytest.raises(ConfigurationError) as caught:
            DatabaseConfig(**{field: b"open sesame"})  # type: ignore[arg-type]
        assert "sesame" not in str(caught.value)


def test_values_from_the_environment_are_text() -> None:
    config = DatabaseConfig(
        port="6000",  # type: ignore[arg-type]
        command_timeout="2.5",  # type: ignore[arg-type]
        ssl_enabled="false",  # type: ignore[arg-type]
        lock_timeout_ms="7",  # type: ignore[arg-type]
        ssl_ca_file=Path("/ca.pem"),  # type: ignore[arg-type]
    )
    assert (config.port, config.command_timeout, config.ssl_enabled, config.lock_timeout_ms, config.ssl_ca_file) == (
        6000,
        2.5,
        False,
        7,
        "/ca.pem",
    )


class TestDsn:
    def test_user_password_and_database_are_encoded(self) -> None:
        config = DatabaseConfig(host="db", user="me@corp", password="p@s/s:w?#%", database="my db", port=1)
        assert config.get_dsn() == "postgresql://me%40corp:p%40s%2Fs%3Aw%3F%23%25@db:1/my%20db"

    @given(user=st.text(min_size=1), password=st.text(), database=st.text(min_size=1))
    def test_every_part_comes_back(self, user: str, password: str, database: str) -> None:
        parts = urlsplit(DatabaseConfig(user=user, password=password, database=database).get_dsn())
        assert (unquote(parts.username or ""), unquote(parts.password or ""), unquote(parts.path)) == (
            user,
            password,
            f"/{database}",
        )

    @pytest.mark.parametrize(
        ("host", "authority"),
        [
            ("db", "db:5432"),
            ("::1", "[::1]:5432"),
            ("a,b", "a:5432,b:5432"),
            ("/run/postgresql", "%2Frun%2Fpostgresql:5432"),
            ("h/../x?a=b", "h%2F..%2Fx%3Fa%3Db:5432"),
        ],
    )
    def test_hosts(self, host: str, authority: str) -> None:
        config = DatabaseConfig(host=host, password="s")
        assert config.get_dsn() == f"postgresql://postgres:s@{authority}/postgres"
        assert config.get_dsn_masked() == f"postgresql://postgres:****@{authority}/postgres"

    def test_the_password_falls_back_to_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DB_PASSWORD", "from env")
        assert "from%20env" in DatabaseConfig().get_dsn()
        assert "given" in DatabaseConfig(password="given").get_dsn()

    def test_no_password_at_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("DB_PASSWORD", raising=False)
        with pytest.raises(ConfigurationError, match="DB_PASSWORD") as caught:
            DatabaseConfig().get_dsn()
        assert caught.value.config_field == "password"
        assert DatabaseConfig().get_dsn_masked() == "postgresql://postgres:****@localhost:5432/postgres"

    def test_the_connection_string_wins(self) -> None:
        config = DatabaseConfig(connection_string="postgresql://a:b@c/d", host="x", password="y")
        assert config.get_dsn() == "postgresql://a:b@c/d"
        assert config.get_dsn_masked() == "postgresql://a:****@c/d"


class TestServerSettings:
    def test_the_defaults(self) -> None:
        assert DatabaseConfig().get_server_settings() == {
            "jit": "off",
            "application_name": "pgdbm",
            "statement_timeout": "60000",
            "idle_in_transaction_session_timeout": "60000",
            "lock_timeout": "5000",
        }

    def test_none_disables_a_timeout(self) -> None:
        config = DatabaseConfig(
            statement_timeout_ms=None, idle_in_transaction_session_timeout_ms=None, lock_timeout_ms=None
        )
        assert config.get_server_settings() == {"jit": "off", "application_name": "pgdbm"}

    def test_zero_is_not_none(self) -> None:
        assert DatabaseConfig(lock_timeout_ms=0).get_server_settings()["lock_timeout"] == "0"

    def test_the_schema_comes_before_public(self) -> None:
        assert DatabaseConfig(schema="App").get_server_settings()["search_path"] == '"App", public'

    def test_the_callers_settings_win_and_stay_as_they_are(self) -> None:
        given = {"jit": "on", "work_mem": "64MB"}
        config = DatabaseConfig(server_settings=given, schema="app")
        settings = config.get_server_settings()
        assert (settings["jit"], settings["work_mem"]) == ("on", "64MB")
        settings["jit"] = "changed"
        assert given == {"jit": "on", "work_mem": "64MB"}
        assert config.server_settings is given

    def test_the_connection_strings_settings_win_over_defaults(self) -> None:
        config = DatabaseConfig(connection_string="postgresql://h/d?application_name=shop&lock_timeout=1s", schema="s")
        settings = config.get_server_settings()
        assert "application_name" not in settings
        assert "lock_timeout" not in settings
        assert settings["search_path"] == '"s", public'


class TestSsl:
    def test_disabled(self) -> None:
        assert DatabaseConfig(ssl_mode="require").build_ssl_context() is None

    @pytest.mark.parametrize(
        ("mode", "verify", "host_name"),
        [
            (None, ssl.CERT_REQUIRED, True),
            ("verify-full", ssl.CERT_REQUIRED, True),
            ("verify-ca", ssl.CERT_REQUIRED, False),
            ("require", ssl.CERT_NONE, False),
        ],
    )
    def test_modes(self, mode: str | None, verify: ssl.VerifyMode, host_name: bool) -> None:
        context = DatabaseConfig(ssl_enabled=True, ssl_mode=mode).build_ssl_context()
        assert context is not None
        assert (context.verify_mode, context.check_hostname) == (verify, host_name)

    @pytest.mark.parametrize("field", ["ssl_ca_file", "ssl_cert_file", "ssl_key_file"])
    def test_a_missing_file_names_its_field(self, field: str) -> None:
        config = DatabaseConfig(ssl_enabled=True, **{field: "/no/such.pem"})  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match=r"/no/such\.pem") as caught:
            config.build_ssl_context()
        assert caught.value.config_field == field

    def test_files_that_are_not_certificates(self, tmp_path: Path) -> None:
        path = tmp_path / "x.pem"
        path.write_text("not a certificate")
        for settings, field in (
            ({"ssl_ca_file": str(path)}, "ssl_ca_file"),
            ({"ssl_cert_file": str(path)}, "ssl_cert_file"),
            ({"ssl_key_file": str(path)}, "ssl_cert_file"),
            ({"ssl_cert_file": str(path), "ssl_key_password": "secret" * 400}, "ssl_cert_file"),
        ):
            config = DatabaseConfig(ssl_enabled=True, **settings)  # type: ignore[arg-type]
            with pytest.raises(ConfigurationError) as caught:
                config.build_ssl_context()
            assert caught.value.config_field == field
            assert "secret" not in str(caught.value)


class TestCopies:
    def test_deep(self) -> None:
        config = DatabaseConfig(server_settings={"a": "b"}, init_commands=["SELECT 1"])
        made = config.model_copy(deep=True)
        assert made == config
        assert made.server_settings is not config.server_settings
        assert made.init_commands is not config.init_commands
        assert config.model_copy().server_settings is config.server_settings

    def test_updates_are_checked(self) -> None:
        config = DatabaseConfig()
        assert config.model_copy(update={"schema": "app"}).schema_name == "app"
        assert config.model_copy(update={"schema_name": "app"}).schema == "app"
        assert config.schema is None
        with pytest.raises(ConfigurationError, match="port"):
            config.model_copy(update={"port": 0})
        with pytest.raises(ConfigurationError, match="prot"):
            config.model_copy(update={"prot": 1})

    def test_a_plain_copy(self) -> None:
        config = DatabaseConfig(schema="app")
        assert copy.copy(config) == config


@given(st.text())
def test_no_repr_shows_a_password(password: str) -> None:
    config = DatabaseConfig(password=f"<{password}>", ssl_key_password=f"<{password}>", host="h", database="d")
    assert f"<{password}>" not in f"{config!r} {config}"
    assert repr(config) == "DatabaseConfig('postgresql://postgres:****@h:5432/d')"
