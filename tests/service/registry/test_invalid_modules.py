"""An invalid module is listed with its problem, cannot be migrated, and does not affect others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm_service.database.failures import service_error_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.mark.parametrize(
    ("toml", "key", "line"),
    [
        ("schema = 3", "schema", 1),
        ('\nshema = "x"', "shema", 2),
        ('description = "d"\nout_of_order = "maybe"', "out_of_order", 2),
        ('depends_on = "a"', "depends_on", 1),
        ('depends_on = ["a", 1]', "depends_on[1]", 1),
        ('schema = "no-hyphens"', "schema", 1),
        ('schema = "', None, None),
        ("schema: x", None, 1),
        ('depends_on = ["unknown"]', "depends_on", None),
        ('depends_on = ["bad"]', "depends_on", None),
    ],
)
def test_an_invalid_module_toml_is_reported_with_key_and_line(
    service: Any, repo: Any, toml: str, key: str | None, line: int | None
) -> None:
    repo.write("bad", toml, _001_a="SELECT 1")
    repo.write("good", _001_a="SELECT 1")
    service.sync()
    listed = {item["name"]: item for item in service.get("/modules").json()["items"]}
    assert listed["bad"]["state"] == "invalid"
    assert "module.toml" in listed["bad"]["problem"]["detail"]
    response = service.post("/modules/bad/migrate")
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "module_invalid")
    assert (problem["module"], problem["filename"]) == ("bad", "module.toml")
    assert (problem.get("key"), problem.get("line")) == (key, line)
    assert service.get("/modules/bad/migrations").status_code == 422
    assert service.post("/modules/good/migrate").status_code == 200
    everything = service.post("/migrate")
    assert (everything.status_code, everything.json()["module"]) == (422, "bad")


def test_a_dependency_cycle_is_reported(service: Any, repo: Any) -> None:
    for name, needs in (("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")):
        repo.write(name, f'depends_on = ["{needs}"]', _001_x="SELECT 1")
    service.sync()
    items = {item["name"]: item for item in service.get("/modules").json()["items"]}
    assert {name: item["state"] for name, item in items.items()} == {
        "a": "invalid",
        "b": "invalid",
        "c": "invalid",
        "d": "pending",
    }
    assert "a → b → c → a" in items["a"]["problem"]["detail"]
    assert service.post("/migrate").json()["code"] == "module_invalid"


def test_a_folder_name_that_is_not_a_schema_name_gets_a_remedy(service: Any, repo: Any) -> None:
    repo.write("my-module", _001_a="SELECT 1")
    repo.write("other-module", 'schema = "other"', _001_a="SELECT 1")
    service.sync()
    problem = service.post("/modules/my-module/migrate").json()
    assert problem["code"] == "module_invalid"
    assert "schema = " in problem["hint"]
    assert service.post("/modules/other-module/migrate").json()["status"] == "success"


def test_links_out_of_the_repository_are_refused(service: Any, repo: Any, tmp_path: Any) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "001_a.sql").write_text("SELECT 1")
    (repo.path / "linked").symlink_to(outside)
    repo.write("m", _001_a="SELECT 1")
    (repo.path / "m" / "002_b.sql").symlink_to(outside / "001_a.sql")
    service.sync()
    assert service.post("/modules/linked/migrate").json()["code"] == "module_invalid"
    assert service.post("/modules/m/migrate").json()["code"] == "migration_file_invalid"


def test_a_folder_that_cannot_be_read_is_one_invalid_module(
    start: Callable[..., Any], repo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.write("locked", _001_a="SELECT 1")
    repo.write("m", _001_a="SELECT 1")
    iterdir = Path.iterdir

    def refused(self: Path) -> Iterator[Path]:
        if self.name == "locked":
            raise PermissionError(13, "Permission denied")
        return iterdir(self)

    monkeypatch.setattr(Path, "iterdir", refused)
    service = start()
    problem = service.post("/modules/locked/migrate").json()
    assert (problem["code"], problem["detail"]) == (
        "module_invalid",
        "The folder locked cannot be read: Permission denied.",
    )
    assert service.post("/modules/m/migrate").json()["status"] == "success"


def test_hidden_folders_and_plain_files_are_ignored(service: Any, repo: Any) -> None:
    repo.write(".git", _001_a="SELECT 1")
    (repo.path / "README.md").write_text("hello")
    repo.write("m", _001_a="SELECT 1")
    service.sync()
    assert [item["name"] for item in service.get("/modules").json()["items"]] == ["m"]


def test_a_history_table_without_privilege_is_reported(
    start: Callable[..., Any],
    repo: Any,
    sql: Callable[..., Any],
    database: str,
    eventually: Callable[..., Any],
) -> None:
    from urllib.parse import urlsplit, urlunsplit

    repo.write("m", _001_a="SELECT 1")
    start().post("/modules/m/migrate")
    role = f"reader_{urlsplit(database).path.strip('/')}"
    sql(f"CREATE ROLE {role} LOGIN PASSWORD 'reader'")
    try:
        sql(f"GRANT USAGE ON SCHEMA m TO {role}")
        parts = urlsplit(database)
        url = urlunsplit(parts._replace(netloc=f"{role}:reader@{parts.hostname}:{parts.port}"))
        waiting = start(database_url=url, wait=False)
        eventually(lambda: "needs CREATE on the database" in waiting.get("/health/ready").text)
        sql(f"GRANT USAGE ON SCHEMA pgdbm_service TO {role}")
        sql(f"GRANT ALL ON ALL TABLES IN SCHEMA pgdbm_service TO {role}")
        sql(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA pgdbm_service TO {role}")
        service = start(database_url=url)
        listed = service.get("/modules").json()["items"][0]
        assert (listed["state"], listed["problem"]["code"]) == ("invalid", "insufficient_privilege")
        response = service.post("/modules/m/migrate")
        assert response.headers["content-type"] == "application/problem+json"
        assert "permission denied" in response.json()["detail"]
    finally:
        sql(f"DROP OWNED BY {role}")
        sql(f"DROP ROLE {role}")


def test_a_deleted_folder_is_an_error(service: Any, repo: Any) -> None:
    repo.write("m", _001_a="SELECT 1")
    service.sync()
    service.post("/modules/m/migrate")
    (repo.path / "m" / "001_a.sql").unlink()
    (repo.path / "m").rmdir()
    response = service.post("/modules/m/migrate")
    assert (response.status_code, response.json()["code"]) == (422, "module_invalid")
    listed = service.get("/modules").json()["items"][0]
    assert (listed["state"], listed["problem"]["code"]) == ("invalid", "module_invalid")


def test_an_unreadable_file_is_an_error() -> None:
    problem = service_error_of(PermissionError(13, "Permission denied", "/repo/m/001_a.sql"))
    assert (problem.code, problem.fields["filename"]) == ("migration_file_invalid", "001_a.sql")
    assert "/repo" not in problem.detail


def test_a_history_table_of_another_tool_is_reported(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    """The tables of dbmate and golang-migrate have the same name as pgdbm's."""
    sql("CREATE SCHEMA m")
    sql("CREATE TABLE m.schema_migrations (version text PRIMARY KEY)")
    repo.write("m", _001_a="SELECT 1")
    repo.write("n", _001_a="SELECT 1")
    service.sync()
    reads = (service.get("/modules/m/plan"), service.get("/modules/m/history"))
    for answer in (service.post("/modules/m/migrate"), *reads):
        assert (answer.status_code, answer.json()["code"]) == (422, "migration_error"), answer.text
        assert "not a pgdbm history" in answer.json()["detail"]
    # Listings search for history tables, and find none.
    assert [one["state"] for one in service.get("/modules").json()["items"]] == ["pending", "pending"]
    assert service.post("/modules/n/migrate").json()["status"] == "success"
