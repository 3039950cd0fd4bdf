"""A client of the service: ``pip install 'pgdbm[client]'``. Needs nothing of what the service needs.

::

    with Client("https://pgdbm.example.com", token) as client:
        client.register_module("orders", archive_of(Path("migrations")))
        result = client.wait_for(client.migrate("orders"))

Answers are the structs of the service itself, in ``structs.py`` of each of its features.
"""

from __future__ import annotations

from ..registrations.structs import RegistrationBody, SubmittedMigration
from ..runs.structs import MigrateBody, MigrateResult, Run, RunEvent
from .answers import result_of
from .archives import archive_of
from .client import AsyncClient, Client
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
