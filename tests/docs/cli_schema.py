"""The JSON Schemas of what the command line prints."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

from .markdown import DOCS

SCHEMA: dict[str, Any] = json.loads((DOCS / "reference" / "cli.schema.json").read_text())


def check_document(name: str, document: dict[str, Any]) -> dict[str, Any]:
    """``document``, which fits the schema ``name``, and has no field that the schema lacks."""
    Draft202012Validator({**_closed(SCHEMA), "$ref": f"#/$defs/{name}"}).validate(document)
    return document


def _closed(schema: Any) -> Any:
    """``schema``, changed to allow only the fields that it lists. An error also has the fields of its code."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _closed(value) for key, value in schema.items()}
    properties = found.get("properties")
    # Not the properties themselves, one of which may have that name.
    if found.get("type") == "object" and isinstance(properties, dict) and not {"code", "message"} <= set(properties):
        found["additionalProperties"] = False
    return found
