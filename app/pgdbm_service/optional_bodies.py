"""Bodies that may be left out. Litestar describes every body as required."""

from __future__ import annotations

from dataclasses import dataclass

from litestar.openapi.spec import Operation, RequestBody


@dataclass
class OptionalBodyOperation(Operation):
    """The ``operation_class`` of a call whose ``data`` may be None."""

    def __post_init__(self) -> None:
        if isinstance(self.request_body, RequestBody):
            self.request_body.required = False
