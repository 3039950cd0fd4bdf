"""Every error code of the service, with its page. To write the pages of the reference:

python -m pgdbm_service.errors.codes docs/reference/errors
"""

from __future__ import annotations

from .approval_errors import APPROVAL_ERRORS
from .client_errors import CLIENT_ERRORS
from .kind import ErrorKind
from .server_errors import SERVER_ERRORS

__all__ = ["ERROR_KINDS", "ErrorKind"]

ERROR_KINDS = {kind.code: kind for kind in (*CLIENT_ERRORS, *APPROVAL_ERRORS, *SERVER_ERRORS)}
