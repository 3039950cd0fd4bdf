"""libpq itself, through psycopg, reads connection strings as pgdbm does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pgdbm import ConfigurationError
from pgdbm.dsn import parse_dsn

if TYPE_CHECKING:
    from collections.abc import Mapping

pq = pytest.importorskip("psycopg.pq")

NAMES = ("host", "port", "dbname", "user", "password", "options", "application_name", "sslmode", "connect_timeout")
PART = st.text(st.sampled_from("ab1%2F40:@/#?&=+ 'é\\-.,"), max_size=6)
VALUE = st.text(st.sampled_from("ab1%2F40:/#+ .,"), min_size=1, max_size=6)
HOST = st.sampled_from(["", "h", "h:5433", "[::1]", "[::1]:5", "a,b", "a:1,b:2", "%2Ftmp", "h:", "a,b:2", "10.0.0.1"])
QUERY = st.lists(
    st.one_of(
        st.sampled_from(["sslmode=require", "connect_timeout=3", "user=a%40b", "dbname=x%20y", "ssl=true", "port=7"]),
        st.builds("{}={}".format, st.sampled_from(("application_name", "options", "dbname", "password")), VALUE),
    ),
    max_size=3,
).map("&".join)


@pytest.fixture(autouse=True)
def without_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGPORT", "PGHOST", "PGDATABASE", "PGSSLMODE", "PGSSLROOTCERT"):
        monkeypatch.delenv(name, raising=False)


# libpq detects these when it connects, or connects to an unexpected host.
_STRICTER = (
    "contains an @",
    "not UTF-8",
    "is invalid",
    "must be a number",
    "port names",
    "no name",
    "must be one of",
    "a whole number",
)


def libpq(text: str) -> Mapping[str, str] | None:
    """The parameters that libpq finds; None if it refuses ``text``, or has no way to show what it found."""
    try:
        options = pq.Conninfo.parse(text.encode())
        found = {option.keyword.decode(): option.val.decode() for option in options if option.val}
    except (Exception, UnicodeError):
        return None
    if set(found.get("port", "")) <= {","}:
        found.pop("port", None)
    return found


def assert_same(text: str) -> None:
    theirs = libpq(text)
    ours: Mapping[str, str] = {}
    refusal = ""
    try:
        ours = parse_dsn(text).parameters
    except ConfigurationError as error:
        refusal = str(error)
    if refusal:
        assert theirs is None or any(words in refusal for words in _STRICTER), (text, theirs, refusal)
        return
    if theirs is None:
        # pgdbm accepts more, such as settings of the server as parameters.
        return
    expected = {name: value for name, value in theirs.items() if name in NAMES}
    ports = expected.get("port", "").split(",")
    if len(ports) > 1:
        # An empty parameter means the default.
        expected["port"] = ",".join(port or "5432" for port in ports)
    assert {name: value for name, value in ours.items() if name in NAMES} == expected, text


@settings(max_examples=500)
@given(user=PART, password=PART, host=HOST, database=PART, query=QUERY)
@example(user="u", password="a#b?c", host="h", database="d", query="")
@example(user="u", password="a/b", host="h", database="d", query="")
@example(user="u", password="p", host="h", database="d#x", query="options=-c+a")
def test_urls(user: str, password: str, host: str, database: str, query: str) -> None:
    # host?user=a@b is a host with parameters here.
    user = user.replace("?", "")
    # libpq's handling of spaces differs between its releases.
    user, password, database, query = (part.replace(" ", "") for part in (user, password, database, query))
    assert_same(f"postgresql://{user}:{password}@{host}/{database}" + (f"?{query}" if query else ""))


@settings(max_examples=300)
@given(host=HOST, database=PART, query=QUERY)
def test_urls_without_a_user(host: str, database: str, query: str) -> None:
    # An @ would make what is before it a user name.
    database, query = (part.replace("@", "").replace(" ", "") for part in (database, query))
    assert_same(f"postgres://{host}/{database}" + (f"?{query}" if query else ""))


@settings(max_examples=500)
@given(
    pairs=st.lists(st.tuples(st.sampled_from(NAMES[2:7]), PART), min_size=1, max_size=3),
    equals=st.sampled_from(["=", " = "]),
    quoted=st.booleans(),
)
def test_keyword_value_pairs(pairs: list[tuple[str, str]], equals: str, quoted: bool) -> None:
    if quoted:
        escaped = [(name, value.replace("\\", "\\\\").replace("'", "\\'")) for name, value in pairs]
        assert_same(" ".join(f"{name}{equals}'{value}'" for name, value in escaped))
    else:
        assert_same(" ".join(f"{name}{equals}{value}" for name, value in pairs))
