"""``pgdbm webhook``: have a service post events to URLs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import click

from pgdbm.cli.options import command
from pgdbm.cli.output import utc

from .server import SERVER, client_of, document_of, items_of

if TYPE_CHECKING:
    from uuid import UUID

    from pgdbm.cli.context import CommandContext

    from ..api.webhooks import DeliveryStatus, WebhookEvent, WebhookFormat
    from .server import ServerArguments

_EVENTS = (
    "run.queued",
    "run.waiting",
    "run.blocked",
    "run.succeeded",
    "run.failed",
    "run.cancelled",
    "module.pending",
    "module.changed",
    "module.drifted",
)


@click.group()
def webhook() -> None:
    """Have a service post events to URLs: create and list webhooks, and see what was delivered."""


@command(webhook, "create", SERVER)
@click.argument("url")
@click.option(
    "--event",
    "events",
    multiple=True,
    type=click.Choice(_EVENTS),
    help="An event to send; may be repeated. Default: all.",
)
@click.option("--modules", default="*", show_default=True, metavar="GLOB", help="The modules to report.")
@click.option(
    "--format",
    "format_",
    default="standard",
    show_default=True,
    type=click.Choice(("standard", "slack", "teams")),
    help="The format of the body.",
)
@click.option(
    "--blocked-after",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0, 86400),
    metavar="SECONDS",
    help="How long a run must have been blocked to be reported.",
)
async def create(
    context: CommandContext,
    url: str,
    events: tuple[WebhookEvent, ...],
    modules: str,
    format_: WebhookFormat,
    blocked_after: float,
    **service: Unpack[ServerArguments],
) -> None:
    """Create a webhook and print the secret that its signatures are verified with. It cannot be shown again."""
    async with client_of(context, service) as client:
        made = await client.create_webhook(
            url,
            events=list(events) or None,
            modules=modules,
            format=format_,
            blocked_after_s=blocked_after,
        )
    context.output.line(made.secret or "")
    context.output.note(f"The webhook {made.id} is enabled. The secret is not shown again.")
    context.output.document(document_of(made))


@command(webhook, "list", SERVER)
async def list_(context: CommandContext, **service: Unpack[ServerArguments]) -> None:
    """List the webhooks, oldest first."""
    async with client_of(context, service) as client:
        found = [one async for one in client.list_webhooks()]
    rows = [
        (
            one.id,
            one.name or "",
            "enabled" if one.is_enabled else f"disabled: {one.disabled_reason}",
            one.modules,
            one.format,
            one.url,
        )
        for one in found
    ]
    context.output.table([("ID", "IN SETTINGS", "STATE", "MODULES", "FORMAT", "URL"), *rows])
    context.output.document(items_of(found))


@command(webhook, "enable", SERVER)
@click.argument("webhook_id", type=click.UUID)
async def enable(context: CommandContext, webhook_id: UUID, **service: Unpack[ServerArguments]) -> None:
    """Enable a webhook that was disabled, and send what is pending."""
    async with client_of(context, service) as client:
        changed = await client.change_webhook(webhook_id, is_enabled=True)
    context.output.line(f"{changed.id} is enabled")
    context.output.document(document_of(changed))


@command(webhook, "delete", SERVER)
@click.argument("webhook_id", type=click.UUID)
async def delete(context: CommandContext, webhook_id: UUID, **service: Unpack[ServerArguments]) -> None:
    """Delete a webhook with its deliveries."""
    async with client_of(context, service) as client:
        deleted = await client.delete_webhook(webhook_id)
    context.output.line(f"{deleted.id} is deleted")
    context.output.document(document_of(deleted))


@command(webhook, "deliveries", SERVER)
@click.argument("webhook_id", type=click.UUID)
@click.option("--status", type=click.Choice(("pending", "delivered", "dropped")), help="Only those with this status.")
async def deliveries(
    context: CommandContext, webhook_id: UUID, status: DeliveryStatus | None, **service: Unpack[ServerArguments]
) -> None:
    """List what was sent to a webhook and what is still to be sent, newest first."""
    async with client_of(context, service) as client:
        listing = client.list_deliveries(webhook_id, status=status)
        found = [one async for one in listing]
    rows = [(one.id, one.event, one.module, one.status, one.attempts, utc(one.at), one.reason or "") for one in found]
    context.output.table([("ID", "EVENT", "MODULE", "STATUS", "ATTEMPTS", "AT", "REASON"), *rows])
    context.output.document(items_of(found))


@command(webhook, "redeliver", SERVER)
@click.argument("webhook_id", type=click.UUID)
@click.argument("delivery_id", type=click.UUID)
async def redeliver(
    context: CommandContext, webhook_id: UUID, delivery_id: UUID, **service: Unpack[ServerArguments]
) -> None:
    """Send a delivery again."""
    async with client_of(context, service) as client:
        sent = await client.redeliver(webhook_id, delivery_id)
    context.output.line(f"{sent.id} is pending")
    context.output.document(document_of(sent))
