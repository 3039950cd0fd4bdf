"""How much one registration may bring."""

from __future__ import annotations

import msgspec

from ..errors import Problem


class Limits(msgspec.Struct, frozen=True):
    """``bytes`` are those of all files together, unpacked."""

    bytes: int
    files: int

    def check_bytes(self, size: int) -> None:
        if size > self.bytes:
            raise self.too_large("There is more.")

    def check_files(self, count: int) -> None:
        if count > self.files:
            raise self.too_large("There are more.")

    def too_large(self, detail: str) -> Problem:
        return Problem(
            "bundle_too_large",
            f"A module may have {self.files} files, with {self.bytes} bytes together. {detail}",
            max_files=self.files,
            max_bytes=self.bytes,
        )
