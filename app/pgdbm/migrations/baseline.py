"""What a baseline believes: that a schema is what the migrations up to a version would build. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import BaselineMismatchError, MigrationError
from .catalog import difference

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .catalog import CatalogObject
    from .rehearsal import Rehearsal

_WORDS = {"added": "is there besides", "removed": "is missing", "changed": "is another"}
_MOST_TOLD = 5


def require_same(rehearsal: Rehearsal, found: Iterable[CatalogObject], schema: str, version: str) -> None:
    """Refuse where ``found``, the listing of ``schema``, is not what was built in the rehearsal up to ``version``.

    Raises:
        BaselineMismatchError: with what differs.
        MigrationError: it could not be built.
    """
    if rehearsal.failure is not None:
        raise MigrationError(
            f"The migrations up to {version} cannot be built to compare them: {rehearsal.failure.message} "
            f"({rehearsal.failure.filename}, line {rehearsal.failure.line}).",
            rehearsal.failure.filename,
        )
    if rehearsal.catalog is None:
        raise MigrationError(
            f"The migrations up to {version} could not be built completely to compare them"
            f"{': ' + rehearsal.stopped if rehearsal.stopped else ''}. Say check=False if you know that they match."
        )
    changes = difference(rehearsal.catalog, found)
    if changes:
        told = "; ".join(f"{one.object_kind} {one.name} {_WORDS[one.kind]}" for one in changes[:_MOST_TOLD])
        more = f"; and {len(changes) - _MOST_TOLD} more" if len(changes) > _MOST_TOLD else ""
        raise BaselineMismatchError(
            f"Schema {schema!r} is not what the migrations up to {version} would build: {told}{more}.", changes
        )
