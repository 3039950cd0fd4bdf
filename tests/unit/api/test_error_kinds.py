"""Every field that an error page lists can be in an answer, and every field that is set is listed."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pgdbm_service
from pgdbm.errors import (
    BaselineMismatchError,
    ChecksumMismatchError,
    MigrationError,
    MigrationExecutionError,
    MigrationFileError,
    MigrationLockTimeoutError,
    MigrationUnknownError,
    OutOfOrderError,
    PlanMovedError,
    PlanRefusedError,
)
from pgdbm_service.api.common import ModuleProblem
from pgdbm_service.errors.codes import ERROR_KINDS

LIBRARY: tuple[MigrationError, ...] = (
    MigrationError("x"),
    MigrationFileError("x"),
    ChecksumMismatchError("x", "1", "2"),
    OutOfOrderError("x", "y", "z"),
    PlanMovedError("x", "x", "y"),
    PlanRefusedError("x", "x", limit="x", statement=1, position=(1, 1), hint="x"),
    MigrationExecutionError("x", "x"),
    BaselineMismatchError("x", ()),
    MigrationUnknownError("x", "x"),
    MigrationLockTimeoutError("x", waited_s=1, holder=None),
)
# Added to any error by those who handle it, and by ServiceError itself.
OF_ALL = {"module", "schema", "run_id", "request_id", "retry_after", "schema_counts", "failed_schemas"}
NOT_FIELDS = {"retry_after_s", "headers"}


def set_fields() -> dict[str, set[str]]:
    """By code: the keywords of every call that makes an error with it."""
    fields: dict[str, set[str]] = defaultdict(set)
    for file in Path(pgdbm_service.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                code = node.args[0].value
                if code in ERROR_KINDS and getattr(node.func, "id", "") in ("ServiceError", "HTTPError"):
                    fields[code] |= {one.arg for one in node.keywords if one.arg} - NOT_FIELDS
    for error in LIBRARY:
        fields[error.code] |= error.fields().keys()
    # The error does not concern a single file.
    fields["baseline_mismatch"].remove("filename")
    fields["module_invalid"] |= set(ModuleProblem.__struct_fields__) - {"code", "detail"}
    # One that failed for a lack of resources is reported as that.
    fields["insufficient_resources"] |= MigrationExecutionError("x", "x").fields().keys()
    # A statement that could not get a lock is reported as the lock's error.
    blocked = MigrationExecutionError("x", "x")
    blocked.add_blockers([], 1.0)
    fields["lock_timeout"] |= blocked.fields().keys()
    return fields


def test_fields_of_every_kind() -> None:
    fields = set_fields()
    never_set = {kind.code: set(kind.fields) - fields[kind.code] - OF_ALL for kind in ERROR_KINDS.values()}
    assert {code: names for code, names in never_set.items() if names} == {}
    not_listed = {kind.code: fields[kind.code] - set(kind.fields) for kind in ERROR_KINDS.values()}
    assert {code: names for code, names in not_listed.items() if names} == {}
