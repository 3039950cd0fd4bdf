"""No password of a connection string is ever shown, whatever form the string has."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgdbm import DatabaseConfig, dsn

# Starts and ends with characters that occur nowhere else, so that a part of it cannot be there by chance.
SECRET = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20).map(
    lambda text: f"q7{text}q8"
)
HOSTS = st.sampled_from(
    ["localhost", "db.example.com:6000", "[::1]:5433", "[2001:db8::1]", "a:1,b:2,c", "%2Ftmp%2Fpg:5432", "10.0.0.1", ""]
)
USERS = st.sampled_from(["me", "me%40corp", "", "o'hara", "na-me"])
SCHEMES = st.sampled_from(["postgresql", "postgres"])
PARAMETERS = st.lists(
    st.sampled_from(["sslmode=require", "application_name=me%40x", "user=a@b", "host=/tmp", "options=-c%20jit%3Doff"]),
    unique=True,
).map("&".join)


def shown(text: str) -> str:
    """Every place where a connection string may be shown."""
    config = DatabaseConfig(connection_string=text)
    return f"{dsn.mask(text)} {dsn.target(text)} {config!r} {config} {config.get_dsn_masked()}"


def hidden(text: str) -> bool:
    everything = shown(text)
    return "q7" not in everything and "q8" not in everything


@given(scheme=SCHEMES, user=USERS, secret=SECRET, host=HOSTS, parameters=PARAMETERS)
def test_an_encoded_password(scheme: str, user: str, secret: str, host: str, parameters: str) -> None:
    tail = f"{host}/shop" + (f"?{parameters}" if parameters else "")
    text = f"{scheme}://{user}:{quote(secret, safe='')}@{tail}"
    assert hidden(text)
    assert dsn.mask(text) == f"{scheme}://{user}:****@{tail}"


@given(scheme=SCHEMES, user=USERS, secret=SECRET, host=HOSTS, parameters=PARAMETERS)
@example(scheme="postgres", user="me", secret="q7?user=1q8", host="h", parameters="")
def test_a_raw_password_with_any_character(scheme: str, user: str, secret: str, host: str, parameters: str) -> None:
    """Not every character is legal everywhere, but passwords must be hidden before they are parsed."""
    assert hidden(f"{scheme}://{user}:{secret}@{host}/shop" + (f"?{parameters}" if parameters else ""))


# What libpq reads as a password: up to the first @, and a slash ends the search for one.
@given(secret=st.text("?=&#:%[]pu1", min_size=1, max_size=12), parameters=PARAMETERS)
def test_strings_that_libpq_accepts(secret: str, parameters: str) -> None:
    assert hidden(f"postgresql://me:q7{secret}q8@host/shop?{parameters}")


@given(
    secret=SECRET,
    name=st.sampled_from(["password", "PASSWORD", "sslpassword", "pass%77ord", "%70assword"]),
    before=PARAMETERS,
    after=PARAMETERS,
    host=HOSTS,
)
def test_a_password_among_the_parameters(secret: str, name: str, before: str, after: str, host: str) -> None:
    parts = [part for part in (before, f"{name}={quote(secret, safe='')}", after) if part]
    assert hidden(f"postgresql://{host}/shop?{'&'.join(parts)}")


@given(secret=SECRET, host=HOSTS)
def test_a_raw_password_among_the_parameters(secret: str, host: str) -> None:
    # An unescaped & that is followed by a = begins another parameter for every parser.
    assert hidden(f"postgresql://me@{host}/shop?password={secret.replace('=', '')}&sslmode=require")


@given(
    secret=SECRET,
    name=st.sampled_from(["password", "sslpassword"]),
    space=st.sampled_from(["", " ", "\t "]),
    quoted=st.booleans(),
)
def test_key_value_strings(secret: str, name: str, space: str, quoted: bool) -> None:
    value = secret.replace("\\", "\\\\").replace("'", "\\'")
    if quoted:
        value = f"'{value}'"
    else:
        for white in " \t\n\r\f\v":
            value = value.replace(white, f"\\{white}")
    text = f"host=localhost {name}{space}={space}{value} dbname=shop"
    assert hidden(text)
    assert dsn.mask(text) == f"host=localhost {name}{space}={space}**** dbname=shop"
    assert dsn.target(text) == ("localhost", "5432", "shop")


@given(secret=SECRET)
def test_a_key_value_string_that_is_not_legal(secret: str) -> None:
    # Without its =: what is between white space and a = is another keyword.
    secret = secret.replace("=", "")
    assert hidden(f"host=h password={secret} dbname=d")
    assert hidden(f"host=h password='{secret}")


@given(st.text())
def test_any_text_at_all(text: str) -> None:
    dsn.target(text)
    masked = dsn.mask(text)
    assert dsn.target(masked) == dsn.target(text)


@pytest.mark.parametrize("text", ["q7q8", "me:q7q8@host", "//me:q7q8@host/d", "http//me:q7q8@host"])
def test_text_that_is_not_a_connection_string_is_hidden(text: str) -> None:
    assert hidden(text)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://localhost/shop", "postgresql://localhost/shop"),
        ("postgresql://me@localhost/shop", "postgresql://me@localhost/shop"),
        ("postgresql:///shop?host=/tmp", "postgresql:///shop?host=/tmp"),
        ("postgresql://h:5432/shop?user=me@corp", "postgresql://h:5432/shop?user=me@corp"),
        ("postgresql://h/shop?user=me&password=x#y", "postgresql://h/shop?user=me&password=****"),
        ("postgresql://me:a@b/c@h/shop", "postgresql://me:****@h/shop"),
        ("postgresql://me:p?w=1@h/shop", "postgresql://me:****@h/shop"),
        ("postgresql://me:secret", "postgresql://me:****"),
        ("host=h user=me", "host=h user=me"),
        ("host=h password=ab://cd user=me", "host=h password=**** user=me"),
        ("", ""),
    ],
)
def test_masks(text: str, masked: str) -> None:
    assert dsn.mask(text) == masked


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("postgresql://me:s@db:6000/shop", ("db", "6000", "shop")),
        ("postgresql://me:s@db/shop", ("db", "5432", "shop")),
        ("postgresql://me:s@[::1]:7/shop", ("[::1]", "7", "shop")),
        ("postgresql://me:s@a:1,b:2/shop", ("a,b", "1,2", "shop")),
        ("postgresql://me:s@a,b/shop", ("a,b", "5432", "shop")),
        ("postgresql://me:s@%2Ftmp/my%20shop", ("/tmp", "5432", "my shop")),
        ("postgresql:///shop?host=/tmp&port=6000", ("/tmp", "6000", "shop")),
        ("postgresql://h?dbname=shop", ("h", "5432", "shop")),
        ("postgresql://me:s@h", ("h", "5432", "me")),
        ("postgresql://", ("localhost", "5432", "(default)")),
        ("host=h port=6000 dbname='my shop'", ("h", "6000", "my shop")),
        ("user=me", ("localhost", "5432", "me")),
    ],
)
def test_targets(text: str, target: dsn.Target) -> None:
    assert dsn.target(text) == target
