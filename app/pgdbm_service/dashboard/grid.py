"""The cells of a grid of schemas: the names, and for each one the index of what it shows. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from .wording import badge

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ..api.modules import SchemaItem
    from ..api.runs import Run, SchemaStatus

Tone = Literal["ok", "run", "wait", "bad", "pend"]

IN_ORDER = frozenset({"up_to_date", "ahead"})


class Cells(msgspec.Struct, kw_only=True):
    """``state`` and ``version`` have an index into ``states`` and ``versions`` for each name; ``tones`` has a tone for
    each state.

    ``why`` says what happened, by name; ``canaries`` are the indexes of the schemas that were migrated first.
    ``active``: a run is changing them.
    """

    names: list[str]
    states: list[str]
    tones: list[Tone]
    state: list[int]
    versions: list[str]
    version: list[int]
    why: dict[str, str]
    canaries: list[int]
    active: bool


class OddSchemas(NamedTuple):
    """The first of the ``number`` schemas in a ``state`` that needs attention."""

    state: str
    number: int
    items: list[SchemaItem]


def odd_states(states: Iterable[str]) -> list[str]:
    """The ``states`` that need attention, the worst first."""
    return sorted((state for state in states if state not in IN_ORDER), key=lambda state: badge(state).tone != "bad")


def cells_of_schemas(
    items: Sequence[SchemaItem], why: Mapping[str, str], canaries: Collection[str], *, active: bool
) -> Cells:
    states, state = _indexed(item.state for item in items)
    versions, version = _indexed(item.version or "" for item in items)
    return Cells(
        names=[item.schema for item in items],
        states=states,
        tones=[badge(name).tone for name in states],
        state=state,
        versions=versions,
        version=version,
        why={item.schema: why[item.schema] for item in items if item.schema in why},
        canaries=[number for number, item in enumerate(items) if item.schema in canaries],
        active=active,
    )


def cells_of_run(statuses: Sequence[tuple[str, SchemaStatus, str | None]], run: Run) -> Cells:
    states, state = _indexed(status for _, status, _ in statuses)
    return Cells(
        names=[name for name, _, _ in statuses],
        states=states,
        tones=[badge(name).tone for name in states],
        state=state,
        versions=[""],
        version=[0] * len(statuses),
        why={name: detail for name, _, detail in statuses if detail},
        canaries=list(range(min(run.options.canary, len(statuses)))),
        active=run.ended_at is None,
    )


def _indexed(values: Iterable[str]) -> tuple[list[str], list[int]]:
    """The distinct ``values``, and for each value its index among them."""
    known: dict[str, int] = {}
    indexes = [known.setdefault(value, len(known)) for value in values]
    return list(known), indexes
