"""How the schemas of a run are divided into chunks."""

from __future__ import annotations

import pytest

from pgdbm_service.runs.store import chunked


def test_schemas_are_divided_into_chunks() -> None:
    assert chunked(1, 0) == [1]
    assert chunked(3, 0) == [1, 2, 3]
    assert chunked(4, 2) == [0, 0, 1, 2]
    assert chunked(2, 5) == [0, 0]
    many = chunked(10_000, 3)
    assert many[:4] == [0, 0, 0, 1]
    assert max(many.count(number) for number in set(many)) == 50
    assert many == sorted(many)


@pytest.mark.parametrize("schemas", [1, 2, 7, 50, 99, 1000, 10_000])
@pytest.mark.parametrize("canary", [0, 1, 3, 20_000])
def test_every_schema_has_a_chunk_and_canaries_are_chunk_0(schemas: int, canary: int) -> None:
    found = chunked(schemas, canary)
    assert len(found) == schemas
    assert found.count(0) == min(schemas, canary)
    assert found == sorted(found)
    rest = found[min(schemas, canary) :]
    assert sorted(set(rest)) == list(range(1, len(set(rest)) + 1))
