"""Ensures that nothing but a given plan is applied: the plan is compared again whenever the history is read, and under
the lock. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ...errors import PlanMovedError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ..sources.migration import Migration
    from ..sources.parser import ParsedMigration


class PlanGuard:
    """Lets only the plan with ``digest`` be applied; None: any plan."""

    def __init__(self, module: str, schema: str, digest: str | None) -> None:
        self._module = module
        self._schema = schema
        self._digest = digest
        self._planned: Sequence[Migration] | None = None

    def require(self, pending: Sequence[Migration], applied: Collection[str]) -> None:
        """Raise PlanMovedError unless ``pending`` is the plan, apart from what this run has already ``applied``."""
        if self._digest is None:
            return
        from .migration_plan import plan_digest  # imported lazily: few runs are given a plan

        now = plan_digest(self._module, self._schema, pending)
        if self._planned is None:
            wanted = self._digest
        else:
            left = [one for one in self._planned if one.filename not in applied]
            wanted = plan_digest(self._module, self._schema, left)
        if now != wanted:
            raise PlanMovedError(self._module, self._digest, now, applied)
        self._planned = self._planned or pending

    def histories(self, recorded: Mapping[str, str], parsed: Sequence[ParsedMigration]) -> dict[str, str]:
        """The digest of the history that each file has to find under the lock; empty without a plan.

        ``recorded``: the applied files with their checksums, before the first of ``parsed``.
        """
        found: dict[str, str] = {}
        if self._digest is not None:
            history = {name: _row_digest(name, checksum) for name, checksum in recorded.items()}
            for one in parsed:
                found[one.filename] = _digest(history.values())
                history[one.filename] = _row_digest(one.filename, one.migration.checksum)
        return found


def history_digest(applied: Mapping[str, str]) -> str:
    """The digest of a history, computed as in the statement ``probe_history``."""
    return _digest([_row_digest(*row) for row in applied.items()])


def _digest(rows: Collection[str]) -> str:
    return hashlib.sha256("".join(sorted(rows)).encode()).hexdigest()


def _row_digest(filename: str, checksum: str) -> str:
    return hashlib.sha256(f"{filename}\n{checksum}".encode()).hexdigest()
