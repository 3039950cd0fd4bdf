"""Placeholders: their rendering, and the map of positions to the source."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdbm.core.templating import TemplateError, line_and_column, render, render_query, rendered_query


@pytest.mark.parametrize(
    ("source", "with_schema", "without"),
    [
        ("{{tables.users}}", '"app".users', "users"),
        ("{{ tables.users }}", '"app".users', "users"),
        ("{{\ttables.users}}", '"app".users', "users"),
        ("{{tables.users}}.id", '"app".users.id', "users.id"),
        ("{{tables.auth.users}}", '"auth".users', '"auth".users'),
        ("{{tables.Auth.users}}.id", '"Auth".users.id', '"Auth".users.id'),
        ("{{schema}}", '"app"', "public"),
        ("{{schema}}.f()", '"app".f()', "f()"),
        ("{{ schema }}.f()", '"app".f()', "f()"),
        ("CREATE SCHEMA {{schema}};", 'CREATE SCHEMA "app";', "CREATE SCHEMA public;"),
        ("{{tables.a}}{{tables.b}}", '"app".a"app".b', "ab"),
        ("SELECT '{{1,2},{3,4}}'::int[]", "SELECT '{{1,2},{3,4}}'::int[]", "SELECT '{{1,2},{3,4}}'::int[]"),
        ("SELECT '{{}}'", "SELECT '{{}}'", "SELECT '{{}}'"),
        ('{"a": {"b": {}}}', '{"a": {"b": {}}}', '{"a": {"b": {}}}'),
        ("{{a,b}}", "{{a,b}}", "{{a,b}}"),
        ("{tables.users}", "{tables.users}", "{tables.users}"),
        (r"\{{tables.users}}", "{{tables.users}}", "{{tables.users}}"),
        (r"\{{user_name}}.", "{{user_name}}.", "{{user_name}}."),
        (r"\{{schema}} {{schema}}", '{{schema}} "app"', "{{schema}} public"),
        ("", "", ""),
    ],
)
def test_placeholders_are_rendered(source: str, with_schema: str, without: str) -> None:
    assert render(source, "app").text == with_schema
    assert render(source, None).text == without
    assert render_query(source, "app") == with_schema
    assert render_query(source, None) == without


@pytest.mark.parametrize(
    "source",
    [
        "{{tables.users}}.id, {{tables.users}}",
        "{{tables.users}} {{tables.users}}",
        "{{schema}}.f, {{schema}}.g",
        "{{schema}}.f, {{schema}}",
        "{{tables.users}}, {{ tables.users }}",
        r"{{tables.users}}, \{{tables.users}}",
        r"\{{tables.users}}, \{{tables.users}}",
        "'{{name}}', '{{name}}'",
        "'{{name}}', {{tables.users}}",
        "{{1,2}}",
    ],
)
def test_a_long_text_is_rendered_like_a_short_one(source: str) -> None:
    padding = "-" * 2_000_000 + "\n"
    for schema in ("app", None):
        short, long = render(source, schema), render(padding + source, schema)
        assert long.text == padding + short.text
        assert [(one[0] - len(padding), one[1]) for one in long.edits] == [(one[0], one[1]) for one in short.edits]
    with pytest.raises(TemplateError, match="line 2, column 3: there is no such placeholder"):
        render(f"{padding}  {{{{name}}}} {{{{name}}}}", "app")


@pytest.mark.parametrize(
    ("placeholder", "reason"),
    [
        ("{{tablse.users}}", "no such placeholder"),
        ("{{users}}", "no such placeholder"),
        ("{{tables}}", "no such placeholder"),
        ("{{schemas}}", "no such placeholder"),
        ("{{schema.users}}", "no such placeholder"),
        ("{{SCHEMA}}", "no such placeholder"),
        ("{{tables.a.b.c}}", "no such placeholder"),
        ("{{tables.}}", "Invalid table name"),
        ("{{tables.1st}}", "Invalid table name"),
        ("{{tables.my-table}}", "Invalid table name"),
        ("{{tables.my table}}", "Invalid table name"),
        ('{{tables."users"}}', "Invalid table name"),
        ("{{tables.users; DROP TABLE x}}", "Invalid table name"),
        ("{{tables.größe}}", "Invalid table name"),
        ("{{tables." + "a" * 64 + "}}", "Invalid table name"),
        ("{{tables.my-schema.users}}", "Invalid schema name"),
        ("{{tables.9s.users}}", "Invalid schema name"),
    ],
)
def test_an_unknown_placeholder_is_refused(placeholder: str, reason: str) -> None:
    source = f"SELECT 1;\n\nSELECT * FROM {placeholder} WHERE true"
    with pytest.raises(TemplateError, match=reason) as caught:
        render(source, "app")
    assert (caught.value.line, caught.value.column, caught.value.placeholder) == (3, 15, placeholder)
    assert "line 3, column 15" in str(caught.value)


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
PLACEHOLDERS = st.one_of(
    st.just("{{schema}}"),
    NAMES.map("{{{{tables.{}}}}}".format),
    st.tuples(NAMES, NAMES).map(lambda names: "{{ tables." + ".".join(names) + " }}"),
    NAMES.map(r"\{{{{tables.{}}}}}".format),
)
# Without what could complete a placeholder, and without the dot that may go with one.
PLAIN = st.text(st.characters(exclude_characters="{}\\", exclude_categories=["Cs"])).map(lambda text: text.lstrip("."))
PIECES = st.lists(st.tuples(PLAIN, PLACEHOLDERS), max_size=6)


@given(pieces=PIECES, end=PLAIN, schema=st.one_of(st.none(), NAMES))
def test_nothing_outside_placeholders_changes(pieces: list[tuple[str, str]], end: str, schema: str | None) -> None:
    source = "".join(text + placeholder for text, placeholder in pieces) + end
    rendered = render(source, schema)
    assert rendered.source == source
    assert rendered.text == "".join(text + render(placeholder, schema).text for text, placeholder in pieces) + end


@given(pieces=PIECES, end=PLAIN, schema=st.one_of(st.none(), NAMES))
def test_every_offset_maps_back(pieces: list[tuple[str, str]], end: str, schema: str | None) -> None:
    source = "".join(text + placeholder for text, placeholder in pieces) + end
    rendered = render(source, schema)
    inside: dict[int, int] = {}
    for start, length, source_start, source_length in rendered.edits:
        assert source[source_start : source_start + source_length].startswith(("{{", "\\{{"))
        inside |= dict.fromkeys(range(start, start + length), source_start)
    previous = 0
    for offset in range(len(rendered.text)):
        found = rendered.source_offset(offset)
        assert found >= previous
        previous = found
        if offset in inside:
            assert found == inside[offset]
        else:
            assert source[found] == rendered.text[offset]
        assert rendered.position(offset) == line_and_column(source, found)
    assert rendered.source_offset(len(rendered.text)) == len(source)
    assert rendered.source_offset(len(rendered.text) + 10) == len(source)


@given(st.text("{}\\ .tablesx\n1ü"))
def test_any_text_is_rendered_or_refused(source: str) -> None:
    if "{{" not in source:
        assert render(source, "app").text == source
        return
    with suppress(TemplateError):
        render(source, "app")


@given(st.text("a\nü"), st.integers(0, 30))
def test_line_and_column(text: str, offset: int) -> None:
    offset = min(offset, len(text))
    lines = text[:offset].split("\n")
    assert line_and_column(text, offset) == (len(lines), len(lines[-1]) + 1)


def test_a_repeated_query_is_cached() -> None:
    rendered_query.cache_clear()
    query = "SELECT * FROM {{tables.users}}"
    assert render_query(query, "app") is render_query(query, "app")
    assert render_query(query, "other") == 'SELECT * FROM "other".users'
    assert rendered_query.cache_info().hits == 1


def test_queries_that_are_not_worth_it_are_not_cached() -> None:
    rendered_query.cache_clear()
    assert render_query("SELECT 1", "app") == "SELECT 1"
    values = ", ".join(f"('{number}')" for number in range(10_000))
    assert render_query(f"INSERT INTO {{{{tables.t}}}} VALUES {values}", "app").startswith('INSERT INTO "app".t')
    assert rendered_query.cache_info().currsize == 0


def test_whole_statements_keep_their_length_in_lines() -> None:
    source = "SELECT *\r\nFROM {{tables.users}} -- {{schema}}\nWHERE a = '\\{{schema}}'"
    text = render(source, "app").text
    assert re.findall(r"\r?\n", text) == ["\r\n", "\n"]
    assert text == 'SELECT *\r\nFROM "app".users -- "app"\nWHERE a = \'{{schema}}\''


def test_a_long_file_is_rendered_as_a_short_one() -> None:
    line = "INSERT INTO {{tables.t}} VALUES ('{{name}} \\{{schema}}', 'ö {{schema}}');\n"
    count = 1_500_000 // len(line)
    rendered = render(line * count, "app")
    assert rendered.text == render(line, "app").text * count
    assert rendered.position(rendered.text.rindex("INSERT")) == (count, 1)


def test_an_unknown_placeholder_in_a_long_file_has_its_place() -> None:
    line = "INSERT INTO {{tables.t}} VALUES (1);\n"
    count = 1_500_000 // len(line)
    with pytest.raises(TemplateError) as caught:
        render(line * count + "SELECT {{tabels.t}}", "app")
    assert (caught.value.line, caught.value.column) == (count + 1, 8)
