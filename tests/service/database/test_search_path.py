"""The service's own statements, and those of the queue, call nothing that other users created.

CVE-2018-1058: where PUBLIC may create objects in a schema of the search_path, a function or an operator whose
parameters fit better than those of pg_catalog is chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

# Comparisons and concatenations of the service, with operand types for which pg_catalog has no exact operator.
OPERATORS = [
    *((operator, kind, kind) for operator in ("=", "<>", "~", "!~", "||", "<", ">") for kind in ("varchar",)),
    *((operator, "varchar", "text") for operator in ("=", "<>", "||")),
    *((operator, "text", "varchar") for operator in ("=", "<>", "||")),
    *((operator, "name", "name") for operator in ("~", "!~", "||")),
    ("->>", "jsonb", "jsonb"),
    ("->", "jsonb", "jsonb"),
    ("*", "integer", "numeric"),
    ("*", "numeric", "integer"),
    ("/", "bigint", "numeric"),
    ("-", "timestamptz", "text"),
]
FUNCTIONS = [
    ("unnest", "text[]", "SETOF text"),
    ("cardinality", "text[]", "integer"),
    ("array_length", "text[], integer", "integer"),
    ("array_agg", "text", "text[]"),
    ("string_agg", "varchar, text", "text"),
    ("jsonb_build_object", "text, text", "jsonb"),
    ("jsonb_build_object", "text, text, text, integer", "jsonb"),
    ("to_jsonb", "text", "jsonb"),
    ("count", "text", "bigint"),
    ("max", "varchar", "varchar"),
    ("coalesce_of", "text", "text"),
    ("concat", "text, text", "text"),
    ("left", "varchar, integer", "text"),
    ("round", "integer", "numeric"),
    ("to_regclass", "varchar", "regclass"),
    ("current_setting", "varchar", "text"),
]


def plant(sql: Callable[..., Any]) -> None:
    sql("GRANT CREATE, USAGE ON SCHEMA public TO PUBLIC")
    sql("CREATE TABLE public.called (what text)")
    sql("GRANT ALL ON public.called TO PUBLIC")
    for number, (operator, left, right) in enumerate(OPERATORS):
        result = "boolean" if operator in ("=", "<>", "~", "!~", "<", ">") else "text"
        value = "true" if result == "boolean" else "''"
        sql(
            f"CREATE FUNCTION public.trap_{number}(a {left}, b {right}) RETURNS {result} LANGUAGE plpgsql AS "
            f"$$ BEGIN INSERT INTO public.called VALUES ('{operator} {left} {right}'); RETURN {value}; END $$"
        )
        sql(
            f"CREATE OPERATOR public.{operator} (leftarg = {left}, rightarg = {right}, function = public.trap_{number})"
        )
    for name, parameters, result in FUNCTIONS:
        returns = "RETURN" if result.startswith("SETOF") else "RETURN NULL"
        sql(
            f"CREATE FUNCTION public.{name}({parameters}) RETURNS {result} LANGUAGE plpgsql AS "
            f"$$ BEGIN INSERT INTO public.called VALUES ('{name}({parameters})'); {returns}; END $$"
        )


@pytest.mark.parametrize("through_a_pooler", [True, False])
def test_what_others_created_is_not_called(
    start: Callable[..., Any],
    through_a_pooler: bool,
    database: str,
    repo: Any,
    sql: Callable[..., Any],
    make_token: Callable[..., str],
) -> None:
    plant(sql)
    repo.write("m", _001_a="CREATE TABLE {{tables.t}} (id integer)", _002_b="INSERT INTO {{tables.t}} VALUES (1)")
    repo.write("tenants", 'schemas = "tenant_*"', _001_a="CREATE TABLE {{tables.t}} (id integer)")
    for number in range(3):
        sql(f"CREATE SCHEMA tenant_{number}")
    service = start(direct_url=database if through_a_pooler else None, reconcile_s=1, metrics_sample_s=0.05)
    body = {"migrations": [{"filename": "001_a.sql", "content": "SELECT 1"}], "depends_on": ["m@001"]}
    assert service.client.put("/modules/r", json=body).status_code == 201
    assert service.post("/migrate").json()["status"] == "success"
    assert service.post("/modules/m/migrate").json()["status"] == "up_to_date"
    sql("DROP TABLE m.t")
    repo.write("m", _003_c="SELECT 1/0")
    service.sync()
    assert service.post("/modules/m/migrate").status_code == 422
    run = service.get("/runs").json()["items"][0]["id"]
    paths = ["/modules", "/modules/m", "/modules/m/schemas", "/modules/tenants/schemas", "/modules/m/migrations"]
    paths += ["/modules/m/history", "/modules/m/plan", "/modules/m/drift", "/modules/m/journal", "/modules/r/bundles"]
    paths += ["/runs", f"/runs/{run}", "/schemas", "/schemas/m", "/activity/blocking", "/activity/long-running"]
    paths += ["/audit", "/tokens", "/overview", "/replicas", "/health/ready", "/modules/m/ready"]
    for path in paths:
        assert service.get(path).status_code in (200, 503), path
    assert service.post(f"/runs/{run}/retry").status_code in (200, 422)
    assert service.client.delete("/modules/r").status_code == 200
    assert sorted({row[0] for row in sql("SELECT what FROM public.called")}) == []
