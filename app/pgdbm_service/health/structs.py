"""What the health calls answer."""

from __future__ import annotations

from typing import Literal

import msgspec


class Live(msgspec.Struct):
    status: Literal["live"] = "live"


class Check(msgspec.Struct):
    """One thing that readiness depends on; ``detail`` says why it is not ok."""

    name: str
    ok: bool
    detail: str | None = None


class Ready(msgspec.Struct, kw_only=True):
    status: Literal["ready"] = "ready"
    checks: list[Check]
