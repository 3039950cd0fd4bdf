"""Authentication and authorization.

Every handler declares in its ``opt`` what it ``needs``; the service does not start if a handler does not:

| ``needs`` | required of the client |
|---|---|
| ``None`` | nothing |
| ``"signed_in"`` | valid credentials, with any scopes |
| ``"read"``, ``"admin"`` | this scope |
| ``"migrate"``, ``"register"`` | this scope for the module in the path |
| ``"migrate_some"``, ``"register_some"``, ``"approve_some"`` | this scope for any module; the handler checks it |
| ``"health"``, ``"metrics"`` | nothing, or ``"read"`` if a setting says so |
"""

from __future__ import annotations

from .access import require

__all__ = ["require"]
