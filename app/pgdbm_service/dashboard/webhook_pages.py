"""The pages of webhooks: what each sends, whether it arrives, and what its receiver answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.params import Parameter
from litestar.response import Redirect

from ..api.webhooks import ALL_EVENTS, WebhookChange
from ..errors import invalid_request
from ..features.webhooks.store import WebhookStore
from ..web.pagination import read_number
from ..web.request import HTTPRequest, principal_of
from .showing import confirm, show, show_error

if TYPE_CHECKING:
    from ..api.webhooks import DeliveryStatus, Webhook

_PAGE = 50
# Of how many webhooks the list has the last deliveries, and how many of each.
_MOST_WITH_DELIVERIES = 20
_LAST = 3
_STATUSES: dict[str, DeliveryStatus] = {"pending": "pending", "delivered": "delivered", "dropped": "dropped"}

Next = Annotated[str | None, Parameter(query="next")]


class WebhookPages(Controller):
    path = "/ui/webhooks"
    include_in_schema = False
    exception_handlers = {Exception: show_error}  # noqa: RUF012 - Litestar reads it once
    opt = {"needs": "admin", "cookie": "page"}  # noqa: RUF012 - Litestar merges it into each handler's

    @get()
    async def show_webhooks(self, request: HTTPRequest, webhooks: WebhookStore) -> Response[str]:
        found = sorted(await webhooks.all(), key=lambda one: _ORDER.index(state_of(one)))
        last = {
            one.id: (await webhooks.deliveries(one.id, None, _LAST, None)).items
            for one in found[:_MOST_WITH_DELIVERIES]
        }
        return show(
            request,
            "webhooks.html",
            "Webhooks",
            webhooks=found,
            last=last,
            state_of=state_of,
            every_event=len(ALL_EVENTS),
        )

    @get("/{webhook_id:uuid}")
    async def show_webhook(
        self, request: HTTPRequest, webhooks: WebhookStore, webhook_id: UUID, status: str = "", cursor: Next = None
    ) -> Response[str]:
        wanted = _STATUSES.get(status)
        if status and wanted is None:
            raise invalid_request([{"field": "status", "message": f"one of {', '.join(_STATUSES)}"}])
        webhook = await webhooks.find(webhook_id)
        page = await webhooks.deliveries(webhook_id, wanted, _PAGE, read_number(cursor))
        return show(
            request,
            "webhook.html",
            "Webhooks",
            webhook=webhook,
            state_name=state_of(webhook),
            deliveries=page.items,
            following=page.next,
            # An older page stays as it is.
            is_live=cursor is None,
            status=status,
            statuses=tuple(_STATUSES),
            every_event=len(ALL_EVENTS),
        )

    @get("/{webhook_id:uuid}/disable")
    async def confirm_disable(self, request: HTTPRequest, webhooks: WebhookStore, webhook_id: UUID) -> Response[str]:
        webhook = await webhooks.find(webhook_id)
        return confirm(
            request,
            "Webhooks",
            title="Disable the webhook?",
            texts=[
                f"Nothing is sent to {webhook.url} until it is enabled again.",
                "What is pending is kept, and sent then. Events of runs in between are not kept for it.",
            ],
            action=f"/ui/webhooks/{webhook_id}/disable",
            back=f"/ui/webhooks/{webhook_id}",
            back_word="the webhook",
            verb="Disable the webhook",
            tone="danger",
        )

    @post("/{webhook_id:uuid}/enable")
    async def enable(self, request: HTTPRequest, webhooks: WebhookStore, webhook_id: UUID) -> Redirect:
        await webhooks.change(webhook_id, WebhookChange(is_enabled=True), principal_of(request).name)
        return _see(webhook_id)

    @post("/{webhook_id:uuid}/disable")
    async def disable(self, request: HTTPRequest, webhooks: WebhookStore, webhook_id: UUID) -> Redirect:
        await webhooks.change(webhook_id, WebhookChange(is_enabled=False), principal_of(request).name)
        return _see(webhook_id)

    @post("/{webhook_id:uuid}/deliveries/{delivery_id:uuid}/redeliver")
    async def redeliver(self, webhooks: WebhookStore, webhook_id: UUID, delivery_id: UUID) -> Redirect:
        await webhooks.redeliver(webhook_id, delivery_id)
        return _see(webhook_id)


_ORDER = ("failing", "disabled", "active")


def state_of(webhook: Webhook) -> str:
    """``disabled``, ``failing`` since its last delivery failed, or ``active``."""
    if not webhook.is_enabled:
        return "disabled"
    return "active" if webhook.failing_since is None else "failing"


def _see(webhook_id: UUID) -> Redirect:
    return Redirect(f"/ui/webhooks/{webhook_id}", status_code=303)
