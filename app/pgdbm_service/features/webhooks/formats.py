"""The bodies of deliveries: for programs, for Slack and for Microsoft Teams. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from pgdbm.text import object_in_words

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from ...api.webhooks import WebhookFormat

# Neither details nor SQL: the server's messages can quote values that not every reader of a channel may see.
_OF_PROBLEM = ("code", "title", "filename", "line", "column", "sqlstate")
_OF_EVENT = (
    *("schema", "schema_count", "status", "reason", "until", "detail", "plan", "required_count"),
    *("since", "pending", "filenames", "change_count", "changes"),
)
_VERBS = {
    "run.queued": "is queued",
    "run.waiting": "waits",
    "run.blocked": "is blocked",
    "run.succeeded": "succeeded",
    "run.failed": "failed",
    "run.cancelled": "was cancelled",
}


def body_of(
    format_: WebhookFormat,
    event: str,
    module: str,
    run: UUID | None,
    data: Mapping[str, Any],
    at: datetime,
    link: str | None,
) -> bytes:
    """The body of a delivery as JSON. ``data`` is the event's data; ``link`` is the page of the run or the module."""
    if format_ == "standard":
        fields = {"module": module, "run_id": run, "url": link, **_fields(data)}
        document: dict[str, Any] = {
            "type": event,
            "timestamp": at,
            "data": {k: v for k, v in fields.items() if v is not None},
        }
    elif format_ == "slack":
        document = {"text": _slack(_sentence(event, module, data), link)}
    else:
        document = _teams(_sentence(event, module, data), link)
    return msgspec.json.encode(document)


def _fields(data: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {name: data[name] for name in _OF_EVENT if data.get(name) is not None}
    problem = data.get("problem")
    if problem:
        found["problem"] = {name: problem[name] for name in _OF_PROBLEM if problem.get(name) is not None}
    waits = data.get("waiting_for")
    if waits:
        names = ("pid", "user", "application_name", "state")
        found["waiting_for"] = [{name: one.get(name) for name in names} for one in waits]
    return found


def _sentence(event: str, module: str, data: Mapping[str, Any]) -> str:
    if event.startswith("module."):
        return f"The module {module} {_of_module(event, data)}."
    subject = "The run of all modules" if module == "*" else f"The migration of {module}"
    text = f"{subject} {_VERBS[event]}"
    schema, problem, waits = data.get("schema"), data.get("problem"), data.get("waiting_for")
    if schema:
        text += f" in the schema {schema}"
    if problem:
        place = ":".join(str(problem[name]) for name in ("filename", "line", "column") if problem.get(name) is not None)
        text += f": {problem['title']}" + (f" ({place})" if place else "")
    elif waits:
        application = waits[0].get("application_name") or "-"
        text += f": it is waiting for the session with pid {waits[0].get('pid')} ({application})"
    elif data.get("required_count"):
        text += f" for {data['required_count'] - data.get('approval_count', 0)} more approvals"
    elif data.get("detail"):
        text += f": {data['detail']}"
    return text.rstrip(".") + "."


def _of_module(event: str, data: Mapping[str, Any]) -> str:
    if event == "module.pending":
        return f"has had {_counted(data['pending'], 'pending migration')} since {data['since'][:16]}"
    if event == "module.changed":
        return f"has files that were changed after they were applied: {', '.join(data['filenames'])}"
    first = data["changes"][0]
    text = f"has changes that no migration made in the schema {data['schema']}: "
    rest = data["change_count"] - 1
    text += f"{object_in_words(first['object_kind'], first['name'])} {first['kind']}"
    return text + (f", and {_counted(rest, 'more change')}" if rest else "")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _slack(text: str, link: str | None) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped if link is None else f"{escaped} <{link}|Open it>"


def _teams(text: str, link: str | None) -> dict[str, Any]:
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [{"type": "TextBlock", "text": text, "wrap": True}],
    }
    if link is not None:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Open it", "url": link}]
    return {
        "type": "message",
        "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "content": card}],
    }
