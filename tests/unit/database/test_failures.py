"""What the errors of the library, the driver and the file system become."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from pgdbm import errors as library
from pgdbm_service.database.failures import is_unavailable, service_error_of
from pgdbm_service.errors import ServiceError


@pytest.mark.parametrize(
    ("error", "is_unavailable_error"),
    [
        # The server ended the session between two queries of one connection.
        (asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress"), True),
        (asyncpg.InternalClientError("PoolConnectionHolder.release() called on a free connection holder"), True),
        (asyncpg.InternalClientError("got result for unknown protocol state 3"), True),
        (asyncpg.TargetServerAttributeNotMatched("None of the hosts match"), True),
        (asyncpg.InterfaceError("connection is closed"), True),
        (FileNotFoundError(2, "No such file", "001_a.sql"), False),
    ],
)
def test_errors_of_an_outage_are_recognized(error: Exception, is_unavailable_error: bool) -> None:
    assert is_unavailable(error) is is_unavailable_error


def postgres_error(sqlstate: str, message: str = "refused") -> asyncpg.PostgresError:
    return asyncpg.PostgresError.new({"C": sqlstate, "M": message, "S": "ERROR"})


@pytest.mark.parametrize("sqlstate", ["57P01", "57P02", "57P03", "53300", "25006", "08006", "08P01"])
def test_a_session_that_ended_or_a_server_without_writes_is_an_outage(sqlstate: str) -> None:
    error = postgres_error(sqlstate)
    assert is_unavailable(error)
    assert is_unavailable(library.QueryError("x", original_error=error))
    assert service_error_of(error).code == "database_unavailable"


@pytest.mark.parametrize("sqlstate", ["42P01", "23505", "57014", "55P03", "42501"])
def test_a_refused_statement_is_not_an_outage(sqlstate: str) -> None:
    assert not is_unavailable(postgres_error(sqlstate))


@pytest.mark.parametrize(
    ("error", "code", "fields"),
    [
        (library.QueryError("x", original_error=postgres_error("55P03")), "lock_timeout", {}),
        (library.QueryError("x", original_error=postgres_error("57014")), "database_unavailable", {}),
        (
            library.QueryError("x", original_error=postgres_error("42501", "permission denied")),
            "insufficient_privilege",
            {"sqlstate": "42501", "database_message": "permission denied"},
        ),
        (library.QueryError("x", original_error=ValueError("no")), "internal_error", {}),
        (
            library.QueryError("x", original_error=postgres_error("42P01", 'relation "pgdbm_service.runs" is missing')),
            "database_unavailable",
            {},
        ),
        (
            PermissionError(13, "Permission denied", "/srv/m/001_a.sql"),
            "migration_file_invalid",
            {"filename": "001_a.sql"},
        ),
        (KeyError("x"), "internal_error", {}),
        (ConnectionResetError("x"), "database_unavailable", {}),
        (TimeoutError("x"), "database_unavailable", {}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_each_error_has_its_code(error: Exception, code: str, fields: dict[str, Any]) -> None:
    found = service_error_of(error)
    assert found.code == code
    assert fields.items() <= found.fields.items()


def test_an_internal_error_hides_its_cause() -> None:
    assert "hunter2" not in service_error_of(RuntimeError("password hunter2")).detail


def test_a_service_error_is_returned_as_it_is() -> None:
    error = ServiceError("busy", "x")
    assert service_error_of(error) is error


def test_an_error_that_was_raised_from_itself_has_no_server_message() -> None:
    error = library.ConnectionError("lost")
    error.__cause__ = error
    assert "database_message" not in service_error_of(error).fields


def test_the_server_message_is_that_of_the_first_error() -> None:
    outer = library.ConnectionError("cannot connect")
    outer.__cause__ = postgres_error("28P01", "password authentication failed")
    found = service_error_of(outer)
    assert (found.code, found.fields["sqlstate"]) == ("database_unavailable", "28P01")
    assert found.fields["database_message"] == "password authentication failed"
    assert "password" in found.detail
