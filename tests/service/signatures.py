"""Signatures of handlers that all services of this process share.

Litestar reads them again for each app, which takes a third of the time of creating one, and tests create hundreds.
Services in processes of their own read theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar.utils.signature import ParsedSignature

if TYPE_CHECKING:
    from collections.abc import Callable

_read: Callable[..., ParsedSignature] = ParsedSignature.from_fn.__func__  # type: ignore[attr-defined]
# With what the keys identify, which has to be kept: the code of the handler, and the types that its annotations name.
_signatures: dict[object, tuple[ParsedSignature, object, object]] = {}


def share_signatures() -> None:
    ParsedSignature.from_fn = classmethod(_from_fn)  # type: ignore[method-assign, assignment]


def _from_fn(
    cls: type[ParsedSignature], fn: Callable[..., Any], signature_namespace: dict[str, Any]
) -> ParsedSignature:
    # A bound method has the code of its function. What is wrapped has the code of what wraps it.
    code = getattr(fn, "__code__", None)
    if code is None or hasattr(fn, "__wrapped__") or hasattr(fn, "__signature__"):
        return _read(cls, fn, signature_namespace)
    key = (
        id(code),
        hasattr(fn, "__self__"),
        frozenset((name, id(type_)) for name, type_ in signature_namespace.items()),
    )
    if key not in _signatures:
        _signatures[key] = (_read(cls, fn, signature_namespace), code, signature_namespace)
    return _signatures[key][0]
