"""What GET /audit answers."""

from __future__ import annotations

from datetime import datetime

import msgspec


class AuditEntry(msgspec.Struct):
    """A request that would have changed something.

    ``path`` is the template of its route. No ``status``: it was cut off before it was answered. ``problem`` is the
    code of an error; ``run_id`` is there where the call has to do with one run.
    """

    at: datetime
    caller: str
    address: str
    method: str
    path: str
    module: str | None
    run_id: str | None
    status: int | None
    problem: str | None
    request_id: str


class AuditPage(msgspec.Struct):
    items: list[AuditEntry]
    next: str | None = None
