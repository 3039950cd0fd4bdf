"""Every error as ``application/problem+json``: what is raised in the service, in the library and in Litestar."""

from __future__ import annotations

import difflib
import re
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import asyncpg
import msgspec
import structlog
from litestar.exceptions import HTTPException, SerializationException
from litestar.openapi import ResponseSpec
from litestar.plugins.problem_details import ProblemDetailsConfig, ProblemDetailsException, ProblemDetailsPlugin

from pgdbm import errors as library
from pgdbm.core.pool import is_lost

from .error_codes import ERROR_KINDS
from .own_schema import OWN_SCHEMA
from .structs import ProblemDocument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from litestar import Request, Response

MEDIA_TYPE = "application/problem+json"
# PostgreSQL's states of a session that ended, or never began, for reasons of the server's or the network's; and of one
# that got to a server which takes no writes, as a leader that has become a standby.
_AWAY_STATES = frozenset({"57P01", "57P02", "57P03", "57P05", "53300", "25006"})
_LOCK_NOT_AVAILABLE = "55P03"
_CURED_BY_A_RETRY = (_LOCK_NOT_AVAILABLE, "40P01")
_QUERY_CANCELED = "57014"
# A table, or its schema.
_NOT_THERE = ("42P01", "3F000")
_OF_THE_KIND = frozenset({"type", "title", "status", "retry_after"})
# What a call answers whose caller is not known, or may not.
_ACCESS = ("unauthenticated", "forbidden", "too_many_attempts", "issuer_unavailable", "database_unavailable")
_CLIENT_LEFT = "client disconnected prematurely"
_UNKNOWN_FIELD = re.compile(r"unknown field `([^`]*)`")

logger = structlog.get_logger("pgdbm_service")


