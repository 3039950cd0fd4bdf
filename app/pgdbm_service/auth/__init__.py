"""Who makes a request, and what they may do.

Every handler says in its ``opt`` what it ``needs``, and the service does not start with one that does not say:

| ``needs`` | who may |
|---|---|
| ``None`` | everybody |
| ``"read"``, ``"admin"`` | who has that scope |
| ``"migrate"``, ``"register"`` | who has it for the module that the path names |
| ``"migrate_some"``, ``"register_some"`` | who has it for any; the handler calls ``require`` for each module |
| ``"health"``, ``"metrics"`` | everybody, unless a setting makes it ``"read"`` |
"""

from __future__ import annotations

from .callers import ANYBODY, NOBODY, Caller, caller_of, require

__all__ = ["ANYBODY", "NOBODY", "Caller", "caller_of", "require"]
