"""What all operations over HTTP have in common: the schema, refusals, and what the OpenAPI document says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.problems import assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
READS = ("plan", "drift", "journal", "ready")
CHANGES: dict[str, dict[str, Any] | None] = {
    "mark": {"filename": "001_a.sql", "applied": True},
    "baseline": {"version": "001"},
    "rehearse": None,
    "repair": None,
    "revert": None,
    "resolve": {"filename": "001_a.sql", "statement": 1, "done": True},
}


def down(repo: Any, module: str, name: str, content: str) -> None:
    (repo.path / module / f"{name}.down.sql").write_text(content)


def test_operations_of_a_module_with_several_schemas_need_a_schema(service: Any, repo: Any) -> None:
    repo.write("m", 'schemas = ["a", "b"]', _001_a=TABLE)
    down(repo, "m", "001_a", "DROP TABLE {{tables.t}}")
    service.sync()
    for operation, body in CHANGES.items():
        problem = assert_problem(service.post(f"/modules/m/{operation}", json=body or {}), 400, "invalid_request")
        assert [error["field"] for error in problem["errors"]] == ["schema"]
    service.post("/modules/m/migrate", json={"schemas": ["a"]})
    assert service.get("/modules/m/ready?schema=a").status_code == 200
    for query in ("", "?schema=b"):
        problem = assert_problem(service.get(f"/modules/m/ready{query}"), 503, "not_migrated")
        assert problem["schema"] == "b"
    assert service.get("/modules/m/plan?schema=b").json()["schema"] == "b"
    assert service.get("/modules/m/plan").json()["pending"] == []
    assert service.get("/modules/m/drift?schema=a").json()["clean"] is True
    assert service.post("/modules/m/rehearse", json={"schema": "b"}).json()["succeeded"] is True
    marked = service.post("/modules/m/mark", json={"filename": "001_a.sql", "applied": True, "schema": "b"})
    assert marked.json()["schema"] == "b"
    assert service.get("/modules/m/ready").json()["schema"] == "a"
    assert service.get("/modules/m/journal?schema=b").json()["items"][0]["event"] == "marked"
    reverted = service.post("/modules/m/revert", json={"schema": "a"}).json()["reverted"]
    assert [one["schema"] for one in reverted] == ["a"]
    for path in ("plan", "ready", "drift", "journal"):
        assert_problem(service.get(f"/modules/m/{path}?schema=c"), 400, "invalid_request")


def test_operations_of_a_missing_schema_answer(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    bodies = {"resolve": CHANGES["resolve"], "revert": None, "repair": {"accept": True}}
    refused = {operation: service.post(f"/modules/m/{operation}", json=body) for operation, body in bodies.items()}
    assert_problem(refused["resolve"], 422, "migration_error")
    assert_problem(refused["revert"], 422, "migration_error")
    assert refused["repair"].json()["items"] == []
    assert sql("SELECT FROM pg_namespace WHERE nspname = 'm'") == []


def test_invalid_bodies_are_refused(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    bad: list[tuple[str, Any]] = [
        ("mark", {}),
        ("mark", {"filename": "001_a.sql"}),
        ("mark", {"filename": "", "applied": True}),
        ("mark", {"filename": "001_a.sql", "applied": True, "force": True}),
        ("baseline", {}),
        ("baseline", {"version": ""}),
        ("baseline", {"version": "001", "check": None}),
        ("rehearse", {"timeout_s": 0}),
        ("rehearse", {"timeout_s": 3601}),
        ("rehearse", {"schema": "another"}),
        ("repair", {"accept": "perhaps"}),
        ("revert", {"steps": 0}),
        ("revert", {"step": 1}),
        ("resolve", {"filename": "001_a.sql", "statement": 0, "done": True}),
        ("resolve", {"filename": "001_a.sql", "statement": 1}),
    ]
    for operation, body in bad:
        problem = assert_problem(service.post(f"/modules/m/{operation}", json=body), 400, "invalid_request")
        assert len(problem["errors"]) == 1, (operation, body, problem)
    assert_problem(service.post("/modules/m/revert?steps=1"), 400, "invalid_request")


def test_unusable_modules_are_refused(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("bad", "depends = 1", _001_a=TABLE)
    repo.write("gone", _001_a="SELECT 1 / 0")
    service.sync()
    for module, status, code in (("nothing", 404, "module_unknown"), ("bad", 422, "module_invalid")):
        for operation in READS:
            assert_problem(service.get(f"/modules/{module}/{operation}"), status, code)
        for operation, body in CHANGES.items():
            problem = assert_problem(service.post(f"/modules/{module}/{operation}", json=body), status, code)
            assert problem["module"] == module
    assert sql("SELECT FROM pg_namespace WHERE nspname = 'bad'") == []


def test_a_module_known_only_to_the_history_can_be_read(start: Callable[..., Any], repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    start().post("/modules/m/migrate")
    (repo.path / "m" / "001_a.sql").unlink()
    (repo.path / "m").rmdir()
    service = start()
    assert service.get("/modules/m/drift").json()["clean"] is True
    assert service.get("/modules/m/journal").status_code == 200
    for operation in ("plan", "ready"):
        assert_problem(service.get(f"/modules/m/{operation}"), 404, "module_unknown")
    assert_problem(service.post("/modules/m/revert"), 404, "module_unknown")


def test_operations_answer_503_without_a_database(start: Callable[..., Any], repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service = start(wait=False, database_url="postgresql://user@127.0.0.1:1/nothing")
    for operation in READS:
        assert_problem(service.get(f"/modules/m/{operation}"), 503, "database_unavailable")
    for operation, body in CHANGES.items():
        assert_problem(service.post(f"/modules/m/{operation}", json=body), 503, "database_unavailable")


def test_the_openapi_document_names_every_answer(service: Any) -> None:
    paths = service.get("/docs/openapi.json").json()["paths"]
    calls = {operation: paths[f"/modules/{{module}}/{operation}"] for operation in (*READS, *CHANGES)}
    for operation in READS:
        assert {"200", "404", "503"} <= calls[operation]["get"]["responses"].keys()
    for operation in CHANGES:
        assert {"200", "400", "404", "422", "503"} <= calls[operation]["post"]["responses"].keys()
        required = calls[operation]["post"]["requestBody"]["required"]
        assert required is (operation in ("mark", "baseline", "resolve"))
    assert "not_migrated" in calls["ready"]["get"]["responses"]["503"]["description"]
    migrate = paths["/modules/{module}/migrate"]["post"]["responses"]
    assert "plan_moved" in migrate["409"]["description"]
