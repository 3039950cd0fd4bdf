"""Imports the history of other migration tools, and converts their files."""

from __future__ import annotations

from .conversion import Conversion, convert
from .detection import DetectedTool, detect
from .history_import import ImportReport, import_history
from .records import ImportRefusedError
from .tools import TOOLS, ToolName

__all__ = [
    "TOOLS",
    "Conversion",
    "DetectedTool",
    "ImportRefusedError",
    "ImportReport",
    "ToolName",
    "convert",
    "detect",
    "import_history",
]