class Problem(ProblemDetailsException):
    """An error answer. ``code`` is one of ``ERROR_KINDS``; fields that are None are left out.

    ``retry_after_s`` is the kind's unless given.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        retry_after_s: int | None = None,
        **fields: Any,
    ) -> None:
        kind = ERROR_KINDS[code]
        headers = dict(headers or {})
        if retry_after_s is None:
            retry_after_s = kind.retry_after_s
        if retry_after_s is not None:
            headers["Retry-After"] = str(retry_after_s)
            fields["retry_after"] = retry_after_s
        super().__init__(detail=detail, status_code=kind.status, title=kind.title, type_=kind.type, headers=headers)
        self.code = code
        self.fields: dict[str, Any] = {"code": code} | {
            name: value for name, value in fields.items() if value is not None
        }

    def with_fields(self, **fields: Any) -> Problem:
        """This problem, with more fields."""
        self.fields |= {name: value for name, value in fields.items() if value is not None}
        return self

    def to_response(self, request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
        self.instance = request.scope.get("raw_path", b"").decode("latin-1") or request.scope["path"]
        request.scope["state"]["problem"] = self.code
        if self.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
            self.fields.setdefault("request_id", request.scope["state"].get("request_id"))
        self.extra = self.fields
        response = super().to_response(request)
        # The document's own members come first, as people read them.
        first = {name: response.content.pop(name) for name in ("type", "title", "status", "detail", "instance")}
        response.content = first | response.content
        return response


def document_of(problem: Problem) -> dict[str, Any]:
    """``problem`` to keep, and to make again with :func:`problem_from`."""
    kind = ERROR_KINDS[problem.code]
    return {"type": kind.type, "title": kind.title, "status": kind.status, "detail": problem.detail} | problem.fields


def problem_from(document: Mapping[str, Any]) -> Problem:
    """The Problem that :func:`document_of` has described."""
    fields = {name: value for name, value in document.items() if name not in _OF_THE_KIND}
    return Problem(fields.pop("code"), fields.pop("detail"), **fields)


def documented(*codes: str, open_to_all: bool = False) -> dict[int, ResponseSpec]:
    """The answers of ``codes``, and of those that every call may give, for the OpenAPI description of a call.

    A call that is ``open_to_all`` asks nobody for credentials.
    """
    by_status: dict[int, list[str]] = {}
    access = () if open_to_all else _ACCESS
    for code in dict.fromkeys(("invalid_request", "not_loopback", *access, *codes, "internal_error")):
        by_status.setdefault(ERROR_KINDS[code].status, []).append(code)
    return {
        status: ResponseSpec(
            ProblemDocument,
            generate_examples=False,
            description=", ".join(f"`{code}`: {ERROR_KINDS[code].title}" for code in codes_of_status),
            media_type=cast("Any", MEDIA_TYPE),
        )
        for status, codes_of_status in by_status.items()
    }


def spelt_alike(name: str, names: Iterable[str]) -> str | None:
    """A hint that names up to three of ``names`` that look like ``name``; None where none does."""
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}?" if close else None


def is_database_away(error: BaseException | None) -> bool:
    """Whether ``error`` says that there is no working connection, as opposed to a refused statement."""
    if isinstance(error, library.QueryError):
        return is_database_away(error.original_error)
    if isinstance(error, library.ConnectionError | library.PoolError | ConnectionError | TimeoutError):
        return True
    if isinstance(error, asyncpg.InternalClientError):
        return is_lost(error)
    if isinstance(error, asyncpg.InterfaceError):
        return "closed" in str(error) or "terminated" in str(error) or "released" in str(error)
    state = getattr(error, "sqlstate", None)
    return isinstance(state, str) and (state in _AWAY_STATES or state.startswith("08"))


def _is_without_our_tables(error: Exception) -> bool:
    cause = error.original_error if isinstance(error, library.QueryError) else error
    return getattr(cause, "sqlstate", None) in _NOT_THERE and OWN_SCHEMA in str(cause)


def own_tables_gone() -> Problem:
    return Problem(
        "database_unavailable",
        f"Somebody has dropped the schema {OWN_SCHEMA}, or tables in it. Restart the service: it makes them anew.",
    )


def database_unavailable() -> Problem:
    return Problem(
        "database_unavailable", "The database cannot be reached right now. The service keeps trying to connect."
    )


def problem_of(error: Exception) -> Problem:
    """The answer for any exception; logs what is a defect or a refusal that only the operator can cure."""
    if isinstance(error, Problem):
        return error
    if is_database_away(error):
        logger.warning("database unavailable", error_type=type(error).__name__)
        return database_unavailable()
    if _is_without_our_tables(error):
        return own_tables_gone()
    if isinstance(error, library.MonitoringError) and isinstance(error.__cause__, library.AsyncDBError):
        return problem_of(error.__cause__)
    if isinstance(error, library.MigrationError):
        return _of_migration(error)
    if isinstance(error, library.QueryError):
        return _of_query(error)
    if isinstance(error, OSError) and isinstance(error.filename, str):
        name = Path(error.filename).name
        return Problem("migration_file_invalid", f"{name} cannot be read: {error.strerror}.", filename=name)
    if isinstance(error, HTTPException) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return _of_http(error)
    if isinstance(error, HTTPException) and error.detail == _CLIENT_LEFT:
        # Nobody reads it.
        return Problem("invalid_request", "The client left before its request was complete.")
    if isinstance(error, RecursionError) and "deserializing" in str(error):
        return invalid_body(error)
    logger.error("internal error", exc_info=error)
    return Problem("internal_error", "Something went wrong in the service. Its log has the cause.")


def _of_migration(error: library.MigrationError) -> Problem:
    fields: dict[str, Any] = {"filename": error.migration_file}
    match error:
        case library.ChecksumMismatchError():
            fields |= {"recorded_checksum": error.recorded, "current_checksum": error.current}
        case library.BaselineMismatchError():
            fields |= {"changes": [asdict(change) for change in error.changes]}
        case library.OutOfOrderError():
            fields |= {"newest_applied": error.newest_applied}
        case library.MigrationFileError():
            fields |= {"line": error.line, "column": error.column, "hint": error.hint}
        case library.MigrationUnknownError():
            fields |= {"statement": error.statement, "line": error.line}
        case library.MigrationLockTimeoutError():
            # The holder's query stays out: it is somebody's SQL, and may hold what is nobody else's business.
            holder = {name: value for name, value in (error.holder or {}).items() if name != "query"}
            fields |= {"holder": holder or None, "waited_s": round(error.waited_s, 1)}
        case library.MigrationExecutionError():
            fields |= {
                "statement": error.statement,
                "line": error.line,
                "column": error.column,
                "sqlstate": error.sqlstate,
                "database_message": error.sql_error,
                "database_detail": error.detail,
                "hint": error.hint,
                "applied": error.applied,
            }
    code = error.code if error.code in ERROR_KINDS else "migration_error"
    if isinstance(error, library.MigrationExecutionError) and error.sqlstate in _CURED_BY_A_RETRY:
        code = "lock_timeout"
    return Problem(code, error.message, **fields)


def _of_query(error: library.QueryError) -> Problem:
    sqlstate = getattr(error.original_error, "sqlstate", None)
    if sqlstate == _LOCK_NOT_AVAILABLE:
        return Problem("lock_timeout", "Somebody else holds a lock on what had to be looked at.")
    if sqlstate == _QUERY_CANCELED:
        return Problem("database_unavailable", "The database did not answer in time.")
    if not isinstance(error.original_error, asyncpg.PostgresError):
        logger.error("internal error", exc_info=error)
        return Problem("internal_error", "Something went wrong in the service. Its log has the cause.")
    message = str(error.original_error)
    logger.error("database error", sqlstate=sqlstate, error=message, query=error.query)
    return Problem("database_error", f"The database refused: {message}.", sqlstate=sqlstate, database_message=message)


def _of_http(error: HTTPException) -> Problem:
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return Problem("not_found", "There is nothing at this address; /docs lists what there is.")
        case HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = (error.headers or {}).get("allow", "")
            return Problem(
                "method_not_allowed",
                f"This address takes {allowed or 'other methods'}.",
                headers={"Allow": allowed} if allowed else None,
            )
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return Problem("body_too_large", "The body has more bytes than the service reads.")
    if isinstance(error.__cause__, SerializationException):
        return invalid_request([{"field": "body", "message": f"not JSON: {error.detail}"}])
    entries = [entry for entry in error.extra or () if isinstance(entry, dict) and "message" in entry]
    if not entries:
        return Problem("invalid_request", error.detail)
    return invalid_request([_entry(entry.get("key", "body"), entry["message"]) for entry in entries])


def _entry(field: str, message: str) -> dict[str, str]:
    """Litestar's entry in our words: the body is a parameter called ``data`` to it."""
    unknown = _UNKNOWN_FIELD.search(message)
    if unknown:
        return {"field": unknown[1], "message": "there is no such field"}
    return {"field": "body" if field == "data" else field, "message": message.replace("`", "")}


def invalid_body(error: Exception) -> Problem:
    """A 400 for JSON that is none, or not what the call takes."""
    if not isinstance(error, msgspec.ValidationError):
        return invalid_request([{"field": "body", "message": f"not JSON: {error}"}])
    message, _, path = str(error).partition(" - at `$")
    return invalid_request([_entry(path.strip("`.") or "data", message)])


def invalid_request(errors: list[dict[str, str]]) -> Problem:
    """A 400 for ``errors``, each with ``field`` and ``message``."""
    told = "; ".join(f"{entry['field']}: {entry['message']}" for entry in errors)
    return Problem("invalid_request", f"{told}.", errors=errors)


# Without a mapping of Exception itself, a 500 would be plain JSON.
_MAPPED: dict[type[Exception], Callable[[Any], Problem]] = dict.fromkeys((HTTPException, Exception), problem_of)


def problem_details_plugin() -> ProblemDetailsPlugin:
    return ProblemDetailsPlugin(ProblemDetailsConfig(exception_to_problem_detail_map=cast("Any", _MAPPED)))
