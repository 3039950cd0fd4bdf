"""Requests and answers of the webhook calls."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

WebhookEvent = Literal[
    "run.queued",
    "run.waiting",
    "run.blocked",
    "run.succeeded",
    "run.failed",
    "run.cancelled",
    "module.pending",
    "module.changed",
    "module.drifted",
]
WebhookFormat = Literal["standard", "slack", "teams"]
DeliveryStatus = Literal["pending", "delivered", "dropped"]

ALL_EVENTS: tuple[WebhookEvent, ...] = get_args(WebhookEvent)

URL = Annotated[
    str, Meta(description="Where events are posted to: an `https://` URL.", pattern=r"^[!-~]+$", max_length=2000)
]
Events = Annotated[list[WebhookEvent], Meta(description="The events that are sent.", min_length=1)]
Modules = Annotated[
    str,
    Meta(
        description="A glob of the names of modules: `*` matches any characters, `?` a single one.",
        pattern=r"^[A-Za-z0-9_.*?-]{1,100}$",
    ),
]
BlockedAfter = Annotated[
    float,
    Meta(
        description="How many seconds a run must have been blocked before `run.blocked` is sent; a run that continues "
        "earlier is not reported.",
        ge=0,
        le=86400,
    ),
]

Enabled = Annotated[bool, Meta(description="Enabling a webhook sends what is pending and clears its failures.")]


def refusal_of_url(url: str, *, allow_http: bool) -> str | None:
    """What is wrong with the URL of a webhook; None if nothing is. Without ``allow_http`` it must be https."""
    schemes = ("https", "http") if allow_http else ("https",)
    try:
        parts = urlsplit(url)
        is_fine = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        is_fine = False
    return None if is_fine else f"must begin with {' or '.join(f'{one}://' for one in schemes)}, without a user"


class WebhookBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    url: URL
    events: Events = msgspec.field(default_factory=lambda: list(ALL_EVENTS))
    modules: Modules = "*"
    format: Annotated[
        WebhookFormat,
        Meta(
            description="`standard` is JSON as specified by Standard Webhooks; `slack` and `teams` "
            "are messages for those services."
        ),
    ] = "standard"
    blocked_after_s: BlockedAfter = 60.0


class WebhookChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Fields that are not given stay unchanged."""

    url: URL | UnsetType = UNSET
    events: Events | UnsetType = UNSET
    modules: Modules | UnsetType = UNSET
    blocked_after_s: BlockedAfter | UnsetType = UNSET
    is_enabled: Enabled | UnsetType = UNSET
    new_secret: Annotated[
        bool,
        Meta(
            description="Replace the secret. For a while, deliveries are signed with both the new "
            "and the previous secret."
        ),
    ] = False


class Webhook(msgspec.Struct, kw_only=True):
    """A webhook without its secret. ``failing_since``: the first failure since the last successful delivery.

    ``name``: the name of a webhook from the service's settings, which can be changed only there.
    """

    id: UUID
    url: str
    events: list[WebhookEvent]
    modules: str
    format: WebhookFormat
    blocked_after_s: float
    is_enabled: bool
    created_by: str
    created_at: datetime
    disabled_reason: str | None = None
    failing_since: datetime | None = None
    name: str | None = None


class WebhookWithSecret(Webhook, kw_only=True):
    """A webhook with its ``secret`` if that is new: it is only in this answer."""

    secret: str | None = None


class WebhookList(msgspec.Struct):
    items: list[Webhook]
    next: str | None = None


class Delivery(msgspec.Struct, kw_only=True):
    """An event for a webhook. ``id`` is the ``webhook-id`` of each attempt; ``reason`` is why the last one failed.

    ``dropped``: what it reports had ended before it was due.
    """

    id: UUID
    event: WebhookEvent
    module: str
    at: datetime
    status: DeliveryStatus
    attempts: int
    run_id: UUID | None = None
    next_attempt_at: datetime | None = None
    delivered_at: datetime | None = None
    http_status: int | None = None
    reason: str | None = None


class DeliveryPage(msgspec.Struct):
    items: list[Delivery]
    next: str | None = None
