"""Examples of request bodies for the OpenAPI document, by operation. Each example can be sent unchanged."""

from __future__ import annotations

from typing import Any

EXAMPLES: dict[str, dict[str, Any]] = {
    "migrate": {
        "what would be applied": {"dry_run": True},
        "up to a version, with short waits for locks": {"target": "001", "lock_timeout_ms": 2000, "wait_s": 30},
        "with what it depends on": {"with_dependencies": True},
    },
    "migrate_all": {"what would be applied": {"dry_run": True}},
    "register_module": {
        "a module with one file": {
            "schema": "orders",
            "migrations": [
                {
                    "filename": "001_orders.sql",
                    "content": "CREATE TABLE {{schema}}.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);",
                }
            ],
        }
    },
    "mark_migration": {"as applied": {"filename": "001_orders.sql", "applied": True}},
    "change_backfill": {"slower": {"rate": 1000}},
    "baseline_module": {"an existing schema": {"version": "001", "check": False}},
    "rehearse_module": {
        "up to a version": {"target": "001", "timeout_s": 60},
        "with the fixes of the files": {"fix": True},
    },
    "repair_module": {"the files that were modified": {"accept": False}},
    "revert_module": {"the newest migration": {"steps": 1}},
    "freeze": {"until a time": {"modules": "orders*", "reason": "the sale", "until": "2099-12-01T06:00:00Z"}},
    "create_webhook": {
        "what needs attention": {"url": "https://hooks.example.com/pgdbm", "events": ["run.failed", "run.blocked"]}
    },
    "create_token": {
        "for a deployment": {
            "name": "deploy-orders",
            "scopes": ["read", "register:orders", "migrate:orders"],
            "expires": "90d",
        }
    },
}


def with_examples(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI ``document`` with the examples of its operations."""
    paths = {
        path: {method: _with_example(one) for method, one in item.items()} for path, item in document["paths"].items()
    }
    return document | {"paths": paths}


def _with_example(operation: Any) -> Any:
    examples = EXAMPLES.get(operation.get("operationId", "")) if isinstance(operation, dict) else None
    if examples is None:
        return operation
    body = operation["requestBody"]
    json = body["content"]["application/json"]
    named = {name: {"value": value} for name, value in examples.items()}
    content = body["content"] | {"application/json": json | {"examples": named}}
    return operation | {"requestBody": body | {"content": content}}
