"""The history of other migration tools, read into ours, and their files, written as ours."""

from __future__ import annotations

from .converting import Conversion, convert
from .importing import ImportReport, import_history
from .reading import ImportRefusedError
from .tools import TOOLS, ToolName

__all__ = ["TOOLS", "Conversion", "ImportRefusedError", "ImportReport", "ToolName", "convert", "import_history"]
