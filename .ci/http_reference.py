"""The reference of the HTTP API for the site, generated from the service's own OpenAPI document."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = "openapi.json"
SCHEMAS = "schemas.json"

_APP = Path(__file__).resolve().parent.parent / "app"
_PRINT = """
import json
from pgdbm_service.asgi import create_app
from pgdbm_service.settings import Settings
app = create_app(Settings(database_url="postgresql://127.0.0.1/none"))
print(json.dumps(app.openapi_schema.to_schema()))
"""
_METHODS = ("get", "put", "post", "patch", "delete")
_HEAD = f"""# The HTTP API

Every endpoint, from the [OpenAPI document]({DOCUMENT}), which the service also serves at `/docs/openapi.json`. The
types alone are [JSON Schemas]({SCHEMAS}); `ProblemDocument` is the type of every error. [How to operate a
service](../howto/operate-over-http.md) explains the order in which the calls are used.
"""


def openapi() -> dict[str, Any]:
    """The OpenAPI document of this version."""
    # In a separate process, because the service configures logging and warnings.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PRINT],
        env=os.environ | {"PYTHONPATH": str(_APP)},
        capture_output=True,
        text=True,
        check=True,
    )
    document: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return document


def schemas(document: dict[str, Any]) -> str:
    """The types of requests, answers and problems, as one JSON Schema with definitions."""
    text = json.dumps(document["components"]["schemas"]).replace("#/components/schemas/", "#/$defs/")
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": json.loads(text)}
    return json.dumps(schema, indent=2)


def page(document: dict[str, Any]) -> str:
    """The page, in the order of the paths."""
    parts = [_HEAD]
    for path, operations in document["paths"].items():
        parts += [
            "\n".join(_operation(f"{method.upper()} {path}", operations[method]))
            for method in _METHODS
            if method in operations
        ]
    return "\n\n".join(parts) + "\n"


def _operation(call: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"## {call}\n"
    yield f"{operation.get('summary', '').rstrip('.')}.\n"
    if operation.get("description"):
        yield f"{operation['description']}\n"
    parameters = operation.get("parameters", [])
    if parameters:
        yield "| parameter | in | meaning |\n|---|---|---|"
        for one in parameters:
            required = " (required)" if one.get("required") and one["in"] != "path" else ""
            meaning = " ".join(str(one.get("description", "")).split()).replace("|", "\\|")
            yield f"| `{one['name']}`{required} | {one['in']} | {meaning} |"
        yield ""
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"Body, `{media}`: {_type(content.get('schema', {}))}\n"
    yield "| status | answer |\n|---|---|"
    for status, response in sorted(operation.get("responses", {}).items()):
        types = [_type(one.get("schema", {})) for one in response.get("content", {}).values()]
        described = " ".join(str(response.get("description", "")).split()).replace("|", "\\|")
        yield f"| {status} | {described} {', '.join(sorted(set(types) - {''}))} |"


def _type(schema: dict[str, Any]) -> str:
    """The name of a schema, formatted as code."""
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    alternatives = schema.get("oneOf") or schema.get("anyOf") or []
    names = [name for one in alternatives if (name := _type(one))]
    return " or ".join(names) or (f"`{schema['type']}`" if isinstance(schema.get("type"), str) else "")
