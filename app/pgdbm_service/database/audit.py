"""The audit table: requests that would change something, and changes by commands on the database."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from ..api.audit import AuditEntry
from ..api.modules import Refusal
from .sql import statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgdbm.core.manager import AsyncDatabaseManager
    from pgdbm.core.transaction import TransactionManager


POLICY = "policy"
"""The principal of changes that the operator's policy makes automatically."""


async def write_entries(
    db: AsyncDatabaseManager | TransactionManager, entries: Sequence[tuple[uuid.UUID, AuditEntry]]
) -> None:
    """Write ``entries`` in the service schema, which ``db`` manages, skipping those that were written before."""
    rows = [(key, *msgspec.structs.astuple(entry)) for key, entry in entries]
    columns = [[None if value is None else str(value) for value in column] for column in zip(*rows, strict=True)]
    await db.execute(statement("audit", "write"), *columns)


async def read_entries(
    db: AsyncDatabaseManager, limit: int, before: int | None, principal: str | None, module: str | None
) -> tuple[list[AuditEntry], int | None]:
    """Up to ``limit`` entries with ids below ``before``, newest first; and ``before`` of the next page."""
    rows = await db.fetch_all(statement("audit", "page"), before, principal, module, limit + 1)
    ids = [row.pop("id") for row in rows]
    following = ids[limit - 1] if len(rows) > limit else None
    return [AuditEntry(**row) for row in rows[:limit]], following


async def count_entries(
    db: AsyncDatabaseManager, principal: str | None, module: str | None, limit: int
) -> tuple[int, bool]:
    """How many of the newest ``limit`` entries match, and whether there are older ones."""
    (row,) = await db.fetch_all(statement("audit", "count"), principal, module, limit)
    return row["number"], row["is_capped"]


async def last_refusal(db: AsyncDatabaseManager, module: str, after: datetime | None) -> Refusal | None:
    """The newest migrate of ``module`` that was refused ``after`` this time, or at any time."""
    row = await db.fetch_one(statement("audit", "last_refusal"), module, after)
    return None if row is None else Refusal(**row)


def break_glass_entry(
    principal: str,
    address: str,
    request_id: str,
    path: str,
    reason: str,
    *,
    module: str | None = None,
    run_id: str | None = None,
    http_status: int | None = None,
) -> tuple[uuid.UUID, AuditEntry]:
    """An entry that is written before an emergency action, so that it exists even if this process dies during the
    action."""
    entry = AuditEntry(
        at=datetime.now(UTC),
        principal=principal,
        address=address,
        method="POST",
        path=path,
        module=module,
        run_id=run_id,
        http_status=http_status,
        problem_code=None,
        request_id=request_id,
        reason=reason,
    )
    return uuid.uuid4(), entry


def policy_entry(module: str, run_id: str, reason: str) -> tuple[uuid.UUID, AuditEntry]:
    """An entry about a session that the policy of ``module`` ended, with the path of the call that ends a session."""
    return _local_entry(
        POLICY,
        "POST",
        "/activity/backends/{pid}/terminate",
        200,
        module=module,
        run_id=run_id,
        reason=reason,
    )


async def record_command(db: TransactionManager, principal: str, method: str, path: str, http_status: int) -> None:
    """Record what a command changed, with the method and path of the equivalent request."""
    await write_entries(db, [_local_entry(principal, method, path, http_status)])


def _local_entry(
    principal: str,
    method: str,
    path: str,
    http_status: int,
    *,
    module: str | None = None,
    run_id: str | None = None,
    reason: str | None = None,
) -> tuple[uuid.UUID, AuditEntry]:
    """An entry about a change that no request made."""
    key = uuid.uuid4()
    entry = AuditEntry(
        at=datetime.now(UTC),
        principal=principal,
        address="local",
        method=method,
        path=path,
        module=module,
        run_id=run_id,
        http_status=http_status,
        problem_code=None,
        request_id=key.hex,
        reason=reason,
    )
    return key, entry
