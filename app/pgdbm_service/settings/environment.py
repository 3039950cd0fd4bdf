"""Reads the settings from environment variables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin, get_type_hints

import msgspec

from pgdbm.text import sentence

from .checks import check
from .fields import PREFIX, Settings, SettingsError, variable_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FOR_TESTS = "PGDBM_TEST_"
# Values that can contain a secret, such as the URL of an incoming webhook.
_NOT_SHOWN = frozenset({"webhooks"})
# Read by the commands that call a service.
_OF_COMMANDS = frozenset({"PGDBM_SERVER", "PGDBM_TOKEN", "PGDBM_TOKEN_FILE", "PGDBM_ALLOW_HTTP"})


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings in ``environment`` (default: the process's); an empty value counts as unset.

    Raises:
        SettingsError: a value is invalid. The text names the variable and never shows a URL.
    """
    environment = os.environ if environment is None else environment
    types = get_type_hints(Settings, include_extras=True)
    values: dict[str, Any] = {}
    for field in Settings.__struct_fields__:
        text = environment.get(variable_of(field), "")
        if text:
            values[field] = _converted(field, text, types[field])
    settings = Settings(**values)
    check(settings, given=values.keys())
    return settings


def unknown_variables(environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Variables with the prefix ``PGDBM_`` that set nothing, most likely misspelled."""
    known = {variable_of(field) for field in Settings.__struct_fields__} | _OF_COMMANDS
    for name in sorted(os.environ if environment is None else environment):
        if name.startswith(PREFIX) and not name.startswith(_FOR_TESTS) and name not in known:
            yield name


def _converted(field: str, text: str, kind: Any) -> Any:
    def hook(wanted: type, value: Any) -> Any:
        return Path(value).expanduser() if wanted is Path else value

    if field in ("database_url", "direct_url"):
        return text
    if kind.__origin__ is bool:
        text = text.lower()
    try:
        if get_origin(kind.__origin__) in (dict, list):
            return msgspec.json.decode(text, type=kind, dec_hook=hook)
        return msgspec.convert(text, kind, strict=False, dec_hook=hook)
    except msgspec.ValidationError as error:
        shown = "wrong" if field in _NOT_SHOWN else repr(text)
        raise SettingsError(sentence(f"{variable_of(field)} is {shown}: {_reason(error)}")) from None
    except msgspec.DecodeError as error:
        raise SettingsError(sentence(f"{variable_of(field)} is not JSON: {_reason(error)}")) from None


def _reason(error: msgspec.DecodeError) -> str:
    reason = str(error).replace("`", "")
    return reason[:1].lower() + reason[1:]
