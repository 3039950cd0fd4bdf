"""The pages of webhooks: what each one sends, whether it arrives, and what its receiver answered. They create, disable
and delete them; a new secret is shown once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, get_args
from uuid import UUID

import msgspec
from litestar import Controller, Response, get, post
from litestar.response import Redirect

from pgdbm.text import sentence

from ..api.msgspec_errors import path_and_reason
from ..api.webhooks import ALL_EVENTS, WebhookBody, WebhookChange, WebhookFormat
from ..errors import ServiceError, invalid_request
from ..features.webhooks.store import WebhookStore
from ..web.pagination import Cursor, read_number
from ..web.request import HTTPRequest, principal_of
from .forms import Form, text_in
from .showing import confirm, show, show_error, show_form

if TYPE_CHECKING:
    from ..api.webhooks import DeliveryStatus, Webhook

_PAGE = 50
# For how many webhooks the list shows the last deliveries, and how many of each.
_MOST_WITH_DELIVERIES = 20
_LAST = 3
_EMPTY = {"url": "", "modules": "*", "format": "standard", "blocked_after_s": "60"}
# What to enter if the type of a field does not allow what was entered.
_HINTS = {
    "url": "Give a URL that begins with https://, without spaces.",
    "events": "Choose at least one event.",
    "modules": "Use letters, digits, dots, hyphens and underscores, with * and ? as wildcards.",
    "blocked_after_s": "Give seconds, up to a day (86400).",
}
_STATUSES: dict[str, DeliveryStatus] = {"pending": "pending", "delivered": "delivered", "dropped": "dropped"}


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

    @get("/new", sync_to_thread=False)
    def show_form(self, request: HTTPRequest) -> Response[str]:
        return _form(request, dict.fromkeys(ALL_EVENTS, "on"))

    @post()
    async def create(self, request: HTTPRequest, webhooks: WebhookStore, data: Form) -> Response[str]:
        """Create a webhook and show its secret in this response, the only one that contains it."""
        try:
            made = await webhooks.create(_body_of(data), principal_of(request).name)
        except ServiceError as error:
            if error.code != "invalid_request":
                raise
            wrong = error.fields["errors"][0]
            return _form(request, data, wrong["field"], wrong["message"])
        return show(request, "webhook_created.html", "Webhooks", 201, webhook=made)

    @get("/{webhook_id:uuid}")
    async def show_webhook(
        self, request: HTTPRequest, webhooks: WebhookStore, webhook_id: UUID, status: str = "", cursor: Cursor = None
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
                "What is pending is kept and sent then. Events of runs in the meantime are not kept for it.",
            ],
            action=f"/ui/webhooks/{webhook_id}/disable",
            back=f"/ui/webhooks/{webhook_id}",
            back_word="the webhook",
            verb="Disable the webhook",
            tone="danger",
        )

    @get("/{webhook_id:uuid}/delete")
    async def confirm_delete(self, request: HTTPRequest, webhooks: WebhookStore, webhook_id: UUID) -> Response[str]:
        webhook = await webhooks.find(webhook_id)
        return confirm(
            request,
            "Webhooks",
            title="Delete the webhook?",
            texts=[
                f"Nothing more is sent to {webhook.url}.",
                "Its deliveries are deleted with it, so what is pending is never sent. This cannot be undone.",
            ],
            action=f"/ui/webhooks/{webhook_id}/delete",
            back=f"/ui/webhooks/{webhook_id}",
            back_word="the webhook",
            verb="Delete the webhook",
            tone="danger",
        )

    @post("/{webhook_id:uuid}/delete")
    async def delete(self, webhooks: WebhookStore, webhook_id: UUID) -> Redirect:
        await webhooks.delete(webhook_id)
        return Redirect("/ui/webhooks", status_code=303)

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


def _body_of(form: Form) -> WebhookBody:
    """The webhook that a form describes.

    Raises:
        ServiceError: invalid_request.
    """
    given = {name: text_in(form, name) or "" for name in _EMPTY}
    try:
        return msgspec.convert(given | {"events": _events_of(form)}, WebhookBody, strict=False)
    except msgspec.ValidationError as error:
        path, reason = path_and_reason(error)
        field = re.split(r"[.\[]", path)[0]
        raise invalid_request([{"field": field, "message": _HINTS.get(field, reason)}]) from None


def _events_of(form: Form) -> list[str]:
    return [event for event in ALL_EVENTS if form.get(event)]


def _form(request: HTTPRequest, values: Form, field: str | None = None, message: str = "") -> Response[str]:
    """The form for a new webhook, with what was entered; ``message`` is about ``field``."""
    return show_form(
        request,
        "webhook_new.html",
        "Webhooks",
        values=_EMPTY | values,
        field=field,
        message=sentence(f"{message[:1].upper()}{message[1:]}") if message else "",
        chosen=_events_of(values),
        events=ALL_EVENTS,
        formats=get_args(WebhookFormat),
    )


def _see(webhook_id: UUID) -> Redirect:
    return Redirect(f"/ui/webhooks/{webhook_id}", status_code=303)
