"""The exceptions of the client.

ClientError
├── ProblemError            the service answered with a problem document
├── UnreachableError        the service did not answer
├── UnexpectedAnswerError   the answer is not one of this API
└── UnsafeServerError       a token would be sent unencrypted
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class ClientError(Exception):
    """The base class of the client's exceptions."""


class ProblemError(ClientError):
    """The service answered with a problem document. The reference has a page for each ``code``.

    ``fields`` is the whole document, including members without an attribute here. Missing members are None. ``line``
    and ``column`` count from 1 in ``filename``; ``retry_after`` is in seconds, and is present if a retry may succeed.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self.fields: dict[str, Any] = dict(fields)
        self.status: int = fields["status"]
        self.code: str = fields["code"]
        self.title: str = fields["title"]
        self.detail: str = fields["detail"]
        self.type: str | None = fields.get("type")
        self.instance: str | None = fields.get("instance")
        self.module: str | None = fields.get("module")
        self.schema: str | None = fields.get("schema")
        self.filename: str | None = fields.get("filename")
        self.statement: int | None = fields.get("statement")
        self.line: int | None = fields.get("line")
        self.column: int | None = fields.get("column")
        self.sqlstate: str | None = fields.get("sqlstate")
        self.hint: str | None = fields.get("hint")
        self.diff: str | None = fields.get("diff")
        self.scope: str | None = fields.get("scope")
        self.missing: list[str] | None = fields.get("missing")
        self.run_id: str | None = fields.get("run_id")
        self.retry_after: int | None = fields.get("retry_after")

    def __str__(self) -> str:
        text = f"{self.detail} ({self.code})"
        if self.hint and self.hint not in self.detail:
            text += f"\nHint: {self.hint}"
        return text


class UnreachableError(ClientError):
    """The service did not answer, or the connection was lost. A call that changes something may have taken effect."""


class UnexpectedAnswerError(ClientError):
    """The answer is not from the service, or from an incompatible version. ``status`` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, status)
        self.message = message
        self.status = status

    def __str__(self) -> str:
        return self.message


class UnsafeServerError(ClientError):
    """The token would be sent unencrypted over a network."""
