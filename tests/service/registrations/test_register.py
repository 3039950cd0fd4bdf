"""PUT and DELETE /modules/{m}: registrations in each form, and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.problems import assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
OWN_TABLES = ("modules", "registrations", "bundles", "bundle_files", "file_contents")


def body(*contents: str, **settings: Any) -> dict[str, Any]:
    """A JSON body with the files 001.sql, 002.sql, … of ``contents``."""
    migrations = [{"filename": f"{number:03}.sql", "content": content} for number, content in enumerate(contents, 1)]
    return {"migrations": migrations} | settings


@pytest.fixture
def stored(sql: Callable[..., Any]) -> Callable[[], list[int]]:
    """How many rows each of the service's own tables about registrations has."""
    return lambda: [sql(f"SELECT count(*) FROM pgdbm_service.{table}")[0][0] for table in OWN_TABLES]


def put(service: Any, name: str, json: Any, **headers: str) -> Any:
    named = {header.replace("_", "-"): value for header, value in headers.items()}
    return service.client.put(f"/modules/{name}", json=json, headers=named)


def test_a_registered_module_is_migrated(service: Any, sql: Callable[..., Any]) -> None:
    answer = put(service, "orders", body(TABLE, "INSERT INTO {{tables.t}} VALUES (1)", description="Orders"))
    assert answer.status_code == 201, answer.text
    registered = answer.json()
    assert answer.headers["etag"] == f'"{registered["digest"]}"'
    assert registered["digest"].startswith("sha256:")
    assert registered["migrations"] == ["001.sql", "002.sql"]
    module = service.get("/modules/orders")
    assert module.headers["etag"] == answer.headers["etag"]
    detail = module.json()
    assert (detail["source"], detail["digest"], detail["state"]) == ("registered", registered["digest"], "pending")
    assert service.get("/modules").json()["items"][0]["source"] == "registered"
    assert service.post("/modules/orders/migrate").json()["status"] == "success"
    assert sql("SELECT id FROM orders.t")[0]["id"] == 1
    file = service.get("/modules/orders/migrations/001.sql").json()
    assert (file["sql"], file["rendered"]) == (TABLE, 'CREATE TABLE "orders".t (id integer PRIMARY KEY)')
    assert service.get("/modules/orders/plan").json()["pending"] == []


def files_of(sql: Callable[..., Any], digest: str) -> dict[str, str]:
    """The stored files of a bundle: content by name."""
    rows = sql(
        "SELECT f.filename, c.content FROM pgdbm_service.bundle_files f "
        "JOIN pgdbm_service.file_contents c USING (hash) WHERE f.digest = $1",
        digest,
    )
    return dict(map(tuple, rows))


def test_a_bundle_like_the_one_before_has_all_of_its_files(service: Any, sql: Callable[..., Any]) -> None:
    put(service, "orders", body(TABLE, "SELECT 2", "SELECT 3"))
    later = put(
        service,
        "orders",
        {
            "migrations": [
                {"filename": "001.sql", "content": TABLE},
                {"filename": "002.sql", "content": "SELECT 'changed'"},
                {"filename": "004.sql", "content": "SELECT 4"},
            ]
        },
    )
    assert files_of(sql, later.json()["digest"]) == {
        "001.sql": TABLE,
        "002.sql": "SELECT 'changed'",
        "004.sql": "SELECT 4",
    }


@pytest.mark.parametrize("is_gone", [False, True], ids=["copied", "with the bundle before gone"])
def test_a_run_of_a_folder_stores_all_of_its_files(
    service: Any, repo: Any, sql: Callable[..., Any], is_gone: bool
) -> None:
    repo.write("orders", _001=TABLE, _002="SELECT 2")
    service.sync()
    assert service.post("/modules/orders/migrate").json()["status"] == "success"
    if is_gone:
        sql("TRUNCATE pgdbm_service.bundles, pgdbm_service.bundle_files, pgdbm_service.file_contents CASCADE")
    repo.write("orders", _003="SELECT 3")
    run = service.post("/modules/orders/migrate").json()["run_id"]
    ((bundle,),) = sql("SELECT bundle FROM pgdbm_service.runs WHERE id = $1", run)
    assert files_of(sql, bundle) == {"001.sql": TABLE, "002.sql": "SELECT 2", "003.sql": "SELECT 3"}


