"""The service's settings: their fields, how they are read from the environment, and their checks."""

from __future__ import annotations

from .environment import read_settings, unknown_variables
from .fields import (
    DEFAULT_REPOSITORY,
    RESERVED_CONNECTIONS,
    IssuerSettings,
    Settings,
    SettingsError,
    is_safe_url,
    listed,
    variable_of,
)
from .policies import Login, ModulePolicy

__all__ = [
    "DEFAULT_REPOSITORY",
    "RESERVED_CONNECTIONS",
    "IssuerSettings",
    "Login",
    "ModulePolicy",
    "Settings",
    "SettingsError",
    "is_safe_url",
    "listed",
    "read_settings",
    "unknown_variables",
    "variable_of",
]
