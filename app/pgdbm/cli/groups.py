"""Groups of commands that are imported when they are called."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping


class LateGroup(click.Group):
    """A group whose commands in ``late`` are imported only when one of them is called, or when all are listed.

    ``late`` has ``module:name`` for each, where ``module`` is a file of this folder.
    """

    def __init__(self, *arguments: Any, late: Mapping[str, str], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.late = late

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self.late})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in self.late:
            module, _, name = self.late[cmd_name].partition(":")
            found = getattr(import_module(f".{module}", __package__), name)
            self.add_command(found, cmd_name)
        return found
