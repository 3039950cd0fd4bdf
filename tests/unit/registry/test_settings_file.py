"""Reading module.toml with any content."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from pgdbm_service.api.common import ModuleProblem
from pgdbm_service.registry.repository import read_repository, read_settings_file
from pgdbm_service.registry.settings import CheckedSettings, SettingError, check_schema


def problem_of(text: str) -> ModuleProblem:
    read = read_settings_file(text, "m/module.toml")
    assert isinstance(read, ModuleProblem)
    return read


def test_settings() -> None:
    read = read_settings_file('schema = "s"\ndepends_on = ["a@1", "b"]\nout_of_order = "allow"\n', "m/module.toml")
    assert read == CheckedSettings(schemas=("s",), depends_on=("a@1", "b"), out_of_order="allow")


def test_hint_for_another_name_of_a_setting() -> None:
    assert problem_of('policy = "allow"').hint == "Did you mean out_of_order?"
    assert problem_of('shema = "x"').hint == "Did you mean schema or schemas?"


@pytest.mark.parametrize(
    "text",
    [
        "a." * 15_000 + "a=1",
        "[" + "a." * 15_000 + "a]",
        'x = {y="' + "\\" + '"", ' + "a." * 15_000 + "a=1}",
        ". " * 15_000,
        "\n".join("a." * 2_000 + f"{number}=1" for number in range(16)),
        "a=" + "[" * 30_000,
        "a=" + "9" * 60_000,
        "a=[-" + "9" * 5_000 + "]",
        "a=" + "{a=" * 15_000,
        "x=[" + "1," * 30_000 + "]",
        "".join(f"[a{number}]\n" for number in range(6_000)),
        "a=1\n" * 30_000,
        'description="' + "x" * 65_000 + '"',
        "#" * 1_000_000,
        "a." * 100_000 + "a=1",
    ],
)
def test_files_that_are_made_to_exhaust(text: str) -> None:
    tracemalloc.start()
    started = time.process_time()
    try:
        assert problem_of(text).filename == "module.toml"
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 10


def test_large_files_in_the_repository_are_not_read(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "module.toml").write_bytes(b"#" * 65_535 + "é".encode() + b"x" * 100)
    (module,) = read_repository(tmp_path)
    assert module.problem is not None
    assert "at most 65536 bytes" in module.problem.detail


@pytest.mark.parametrize(
    "name",
    ["pg_catalog", "pg_toast", "pg_temp", "information_schema", "pgdbm_service", "PGDBM_SERVICE", "Pgdbm_Service"],
)
def test_schemas_that_are_reserved(name: str) -> None:
    with pytest.raises(SettingError):
        check_schema(name)


@pytest.mark.parametrize("name", ["public", "pgx", "PG_x", "service"])
def test_invalid_schemas(name: str) -> None:
    check_schema(name)
