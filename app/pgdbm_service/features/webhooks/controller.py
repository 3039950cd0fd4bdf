"""The calls under /webhooks."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from litestar import Controller, delete, get, patch, post
from litestar.params import Parameter

from ...api.webhooks import (
    Delivery,
    DeliveryPage,
    DeliveryStatus,
    Webhook,
    WebhookBody,
    WebhookChange,
    WebhookList,
    WebhookWithSecret,
)
from ...web.pagination import Cursor, Limit, read_number
from ...web.problems import error_responses
from ...web.request import HTTPRequest, principal_of
from .store import WebhookStore


class WebhookController(Controller):
    path = "/webhooks"
    tags = ("webhooks",)
    opt = {"needs": "admin"}  # noqa: RUF012 - Litestar merges it into each handler's

    @post(responses=error_responses("cross_origin", "body_too_large", "database_error"))
    async def create_webhook(
        self, request: HTTPRequest, webhooks: WebhookStore, data: WebhookBody
    ) -> WebhookWithSecret:
        """Have events posted to a URL. The secret for verifying signatures is only in this answer."""
        return await webhooks.create(data, principal_of(request).name)

    @get(responses=error_responses())
    async def list_webhooks(self, webhooks: WebhookStore) -> WebhookList:
        """All webhooks, oldest first, without their secrets."""
        return WebhookList(await webhooks.all())

    @get("/{webhook_id:uuid}", responses=error_responses("webhook_unknown"))
    async def get_webhook(self, webhooks: WebhookStore, webhook_id: UUID) -> Webhook:
        """One webhook, without its secret."""
        return await webhooks.find(webhook_id)

    @patch(
        "/{webhook_id:uuid}",
        responses=error_responses(
            "cross_origin", "webhook_unknown", "webhook_in_settings", "body_too_large", "database_error"
        ),
    )
    async def change_webhook(
        self, request: HTTPRequest, webhooks: WebhookStore, webhook_id: UUID, data: WebhookChange
    ) -> WebhookWithSecret:
        """Change, enable or disable a webhook, or replace its secret. A webhook in the settings can only be enabled."""
        return await webhooks.change(webhook_id, data, principal_of(request).name)

    @delete(
        "/{webhook_id:uuid}",
        status_code=200,
        responses=error_responses("cross_origin", "webhook_unknown", "webhook_in_settings"),
    )
    async def delete_webhook(self, webhooks: WebhookStore, webhook_id: UUID) -> Webhook:
        """Delete a webhook with its deliveries, unless it is in the settings."""
        return await webhooks.delete(webhook_id)

    @get("/{webhook_id:uuid}/deliveries", responses=error_responses("webhook_unknown"))
    async def list_deliveries(
        self,
        webhooks: WebhookStore,
        webhook_id: UUID,
        limit: Limit = 50,
        cursor: Cursor = None,
        status: Annotated[DeliveryStatus | None, Parameter(description="Only deliveries with this status.")] = None,
    ) -> DeliveryPage:
        """What was sent to a webhook, and what is still to be sent, newest first."""
        return await webhooks.deliveries(webhook_id, status, limit, read_number(cursor))

    @post(
        "/{webhook_id:uuid}/deliveries/{delivery_id:uuid}/redeliver",
        status_code=200,
        responses=error_responses("cross_origin", "webhook_unknown", "database_error"),
    )
    async def redeliver(self, webhooks: WebhookStore, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Send a delivery again now, with the same `webhook-id`."""
        return await webhooks.redeliver(webhook_id, delivery_id)
