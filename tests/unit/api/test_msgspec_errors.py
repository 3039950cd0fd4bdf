"""msgspec's error texts have the form that the service parses."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pgdbm_service.api.msgspec_errors import is_nested_too_deeply, path_and_reason, unknown_field


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    number: int = 0


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    items: list[Inner] = []
    by_number: dict[int, str] = {}


def error_of(document: bytes) -> msgspec.ValidationError:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.json.decode(document, type=Outer)
    return refused.value


@pytest.mark.parametrize("document", [b'{"nonsense": 1}', b'{"items": [{"nonsense": 1}]}'])
def test_unknown_field(document: bytes) -> None:
    assert unknown_field(str(error_of(document))) == "nonsense"


@pytest.mark.parametrize(
    ("document", "path", "reason"),
    [
        (b'{"items": [{"number": "x"}]}', "items[0].number", "Expected int, got str"),
        (b'{"by_number": {"x": "y"}}', "by_number", "Expected int, got str"),
        (b"[]", "", "Expected object, got array"),
    ],
)
def test_path_and_reason(document: bytes, path: str, reason: str) -> None:
    error = error_of(document)
    assert path_and_reason(error) == (path, reason)
    assert unknown_field(str(error)) is None


def test_nesting() -> None:
    with pytest.raises(RecursionError) as refused:
        msgspec.json.decode(b"[" * 100_000, type=Any)
    assert is_nested_too_deeply(refused.value)
    assert not is_nested_too_deeply(RecursionError("maximum recursion depth exceeded"))
