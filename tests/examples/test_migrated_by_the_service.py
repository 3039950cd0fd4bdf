"""examples/migrated_by_the_service: the init container waits until the pipeline has migrated; the application runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import kubernetes_validate
import yaml

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Programs


def test_the_application_starts_after_its_migrations(examples: Path, programs: Programs, tmp_path: Path) -> None:
    folder = examples / "migrated_by_the_service"
    repository = tmp_path / "repository"
    repository.mkdir()
    # Litestar's own deprecations are not errors of the example.
    service = programs.start(
        folder, "-Wignore", "-m", "pgdbm_service", PGDBM_PORT="0", PGDBM_MIGRATIONS_REPO=str(repository)
    )
    server = service.wait_for(r"serves (http://127\.0\.0\.1:\d+)")[1]

    (manifest,) = yaml.safe_load_all((folder / "deployment.yaml").read_text())
    kubernetes_validate.validate(manifest, "1.34", strict=True)
    (waits,) = manifest["spec"]["template"]["spec"]["initContainers"]
    command = waits["command"]
    assert command[0] == "pgdbm"
    container = programs.start(folder, "-m", "pgdbm_service", *command[1:], PGDBM_SERVER=server)
    container.wait_for("orders")

    assert "applied: 001_orders.sql, 002_quantity.sql" in programs.run(folder, "deploy.py", PGDBM_SERVER=server)
    assert container.wait() == 0
    assert "applied: nothing" in programs.run(folder, "deploy.py", PGDBM_SERVER=server)

    with programs.serve(folder, "main:app").client() as client:
        created = client.post("/orders", json={"product": "tea", "quantity": 2})
        assert (created.status_code, created.json()) == (201, {"id": 1, "product": "tea", "quantity": 2})
        assert client.get("/orders").json() == [created.json()]
