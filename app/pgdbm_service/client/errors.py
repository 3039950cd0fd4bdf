"""What a client raises.

ClientError
├── ProblemError            the service has answered that it does not work
├── UnreachableError        no answer came
├── UnexpectedAnswerError   an answer came, and not from a service that this client understands
└── UnsafeServerError       a token would travel in the clear
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class ClientError(Exception):
    """The base of all of these."""


class ProblemError(ClientError):
    """A problem document. ``code`` says what it is: each has its page in the reference.

    ``fields`` has all of the document, also what has no attribute here. What the document does not have is None.
    ``line`` and ``column`` count from 1 in ``filename``; ``retry_after`` is in seconds, and there where a retry may
    help.
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
    """No answer came, or it broke off. Whether the call was carried out is known where it changes nothing only."""


class UnexpectedAnswerError(ClientError):
    """What answers is not the service, or has another version. ``status`` is that of the answer."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, status)
        self.message = message
        self.status = status

    def __str__(self) -> str:
        return self.message


class UnsafeServerError(ClientError):
    """Everybody on the way could read the token."""
