"""The answer of GET /audit."""

from __future__ import annotations

from datetime import datetime

import msgspec


class AuditEntry(msgspec.Struct):
    """A request with a method other than GET, HEAD and OPTIONS.

    ``path`` is the template of its route. ``http_status`` is None if the connection was lost before the answer.
    ``problem_code`` is the code of an error, ``run_id`` the run that the request concerned.
    ``reason`` is the reason given in the request.
    """

    at: datetime
    principal: str
    address: str
    method: str
    path: str
    module: str | None
    run_id: str | None
    http_status: int | None
    problem_code: str | None
    request_id: str
    reason: str | None = None


class AuditPage(msgspec.Struct):
    """``total`` counts the entries on all pages, up to the newest 10,000. ``total_is_capped``: there are more."""

    items: list[AuditEntry]
    next: str | None = None
    total: int | None = None
    total_is_capped: bool = False
