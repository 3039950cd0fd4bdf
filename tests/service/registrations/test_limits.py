"""How much may be registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.problems import assert_problem

from ..running_service import bearer
from .test_register import TABLE, body

if TYPE_CHECKING:
    from collections.abc import Callable


def put(service: Any, name: str, token: str, *contents: str, **parameters: Any) -> Any:
    json = body(*(contents or (TABLE,)))
    return service.client.put(f"/modules/{name}", json=json, headers=bearer(token), params=parameters)


def test_the_number_of_modules(start: Callable[..., Any], make_token: Callable[..., str]) -> None:
    service = start(auth="tokens", max_modules=3, max_modules_per_principal=2)
    one, other = make_token("admin", name="one"), make_token("admin", name="other")
    assert [put(service, name, one).status_code for name in ("a", "b")] == [201, 201]
    problem = assert_problem(put(service, "c", one), 409, "too_many_modules")
    assert "one has registered 2 modules" in problem["detail"]
    assert problem["limit"] == 2
    assert_problem(put(service, "c", one, dry_run=True), 409, "too_many_modules")
    # Another version of a registered module, and registrations of others.
    assert put(service, "a", one, TABLE, "SELECT 1").status_code == 201
    assert put(service, "c", other).status_code == 201
    problem = assert_problem(put(service, "d", other), 409, "too_many_modules")
    assert "PGDBM_MAX_MODULES " in problem["detail"]
    assert service.client.delete("/modules/b", headers=bearer(one)).status_code == 200
    assert put(service, "d", other).status_code == 201


def test_the_number_of_registrations_within_an_hour(
    start: Callable[..., Any], make_token: Callable[..., str], sql: Callable[..., Any]
) -> None:
    service = start(auth="tokens", max_registrations_per_hour=2)
    one, other = make_token("admin", name="one"), make_token("admin", name="other")
    assert [put(service, "a", one, f"SELECT {number}").status_code for number in (1, 2)] == [201, 201]
    answer = put(service, "a", one, "SELECT 3")
    assert_problem(answer, 429, "too_many_registrations")
    assert 3000 < int(answer.headers["Retry-After"]) <= 3600
    # Registering the same content again changes nothing.
    assert put(service, "a", one, "SELECT 2").status_code == 200
    assert put(service, "b", other).status_code == 201
    sql("UPDATE pgdbm_service.registrations SET registered_at = now() - interval '61 minutes' WHERE module = 'a'")
    assert put(service, "a", one, "SELECT 3").status_code == 201
