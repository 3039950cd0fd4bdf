"""Checks the schemas of all modules for drift, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from ...database.failures import is_unavailable, log_failure, service_error_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from ...registry.modules import Module
    from ...status.summaries import Summaries
    from .reads import OperationQueries

logger = structlog.get_logger("pgdbm_service")


class DriftWatch:
    """``queries`` reports the drift that it finds. ``is_due``: whether this replica should do so now."""

    def __init__(
        self,
        modules: Iterable[Module],
        summaries: Summaries,
        queries: OperationQueries,
        is_due: Callable[[], Awaitable[bool]],
    ) -> None:
        self._modules = modules
        self._summaries = summaries
        self._queries = queries
        self._is_due = is_due

    async def compare(self) -> None:
        """If it is due, compare each schema of each module with its state after its last migration."""
        if not await self._is_due():
            return
        for module in list(self._modules):
            if module.problem is not None:
                continue
            for schema in await self._summaries.schemas(module):
                try:
                    await self._queries.drift(module.name, schema)
                except Exception as error:
                    if is_unavailable(error):
                        raise
                    # A schema that cannot be read must not hide the drift of others.
                    problem = service_error_of(error)
                    log_failure(problem, error)
                    logger.warning("drift not compared", module=module.name, schema=schema, **problem.for_log())
