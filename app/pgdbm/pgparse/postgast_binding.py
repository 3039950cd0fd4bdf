"""The functions of ``postgast`` that pgdbm calls, without importing the whole package where that can be avoided.

Importing ``postgast`` builds a class for each of some 300 kinds of nodes, and loads the parts of protobuf that are
written in Python: that takes as long as everything else that a small migration needs. Here only its libpg_query is
loaded, with the two functions of ``pg_query.h`` that are called, and the classes of the nodes without their modules,
from the files of the package. If the package or protobuf is not as expected, ``postgast`` is imported.
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

_IMPLEMENTATION = "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"
# On Linux, macOS and Windows.
_LIBRARIES = "libpg_query.so", "libpg_query.dylib", "pg_query.dll"


class _Error(ctypes.Structure):
    """``PgQueryError``."""

    _fields_ = (
        ("message", ctypes.c_char_p),
        ("funcname", ctypes.c_char_p),
        ("filename", ctypes.c_char_p),
        ("lineno", ctypes.c_int),
        ("cursorpos", ctypes.c_int),
        ("context", ctypes.c_char_p),
    )


class _Bytes(ctypes.Structure):
    """``PgQueryProtobuf``; its data may contain NUL."""

    _fields_ = (("len", ctypes.c_size_t), ("data", ctypes.c_void_p))


class _Parsed(ctypes.Structure):
    """``PgQueryProtobufParseResult``."""

    _fields_ = (
        ("parse_tree", _Bytes),
        ("stderr_buffer", ctypes.c_char_p),
        ("error", ctypes.POINTER(_Error)),
    )


class _Span(ctypes.Structure):
    """``PgQuerySplitStmt``, in bytes."""

    _fields_ = (("stmt_location", ctypes.c_int), ("stmt_len", ctypes.c_int))


class _Spans(ctypes.Structure):
    """``PgQuerySplitResult``."""

    _fields_ = (
        ("stmts", ctypes.POINTER(ctypes.POINTER(_Span))),
        ("n_stmts", ctypes.c_int),
        ("stderr_buffer", ctypes.c_char_p),
        ("error", ctypes.POINTER(_Error)),
    )


class Parser(NamedTuple):
    """``parse`` and ``split`` of ``postgast``, and the error that they raise, which has ``message`` and ``cursorpos``.

    ``classes``: those of all kinds of nodes, which protobuf itself does not keep.
    """

    parse: Callable[[str], Any]
    split: Callable[[str], list[str]]
    error: type[Exception]
    classes: tuple[Any, ...]


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

    # Its module keeps the classes.
    return Parser(postgast.parse, postgast.split, postgast.PgQueryError, ())


def _loaded() -> Parser:
    spec = importlib.util.find_spec("postgast")
    if spec is None or spec.origin is None or os.environ.get(_IMPLEMENTATION, "upb") != "upb":
        raise ImportError("postgast")
    folder = Path(spec.origin).parent
    library = next((path for name in _LIBRARIES if (path := folder / name).is_file()), None)
    if library is None:
        raise ImportError("libpg_query")
    classes = _classes_of(_first_file((folder / "pg_query.desc").read_bytes()))
    tree = classes["ParseResult"]
    errors = _module(folder, "errors")
    check = errors.check_error
    lib = ctypes.CDLL(str(library))
    call, free = _function(lib, "pg_query_parse_protobuf", _Parsed, "pg_query_free_protobuf_parse_result")
    call_split, free_split = _function(lib, "pg_query_split_with_parser", _Spans, "pg_query_free_split_result")

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
        result = call_split(text)
        try:
            check(result)
            found = [result.stmts[number].contents for number in range(result.n_stmts)]
            return [text[one.stmt_location : one.stmt_location + one.stmt_len].decode() for one in found]
        finally:
            free_split(result)

    return Parser(parse, split, errors.PgQueryError, tuple(classes.values()))


def _function(lib: ctypes.CDLL, name: str, result: type[ctypes.Structure], free_name: str) -> tuple[Any, Any]:
    """(the function, that which frees its result)."""
    function, free = lib[name], lib[free_name]
    function.argtypes, function.restype = [ctypes.c_char_p], result
    free.argtypes, free.restype = [result], None
    return function, free


def _module(folder: Path, name: str) -> Any:
    """A module of the package that imports no other one of it, under another name."""
    spec = importlib.util.spec_from_file_location(f"{__package__}.postgast_{name}", folder / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _classes_of(file: bytes) -> dict[str, Any]:
    """The class of each message that ``file``, a serialized FileDescriptorProto, describes, by name.

    All of them have to be kept. protobuf makes a missing class when a message of it is first read, and finds it again
    by a pointer that does not keep it alive. So the garbage collector destroys it as soon as there is no tree, even if
    another thread has just taken it for the next one, which ends in wrong fields or a segmentation fault.
    """
    from google._upb import _message
    from google.protobuf.message import Message

    described = _message.DescriptorPool().AddSerializedFile(file).message_types_by_name
    # As protobuf's message_factory does, whose import takes most of the time.
    return {
        name: _message.MessageMeta(name, (Message,), {"DESCRIPTOR": descriptor, "__module__": None})
        for name, descriptor in described.items()
    }


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
