"""Every error code, and the errors that carry them."""

from __future__ import annotations

import pytest

from pgdbm_service.errors import ServiceError, did_you_mean, from_document, invalid_request, to_document
from pgdbm_service.errors.codes import ERROR_KINDS

from ..conftest import ROOT


@pytest.mark.parametrize("code", ERROR_KINDS)
def test_each_kind_is_complete(code: str) -> None:
    kind = ERROR_KINDS[code]
    assert kind.code == code
    assert 400 <= kind.status < 600
    assert kind.type == f"/errors/{code}"
    assert kind.title
    assert kind.meaning.endswith(".")
    assert kind.remedy


@pytest.mark.parametrize("code", ERROR_KINDS)
def test_the_page_in_the_documentation_is_current(code: str) -> None:
    page = (ROOT / "docs" / "reference" / "errors" / f"{code}.md").read_text()
    assert page == ERROR_KINDS[code].page()
    assert page.startswith(f"# {code}\n")


def test_there_is_one_page_for_each_code() -> None:
    folder = ROOT / "docs" / "reference" / "errors"
    assert {path.stem for path in folder.glob("*.md")} - {"README"} == set(ERROR_KINDS)


@pytest.mark.parametrize("code", ERROR_KINDS)
def test_an_error_is_read_back_from_its_document(code: str) -> None:
    error = ServiceError(code, "What happened.", module="shop", missing=None, schemas=["a", "b"])
    document = to_document(error)
    assert document["status"] == ERROR_KINDS[code].status
    assert "missing" not in document
    again = from_document(document)
    assert (again.code, again.detail, again.fields) == (code, "What happened.", error.fields)


def test_the_pause_before_a_retry_is_that_of_the_kind_unless_given() -> None:
    assert ServiceError("busy", "x").retry_after_s == ERROR_KINDS["busy"].retry_after_s
    assert ServiceError("busy", "x", retry_after_s=77).fields["retry_after"] == 77
    assert "retry_after" not in ServiceError("forbidden", "x").fields


def test_fields_can_be_added_and_none_is_left_out() -> None:
    error = ServiceError("busy", "x").with_fields(module="m", schema=None)
    assert error.fields["module"] == "m"
    assert "schema" not in error.fields


@pytest.mark.parametrize(
    ("name", "names", "hint"),
    [
        ("ordres", ["orders", "users"], "Did you mean orders?"),
        ("orders_", ["orders", "orders_2", "x"], "Did you mean orders_2 or orders?"),
        ("zzz", ["orders"], None),
        ("orders", [], None),
    ],
)
def test_a_hint_names_what_resembles_a_name(name: str, names: list[str], hint: str | None) -> None:
    assert did_you_mean(name, names) == hint


def test_an_invalid_request_lists_its_errors() -> None:
    error = invalid_request([{"field": "a", "message": "too long"}, {"field": "b", "message": "unknown"}])
    assert error.code == "invalid_request"
    assert error.detail == "a: too long; b: unknown."
    assert [entry["field"] for entry in error.fields["errors"]] == ["a", "b"]


def test_an_invalid_request_ends_with_one_mark() -> None:
    question = "unknown field. Did you mean out_of_order?"
    assert invalid_request([{"field": "policy", "message": question}]).detail == f"policy: {question}"
    assert invalid_request([{"field": "n", "message": "too long."}]).detail == "n: too long."
