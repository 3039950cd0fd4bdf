"""The commands of the command line."""

from __future__ import annotations

import click


def own_commands(group: click.Group) -> dict[str, click.Command]:
    """The commands of ``group`` with those that are imported lazily, and without those of installed packages."""
    context = click.Context(group)
    found = {name: group.get_command(context, name) for name in (*group.commands, *getattr(group, "late", ()))}
    return {name: command for name, command in found.items() if command is not None}
