"""The service's errors, independent of HTTP: a code of ``ERROR_KINDS``, a readable text, and fields for programs.

``database/failures.py`` converts the errors of the library and the driver into these, and ``web/problems.py`` converts
these into problem documents.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from pgdbm.text import sentence

from .codes import ERROR_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .codes import ErrorKind

SYNONYMS = {"policy": "out_of_order"}
"""Field names in earlier versions and in other tools."""
_WITH_VALUES = frozenset({"database_detail", "database_context"})
_FROM_THE_KIND = frozenset({"type", "title", "status", "retry_after"})


_POSITION = ("filename", "statement", "line", "column", "sqlstate")
_WAITS = ("attempts", "waited_s", "holder", "waiting_for")
# Their details quote the server's text or the SQL of a file. Errors with a statement have such details, too.
_QUOTES_SQL = frozenset({"migration_failed", "insufficient_resources", "migration_file_invalid"})
_MAX_LOGGED = 1000


class ServiceError(Exception):
    """A request or a run failed. ``code`` is a key of ``ERROR_KINDS``; fields that are None are omitted.

    ``retry_after_s`` defaults to the kind's.
    """

    def __init__(self, code: str, detail: str, *, retry_after_s: int | None = None, **fields: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.fields: dict[str, Any] = {"code": code} | {
            name: value for name, value in fields.items() if value is not None
        }
        self.retry_after_s = self.kind.retry_after_s if retry_after_s is None else retry_after_s
        if self.retry_after_s is not None:
            self.fields["retry_after"] = self.retry_after_s

    @property
    def kind(self) -> ErrorKind:
        return ERROR_KINDS[self.code]

    def for_log(self) -> dict[str, Any]:
        """The error for a log line. The server's text of a statement's error is omitted because it may contain
        values."""
        fields = {name: self.fields[name] for name in (*_POSITION, *_WAITS) if name in self.fields}
        if "statement" not in fields and self.code not in _QUOTES_SQL:
            fields["reason"] = self.detail[:_MAX_LOGGED]
        return {"problem_code": self.code, **fields}

    def with_fields(self, **fields: Any) -> ServiceError:
        """This error with ``fields`` added."""
        self.fields |= {name: value for name, value in fields.items() if value is not None}
        return self


def to_document(error: ServiceError) -> dict[str, Any]:
    """``error`` as it is stored with a run. :func:`from_document` is the inverse."""
    kind = error.kind
    return {"type": kind.type, "title": kind.title, "status": kind.status, "detail": error.detail} | error.fields


def from_document(document: Mapping[str, Any]) -> ServiceError:
    """The error in a document of :func:`to_document`."""
    fields = {name: value for name, value in document.items() if name not in _FROM_THE_KIND}
    return ServiceError(fields.pop("code"), fields.pop("detail"), **fields)


def without_values(document: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A stored error without the fields that may contain values from SQL and from tables."""
    return None if document is None else {name: one for name, one in document.items() if name not in _WITH_VALUES}


def did_you_mean(name: str, names: Iterable[str]) -> str | None:
    """A hint that suggests up to three of ``names`` that resemble ``name`` or mean the same; None if there are none."""
    known, synonym = list(names), SYNONYMS.get(name)
    close = [synonym] if synonym in known else difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}?" if close else None


def invalid_request(errors: list[dict[str, str]]) -> ServiceError:
    """An invalid_request for ``errors``, each with ``field`` and ``message``."""
    listed = "; ".join(f"{entry['field']}: {entry['message']}" for entry in errors)
    return ServiceError("invalid_request", sentence(listed), errors=errors)
