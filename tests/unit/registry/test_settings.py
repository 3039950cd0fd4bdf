"""Settings of a module: each value in one form, or refused by its key."""

from __future__ import annotations

from typing import Any

import pytest

from pgdbm_service.api.common import ModuleSettings
from pgdbm_service.registry.settings import CheckedSettings, SettingError, check_schema, checked


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"schema": "a"}, {"schemas": ("a",)}),
        ({"schemas": ["b", "a", "b"]}, {"schemas": ("b", "a")}),
        ({"schemas": "a"}, {"schemas": ("a",)}),
        ({"schemas": "tenant_*"}, {"schemas": "tenant_*"}),
        ({"schemas": "t?"}, {"schemas": "t?"}),
        ({"depends_on": ["a", "b@002", "a"]}, {"depends_on": ("a", "b@002")}),
        ({"description": "größe"}, {"description": "größe"}),
        ({"out_of_order": "allow"}, {"out_of_order": "allow"}),
        ({"role": "app owner"}, {"role": "app owner"}),
    ],
)
def test_settings_in_one_form(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert checked(ModuleSettings(**given)) == CheckedSettings(**expected)


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"schema": "a b"}, "schema"),
        ({"schema": ""}, "schema"),
        ({"schema": "1a"}, "schema"),
        ({"schema": "a" * 64}, "schema"),
        ({"schema": "pgdbm_service"}, "schema"),
        ({"schema": "a", "schemas": ["b"]}, "schemas"),
        ({"schemas": []}, "schemas"),
        ({"schemas": ["a", "b c"]}, "schemas"),
        ({"schemas": "tenant-*"}, "schemas"),
        ({"schemas": "*" * 64}, "schemas"),
        ({"depends_on": ["a b"]}, "depends_on"),
        ({"depends_on": ["a@"]}, "depends_on"),
        ({"depends_on": ["@1"]}, "depends_on"),
        ({"depends_on": ["a@1\n"]}, "depends_on"),
        ({"role": ""}, "role"),
        ({"role": "r" * 64}, "role"),
        ({"role": "ß" * 32}, "role"),
        ({"role": "a\x00b"}, "role"),
        ({"description": "x" * 2001}, "description"),
        ({"description": "a\x00b"}, "description"),
        ({"description": "\ud800"}, "description"),
    ],
)
def test_a_setting_that_means_nothing_is_named(given: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingError) as caught:
        checked(ModuleSettings(**given))
    assert caught.value.key == key
    assert caught.value.reason


@pytest.mark.parametrize("name", ["a", "_a", "A1", "a" * 63])
def test_the_name_of_a_schema(name: str) -> None:
    check_schema(name)
