"""Write docs/reference/cli.schema.json: for the commands of a service it follows from the API's types.

python .ci/cli_schemas.py     replaces the definitions of those commands; the others are written by hand
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "docs" / "reference" / "cli.schema.json"
PREFIX = "service_"

sys.path.insert(0, str(ROOT / "app"))

from pgdbm_service.api import (  # noqa: E402
    activity,
    audit,
    backfills,
    common,
    freezes,
    modules,
    operations,
    overview,
    plans,
    registrations,
    rehearsals,
    runs,
    schemas,
    webhooks,
)

# What `pgdbm NAME --json` prints: one struct, or one of several.
_STRUCTS: dict[str, tuple[type, ...]] = {
    "plan": (plans.Plan,),
    "drift": (operations.Drift,),
    "mark": (operations.Marked,),
    "baseline": (operations.BaselineResult,),
    "rehearse": (rehearsals.Rehearsal,),
    "revert": (operations.RevertResult,),
    "resolve": (operations.Resolved,),
    "overview": (overview.Overview,),
    "sync": (registrations.RepositoryChanges,),
    "unregister": (registrations.Unregistered,),
    "terminate": (activity.TerminatedBackend,),
    "runs RUN": (runs.Run, runs.MigrateResult),
    "runs start": (runs.MigrateResult, runs.MigrateAllResult),
    "runs cancel": (runs.Run,),
    "runs retry": (runs.MigrateResult,),
    "approve": (runs.Run,),
    "reject": (runs.Run,),
    "freeze set": (freezes.Freeze,),
    "token create": (common.NewToken,),
    "token revoke": (common.Token,),
    "webhook create": (webhooks.WebhookWithSecret,),
    "webhook enable": (webhooks.WebhookWithSecret,),
    "webhook delete": (webhooks.Webhook,),
    "webhook redeliver": (webhooks.Delivery,),
}
# What prints {"items": […]}.
_LISTS: dict[str, tuple[type, ...]] = {
    "backfill": (backfills.Backfill,),
    "modules": (modules.ModuleSummary,),
    "history": (modules.HistoryItem,),
    "journal": (operations.JournalEntry,),
    "schemas": (schemas.SchemaSummary, modules.SchemaItem),
    "bundles": (registrations.BundleItem,),
    "repair": (operations.ChangedFile,),
    "replicas": (overview.Replica,),
    "activity": (activity.Backend, activity.LongRunningQuery),
    "audit": (audit.AuditEntry,),
    "runs": (runs.RunItem,),
    "freeze list": (freezes.Freeze,),
    "freeze lift": (freezes.Freeze,),
    "token list": (common.Token,),
    "webhook list": (webhooks.Webhook,),
    "webhook deliveries": (webhooks.Delivery,),
}
_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}


def definitions() -> dict[str, Any]:
    """The definitions of the commands of a service, and of the types that they refer to."""
    types = {one for found in (*_STRUCTS.values(), *_LISTS.values()) for one in found}
    types |= {modules.ModuleDetail, modules.Migration, registrations.BundleDiff, operations.ModuleReady}
    _, found = msgspec.json.schema_components(
        sorted(types, key=lambda one: one.__name__), ref_template="#/$defs/{name}"
    )
    made: dict[str, Any] = dict(sorted(found.items()))
    commands = {name: _any_of(structs) for name, structs in _STRUCTS.items()}
    commands |= {name: _list_of(items) for name, items in _LISTS.items()}
    commands["bundles"] = {"anyOf": [commands["bundles"], _ref(registrations.BundleDiff)]}
    commands["repair"]["properties"]["accepted"] = {"type": "boolean"}
    commands["repair"]["required"].append("accepted")
    migrations = {"migrations": {"type": "array", "items": _ref(modules.Migration)}}
    commands["status"] = _extended(made["ModuleDetail"], migrations)
    registered = {"registration": _TEXT, "digest": _TEXT, "pending": _TEXTS, "module": _TEXT, "status": _TEXT}
    result = {
        name: one for name, one in made["MigrateResult"]["properties"].items() if name not in ("module", "status")
    }
    commands["deploy"] = {
        "type": "object",
        "properties": result | registered,
        "required": ["module", "status", "registration", "digest", "pending"],
    }
    ready = made["ModuleReady"]["properties"]
    names = ("module", "schema", "state", "version")
    commands["wait"] = {
        "type": "object",
        "properties": {name: ready[name] for name in names},
        "required": list(names),
    }
    for name, command in sorted(commands.items()):
        made[PREFIX + name.lower().replace(" ", "_")] = command | {"description": f"pgdbm {name}"}
    return made


def _ref(one: type) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{one.__name__}"}


def _any_of(structs: tuple[type, ...]) -> dict[str, Any]:
    return {"anyOf": [_ref(one) for one in structs]}


def _list_of(items: tuple[type, ...]) -> dict[str, Any]:
    listed = {"items": {"type": "array", "items": _any_of(items)}}
    return {"type": "object", "properties": listed, "required": ["items"]}


def _extended(struct: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": struct["properties"] | properties,
        "required": [*struct.get("required", ()), *properties],
    }


def document() -> str:
    """The expected file."""
    written = json.loads(SCHEMA.read_text())
    by_hand = {name: one for name, one in written["$defs"].items() if name[0].islower() and not name.startswith(PREFIX)}
    return json.dumps(written | {"$defs": by_hand | definitions()}, indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(document())
