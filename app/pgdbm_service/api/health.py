"""Answers of the health calls."""

from __future__ import annotations

from typing import Literal

import msgspec


class Live(msgspec.Struct):
    state: Literal["live"] = "live"


class Version(msgspec.Struct, kw_only=True):
    """``revision``: the revision of the sources from which the image was built; None without an image."""

    version: str
    revision: str | None


class Check(msgspec.Struct):
    """A readiness check. ``detail`` is the reason for a failure, or a warning."""

    name: str
    ok: bool
    detail: str | None = None


class Ready(msgspec.Struct, kw_only=True):
    """``warnings``: problems that do not prevent it from being ready, such as a folder without modules."""

    state: Literal["ready"] = "ready"
    checks: list[Check]
    warnings: list[str] = []
