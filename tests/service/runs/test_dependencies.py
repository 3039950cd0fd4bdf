"""Modules with dependencies: what is refused, what is migrated first, and what is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.problems import assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE {{tables.t}} (id integer)"


def put(service: Any, name: str, *files: str, headers: dict[str, str] | None = None, **settings: Any) -> Any:
    migrations = [{"filename": f"00{number}.sql", "content": sql} for number, sql in enumerate(files, 1)]
    return service.client.put(f"/modules/{name}", json={"migrations": migrations, **settings}, headers=headers)


def test_a_dependency_with_something_pending_is_named(service: Any, repo: Any) -> None:
    repo.write("base", _001_t=TABLE)
    repo.write("shop", 'depends_on = ["base"]', _001_t="CREATE TABLE {{tables.u}} AS TABLE {{tables.base.t}}")
    service.sync()
    problem = assert_problem(service.post("/modules/shop/migrate"), 409, "dependency_not_migrated")
    assert (problem["module"], problem["dependency"], problem["schemas"]) == ("shop", "base", ["base"])
    assert "with_dependencies" in problem["hint"]
    assert "retry_after" not in problem
    service.post("/modules/base/migrate")
    repo.write("base", _002_more="SELECT 2", R__view="SELECT 3")
    service.sync()
    assert_problem(service.post("/modules/shop/migrate"), 409, "dependency_not_migrated")
    # It need not wait for migrations that it does not need.
    repo.write("shop", 'depends_on = ["base@001"]')
    service.sync()
    assert service.post("/modules/shop/migrate").json()["status"] == "success"


def test_with_dependencies(service: Any, repo: Any) -> None:
    repo.write("a", _001_t=TABLE)
    repo.write("b", 'depends_on = ["a"]', _001_t="CREATE TABLE {{tables.t}} AS TABLE {{tables.a.t}}")
    repo.write("c", 'depends_on = ["b"]', _001_t="CREATE TABLE {{tables.t}} AS TABLE {{tables.b.t}}", _002="SELECT 2")
    repo.write("other", _001_t=TABLE)
    service.sync()
    body = {"with_dependencies": True, "target": "001"}
    listed = service.post("/modules/c/migrate", json=body | {"dry_run": True}).json()
    assert [one["pending"] for one in listed["dependencies"]] == [["001_t.sql"], ["001_t.sql"]]
    result = service.post("/modules/c/migrate", json=body).json()
    assert (result["module"], result["status"]) == ("c", "success"), result
    # The options are those of the module that was asked for.
    assert [one["filename"] for one in result["applied"]] == ["001_t.sql"]
    assert [(one["module"], one["status"]) for one in result["dependencies"]] == [("a", "success"), ("b", "success")]
    assert service.get("/modules/other").json()["state"] == "pending"
    again = service.post("/modules/c/migrate", json=body).json()
    assert (again["status"], [one["status"] for one in again["dependencies"]]) == ("up_to_date", ["up_to_date"] * 2)


def test_a_dependency_that_fails(service: Any, repo: Any) -> None:
    repo.write("a", _001_t="SELECT 1/0")
    repo.write("b", 'depends_on = ["a"]', _001_t=TABLE)
    service.sync()
    problem = assert_problem(
        service.post("/modules/b/migrate", json={"with_dependencies": True}), 422, "migration_failed"
    )
    assert (problem["module"], problem["not_reached"]) == ("a", ["b"])


def test_a_retry_has_the_options_of_the_run(service: Any, repo: Any) -> None:
    repo.write("a", _001_t="SELECT 1/0")
    repo.write("b", 'depends_on = ["a"]', _001_t=TABLE, _002_u="SELECT 2")
    service.sync()
    body = {"with_dependencies": True, "target": "001", "atomic": "all"}
    failed = assert_problem(service.post("/modules/b/migrate", json=body), 422, "migration_failed")
    repo.write("a", _001_t="SELECT 1")
    service.sync()
    retried = service.post(f"/runs/{failed['run_id']}/retry").json()
    assert [[one["filename"] for one in item["applied"]] for item in retried["items"]] == [["001_t.sql"], ["001_t.sql"]]
    last = service.get(f"/runs/{retried['run_id']}").json()["modules"][-1]
    options = service.get(f"/runs/{last['run_id']}").json()["options"]
    assert (options["target"], options["atomic"]) == ("001", "all")


class TestScopes:
    def test_of_dependencies(self, start: Callable[..., Any], make_token: Callable[..., str], repo: Any) -> None:
        repo.write("a", _001_t=TABLE)
        repo.write("b", 'depends_on = ["a"]', _001_t=TABLE)
        service = start(auth="tokens")
        asking = {"Authorization": f"Bearer {make_token('migrate:b')}"}
        body = {"with_dependencies": True}
        assert_problem(service.post("/modules/b/migrate", json=body, headers=asking), 403, "forbidden")
        both = {"Authorization": f"Bearer {make_token('migrate:b', 'migrate:a', name='both')}"}
        assert service.post("/modules/b/migrate", json=body, headers=both).status_code == 200

    def test_dependencies_registered_through_another_replica(
        self, start: Callable[..., Any], make_token: Callable[..., str]
    ) -> None:
        services = [start(auth="tokens"), start(auth="tokens")]
        admin = {"Authorization": f"Bearer {make_token('admin')}"}
        limited = {"Authorization": f"Bearer {make_token('migrate:team-a', name='limited')}"}
        assert services[1].post("/migrate", headers=limited).status_code == 200
        for number in range(10):
            put(services[0], f"secret{number}", TABLE, headers=admin)
            assert_problem(services[1].post("/migrate", headers=limited), 403, "forbidden")


class TestInvalidModules:
    def test_a_registered_one_blocks_no_other(self, service: Any) -> None:
        put(service, "bad", TABLE, depends_on=["nonexistent"])
        put(service, "needs", TABLE, depends_on=["bad"])
        put(service, "good", TABLE)
        assert service.post("/migrate", json={"dry_run": True}).json()["not_reached"] == ["bad", "needs"]
        answer = service.post("/migrate")
        assert answer.status_code == 200, answer.text
        result = answer.json()
        assert [item["module"] for item in result["items"]] == ["good"]
        assert result["not_reached"] == ["bad", "needs"]
        run = service.get(f"/runs/{result['run_id']}").json()
        problems = {one["module"]: (one["problem"] or {}).get("code") for one in run["modules"]}
        assert problems == {"good": None, "bad": "module_invalid", "needs": "module_invalid"}
        assert service.post("/migrate").json()["not_reached"] == ["bad", "needs"]

    def test_an_invalid_folder_of_the_repository_is_refused(self, service: Any, repo: Any) -> None:
        repo.write("bad", 'depends_on = ["nonexistent"]', _001_t=TABLE)
        repo.write("good", _001_t=TABLE)
        service.sync()
        assert_problem(service.post("/migrate"), 422, "module_invalid")

    def test_depending_on_a_module_does_not_keep_it_registered(self, service: Any) -> None:
        put(service, "theirs", TABLE)
        put(service, "mine", TABLE, depends_on=["theirs"])
        problem = assert_problem(service.client.delete("/modules/theirs"), 409, "module_conflict")
        assert "force" in problem["hint"]
        assert service.client.delete("/modules/theirs?force=true").status_code == 200
        assert service.get("/modules/mine").json()["state"] == "invalid"
