"""The calls that control when runs start: freezes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..api.freezes import Freeze, FreezeBody, FreezeList
from .call import Call, Listing
from .endpoints import call, listing

if TYPE_CHECKING:
    from datetime import datetime


class FreezeCalls:
    """The calls of both clients that control when runs start."""

    @call
    def freeze(self, reason: str, *, modules: str = "*", until: datetime | None = None) -> Call[Freeze]:
        """Let no run of the modules that the glob matches start until the freeze ends; started ones continue."""
        body = FreezeBody(reason=reason, modules=modules, until=until)
        return Call(method="PUT", path="/freeze", body=body, answer=Freeze, is_repeatable=True)

    @listing
    def list_freezes(self) -> Listing[Freeze]:
        """The freezes in force."""
        return Listing(path="/freeze", page=FreezeList, page_size=None)

    @call
    def lift_freeze(self, *, modules: str | None = None, reason: str | None = None) -> Call[FreezeList]:
        """End the freeze with this glob, or all of them: the runs that they held start."""
        query = {"modules": modules, "reason": reason}
        return Call(method="DELETE", path="/freeze", query=query, answer=FreezeList, is_repeatable=True)
