"""Conditional requests (RFC 9110): ``If-Match`` and ``If-None-Match`` against the digest of what is there."""

from __future__ import annotations

import re

import msgspec

from .errors import Problem

_TAGS = re.compile(r'\s*(?:W/)?"([^"]*)"\s*(?:,|\Z)')


class Conditions(msgspec.Struct, frozen=True):
    """The two headers, as they were sent."""

    if_match: str | None = None
    if_none_match: str | None = None

    def check(self, digest: str | None) -> None:
        """``digest`` is that of what is there; None: there is nothing.

        Raises:
            Problem: precondition_failed.
        """
        if self.if_match is not None and not _fits(self.if_match, digest):
            raise _failed("If-Match", digest)
        if self.if_none_match is not None and _fits(self.if_none_match, digest):
            raise _failed("If-None-Match", digest)


def etag_of(digest: str) -> str:
    """``digest`` as the value of an ETag header."""
    return f'"{digest}"'


def _fits(header: str, digest: str | None) -> bool:
    if digest is None:
        return False
    return header.strip() == "*" or digest in _TAGS.findall(header) or header.strip() == digest


def _failed(header: str, digest: str | None) -> Problem:
    there = f"there is {digest}" if digest else "there is no such module"
    return Problem("precondition_failed", f"{header} does not hold: {there}. Nothing was done.", current_bundle=digest)
