"""The pages of the database: schemas with their sizes, tables with their dead rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.support.waiting import eventually

from ..blocked_runs import holding
from .test_pages import TABLE, text_of

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_schema_has_its_tables_with_rows_dead_rows_and_indexes(
    service: Any, repo: Any, sql: Callable[..., list[Any]]
) -> None:
    repo.write("m", _001_a=TABLE, _002_b="CREATE TABLE {{tables.other}} (id integer)")
    service.sync()
    service.post("/modules/m/migrate")
    sql("INSERT INTO m.t SELECT generate_series(1, 2000)")
    sql("DELETE FROM m.t WHERE id <= 500")
    sql("ANALYZE m.t")
    assert re.search(r'href="/ui/database/schema\?name=m">m</a>', service.get("/ui/database").text)
    # Statistics are written with a delay.
    wanted = r"Schema m .*\bm copy 4 tables, [0-9]+ kB; .* Module: m \. .* t 1,500 500 [0-9]+ kB 1, [0-9]+ kB"
    eventually(lambda: re.search(wanted, text_of(service.get("/ui/database/schema?name=m"))))
    unknown = service.get("/ui/database/schema?name=n")
    assert (unknown.status_code, "There is no schema" in unknown.text) == (404, True)


def test_an_invalid_index_is_marked(service: Any, sql: Callable[..., list[Any]]) -> None:
    sql('CREATE SCHEMA "a/b&c"')
    sql('CREATE TABLE "a/b&c".t (id integer)')
    sql('CREATE INDEX t_id ON "a/b&c".t (id)')
    sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = '\"a/b&c\".t_id'::regclass")
    # A name that addresses have to quote.
    (address,) = re.findall(r'href="(/ui/database/schema\?name=a[^"]+)"', service.get("/ui/database").text)
    page = text_of(service.get(address.replace("&amp;", "&")))
    assert "invalid t_id" in page


def test_more_schemas_than_a_page_has_are_on_the_next(service: Any, sql: Callable[..., list[Any]]) -> None:
    for number in range(105):
        sql(f"CREATE SCHEMA tenant_{number:03}")
    first = service.get("/ui/database").text
    assert "tenant_098" in first
    assert "tenant_104" not in first
    (address,) = re.findall(r'href="(/ui/database\?next=[^"#]+)#schemas"', first)
    assert "tenant_104" in service.get(address).text


def test_a_table_that_is_locked_has_no_size(
    service: Any, repo: Any, database: str, sql: Callable[..., list[Any]]
) -> None:
    """Its size could not be read without waiting for the migration."""
    repo.write("m", _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate")
    sql("DROP SCHEMA public CASCADE")
    try:
        with holding(database, "LOCK TABLE m.t IN ACCESS EXCLUSIVE MODE", "migrating"):
            assert re.search(r" m \w+ [0-9] \u2013 ", text_of(service.get("/ui/database")))
            assert " t \u2013 0 locked 1 " in text_of(service.get("/ui/database/schema?name=m"))
    finally:
        sql("CREATE SCHEMA public")


def test_a_database_without_schemas_says_how_to_make_one(service: Any, sql: Callable[..., list[Any]]) -> None:
    sql("DROP SCHEMA public CASCADE")
    try:
        assert "No schemas yet: a migrate creates those of its module." in text_of(service.get("/ui/database"))
    finally:
        sql("CREATE SCHEMA public")
    sql("CREATE SCHEMA bare")
    assert "The schema has no tables." in text_of(service.get("/ui/database/schema?name=bare"))
