"""Connection strings are read as libpq reads them, or refused with the parameter named."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdbm import ConfigurationError
from pgdbm.dsn import is_loopback, parse_dsn

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=20)


@pytest.fixture(autouse=True)
def without_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PGPORT", "PGHOST", "PGDATABASE", "PGSSLMODE", "PGSSLROOTCERT", "PGSERVICE", "PGTARGETSESSIONATTRS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("postgresql://", {}),
        ("postgres://h/shop", {"host": "h", "dbname": "shop"}),
        (
            "postgresql://me:s@h:6000/shop",
            {"user": "me", "password": "s", "host": "h", "port": "6000", "dbname": "shop"},
        ),
        ("postgresql://me:a#b?c@h/shop", {"user": "me", "password": "a#b?c", "host": "h", "dbname": "shop"}),
        ("postgresql://me:a:b@h", {"user": "me", "password": "a:b", "host": "h"}),
        ("postgresql://[::1]:7/shop", {"host": "::1", "port": "7", "dbname": "shop"}),
        ("postgresql://a:1,b/shop", {"host": "a,b", "port": "1,5432", "dbname": "shop"}),
        ("postgresql://%2Ftmp%2Fpg/my%20shop", {"host": "/tmp/pg", "dbname": "my shop"}),
        ("postgresql:///shop?host=/tmp&port=6000", {"host": "/tmp", "port": "6000", "dbname": "shop"}),
        ("postgresql://h?user=a@b", {"host": "h", "user": "a@b"}),
        ("postgresql:///d?host=a:1,b:2", {"host": "a,b", "port": "1,2", "dbname": "d"}),
        ("postgresql://h/d?database=other", {"host": "h", "dbname": "other"}),
        ("postgresql://h/d?ssl=true", {"host": "h", "dbname": "d", "sslmode": "require"}),
        ("postgresql://h/d?options=-c%20a.b=1+2", {"host": "h", "dbname": "d", "options": "-c a.b=1+2"}),
        ("host=h port = 6000 dbname='my shop'", {"host": "h", "port": "6000", "dbname": "my shop"}),
        (r"host=h password='it\'s' user=a\ b", {"host": "h", "password": "it's", "user": "a b"}),
    ],
)
def test_parameters(text: str, parameters: Mapping[str, str]) -> None:
    assert parse_dsn(text).parameters == parameters


@given(user=TEXT, password=TEXT, database=TEXT)
def test_encoded_parts_come_through(user: str, password: str, database: str) -> None:
    text = f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@h/{quote(database, safe='')}"
    expected = {"user": user, "password": password, "host": "h", "dbname": database}
    assert parse_dsn(text).parameters == expected
    again = parse_dsn(parse_dsn(text).with_parameters(dbname="other")).parameters
    assert again == {**expected, "dbname": "other"}


@pytest.mark.parametrize("password", ["q7a/b", "q7a@b", "q7ab%zz", "q7ab%c3", "q7a/b@c", "q7%"])
def test_unencoded_characters_are_refused_with_a_hint(password: str) -> None:
    with pytest.raises(ConfigurationError, match="Percent-encode") as caught:
        parse_dsn(f"postgresql://me:{password}@h:5432/shop", "DATABASE_URL")
    assert str(caught.value).startswith("DATABASE_URL: ")
    assert caught.value.config_field == "DATABASE_URL"
    assert "q7" not in str(caught.value)


@given(st.text())
def test_any_text_is_parsed_or_refused_without_showing_it(text: str) -> None:
    said = ""
    try:
        parse_dsn(f"postgresql://me:q7{text}q8@h/shop")
    except ConfigurationError as error:
        said = str(error)
    assert "q7" not in said
    assert "q8" not in said


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("schema=public", "schema belongs to Prisma"),
        ("pgbouncer=true", "pgbouncer belongs to Prisma"),
        ("connection_limit=5", "connection_limit belongs to Prisma"),
        ("currentSchema=app", "currentSchema belongs to the JDBC driver"),
        ("x-migrations-table=m", "x-migrations-table belongs to golang-migrate"),
        ("require_auth=scram-sha-256", "require_auth is not supported"),
        ("requirepeer=postgres", "requirepeer is not supported"),
        ("replication=database", "replication is not supported"),
        ("gssencmode=require", "gssencmode is supported only with disable or prefer"),
        ("client_encoding=latin1", "client_encoding is supported only with"),
        ("min_protocol_version=3.2", "min_protocol_version is supported only with 3.0"),
        ("sslmode=on", "sslmode must be one of disable, allow"),
        ("load_balance_hosts=yes", "load_balance_hosts must be one of disable, random"),
        ("target_session_attrs=leader", "target_session_attrs must be one of any"),
        ("connect_timeout=soon", "connect_timeout must be a whole number"),
        ("keepalives_idle=x", "keepalives_idle must be a whole number"),
        ("sslmode=verify-full", "sslmode=verify-full requires an authority's certificate.*sslrootcert=system"),
        ("sslmode=verify-ca", "sslmode=verify-ca requires"),
        ("sslmode=require&sslrootcert=system", "sslrootcert=system needs sslmode=verify-full"),
        ("port=0", "port must be a number"),
        ("port=1,2,3", "port names 3 ports for 1 hosts"),
        ("hostaddr=10.0.0.1&sslmode=verify-full&sslrootcert=system", "hostaddr cannot be combined"),
    ],
)
def test_parameters_that_are_refused(parameter: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        parse_dsn(f"postgresql://me:s@h/shop?{parameter}")


@pytest.mark.parametrize(
    "parameter",
    [
        "channel_binding=require",
        "channel_binding=prefer",
        "connect_timeout=10",
        "connect_timeout=0",
        "keepalives=0",
        "keepalives=1&keepalives_idle=20&keepalives_interval=5&keepalives_count=2",
        "tcp_user_timeout=30000",
        "gssencmode=disable",
        "gssencmode=prefer",
        "load_balance_hosts=random",
        "sslmode=verify-full&sslrootcert=system",
        "sslrootcert=system",
        "sslcompression=0",
        "sslsni=0",
        "hostaddr=127.0.0.1",
        "fallback_application_name=x",
        "target_session_attrs=any",
        "client_encoding=UTF8",
    ],
)
def test_none_of_these_is_sent_as_a_setting(parameter: str) -> None:
    assert parse_dsn(f"postgresql://me:s@h/shop?{parameter}").server_settings == {}


def test_settings() -> None:
    parsed = parse_dsn("postgresql://h?application_name=x&options=-c%20statement_timeout=5s%20--lock-timeout=1s&jit=on")
    assert parsed.server_settings.keys() == {"application_name", "options", "jit"}
    assert parsed.names_of_settings == {"application_name", "options", "jit", "statement_timeout", "lock_timeout"}


@pytest.mark.parametrize(
    ("parameter", "warnings"),
    [("channel_binding=require", ("channel_binding",)), ("channel_binding=prefer", ()), ("sslsni=0", ("sslsni",))],
)
def test_warnings(parameter: str, warnings: tuple[str, ...]) -> None:
    assert parse_dsn(f"postgresql://h?{parameter}").warnings == warnings


@pytest.mark.parametrize("text", ["mysql://h/d", "h/d", "", "  ", "postgresql://a,,b/d", "postgresql://h:x/d", "a=b c"])
def test_text_that_is_not_a_connection_string(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_dsn(text)


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("postgresql:///shop", True),
        ("postgresql://localhost/shop", True),
        ("postgresql://127.0.0.1:5433/shop", True),
        ("postgresql://[::1]/shop", True),
        ("postgresql:///shop?host=/tmp", True),
        ("host=/var/run/postgresql", True),
        ("postgresql://db/shop", False),
        ("postgresql://localhost,db/shop", False),
        ("postgresql://localhost/shop?hostaddr=10.0.0.1", False),
        ("postgresql:///shop?service=prod", False),
        ("postgresql://127.0.0.2/d", True),
        ("postgresql:///d?host=db.example.com", False),
        ("postgresql://localhost.example.com/d", False),
        ("postgresql://localhost@db/d", False),
    ],
)
def test_is_local(text: str, local: bool) -> None:
    assert parse_dsn(text).is_local is local


def test_variables_replace_parameters_that_the_string_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example.com")
    monkeypatch.setenv("PGPORT", "6000")
    assert not parse_dsn("postgresql:///shop").is_local
    assert parse_dsn("postgresql://h/shop").hosts == (("h", 6000),)


def test_variables_that_asyncpg_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=9MB")
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "7")
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    monkeypatch.setenv("PGHOSTADDR", "10.0.0.1")
    found = parse_dsn("postgresql://h/shop?connect_timeout=3")
    assert found.parameters["connect_timeout"] == "3"
    assert found.server_settings == {"options": "-c work_mem=9MB", "timezone": "Asia/Tokyo"}
    assert found.names_of_settings == {"options", "timezone", "work_mem"}
    assert found.hosts == (("h", 5432),)
    assert parse_dsn("postgresql:///shop").hosts == (("10.0.0.1", 5432),)
    assert parse_dsn("postgresql:///shop").parameters["connect_timeout"] == "7"


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("PGREQUIREAUTH", "scram-sha-256", "is not supported"),
        ("PGREQUIREPEER", "postgres", "is not supported"),
        ("PGGSSENCMODE", "require", "is supported only with disable or prefer"),
        ("PGCLIENTENCODING", "LATIN1", "is supported only with auto or utf8"),
        ("PGCONNECT_TIMEOUT", "soon", "must be a whole number"),
        ("PGLOADBALANCEHOSTS", "round-robin", "must be one of disable, random"),
    ],
)
def test_a_variable_that_cannot_be_honoured_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as caught:
        parse_dsn("postgresql://h/shop")
    assert f"The environment variable {variable} {reason}" in str(caught.value)
    assert value not in str(caught.value)


def test_every_variable_of_the_installed_libpq_has_a_rule() -> None:
    psycopg = pytest.importorskip("psycopg")
    from pgdbm.dsn import parameters as known

    names = {option.envvar.decode() for option in psycopg.pq.Conninfo.get_defaults() if option.envvar}
    read_by_asyncpg = {
        *("PGDATABASE", "PGGSSLIB", "PGHOST", "PGKRBSRVNAME", "PGPASSFILE", "PGPASSWORD", "PGPORT", "PGSERVICE"),
        *("PGSSLCERT", "PGSSLCRL", "PGSSLKEY", "PGSSLMAXPROTOCOLVERSION", "PGSSLMINPROTOCOLVERSION", "PGSSLMODE"),
        *("PGSSLNEGOTIATION", "PGSSLROOTCERT", "PGTARGETSESSIONATTRS", "PGUSER", "PGSERVICEFILE"),
    }
    assert names - read_by_asyncpg - known.ENVIRONMENT.keys() == set()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.10", "::1", "[::1]"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "localhost.", "10.0.0.1", "0.0.0.0", "localhost.example.com", "::"])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_every_parameter_of_the_installed_libpq_has_a_rule() -> None:
    psycopg = pytest.importorskip("psycopg")
    names = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    from pgdbm.dsn import parameters as known

    sent = {"application_name", "options"}
    handled = known.HONOURED | known.REFUSED.keys() | known.SATISFIED.keys() | sent
    assert {name for name in names if name not in handled and not re.match("oauth_", name)} == set()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"postgresql://me:q7@h/shop"', "remove the quotes"),
        ("'postgresql://me:q7@h/shop'\n", "remove the quotes"),
        ("jdbc:postgresql://h/shop?user=me&password=q7", "remove jdbc:"),
    ],
)
def test_what_surrounds_a_url_is_named(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        parse_dsn(text)
    assert "q7" not in str(caught.value)
