"""The examples of the OpenAPI document run unchanged."""

from __future__ import annotations

from typing import Any

import pytest

from pgdbm_service.web.examples import EXAMPLES

FILL = (
    "-- pgdbm:backfill table={{tables.orders}} key=id\n"
    "DELETE FROM {{tables.orders}} WHERE id BETWEEN $from AND $to AND id < 0"
)
TABLE = "CREATE TABLE {{tables.orders}} (id integer PRIMARY KEY)"


def examples(service: Any) -> dict[tuple[str, str], tuple[str, str, Any]]:
    """Method, path and body by operation and name, as the document says."""
    document = service.get("/docs/openapi.json").json()
    return {
        (operation["operationId"], name): (method, path, example["value"])
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if isinstance(operation, dict)
        for name, example in (
            operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("examples", {}).items()
        )
    }


@pytest.mark.parametrize(
    ("operation", "name"), [(operation, name) for operation in EXAMPLES for name in EXAMPLES[operation]]
)
def test_an_example_runs(service: Any, repo: Any, operation: str, name: str) -> None:
    if operation != "register_module":
        repo.write("orders", _001_orders=TABLE)
        (repo.path / "orders" / "001_orders.down.sql").write_text("DROP TABLE {{tables.orders}}")
        if operation == "change_backfill":
            (repo.path / "orders" / "012_fill.sql").write_text(FILL)
        service.sync()
    if operation == "revert_module":
        assert service.post("/modules/orders/migrate").status_code == 200
    method, path, body = examples(service)[operation, name]
    path = path.replace("{module}", "orders").replace("{filename}", "012_fill")
    answer = service.client.request(method.upper(), service.url + path, json=body)
    assert answer.status_code in (200, 201), answer.text


def test_every_required_body_has_an_example_or_a_reason(service: Any) -> None:
    document = service.get("/docs/openapi.json").json()
    required = {
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
        if isinstance(operation, dict) and operation.get("requestBody", {}).get("required")
    }
    # A statement with an unknown outcome is made by killing a runner; the others need a run that waits.
    assert required - {"resolve_statement", "approve_run", "break_glass", "change_webhook"} <= set(EXAMPLES)
