"""Checks that a schema equals what the migrations up to a version create. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import BaselineMismatchError, MigrationError
from ...text import object_in_words
from ..state.changes import difference

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..state.catalog import CatalogObject
    from .results import Rehearsal

_WORDS = {"added": "is not in the files", "removed": "is missing", "changed": "differs"}
_MOST_SHOWN = 5


def require_same(rehearsal: Rehearsal, found: Iterable[CatalogObject], schema: str, version: str) -> None:
    """Raise if ``found``, the listing of ``schema``, differs from that of the rehearsal up to ``version``.

    Raises:
        BaselineMismatchError: with what differs.
        MigrationError: the rehearsal failed.
    """
    if rehearsal.failure is not None:
        hint = f" {rehearsal.failure.hint}" if rehearsal.failure.hint else ""
        raise MigrationError(
            f"The migrations up to {version} cannot be built to compare them: {rehearsal.failure.message} "
            f"({rehearsal.failure.filename}, line {rehearsal.failure.line}).{hint}",
            rehearsal.failure.filename,
        )
    if rehearsal.catalog is None:
        raise MigrationError(
            f"The migrations up to {version} could not be built completely to compare them"
            f"{': ' + rehearsal.stopped if rehearsal.stopped else ''}. Pass check=False if you know that they match."
        )
    objects = tuple(found)
    changes = difference(rehearsal.catalog, objects)
    if not objects:
        raise BaselineMismatchError(
            f"There is no schema {schema!r}, so the migrations up to {version} cannot have been applied to it."
            f" Apply them.",
            changes,
        )
    if changes:
        shown = "; ".join(
            f"{object_in_words(one.object_kind, one.name)} {_WORDS[one.kind]}" for one in changes[:_MOST_SHOWN]
        )
        more = f"; and {len(changes) - _MOST_SHOWN} more" if len(changes) > _MOST_SHOWN else ""
        raise BaselineMismatchError(
            f"Schema {schema!r} differs from what the migrations up to {version} create: {shown}{more}.", changes
        )