def test_an_identical_registration_changes_nothing(service: Any, stored: Callable[[], list[int]]) -> None:
    first = put(service, "m", body(TABLE, schema="s", out_of_order="allow"))
    rows = stored()
    again = put(service, "m", body(TABLE, schemas=["s"], out_of_order="allow"))
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json() | {"status": "unchanged"}
    assert stored() == rows


def test_the_digest_is_that_of_files_and_settings(service: Any, stored: Callable[[], list[int]]) -> None:
    digests = [
        put(service, name, content).json()["digest"]
        for name, content in (
            ("a", body(TABLE, schema="s")),
            ("b", body(TABLE, schema="s")),
            ("c", body(TABLE, schema="other")),
            ("d", body(f"{TABLE};", schema="s")),
        )
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    # modules, registrations, bundles, files of bundles, contents: identical content is stored once.
    assert stored() == [4, 4, 3, 3, 2]


@pytest.mark.parametrize(
    ("content", "line", "column"),
    [
        ("", 1, None),
        ("SELECT 1;\nSELECT * FROM {{tabels.t}}", 2, 15),
        ("SELECT 1;\n  SELEKT 2", 2, 3),
        ("BEGIN;\nSELECT 1", 1, 1),
        ("SELECT 1;\nVACUUM", 2, 1),
        ("SELECT 1;\nCOPY t FROM STDIN", 2, 1),
        ("SELECT '\x00'", 1, None),
    ],
    ids=["empty", "placeholder", "syntax", "transaction control", "not in a transaction", "copy", "NUL"],
)
def test_an_invalid_file_is_refused(
    service: Any, stored: Callable[[], list[int]], content: str, line: int, column: int | None
) -> None:
    problem = assert_problem(put(service, "m", body(TABLE, content)), 422, "migration_file_invalid")
    assert (problem["module"], problem["filename"]) == ("m", "002.sql")
    assert (problem["line"], problem.get("column")) == (line, column)
    assert stored() == [0] * len(OWN_TABLES)
    assert_problem(service.get("/modules/m"), 404, "module_unknown")


@pytest.mark.parametrize(
    ("names", "reported"),
    [
        (["001_a.sql", "1_b.sql"], "same version"),
        (["001_a.sql", "001_a.sql"], "2 times"),
        (["../001_a.sql"], "name of a migration"),
        (["a/001_a.sql"], "name of a migration"),
        (["001_a.txt"], "name of a migration"),
        ([".001_a.sql"], "name of a migration"),
        (["module.toml"], "name of a migration"),
        (["001\n.sql"], "unprintable"),
    ],
)
def test_invalid_names_are_refused(service: Any, names: list[str], reported: str) -> None:
    migrations = [{"filename": name, "content": "SELECT 1"} for name in names]
    problem = assert_problem(put(service, "m", {"migrations": migrations}), 422, "migration_file_invalid")
    assert reported in problem["detail"]


@pytest.mark.parametrize(
    ("settings", "status", "field"),
    [
        ({"shema": "x"}, 400, "shema"),
        ({"schema": 3}, 400, "schema"),
        ({"policy": "allow"}, 400, "policy"),
        ({"out_of_order": "maybe"}, 400, "out_of_order"),
        ({"schema": "no-hyphens"}, 422, "schema"),
        ({"schema": "pgdbm_service"}, 422, "schema"),
        ({"schema": "a", "schemas": ["b"]}, 422, "schemas"),
        ({"schemas": []}, 422, "schemas"),
        ({"schemas": "tenant-*"}, 422, "schemas"),
        ({"schema": "pg_catalog"}, 422, "schema"),
        ({"schema": "information_schema"}, 422, "schema"),
        ({"schema": "PGDBM_SERVICE"}, 422, "schema"),
        ({"schemas": ["a", "pg_temp"]}, 422, "schemas"),
        ({"depends_on": ["a b"]}, 422, "depends_on"),
        ({"depends_on": ["a@"]}, 422, "depends_on"),
        ({"role": ""}, 422, "role"),
        ({"description": "\x00"}, 422, "description"),
        ({"migrations": []}, 422, None),
        ({"migrations": "x"}, 400, "migrations"),
        ({"migrations": [{"filename": "001.sql"}]}, 400, ".migrations[0]"),
    ],
)
def test_invalid_settings_are_refused(
    service: Any, stored: Callable[[], list[int]], settings: dict[str, Any], status: int, field: str | None
) -> None:
    answer = put(service, "m", body(TABLE) | settings)
    if status == 400:
        problem = assert_problem(answer, 400, "invalid_request")
        assert [error["field"].lstrip(".") for error in problem["errors"]] == [str(field).lstrip(".")]
    else:
        assert assert_problem(answer, 422, "module_invalid").get("key") == field
    assert stored() == [0] * len(OWN_TABLES)


def test_another_name_of_out_of_order(service: Any) -> None:
    """It applies to each form of a registration."""
    hint = "Did you mean out_of_order?"
    assert hint in put(service, "m", body(TABLE, policy="allow")).json()["detail"]
    assert hint in service.client.put("/modules/m?policy=allow", json=body(TABLE)).json()["detail"]
    files = [("files", ("001.sql", TABLE.encode()))]
    form = service.client.put("/modules/m", files=files, data={"policy": "allow"})
    assert hint in assert_problem(form, 400, "invalid_request")["detail"]
    files.append(("files", ("module.toml", b'policy = "allow"')))
    assert assert_problem(service.client.put("/modules/m", files=files), 422, "module_invalid")["hint"] == hint


def test_malformed_bodies_are_refused(service: Any) -> None:
    for content in (b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000):
        problem = assert_problem(service.client.put("/modules/m", content=content), 400, "invalid_request")
        assert [error["field"] for error in problem["errors"]] == ["body"]
    name = "x" * 101
    assert_problem(put(service, name, body(TABLE)), 400, "invalid_request")
    assert_problem(put(service, "no-such-schema", body(TABLE)), 422, "module_invalid")


def test_a_multipart_form_is_registered(service: Any) -> None:
    files = [("files", ("001.sql", TABLE.encode())), ("files", ("002.sql", b"SELECT 1"))]
    fields = {"schema": "s", "depends_on": ["a", "b@2"], "description": "d"}
    put(service, "a", body("SELECT 1"))
    put(service, "b", body("SELECT 1"))
    answer = service.client.put("/modules/m", files=files, data=fields)
    assert answer.status_code == 201, answer.text
    registered = answer.json()
    assert (registered["schema"], registered["depends_on"], registered["description"]) == ("s", ["a", "b@2"], "d")
    as_json = body(TABLE, "SELECT 1", schema="s", depends_on=["a", "b@2"], description="d")
    assert put(service, "m", as_json).status_code == 200
    problem = assert_problem(
        service.client.put("/modules/m", files=[("files", ("001.sql", b"SELECT 1;\nSELECT '\xe9'"))]),
        422,
        "migration_file_invalid",
    )
    assert (problem["filename"], problem["line"], problem["column"]) == ("001.sql", 2, 9)
    unknown = service.client.put("/modules/m", files=files, data={"shema": "s"})
    assert [error["field"] for error in assert_problem(unknown, 400, "invalid_request")["errors"]] == ["shema"]


def test_a_changed_applied_file_is_refused(service: Any, stored: Callable[[], list[int]]) -> None:
    put(service, "m", body(TABLE, "SELECT 1;\nSELECT 2;\nSELECT 3;"))
    service.post("/modules/m/migrate")
    rows = stored()
    problem = assert_problem(
        put(service, "m", body(TABLE, "SELECT 1;\nSELECT 'two';\nSELECT 3;")), 409, "checksum_changed"
    )
    assert (problem["module"], problem["filename"], problem["schema"]) == ("m", "002.sql", "m")
    assert problem["recorded_checksum"] != problem["current_checksum"]
    lines = problem["diff"].splitlines()
    assert "-SELECT 2;" in lines
    assert "+SELECT 'two';" in lines
    assert stored() == rows
    # White space at the ends does not change the checksum.
    assert put(service, "m", body(TABLE, "SELECT 1;\r\nSELECT 2;\r\nSELECT 3;\r\n\r\n")).status_code == 201
    assert service.get("/modules/m").json()["state"] == "up_to_date"


def test_a_changed_file_applied_in_another_schema_is_refused(service: Any, sql: Callable[..., Any]) -> None:
    put(service, "m", body(TABLE, schema="old_home"))
    service.post("/modules/m/migrate")
    problem = assert_problem(put(service, "m", body("SELECT 1", schema="new_home")), 409, "checksum_changed")
    assert problem["schema"] == "old_home"
    assert put(service, "m", body(TABLE, schema="new_home")).status_code == 201


def test_an_older_bundle_is_accepted(service: Any) -> None:
    old = put(service, "m", body(TABLE)).json()["digest"]
    new = put(service, "m", body(TABLE, "SELECT 2")).json()["digest"]
    service.post("/modules/m/migrate")
    back = put(service, "m", body(TABLE))
    assert (back.status_code, back.json()["digest"]) == (201, old)
    assert service.get("/modules/m").json()["state"] == "ahead"
    assert service.post("/modules/m/migrate").json()["status"] == "up_to_date"
    items = service.get("/modules/m/bundles").json()["items"]
    assert [(item["digest"], item["current"]) for item in items] == [(old, True), (new, False), (old, False)]
    assert items[0]["registered_by"] == "anonymous"
    page = service.get("/modules/m/bundles", params={"limit": 2}).json()
    rest = service.get("/modules/m/bundles", params={"limit": 2, "next": page["next"]}).json()
    assert [item["digest"] for item in page["items"] + rest["items"]] == [old, new, old]
    assert rest["next"] is None


def test_preconditions_are_checked(service: Any) -> None:
    assert_problem(put(service, "m", body(TABLE), If_Match="*"), 412, "precondition_failed")
    first = put(service, "m", body(TABLE), If_None_Match="*")
    assert first.status_code == 201
    problem = assert_problem(put(service, "m", body("SELECT 1"), If_None_Match="*"), 412, "precondition_failed")
    assert problem["current_bundle"] == first.json()["digest"]
    etag = first.headers["etag"]
    second = put(service, "m", body(TABLE, "SELECT 2"), If_Match=etag)
    assert second.status_code == 201
    assert_problem(put(service, "m", body(TABLE, "SELECT 3"), If_Match=etag), 412, "precondition_failed")
    assert_problem(service.client.delete("/modules/m", headers={"If-Match": etag}), 412, "precondition_failed")
    either = f'"x", {second.headers["etag"]}'
    assert service.client.delete("/modules/m", headers={"If-Match": either}).status_code == 200
    assert service.get("/modules/m").status_code == 404


def test_unregister_keeps_data_and_history(service: Any, sql: Callable[..., Any]) -> None:
    put(service, "m", body(TABLE))
    service.post("/modules/m/migrate")
    assert service.client.delete("/modules/m").json()["status"] == "unregistered"
    assert sql("SELECT count(*) FROM m.t")[0][0] == 0
    assert service.get("/modules/m").json()["state"] == "unregistered"
    assert_problem(service.client.delete("/modules/m"), 404, "module_unknown")
    assert_problem(service.post("/modules/m/migrate"), 404, "module_unknown")
    # Its previous content is still known.
    problem = assert_problem(put(service, "m", body("SELECT 1")), 409, "checksum_changed")
    assert f"-{TABLE}" in problem["diff"]
    assert put(service, "m", body(TABLE)).status_code == 201
    assert service.get("/modules/m").json()["state"] == "up_to_date"


def test_modules_of_the_repository_cannot_be_registered(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    assert "POST /repo/sync" in assert_problem(put(service, "m", body(TABLE)), 409, "module_conflict")["hint"]
    assert_problem(service.client.delete("/modules/m"), 409, "module_conflict")


def test_dependencies_are_checked(service: Any, sql: Callable[..., Any]) -> None:
    put(service, "a", body("CREATE TABLE {{tables.a}} (id integer PRIMARY KEY)", depends_on=["b"]))
    assert service.get("/modules/a").json()["state"] == "invalid"
    put(service, "b", body("CREATE TABLE {{tables.b}} (id integer)", depends_on=["c@001"]))
    problem = assert_problem(put(service, "c", body("SELECT 1", depends_on=["a"])), 422, "module_invalid")
    assert "c → a → b → c" in problem["detail"]
    assert problem["key"] == "depends_on"
    assert_problem(put(service, "c", body("SELECT 1", depends_on=["c"])), 422, "module_invalid")
    assert put(service, "c", body("SELECT 1")).status_code == 201
    needs = assert_problem(service.post("/modules/b/migrate"), 409, "dependency_not_migrated")
    assert (needs["module"], needs["dependency"], needs["version"], needs["schemas"]) == ("b", "c", "001", ["c"])
    done = service.post("/migrate").json()
    assert [item["module"] for item in done["items"]] == ["c", "b", "a"]
    # A dependency that does not exist yet may be registered later.
    put(service, "a", body("CREATE TABLE {{tables.a}} (id integer PRIMARY KEY)", "SELECT 2", depends_on=["b@2"]))
    assert "has no migration" in assert_problem(service.post("/migrate"), 409, "dependency_not_migrated")["detail"]
    put(service, "b", body("CREATE TABLE {{tables.b}} (id integer)", "SELECT 2", depends_on=["c@1"]))
    assert service.post("/migrate").json()["status"] == "success"
    problem = assert_problem(service.client.delete("/modules/c"), 409, "module_conflict")
    assert "b depends on c" in problem["detail"]


@pytest.mark.parametrize(
    "content",
    [
        "SET ROLE postgres",
        "SET LOCAL ROLE NONE",
        "RESET ROLE",
        "RESET ALL",
        "SET SESSION AUTHORIZATION DEFAULT",
        "SELECT set_config('role', 'postgres', false)",
        "SELECT set_config('ro' || 'le', 'postgres', false)",
        "DO $$ BEGIN RESET ROLE; END $$",
        "DO $$ BEGIN EXECUTE 'SET LOCAL ROLE x'; END $$",
        "CREATE FUNCTION {{tables.f}}() RETURNS void LANGUAGE sql SET role = 'postgres' AS 'SELECT 1'",
        "CREATE PROCEDURE {{tables.p}}() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$",
        "UPDATE pg_settings SET setting = 'postgres' WHERE name = 'role'",
        "-- pgdbm:no-transaction\nSELECT 2; DISCARD ALL",
        "-- pgdbm:no-transaction\nCOMMIT",
    ],
)
def test_a_file_that_leaves_its_role_is_refused(service: Any, content: str) -> None:
    problem = assert_problem(put(service, "m", body("SELECT 1", content, role="app")), 422, "migration_file_invalid")
    assert problem["filename"] == "002.sql"
    assert problem["line"]
    assert "emove" in problem["hint"]


def test_a_module_runs_as_its_role(service: Any) -> None:
    fine = "SET LOCAL statement_timeout = 0; SELECT set_config('search_path', 'x', true); SAVEPOINT s"
    registered = put(service, "m", body(TABLE, fine, role="app")).json()
    assert registered["role"] == "app"
    assert service.get("/modules/m").json()["role"] == "app"


def test_a_registration_reaches_every_replica(
    service: Any, start: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    one, other = service, start()
    put(one, "m", body(TABLE))
    # This works even on a replica that has not read the registry since: it looks up unknown modules.
    assert other.get("/modules/m").json()["source"] == "registered"
    new = put(one, "m", body(TABLE, "SELECT 2")).json()
    assert len(other.post("/modules/m/migrate").json()["applied"]) == 2
    put(one, "n", body("SELECT 1"))
    eventually(lambda: "n" in [item["name"] for item in other.get("/modules").json()["items"]])
    assert other.get("/modules/m").json()["digest"] == new["digest"]
    one.client.delete("/modules/n")
    eventually(lambda: other.get("/modules/n").status_code == 404)


def test_concurrent_identical_registrations_are_stored_once(
    service: Any, start: Callable[..., Any], stored: Callable[[], list[int]]
) -> None:
    services = [service, start()]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: put(services[n % 2], "m", body(TABLE)).status_code, range(16)))
    assert sorted(answers) == [200] * 15 + [201]
    assert stored() == [1, 1, 1, 1, 1]


def test_concurrent_registrations_create_no_dependency_cycle(service: Any, start: Callable[..., Any]) -> None:
    services = [service, start()]
    pairs = [("a", "b"), ("b", "a")]
    with ThreadPoolExecutor(2) as pool:
        answers = list(
            pool.map(lambda n: put(services[n], pairs[n][0], body(TABLE, depends_on=[pairs[n][1]])).status_code, (0, 1))
        )
    assert sorted(answers) == [201, 422]


def test_a_body_over_the_limit_is_refused(start: Callable[..., Any]) -> None:
    service = start(max_body_bytes=2048, max_bundle_bytes=1024, max_bundle_files=3)
    assert_problem(put(service, "m", body("x" * 5000)), 413, "body_too_large")
    assert_problem(put(service, "m", body("SELECT 1 --" + "x" * 1024)), 413, "bundle_too_large")
    assert_problem(put(service, "m", body(*["SELECT 1"] * 4)), 413, "bundle_too_large")
    files = [("files", (f"{number}.sql", b"SELECT 1")) for number in range(4)]
    assert_problem(service.client.put("/modules/m", files=files), 413, "bundle_too_large")
