"""Patterns that are compiled on first use."""

from __future__ import annotations

import re

import pytest

from pgdbm.patterns import late_pattern


def test_it_behaves_like_a_compiled_pattern() -> None:
    text = "a1, b22, A3"
    for flags in (0, re.IGNORECASE):
        late, compiled = late_pattern(r"([a-z])(?P<number>\d+)", flags), re.compile(r"([a-z])(?P<number>\d+)", flags)
        assert [one.span() for one in late.finditer(text)] == [one.span() for one in compiled.finditer(text)]
        assert late.findall(text) == compiled.findall(text)
        assert late.sub("-", text) == compiled.sub("-", text)
        assert late.subn("-", text) == compiled.subn("-", text)
        assert late.split(text) == compiled.split(text)
        for method in ("match", "fullmatch", "search"):
            assert repr(getattr(late, method)(text, 4, 7)) == repr(getattr(compiled, method)(text, 4, 7))
        assert (late.pattern, late.flags, late.groups) == (compiled.pattern, compiled.flags, compiled.groups)
        assert late.groupindex == compiled.groupindex


def test_it_is_compiled_once_and_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    compile_ = re.compile

    def recorded(text: str, flags: int = 0) -> re.Pattern[str]:
        compiled.append(text)
        return compile_(text, flags)

    monkeypatch.setattr(re, "compile", recorded)
    late = late_pattern("x+")
    assert compiled == []
    assert late.match("xx")
    assert late.search("axx")
    assert late.sub("", "axx") == "a"
    assert compiled == ["x+"]


def test_an_invalid_one_is_refused_by_its_first_use() -> None:
    invalid = late_pattern("(")
    with pytest.raises(re.error):
        invalid.match("")
