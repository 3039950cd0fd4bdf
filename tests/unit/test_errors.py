"""The fields of the library's errors: JSON, and the same names wherever they are shown."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import errors
from pgdbm.cli.reports import report_of
from pgdbm_service.database.failures import service_error_of
from pgdbm_service.errors.codes import ERROR_KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

EXECUTION = errors.MigrationExecutionError(
    "It failed", "1.sql", statement=2, line=3, column=4, sqlstate="42601", sql_error="no", detail="d", hint="h"
)
HOLDER = {"pid": 7, "application_name": "x", "user": "me", "query": "SELECT 'secret'"}
CASES: list[tuple[errors.AsyncDBError, Mapping[str, Any]]] = [
    (errors.AsyncDBError("no"), {}),
    (errors.ConfigurationError("no", "port"), {"key": "port"}),
    (errors.SchemaError("no", "9x"), {"schema": "9x"}),
    (
        errors.ConnectionError("no", host="h", port=1, database="d", attempts=2),
        {"host": "h", "port": 1, "database": "d", "attempts": 2},
    ),
    (errors.QueryError("no", query="SELECT"), {"sqlstate": None, "database_message": ""}),
    (errors.MigrationError("no", "1.sql"), {"filename": "1.sql"}),
    (
        errors.MigrationFileError("no", "1.sql", line=1, column=2, hint="h"),
        {"filename": "1.sql", "line": 1, "column": 2, "hint": "h"},
    ),
    (
        errors.ChecksumMismatchError("1.sql", "a", "b"),
        {"filename": "1.sql", "recorded_checksum": "a", "current_checksum": "b"},
    ),
    (errors.OutOfOrderError("1.sql", "2.sql"), {"filename": "1.sql", "newest_applied": "2.sql"}),
    (
        errors.OutOfOrderError("1.sql", "2.sql", "1_old.sql"),
        {"filename": "1.sql", "newest_applied": "2.sql", "applied_as": "1_old.sql"},
    ),
    (
        errors.PlanRefusedError("no", "1.sql", limit="max_rewrite", statement=1, position=(2, 3), hint="h"),
        {"filename": "1.sql", "limit": "max_rewrite", "statement": 1, "line": 2, "column": 3, "hint": "h"},
    ),
    (
        errors.PlanMovedError("m", "sha256:a", "sha256:b", ["1.sql"]),
        {"plan": "sha256:a", "current_plan": "sha256:b", "applied": ["1.sql"]},
    ),
    (
        EXECUTION,
        {
            "filename": "1.sql",
            "statement": 2,
            "line": 3,
            "column": 4,
            "sqlstate": "42601",
            "database_message": "no",
            "database_detail": "d",
            "hint": "h",
            "applied": [],
        },
    ),
    (
        errors.MigrationUnknownError("no", "1.sql", statement=1, line=2, column=3),
        {"filename": "1.sql", "statement": 1, "line": 2, "column": 3},
    ),
    (
        errors.MigrationLockTimeoutError("no", waited_s=1.26, holder=HOLDER),
        {"filename": None, "waited_s": 1.3, "holder": HOLDER},
    ),
]


@pytest.mark.parametrize(("error", "fields"), CASES, ids=[type(error).__name__ for error, _ in CASES])
def test_fields(error: errors.AsyncDBError, fields: Mapping[str, Any]) -> None:
    found = error.fields()
    # A superset: fields may be added.
    assert {name: found[name] for name in fields} == fields
    assert json.loads(json.dumps(found)) == found
    assert report_of(error).fields == found


@pytest.mark.parametrize("error", [error for error, _ in CASES], ids=lambda error: type(error).__name__)
def test_a_hint_is_in_the_text_and_in_its_field_but_not_in_the_message(error: errors.AsyncDBError) -> None:
    hint = error.fields().get("hint")
    assert str(error) == (f"{error.message}\nHint: {hint}" if hint else error.message)
    assert not hint or hint not in service_error_of(error).detail


@pytest.mark.parametrize(
    "error", [error for error, _ in CASES if isinstance(error, errors.MigrationError)], ids=lambda error: error.code
)
def test_the_service_documents_them(error: errors.MigrationError) -> None:
    shown = service_error_of(error)
    documented = {*ERROR_KINDS[shown.code].fields, "code", "retry_after"}
    assert {name for name in error.fields() if error.fields()[name] is not None} <= documented
    assert "secret" not in json.dumps(shown.fields)


def test_every_class_is_covered() -> None:
    raised_without_fields = {"DatabaseTestError", "MonitoringError", "TransactionError", "PoolError"}
    # Its changes are dataclasses of the catalog: see the tests of the importers.
    elsewhere = {"BaselineMismatchError"}
    covered = {type(error).__name__ for error, _ in CASES}
    assert set(errors.__all__) <= covered | raised_without_fields | elsewhere


@pytest.mark.parametrize("error", [error for error, _ in CASES], ids=lambda error: type(error).__name__)
def test_an_error_can_be_sent_to_another_process(error: errors.AsyncDBError) -> None:
    sent = pickle.loads(pickle.dumps(error))
    assert type(sent) is type(error)
    assert (str(sent), sent.args, vars(sent)) == (str(error), error.args, vars(error))
