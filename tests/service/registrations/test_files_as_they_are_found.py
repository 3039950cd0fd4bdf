"""Files as other tools and psql have them, over HTTP: applied, or refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE {{tables.t}} (id integer)"
SEED = "INSERT INTO {{tables.t}} VALUES (1), (2)"


def put(service: Any, files: dict[str, str]) -> Any:
    migrations = [{"filename": name, "content": content} for name, content in files.items()]
    return service.client.put("/modules/shop", json={"migrations": migrations})


def test_a_renamed_file_is_not_run_again(service: Any, sql: Callable[..., Any]) -> None:
    assert put(service, {"001_t.sql": TABLE, "002_seed.sql": SEED}).status_code == 201
    assert service.post("/modules/shop/migrate").json()["status"] == "success"
    renamed = put(service, {"001_t.sql": TABLE, "003_seed.sql": SEED, "004_other.sql": "SELECT 1"})
    assert renamed.status_code in (200, 201), renamed.text
    answer = service.post("/modules/shop/migrate").json()
    assert [one["filename"] for one in answer["applied"]] == ["003_seed.sql", "004_other.sql"]
    assert sql("SELECT count(*) FROM shop.t")[0][0] == 2
    assert service.get("/modules/shop").json()["state"] == "up_to_date"
    assert service.post("/modules/shop/migrate").json()["status"] == "up_to_date"


def test_the_rows_of_a_dump_are_copied(service: Any, sql: Callable[..., Any]) -> None:
    dump = "\\restrict k\nCREATE SCHEMA shop;\nCREATE TABLE shop.t (id int, v text);\n"
    dump += "COPY shop.t (id, v) FROM stdin;\n1\t{{one}}\n2\t\\N\n\\.\n\\unrestrict k\n"
    assert put(service, {"001_dump.sql": dump}).status_code == 201
    assert service.post("/modules/shop/migrate").json()["status"] == "success"
    assert [tuple(row) for row in sql("SELECT id, v FROM shop.t ORDER BY id")] == [(1, "{{one}}"), (2, None)]
    file = service.get("/modules/shop/migrations/001_dump.sql").json()
    assert file["sql"] == dump
    assert "CREATE SCHEMA IF NOT EXISTS shop;" in file["rendered"]


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("001_users.sql", "-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 2;", "convert --from goose"),
        ("001_users.sql", "-- migrate:up\nSELECT 1;\n-- migrate:down\nSELECT 2;", "convert --from dbmate"),
        ("U1__users.sql", "SELECT 1;", "convert --from flyway"),
        ("001_deep.sql", "SELECT " + "1+" * 64_000 + "1;", "chains more than 20,000 operators"),
        ("001_comments.sql", "/**/" * 40_000 + "SELEC 1", "syntax error"),
        ("001_psql.sql", "SELECT :'name';", "psql variables"),
    ],
)
def test_what_cannot_be_run_is_refused_with_its_place(service: Any, name: str, content: str, word: str) -> None:
    answer = put(service, {name: content})
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert (problem["code"], problem["filename"]) == ("migration_file_invalid", name)
    assert word in f"{problem['detail']} {problem.get('hint')}"
    assert problem["line"] >= 1
    assert service.get("/health/live").status_code == 200
