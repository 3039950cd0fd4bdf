"""Notes in PostgreSQL, alone or within an application."""

from __future__ import annotations

from .notekeeper import Note, NoteKeeper

__all__ = ["Note", "NoteKeeper"]
