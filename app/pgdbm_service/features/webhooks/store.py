"""The webhooks and their deliveries, in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET

from ...api.webhooks import Delivery, DeliveryPage, Webhook, WebhookWithSecret
from ...database.globs import like_pattern
from ...database.service_schema import SERVICE_SCHEMA
from ...database.sql import statement
from ...errors import ServiceError, invalid_request
from ...web.pagination import cursor_of
from .signatures import new_secret

if TYPE_CHECKING:
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

    async def create(self, body: WebhookBody, principal: str) -> WebhookWithSecret:
        self._check(body.url)
        (found,) = await self._rows("count")
        if found["number"] >= self._maximum:
            raise invalid_request(
                [{"field": "url", "message": f"there are {found['number']} webhooks, the limit (PGDBM_MAX_WEBHOOKS)"}]
            )
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
        (row,) = await self._rows("create", *values, principal)
        return WebhookWithSecret(**row, secret=secret)

    async def all(self) -> list[Webhook]:
        return [Webhook(**row) for row in await self._rows("list")]

    async def find(self, webhook_id: UUID) -> Webhook:
        """Raises ServiceError: webhook_unknown; so do the others."""
        return Webhook(**await self._one("find", webhook_id))

    async def change(self, webhook_id: UUID, body: WebhookChange, principal: str) -> WebhookWithSecret:
        if body.url is not UNSET:
            self._check(body.url)
        given = {name: None if value is UNSET else value for name, value in msgspec.structs.asdict(body).items()}
        modules: str | None = given["modules"]
        secret = new_secret() if body.new_secret else None
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
        schemes = ("https", "http") if self._allow_http else ("https",)
        try:
            parts = urlsplit(url)
            is_fine = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        except ValueError:
            is_fine = False
        if not is_fine:
            message = f"give a URL that begins with {' or '.join(f'{one}://' for one in schemes)}, without a user"
            raise invalid_request([{"field": "url", "message": message}])

    async def _one(self, name: str, *values: object) -> RowDict:
        rows = await self._rows(name, *values)
        if not rows:
            raise ServiceError("webhook_unknown", f"There is no webhook {values[0]} with what was asked for.")
        return dict(rows[0])

    async def _rows(self, name: str, *values: object) -> list[RowDict]:
        db = self._database.manager(SERVICE_SCHEMA)
        return await self._database.with_timeout(db.fetch_all(statement("webhooks", name), *values))


def _delivery(row: RowDict) -> Delivery:
    return Delivery(**{name: value for name, value in row.items() if name not in ("number", "pg_notify")})
