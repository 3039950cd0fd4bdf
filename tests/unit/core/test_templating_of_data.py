"""Double braces in string constants, quoted identifiers, dollar quotes and comments are data, unless placeholders."""

from __future__ import annotations

import contextlib
import time

import pytest

from pgdbm.core.templating import TemplateError, render

DATA = r"{{first_name}} {{tables.9x}} {{tables.a.b.c}} {{tables.x; DROP}} {{schema_}} \{{name}}"
OURS = "{{tables.users}} {{tables.auth.users}} {{schema}} {{ schema }}.f"
EXPANDED = '"app".users "auth".users "app" "app".f'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("INSERT INTO t VALUES ('Dear ", "')"),
        ("SELECT 'it''s ", "'"),
        (r"SELECT E'it\'s ", "'"),
        (r"SELECT e'\\ ", "'"),
        ("SELECT U&'", "'"),
        ('SELECT 1 AS "', '"'),
        ('SELECT 1 AS "a""b', '"'),
        ("DO $$ BEGIN PERFORM '", "'; END $$"),
        ("SELECT $tag$ it's $$ ", " $tag$"),
        ("-- ", "\nSELECT 1"),
        ("/* /* nested */ ", " */ SELECT 1"),
        ("SELECT 'a' -- ' ", "\n, 'b'"),
        ("SELECT a$b, '", "'"),
    ],
)
def test_data_stays_and_placeholders_are_replaced(before: str, after: str) -> None:
    rendered = render(f"{before}{DATA} {OURS}{after}", "app")
    assert rendered.text == f"{before}{DATA} {EXPANDED}{after}"
    assert rendered.source_offset(len(before)) == len(before)
    assert rendered.source_offset(len(rendered.text)) == len(rendered.source)
    assert render(before + r"\{{schema}}" + after, "app").text == before + "{{schema}}" + after


@pytest.mark.parametrize(
    "before",
    [
        "SELECT 'a' ",
        "SELECT 'a''' ",
        "SELECT '\\' ",
        "SELECT xe'a' ",
        "SELECT /* ' */ ",
        "SELECT -- '\n",
        'SELECT "a" ',
        "SELECT $$a$$ ",
        "SELECT $1 + a$b$ ",
        "SELECT a$$ ",
    ],
)
def test_elsewhere_it_is_refused(before: str) -> None:
    with pytest.raises(TemplateError, match="no such placeholder") as caught:
        render(before + "{{first_name}} '", "app")
    assert caught.value.placeholder == "{{first_name}}"


def test_array_literals_and_json_stay() -> None:
    text = """SELECT '{{1,2},{3,4}}'::int[], '{"a": {"b": {}}}'"""
    assert render(text, "app").text == text


@pytest.mark.parametrize("piece", ["x''", "'a' ", "/* ", '"a"" ', "$$ ", "$t$ $", "-- \n"])
def test_it_is_scanned_in_linear_time(piece: str) -> None:
    text = "SELECT " + piece * 300_000 + "'{{name}}'"
    started = time.process_time()
    with contextlib.suppress(TemplateError):
        render(text, "app")
    assert time.process_time() - started < 10
