"""The webhooks and their deliveries, in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from ...api.webhooks import Delivery, DeliveryPage, Webhook, WebhookWithSecret, refusal_of_url
from ...database.globs import like_pattern
from ...database.service_schema import SERVICE_SCHEMA
from ...database.sql import statement
from ...errors import ServiceError, invalid_request
from ...web.pagination import cursor_of
from .signatures import new_secret

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from pgdbm.core.connection import RowDict

    from ...api.webhooks import DeliveryStatus, WebhookBody, WebhookChange
    from ...database.pool import Database


class WebhookStore:
    """The webhooks and their deliveries. Without ``allow_http`` their URLs begin with https://."""

    def __init__(self, database: Database, *, maximum: int, allow_http: bool) -> None:
        self._database = database
        self._maximum = maximum
        self._allow_http = allow_http
        self.is_configured = False

    async def create(self, body: WebhookBody, principal: str) -> WebhookWithSecret:
        self._check(body.url)
        secret = new_secret()
        values = (
            body.url,
            secret,
            body.events,
            body.modules,
            like_pattern(body.modules),
            body.format,
            body.blocked_after_s,
        )
        row = await self._database.with_timeout(self._create(*values, principal))
        return WebhookWithSecret(**row, secret=secret)

    async def _create(self, *values: object) -> RowDict:
        """Insert a webhook unless the limit is reached. Replicas do so one after the other."""
        async with self._database.manager(SERVICE_SCHEMA).transaction() as tx:
            await tx.execute(statement("webhooks", "lock"))
            number = await tx.fetch_value(statement("webhooks", "count"))
            if number >= self._maximum:
                raise invalid_request(
                    [{"field": "url", "message": f"there are {number} webhooks, the limit (PGDBM_MAX_WEBHOOKS)"}]
                )
            row = await tx.fetch_one(statement("webhooks", "create"), *values)
            assert row is not None
            return row

    async def configure(self, webhooks: Sequence[tuple[str, WebhookBody, str | None]]) -> None:
        """Store ``webhooks``, each with its name and its secret, as the ones in the service's settings."""
        async with self._database.manager(SERVICE_SCHEMA).transaction() as tx:
            for name, body, secret in webhooks:
                await tx.execute(
                    statement("webhooks", "configure"),
                    name,
                    body.url,
                    secret,
                    new_secret(),
                    body.events,
                    body.modules,
                    like_pattern(body.modules),
                    body.format,
                    body.blocked_after_s,
                )
            await tx.execute(statement("webhooks", "no_longer_configured"), [name for name, _, _ in webhooks])
        self.is_configured = True

    async def all(self) -> list[Webhook]:
        return [Webhook(**row) for row in await self._rows("list")]

    async def find(self, webhook_id: UUID) -> Webhook:
        """Raises ServiceError (webhook_unknown), like the methods below."""
        return Webhook(**await self._one("find", webhook_id))

    async def change(self, webhook_id: UUID, body: WebhookChange, principal: str) -> WebhookWithSecret:
        if body.url is not UNSET:
            self._check(body.url)
        given = {name: None if value is UNSET else value for name, value in msgspec.structs.asdict(body).items()}
        modules: str | None = given["modules"]
        secret = new_secret() if body.new_secret else None
        # Enabling sends what is pending once the receiver is back; it does not change anything that the settings
        # define.
        only_enables = body.is_enabled is True and {given[name] for name in given if name != "is_enabled"} <= {
            None,
            False,
        }
        row = await self._one(
            "change",
            webhook_id,
            given["url"],
            given["events"],
            modules,
            None if modules is None else like_pattern(modules),
            given["blocked_after_s"],
            secret,
            given["is_enabled"],
            f"disabled by {principal}",
            only_enables,
        )
        del row["pg_notify"]
        return WebhookWithSecret(**row, secret=secret)

    async def delete(self, webhook_id: UUID) -> Webhook:
        return Webhook(**await self._one("delete", webhook_id))

    async def deliveries(
        self, webhook_id: UUID, status: DeliveryStatus | None, limit: int, before: int | None
    ) -> DeliveryPage:
        await self.find(webhook_id)
        rows = await self._rows("deliveries", webhook_id, status, before, limit + 1)
        following = cursor_of(rows[limit - 1]["number"]) if len(rows) > limit else None
        return DeliveryPage([_delivery(row) for row in rows[:limit]], following)

    async def redeliver(self, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        return _delivery(await self._one("redeliver", webhook_id, delivery_id))

    def _check(self, url: str) -> None:
        refusal = refusal_of_url(url, allow_http=self._allow_http)
        if refusal is not None:
            raise invalid_request([{"field": "url", "message": f"it {refusal}"}])

    async def _one(self, name: str, *values: object) -> RowDict:
        rows = await self._rows(name, *values)
        if not rows and name in ("change", "delete"):
            found = await self._one("find", values[0])
            raise ServiceError(
                "webhook_in_settings",
                f"The webhook {values[0]} is {found['name']!r} in PGDBM_WEBHOOKS, in the settings of the service.",
            )
        if not rows:
            raise ServiceError("webhook_unknown", f"There is no webhook {values[0]} with these fields.")
        return dict(rows[0])

    async def _rows(self, name: str, *values: object) -> list[RowDict]:
        db = self._database.manager(SERVICE_SCHEMA)
        return await self._database.with_timeout(db.fetch_all(statement("webhooks", name), *values))


def _delivery(row: RowDict) -> Delivery:
    return Delivery(**{name: value for name, value in row.items() if name not in ("number", "pg_notify")})
