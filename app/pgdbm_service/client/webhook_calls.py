"""The calls of webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from ..api.webhooks import (
    Delivery,
    DeliveryPage,
    Webhook,
    WebhookBody,
    WebhookChange,
    WebhookList,
    WebhookWithSecret,
)
from .call import Call, Listing
from .endpoints import call, listing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from ..api.webhooks import DeliveryStatus, WebhookEvent, WebhookFormat

_ONE = "/webhooks/{webhook_id}"


class WebhookCalls:
    """The calls under /webhooks; they need the scope ``admin``."""

    @call
    def create_webhook(
        self,
        url: str,
        *,
        events: Sequence[WebhookEvent] | None = None,
        modules: str = "*",
        format: WebhookFormat = "standard",  # noqa: A002 - the field's name
        blocked_after_s: float = 60.0,
    ) -> Call[WebhookWithSecret]:
        """Have ``events`` (default: all) of ``modules``, a glob, posted to ``url``. The secret is only in this
        answer."""
        body = WebhookBody(url=url, modules=modules, format=format, blocked_after_s=blocked_after_s)
        if events is not None:
            body.events = list(events)
        return Call(method="POST", path="/webhooks", body=body, answer=WebhookWithSecret)

    @listing
    def list_webhooks(self) -> Listing[Webhook]:
        """All webhooks, oldest first, without their secrets."""
        return Listing(path="/webhooks", page=WebhookList, page_size=None)

    @call
    def get_webhook(self, webhook_id: UUID) -> Call[Webhook]:
        """One webhook, without its secret."""
        return Call(method="GET", path=_ONE, parts={"webhook_id": str(webhook_id)}, answer=Webhook)

    @call
    def change_webhook(
        self,
        webhook_id: UUID,
        *,
        url: str | None = None,
        events: Sequence[WebhookEvent] | None = None,
        modules: str | None = None,
        blocked_after_s: float | None = None,
        is_enabled: bool | None = None,
        new_secret: bool = False,
    ) -> Call[WebhookWithSecret]:
        """Change what is given; with ``new_secret``, replace the secret, which is only in this answer."""
        body = WebhookChange(
            url=UNSET if url is None else url,
            events=UNSET if events is None else list(events),
            modules=UNSET if modules is None else modules,
            blocked_after_s=UNSET if blocked_after_s is None else blocked_after_s,
            is_enabled=UNSET if is_enabled is None else is_enabled,
            new_secret=new_secret,
        )
        parts = {"webhook_id": str(webhook_id)}
        return Call(method="PATCH", path=_ONE, parts=parts, body=body, answer=WebhookWithSecret)

    @call
    def delete_webhook(self, webhook_id: UUID) -> Call[Webhook]:
        """Delete a webhook with its deliveries."""
        return Call(method="DELETE", path=_ONE, parts={"webhook_id": str(webhook_id)}, answer=Webhook)

    @listing
    def list_deliveries(
        self, webhook_id: UUID, *, status: DeliveryStatus | None = None, limit: int | None = None
    ) -> Listing[Delivery]:
        """What was sent to a webhook and what is still to be sent, newest first."""
        return Listing(
            path=f"{_ONE}/deliveries",
            parts={"webhook_id": str(webhook_id)},
            query={"status": status},
            page=DeliveryPage,
            limit=limit,
        )

    @call
    def redeliver(self, webhook_id: UUID, delivery_id: UUID) -> Call[Delivery]:
        """Send a delivery again now, with the same ``webhook-id``."""
        return Call(
            method="POST",
            path=f"{_ONE}/deliveries/{{delivery_id}}/redeliver",
            parts={"webhook_id": str(webhook_id), "delivery_id": str(delivery_id)},
            answer=Delivery,
        )
