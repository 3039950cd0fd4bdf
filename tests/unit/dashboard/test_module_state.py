"""The state of a module that the overview and the module's own page show."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from pgdbm_service.api.modules import ModuleDetail
from pgdbm_service.api.overview import OverviewModule
from pgdbm_service.dashboard.module_state import attention_of, shown_state

FAILED = {"state": "pending", "pending": 1, "last_run": "1", "last_run_status": "failed"}


def shown(**fields: Any) -> tuple[str, str]:
    known = {"name": "m", "schema": "m", "source": "repo"} | fields
    both = {shown_state(ModuleDetail(**known)), shown_state(OverviewModule(**known))}
    (one,) = both
    return one.state, one.word


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"state": "up_to_date"}, ("up_to_date", "up to date")),
        ({"state": "pending", "pending": 1}, ("pending", "pending")),
        (FAILED, ("failed", "failed")),
        # What failed is applied now, or no longer there.
        (FAILED | {"state": "up_to_date", "pending": 0}, ("up_to_date", "up to date")),
        (FAILED | {"last_run_status": "cancelled"}, ("pending", "pending")),
        # A state that says more, and why nothing can run.
        (FAILED | {"state": "partial"}, ("partial", "partial")),
        (FAILED | {"state": "changed"}, ("changed", "changed")),
    ],
)
def test_the_state_of_a_module(fields: dict[str, Any], expected: tuple[str, str]) -> None:
    assert shown(**fields) == expected


@pytest.mark.parametrize("status", ["queued", "running", "held", "waiting_for_approval"])
def test_a_run_in_progress_comes_first(status: str) -> None:
    running = FAILED | {"active_run": uuid.uuid4(), "active_run_status": status}
    assert shown(**running) == (status, status.replace("_", " "))


def test_the_schemas_that_are_behind_are_counted() -> None:
    some = {"state": "pending", "pending": 2, "schema_count": 2000, "states": {"up_to_date": 100, "pending": 1900}}
    assert shown(**some) == ("behind", "1,900 behind")
    assert shown(**(some | {"states": {"pending": 2000}})) == ("pending", "pending")
    assert shown(**(some | {"last_run_status": "failed"})) == ("failed", "failed")


def test_what_requires_attention() -> None:
    def detail(**fields: Any) -> ModuleDetail:
        return ModuleDetail(**({"name": "m", "schema": "m", "source": "repo"} | fields))

    assert attention_of(detail(**FAILED)) == "failed"
    assert attention_of(detail(state="unknown")) == "unknown"
    assert attention_of(detail(state="pending", pending=1)) is None
