"""A client of the service: ``pip install 'pgdbm[client]'``.

::

    with Client("https://pgdbm.example.com", token) as client:
        client.register_module("orders", archive_of(Path("migrations")))
        result = client.wait_for(client.migrate("orders"))

Answers are the structs in ``pgdbm_service.api``.
"""

from __future__ import annotations

from ..api.registrations import RegistrationBody, SubmittedMigration
from ..api.runs import MigrateBody, MigrateResult, Run, RunEvent
from .call import result_of
from .client import AsyncClient, Client, archive_of
from .errors import ClientError, ProblemError, UnexpectedAnswerError, UnreachableError, UnsafeServerError
from .retries import Retry

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "MigrateBody",
    "MigrateResult",
    "ProblemError",
    "RegistrationBody",
    "Retry",
    "Run",
    "RunEvent",
    "SubmittedMigration",
    "UnexpectedAnswerError",
    "UnreachableError",
    "UnsafeServerError",
    "archive_of",
    "result_of",
]
