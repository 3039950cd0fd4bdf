"""Listings as bytes, in parts, so that the objects of a few tables can be replaced without reading all the others.
Pure.

The objects of a relation are in one part. The header has the digest of each part, so that equal parts are not unpacked.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from .catalog import CatalogObject, Listing, deserialize, fingerprint_of, serialize

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FORMAT = 2
"""The version of packed listings. Format 1 was one part without a header."""

_OLD_FORMAT = 1
FORMATS = frozenset({_OLD_FORMAT, FORMAT})
"""The versions that :func:`changed_objects` reads."""

# A higher level takes several times as long and saves a fifth.
_COMPRESSION = 1
_MANY_OBJECTS = 1000
_MANY_PARTS = 64

_Relations = dict[str, list[CatalogObject]]
# The objects of each relation, sorted: as they are stored.
_Rows = dict[str, list[Any]]


class Packed(NamedTuple):
    """A listing in parts. ``histories``: a digest of each history table that the schema was listed with."""

    parts: tuple[bytes, ...]
    digests: tuple[str, ...]
    has_hidden: bool
    histories: Mapping[str, str | None]

    @property
    def fingerprint(self) -> str:
        """Equal for equal listings with the same number of parts."""
        return hashlib.sha256("".join(self.digests).encode()).hexdigest()

    def to_bytes(self) -> bytes:
        """:func:`unpack` reads it."""
        header = {
            "has_hidden": self.has_hidden,
            "histories": dict(self.histories),
            "digests": self.digests,
            "sizes": [len(part) for part in self.parts],
        }
        return b"".join((json.dumps(header, separators=(",", ":")).encode(), b"\n", *self.parts))

    def objects_of(self, index: int) -> list[CatalogObject]:
        """The objects in a part."""
        return [CatalogObject(*row) for rows in self._rows_of(index).values() for row in rows]

    def _rows_of(self, index: int) -> _Rows:
        found: _Rows = json.loads(zlib.decompress(self.parts[index]))
        return found

    def with_relations(
        self, relations: _Relations, created: Iterable[str], histories: Mapping[str, str | None]
    ) -> Packed | None:
        """The same with the objects of ``relations`` replaced; None if one is not in it, and is not among
        ``created``."""
        parts, digests = list(self.parts), list(self.digests)
        new = set(created)
        for index, some in _divided(relations, len(parts)).items():
            before = self._rows_of(index)
            if any(name not in before and _unquoted(name) not in new for name in some):
                return None
            parts[index], digests[index] = _pack_part(before | _sorted(some))
        return self._replace(parts=tuple(parts), digests=tuple(digests), histories=histories)


def pack(listing: Listing, histories: Mapping[str, str | None]) -> Packed:
    """``listing`` in parts: a large one in many."""
    is_large = sum(map(len, listing.relations.values())) > _MANY_OBJECTS
    count = _MANY_PARTS if is_large else 1
    divided = _divided(listing.relations, count)
    packed = [_pack_part(_sorted(divided.get(index, {}))) for index in range(count)]
    return Packed(
        tuple(part for part, _ in packed), tuple(digest for _, digest in packed), listing.has_hidden, histories
    )


def unpack(stored: bytes) -> Packed:
    """The inverse of :meth:`Packed.to_bytes`."""
    line, _, rest = stored.partition(b"\n")
    header: dict[str, Any] = json.loads(line)
    parts, begin = [], 0
    for size in header["sizes"]:
        parts.append(rest[begin : begin + size])
        begin += size
    return Packed(tuple(parts), tuple(header["digests"]), header["has_hidden"], header["histories"])


def changed_objects(
    format_number: int, stored: bytes, fingerprint: str, listing: Listing
) -> tuple[Sequence[CatalogObject], Sequence[CatalogObject]]:
    """(objects of a stored listing, objects of ``listing``), without parts that are equal."""
    if format_number == _OLD_FORMAT:
        if fingerprint_of(serialize(listing.objects)) == fingerprint:
            return (), ()
        return deserialize(zlib.decompress(stored)), listing.objects
    packed = unpack(stored)
    divided = _divided(listing.relations, len(packed.parts))
    before: list[CatalogObject] = []
    after: list[CatalogObject] = []
    for index, digest in enumerate(packed.digests):
        now = divided.get(index, {})
        if hashlib.sha256(_serialized(_sorted(now))).hexdigest() != digest:
            before += packed.objects_of(index)
            after += [one for objects in now.values() for one in objects]
    return before, after


def _divided(relations: _Relations, count: int) -> dict[int, _Relations]:
    """``relations``, grouped by the index of their part, out of ``count`` parts."""
    divided: dict[int, _Relations] = {}
    for relation, objects in relations.items():
        divided.setdefault(zlib.crc32(relation.encode()) % count, {})[relation] = objects
    return divided


def _pack_part(rows: _Rows) -> tuple[bytes, str]:
    serialized = _serialized(rows)
    return zlib.compress(serialized, _COMPRESSION), hashlib.sha256(serialized).hexdigest()


def _sorted(relations: _Relations) -> _Rows:
    return {relation: sorted(objects) for relation, objects in relations.items()}


def _serialized(rows: _Rows) -> bytes:
    """The same bytes for any order of relations."""
    in_order = {relation: rows[relation] for relation in sorted(rows)}
    return json.dumps(in_order, ensure_ascii=False, separators=(",", ":")).encode()


def _unquoted(label: str) -> str:
    return label[1:-1].replace('""', '"') if label.startswith('"') else label
