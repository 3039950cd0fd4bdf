"""The texts of Litestar's errors that the service interprets. A test provokes each of them."""

from __future__ import annotations

from litestar.exceptions import InternalServerException

_CLIENT_DISCONNECTED = "client disconnected prematurely"


def is_client_disconnect(error: Exception) -> bool:
    """Whether the client closed the connection before its request was complete. Litestar reports it as a 500."""
    return isinstance(error, InternalServerException) and error.detail == _CLIENT_DISCONNECTED
