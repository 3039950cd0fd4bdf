"""The functions of ``postgast`` that pgdbm calls, without importing the whole package where that can be avoided.

Importing ``postgast`` builds a class for each of some 300 kinds of nodes, and loads the parts of protobuf that are
written in Python: that takes as long as everything else that a small migration needs. Here only its binding to
libpg_query is loaded, and the class of the tree, from the same files of the package. If the package or protobuf is not
as expected, ``postgast`` is imported.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_TREE = "pg_query.ParseResult"
_IMPLEMENTATION = "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"


class Parser(NamedTuple):
    """``parse`` and ``split`` of ``postgast``, and the error that they raise, which has ``message`` and
    ``cursorpos``."""

    parse: Callable[[str], Any]
    split: Callable[[str], list[str]]
    error: type[Exception]


@cache
def parser() -> Parser:
    """The parser, which is loaded at the first call."""
    try:
        return _loaded()
    except (ImportError, OSError, AttributeError, LookupError, TypeError, ValueError, SystemError):
        return whole()


def whole() -> Parser:
    """The parser of the whole package."""
    import postgast

    return Parser(postgast.parse, postgast.split, postgast.PgQueryError)


def _loaded() -> Parser:
    spec = importlib.util.find_spec("postgast")
    if spec is None or spec.origin is None or os.environ.get(_IMPLEMENTATION, "upb") != "upb":
        raise ImportError("postgast")
    folder = Path(spec.origin).parent
    tree = _class_of(_first_file((folder / "pg_query.desc").read_bytes()))
    lib, errors = _module(folder, "native").lib, _module(folder, "errors")
    call, free, check = lib.pg_query_parse_protobuf, lib.pg_query_free_protobuf_parse_result, errors.check_error

    def parse(sql: str) -> Any:
        result = call(sql.encode())
        try:
            check(result)
            found = result.parse_tree
            return tree.FromString(ctypes.string_at(found.data, found.len))
        finally:
            free(result)

    def split(sql: str) -> list[str]:
        text = sql.encode()
        result = lib.pg_query_split_with_parser(text)
        try:
            check(result)
            found = [result.stmts[number].contents for number in range(result.n_stmts)]
            return [text[one.stmt_location : one.stmt_location + one.stmt_len].decode() for one in found]
        finally:
            lib.pg_query_free_split_result(result)

    return Parser(parse, split, errors.PgQueryError)


def _module(folder: Path, name: str) -> Any:
    """A module of the package that imports no other one of it, under another name."""
    spec = importlib.util.spec_from_file_location(f"{__package__}.postgast_{name}", folder / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _class_of(file: bytes) -> Any:
    """The class of parse trees that ``file``, a serialized FileDescriptorProto, describes."""
    from google._upb import _message
    from google.protobuf.message import Message

    pool = _message.DescriptorPool()
    pool.AddSerializedFile(file)
    # As protobuf's message_factory does, whose import takes most of the time.
    described = {"DESCRIPTOR": pool.FindMessageTypeByName(_TREE), "__module__": None}
    return _message.MessageMeta("ParseResult", (Message,), described)


def _first_file(descriptors: bytes) -> bytes:
    """The first file in a serialized FileDescriptorSet, which has to be its only one: its field 1, with its length as a
    varint."""
    tag, position, size, shift = 0x0A, 1, 0, 0
    if descriptors[0] != tag:
        raise ValueError("pg_query.desc")
    while True:
        byte = descriptors[position]
        size |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if not byte & 0x80:
            break
    if position + size != len(descriptors):
        raise ValueError("pg_query.desc")
    return descriptors[position:]
