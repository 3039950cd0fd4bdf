"""Requests and answers of the approval calls."""

from __future__ import annotations

import msgspec

from .freezes import Reason
from .runs import Digest


class ApproveBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``plan`` is the digest of the plan that the approver read; the run is bound to it."""

    plan: Digest
    reason: Reason | None = None


class RejectBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    reason: Reason | None = None


class BreakGlassBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Why the run must start now, although it is not approved or is held."""

    reason: Reason
