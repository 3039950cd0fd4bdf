"""Idempotency-Keys: which run belongs to a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..database.failures import service_error_of
from ..errors import ServiceError

if TYPE_CHECKING:
    from uuid import UUID

    from ..status.module_lookup import ModuleLookup
    from .child_runs import ChildRuns
    from .request import MigrationRequest
    from .store import Store
    from .stored_runs import StoredKey

_TEMPORARY = 503


class KeyedRun(NamedTuple):
    """The run of a key. ``is_stored``: the run had ended before the request arrived."""

    run: UUID
    is_stored: bool


class IdempotencyKeys:
    def __init__(self, store: Store, children: ChildRuns, lookup: ModuleLookup) -> None:
        self._store = store
        self._children = children
        self._lookup = lookup

    async def find_run(self, request: MigrationRequest) -> KeyedRun | None:
        """The run that belongs to the key of ``request``.

        None without a key. A failed run counts only while a retry would be useless: not if it failed with a 503, and
        not once the files have changed.

        Raises:
            ServiceError: idempotency_key_reused, if the key was sent with another request.
        """
        origin = request.origin
        if origin.key is None:
            return None
        found = await self._store.find_key(origin.principal, origin.key)
        if found is None:
            return None
        if found.request != request.digest:
            raise ServiceError(
                "idempotency_key_reused",
                "The Idempotency-Key was already used, for a different module or with a different body.",
                run_id=str(found.run),
            )
        if found.http_status == _TEMPORARY or (found.http_status is not None and await self._has_changed(found)):
            await self._store.delete_key(origin.principal, origin.key, found.run)
            return None
        return KeyedRun(found.run, found.has_ended)

    async def forget(self, request: MigrationRequest, run: UUID) -> None:
        """Let the key of ``request``, if it has one, no longer belong to ``run``."""
        origin = request.origin
        if origin.key is not None:
            await self._store.delete_key(origin.principal, origin.key, run)

    async def _has_changed(self, found: StoredKey) -> bool:
        """Whether the files of the modules that did not succeed in a run have changed."""
        bundles = await self._children.bundles(found.run) or {found.module: found.bundle}
        for module, digest in bundles.items():
            try:
                bundle = await self._lookup.bundle(await self._lookup.get(module, latest=True))
            except Exception as error:
                if service_error_of(error).code == "database_unavailable":
                    raise
                # A retry reports why the files cannot be read.
                return True
            if bundle.digest != digest:
                return True
        return False
