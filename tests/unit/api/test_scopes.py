"""Scopes, and what they allow."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdbm_service.api.scopes import allows, check_scopes, is_scope, wanted


@pytest.mark.parametrize(
    ("scope", "valid"),
    [
        ("read", True),
        ("admin", True),
        ("migrate:*", True),
        ("migrate:orders", True),
        ("register:shop.orders-?", True),
        ("migrate:" + "a" * 100, True),
        ("migrate:" + "a" * 101, False),
        ("migrate", False),
        ("migrate:", False),
        ("migrate:[ab]", False),
        ("migrate:a b", False),
        ("read:orders", False),
        ("admin:*", False),
        ("write", False),
        ("read\n", False),
        ("READ", False),
        ("", False),
    ],
)
def test_the_form_of_a_scope(scope: str, valid: bool) -> None:
    assert is_scope(scope) is valid


def test_scopes_are_kept_once_in_their_order() -> None:
    assert check_scopes(["migrate:b", "read", "migrate:a", "read"]) == ("migrate:b", "read", "migrate:a")


@pytest.mark.parametrize(("scopes", "says"), [([], "at least one"), (["read", "rad"], "'rad' is not a scope")])
def test_scopes_that_are_refused(scopes: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_scopes(scopes)


@pytest.mark.parametrize(
    ("scopes", "need", "module", "allowed"),
    [
        (["read"], "read", None, True),
        (["read"], "migrate", "orders", False),
        (["read"], "admin", None, False),
        (["admin"], "read", None, True),
        (["admin"], "migrate", "orders", True),
        (["admin"], "admin", None, True),
        (["migrate:orders"], "migrate", "orders", True),
        (["migrate:orders"], "migrate", "orders2", False),
        (["migrate:orders"], "migrate", "Orders", False),
        (["migrate:orders"], "migrate", None, True),
        (["migrate:orders"], "register", "orders", False),
        (["migrate:orders"], "read", None, False),
        (["register:*"], "register", "orders", True),
        (["migrate:tenant_?"], "migrate", "tenant_1", True),
        (["migrate:tenant_?"], "migrate", "tenant_12", False),
        (["migrate:a", "migrate:b"], "migrate", "b", True),
        ([], "read", None, False),
    ],
)
def test_what_scopes_allow(scopes: list[str], need: Any, module: str | None, allowed: bool) -> None:
    assert allows(scopes, need, module) is allowed


@pytest.mark.parametrize(
    ("need", "module", "scope"),
    [
        ("read", None, "read"),
        ("admin", "orders", "admin"),
        ("migrate", "orders", "migrate:orders"),
        ("register", None, "register:…"),
    ],
)
def test_the_least_scope_that_holds_a_need(need: Any, module: str | None, scope: str) -> None:
    assert wanted(need, module) == scope


NAMES = st.text("ab.-_", max_size=8)


GLOBS = st.text("ab.-_*?", min_size=1, max_size=8)


def matches(name: str, glob: str) -> bool:
    """A plain reimplementation: a star matches any letters, a question mark one."""
    if not glob:
        return not name
    if glob[0] == "*":
        return any(matches(name[skipped:], glob[1:]) for skipped in range(len(name) + 1))
    return bool(name) and glob[0] in ("?", name[0]) and matches(name[1:], glob[1:])


@given(NAMES, GLOBS)
def test_globs(name: str, glob: str) -> None:
    assert is_scope(f"migrate:{glob}")
    assert allows([f"migrate:{glob}"], "migrate", name) == matches(name, glob)
    assert not allows([f"migrate:{glob}"], "register", name)
    assert not allows([f"migrate:{glob}"], "read")
    assert not allows([f"migrate:{glob}"], "admin")


@given(st.lists(st.text(max_size=12)), st.sampled_from(["read", "admin", "migrate", "register"]), st.text(max_size=8))
def test_an_invalid_scope_allows_nothing(texts: list[str], need: Any, module: str) -> None:
    good = [text for text in texts if is_scope(text)]
    try:
        assert list(check_scopes(texts)) == list(dict.fromkeys(good)) == list(dict.fromkeys(texts))
    except ValueError:
        assert not texts or len(good) < len(texts)
    assert allows([*good, "admin"], need, module)
    assert not allows([], need, module)
