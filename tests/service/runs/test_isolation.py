"""Modules that are migrated at the same time, or after each other in one session, do not interfere."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

MODULES = [f"m{number:02}" for number in range(12)]


def test_concurrent_migrations_in_a_serializable_database(
    start: Callable[..., Any], repo: Any, database: str, sql: Callable[..., Any]
) -> None:
    name = urlsplit(database).path.removeprefix("/")
    sql(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'serializable'")
    for module in MODULES:
        repo.write(
            module, _001_t="CREATE TABLE {{tables.t}} (id integer)", _002_t="INSERT INTO {{tables.t}} VALUES (1)"
        )
    urls = [start(), start()]
    with ThreadPoolExecutor(len(MODULES)) as threads:
        answers = list(
            threads.map(lambda number: urls[number % 2].post(f"/modules/{MODULES[number]}/migrate"), range(12))
        )
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
    assert {urls[0].get(f"/modules/{module}").json()["state"] for module in MODULES} == {"up_to_date"}
    assert urls[1].post("/migrate").json()["status"] == "up_to_date"


def test_modules_that_make_the_same_temporary_table(start: Callable[..., Any]) -> None:
    """This holds whichever connection each of them gets."""
    service = start(max_connections=4)
    file = {"filename": "001_a.sql", "content": "CREATE TEMP TABLE scratch (a int);"}
    names = [f"temp{number}" for number in range(7)]
    for name in names:
        assert service.client.put(f"/modules/{name}", json={"migrations": [file]}).status_code == 201
    assert [service.post(f"/modules/{name}/migrate").status_code for name in names] == [200] * 7
    more = {"filename": "002_b.sql", "content": "CREATE TEMP TABLE scratch (b int);"}
    for name in names:
        service.client.put(f"/modules/{name}", json={"migrations": [file, more]})
    with ThreadPoolExecutor(len(names)) as threads:
        answers = list(threads.map(lambda name: service.post(f"/modules/{name}/migrate"), names))
    assert [answer.status_code for answer in answers] == [200] * 7, [answer.text for answer in answers]
