"""The pages of tokens: created, shown once, revoked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from ..running_service import bearer
from .people import person, place_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .people import Person

pytestmark = pytest.mark.settings(auth="tokens", auth_failures_per_minute=10000)
TOKEN = re.compile(r"pgdbm_[0-9a-f]{12}_[A-Za-z0-9_-]{43}")


@pytest.fixture
def admin(service: Any, make_token: Any) -> Iterator[Person]:
    with person(service) as admin:
        admin.sign_in(make_token("admin", name="root-of-all"))
        yield admin


def id_of(sql: Callable[..., Any], name: str) -> str:
    return str(sql("SELECT id FROM pgdbm_service.tokens WHERE name = $1", name)[0]["id"])


def test_a_token_is_made_and_shown_once(admin: Person, service: Any, sql: Callable[..., Any]) -> None:
    assert 'name="read"' in admin.open("/ui/tokens/new").text
    fields = {
        "name": "deploy-orders",
        "read": "on",
        "migrate": "orders, billing_*",
        "register": "orders",
        "approve": "x_?",
    }
    page = admin.send("/ui/tokens", **fields, expires="30d")
    assert page.status_code == 201
    assert page.headers["cache-control"] == "no-store"
    (token,) = set(TOKEN.findall(page.text))
    answer = service.get("/modules", headers=bearer(token))
    assert answer.status_code == 200
    (row,) = sql("SELECT *, expires_at - created_at AS lifetime FROM pgdbm_service.tokens WHERE name = 'deploy-orders'")
    assert row["scopes"] == ["read", "register:orders", "migrate:orders", "migrate:billing_*", "approve:x_?"]
    assert round(row["lifetime"].total_seconds() / 86400) == 30
    assert row["created_by"] == "token:root-of-all"
    listed = admin.open("/ui/tokens")
    assert listed.headers["cache-control"] == "no-store"
    assert TOKEN.findall(listed.text) == []
    assert "deploy-orders" in listed.text
    assert "migrate:billing_*" in text_of(listed)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "", "read": "on"}, "is not a valid name"),
        ({"name": "a b", "read": "on"}, "is not a valid name"),
        ({"name": "x"}, "at least one scope is required"),
        ({"name": "x", "migrate": "or[ders]"}, "is not a scope"),
        ({"name": "x", "read": "on", "expires": "soon"}, "is not a duration"),
        ({"name": "root-of-all", "read": "on"}, "There is already a token 'root-of-all' that is not revoked."),
        ({"name": "<script>alert(1)</script>", "read": "on"}, "is not a valid name"),
    ],
)
def test_an_error_is_shown_at_its_field_and_the_input_is_kept(
    admin: Person, fields: dict[str, str], message: str
) -> None:
    page = admin.send("/ui/tokens", **{"expires": "7d", "register": "kept_*"} | fields)
    if "migrate" not in fields and fields["name"] == "x" and "read" not in fields:
        page = admin.send("/ui/tokens", **fields, expires="7d")
    assert page.status_code == 400
    assert message in text_of(page)
    assert 'aria-invalid="true"' in page.text
    assert TOKEN.findall(page.text) == []
    assert "<script>alert" not in page.text
    for value in fields.values():
        assert value in ("on", "soon") or f'value="{value}"' in page.text.replace("&lt;", "<").replace("&gt;", ">")


def test_a_token_is_revoked_after_a_confirmation(
    admin: Person, service: Any, sql: Callable[..., Any], make_token: Any
) -> None:
    token = make_token("read", name="lost")
    assert service.get("/modules", headers=bearer(token)).status_code == 200
    path = f"/ui/tokens/{id_of(sql, 'lost')}/revoke"
    assert f'href="{path}"' in admin.open("/ui/tokens").text
    confirm = admin.open(path)
    assert "Revoke the token lost?" in text_of(confirm)
    assert "You are signed in with this token" not in text_of(confirm)
    # Reading changes nothing.
    assert service.get("/modules", headers=bearer(token)).status_code == 200
    assert place_of(admin.send(path)) == "/ui/tokens"
    assert service.get("/modules", headers=bearer(token)).status_code == 401
    page = admin.open("/ui/tokens")
    assert "revoked" in text_of(page)
    assert f'href="{path}"' not in page.text
    assert admin.open("/ui/tokens/000000000000/revoke").status_code == 404
    assert admin.send("/ui/tokens/000000000000/revoke").status_code == 404


def test_revoking_the_token_of_the_session_signs_out(admin: Person, sql: Callable[..., Any]) -> None:
    path = f"/ui/tokens/{id_of(sql, 'root-of-all')}/revoke"
    assert "you will be signed out" in text_of(admin.open(path))
    admin.send(path)
    assert place_of(admin.open("/ui/tokens")) == "/ui/sign-in?next=%2Fui%2Ftokens"


def test_tokens_are_for_admins(service: Any, sql: Callable[..., Any], make_token: Any) -> None:
    target = id_of(sql, "x") if make_token("read", name="x") else ""
    with person(service) as reader:
        reader.sign_in(make_token("read", "migrate:*", "register:*"))
        for path in ("/ui/tokens", "/ui/tokens/new", f"/ui/tokens/{target}/revoke"):
            assert reader.open(path).status_code == 403
        for path in ("/ui/tokens", f"/ui/tokens/{target}/revoke"):
            assert reader.send(path, name="y", admin="on", expires="1h").status_code == 403
    assert sql("SELECT FROM pgdbm_service.tokens WHERE name = 'y'") == []


def test_many_tokens_are_paged(admin: Person, make_token: Any) -> None:
    for number in range(52):
        make_token("read", name=f"token-{number:02}")
    page = admin.open("/ui/tokens")
    assert "token-51" in page.text
    assert "token-00" not in page.text
    following = re.findall(r'href="(\?next=[^"]+)"', page.text)
    assert "token-00" in admin.open(f"/ui/tokens{following[0]}").text


def test_tokens_are_filtered_by_name_and_state(admin: Person, service: Any, make_token: Any, sql: Any) -> None:
    for name in ("deploy-orders", "deploy-billing", "ci"):
        make_token("read", name=name)
    sql("UPDATE pgdbm_service.tokens SET revoked_at = now() WHERE name = 'deploy-billing'")
    sql("UPDATE pgdbm_service.tokens SET expires_at = now() WHERE name = 'ci'")

    def names(query: str) -> list[str]:
        return re.findall(r'<span class="mono name">([^<]*)</span>', admin.open(f"/ui/tokens?{query}").text)

    assert names("q=DEPLOY") == ["deploy-billing", "deploy-orders"]
    assert names("q=deploy&state=active") == ["deploy-orders"]
    assert names("state=expired") == ["ci"]
    page = admin.open("/ui/tokens?q=nothing&state=revoked")
    assert "No token matches. Show all tokens" in text_of(page)
    assert "<option selected>revoked</option>" in page.text
    assert admin.open("/ui/tokens?state=gone").status_code == 400
    # As for programs.
    found = service.get("/tokens?q=deploy&state=active,revoked", headers=service.headers).json()
    assert ([one["name"] for one in found["items"]], found["total"]) == (["deploy-billing", "deploy-orders"], 2)
