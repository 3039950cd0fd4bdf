"""Connection strings: parsing them as libpq does, and showing them without passwords. Pure."""

from __future__ import annotations

from .hosts import is_loopback
from .masking import MASK, Target, mask, target
from .parse import ConnectionString, parse_dsn

__all__ = ["MASK", "ConnectionString", "Target", "is_loopback", "mask", "parse_dsn", "target"]
