# What pgdbm uses of postgast, whose own stub of the parse tree is not valid Python.
from collections.abc import Sequence
from typing import Any

class PgQueryError(Exception):
    message: str
    cursorpos: int

class ParseResult:
    stmts: Sequence[Any]

def parse(query: str) -> ParseResult: ...
def split(query: str) -> list[str]: ...
