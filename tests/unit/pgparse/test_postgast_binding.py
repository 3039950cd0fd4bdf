"""The parser is loaded without the whole of postgast, and is the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import postgast
import pytest

from pgdbm.pgparse import postgast_binding
from pgdbm.pgparse.tree import nested

_SQL = (
    "CREATE TABLE a (id int PRIMARY KEY, b text DEFAULT 'é' CHECK (b <> ''))",
    "SELECT 1; WITH x AS (SELECT 2 AS y) UPDATE a SET b = y::text FROM x WHERE id = ANY (ARRAY[1, 2]) RETURNING *",
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$",
    "",
)
_WITHOUT_POSTGAST = """
import sys
from pgdbm.pgparse.parse import parse_tree, split
(raw,) = parse_tree("DROP TABLE a")
assert raw.stmt.WhichOneof("node") == "drop_stmt"
print("postgast" in sys.modules, "google.protobuf.descriptor_pool" in sys.modules)
import postgast
assert postgast.parse("DROP TABLE a").stmts[0].SerializeToString() == raw.SerializeToString()
assert raw == parse_tree("DROP TABLE a")[0]
"""
# A capsule is not tracked by the garbage collector: its destructor runs while the collector destroys what it has found.
_PARSED_DURING_COLLECTION = """
import ctypes, gc
from pgdbm.pgparse.parse import parse_tree
from pgdbm.pgparse.tree import alter_commands
gc.disable()
new = ctypes.pythonapi.PyCapsule_New
new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
kept = []
def parse(_=None):
    (raw,) = parse_tree("ALTER TABLE t ADD note text")
    node = raw.stmt.alter_table_stmt
    kept.append((node, [kind for kind, _ in alter_commands(node)]))
destructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(parse)
class Garbage: pass
garbage = Garbage()
garbage.itself, garbage.capsule = garbage, new(1, None, ctypes.cast(destructor, ctypes.c_void_p))
parse()
kept.clear()
del garbage
gc.collect()
((node, kinds),) = kept
type(node).__mro__, hasattr(type(node), "absent")
print(kinds, [kind for kind, _ in alter_commands(node)])
"""


@pytest.mark.parametrize("sql", _SQL)
def test_the_trees_are_those_of_postgast(sql: str) -> None:
    ours, theirs = postgast_binding.parser().parse(sql), postgast.parse(sql)
    assert ours.SerializeToString() == theirs.SerializeToString()
    assert [raw.stmt.WhichOneof("node") for raw in ours.stmts] == [raw.stmt.WhichOneof("node") for raw in theirs.stmts]
    assert postgast_binding.parser().split(sql) == postgast.split(sql)


def test_the_error_is_that_of_postgast() -> None:
    for function in (postgast_binding.parser().parse, postgast_binding.parser().split):
        with pytest.raises(postgast_binding.parser().error) as ours:
            function("SELEC 1")
        with pytest.raises(postgast.PgQueryError) as theirs:
            postgast.parse("SELEC 1")
        assert vars(ours.value) == vars(theirs.value)


@pytest.mark.parametrize("sql", _SQL)
def test_the_class_of_every_node_is_kept(sql: str) -> None:
    kept = set(postgast_binding.parser().classes)
    classes = {type(node) for node in nested(postgast_binding.parser().parse(sql))}
    assert classes
    assert classes <= kept


def test_a_class_survives_a_garbage_collection_during_which_it_is_used() -> None:
    assert _output(_PARSED_DURING_COLLECTION) == "['AT_AddColumn'] ['AT_AddColumn']"


def test_postgast_is_not_imported() -> None:
    assert _output(_WITHOUT_POSTGAST) == "False False"


@pytest.mark.parametrize(
    "change",
    [
        "os.environ['PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION'] = 'python'",
        "postgast_binding._first_file = lambda descriptors: descriptors",
        "sys.modules['google._upb'] = None",
        "postgast_binding._LIBRARIES = ('libpg_query.absent',)",
    ],
)
def test_postgast_is_imported_where_its_parts_cannot_be_used(change: str) -> None:
    program = f"""
import os, sys
from pgdbm.pgparse import postgast_binding, parse
{change}
(raw,) = parse.parse_tree("DROP TABLE a")
print("postgast" in sys.modules, raw.stmt.WhichOneof("node"))
"""
    assert _output(program) == "True drop_stmt"


def test_descriptors_that_are_more_than_one_file_are_not_used() -> None:
    descriptors = (Path(postgast.__file__).parent / "pg_query.desc").read_bytes()
    assert len(postgast_binding._first_file(descriptors)) < len(descriptors)
    for others in (descriptors + descriptors, b"\x12" + descriptors[1:]):
        with pytest.raises(ValueError, match="pg_query"):
            postgast_binding._first_file(others)


def _output(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()
