"""A subcommand of an ALTER TABLE with its text. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ....pgparse.tree import Node
    from ..tables import TableFacts
    from .text import Piece, StatementText


@dataclass(frozen=True, slots=True)
class Subcommand:
    """A subcommand, such as SET NOT NULL, of an ALTER TABLE.

    ``head`` is ALTER TABLE with the table, and ``relation`` the table, as the author wrote them; ``table`` is its name
    alone. ``node`` is the subcommand's node in the parse tree, and ``about`` the node of its definition. ``facts`` are
    the table's, if it exists.
    """

    text: StatementText
    piece: Piece
    head: str
    relation: str
    table: str
    node: Node
    about: Node
    facts: TableFacts | None

    def name(self, identifier: str) -> str:
        """``identifier`` as it is written in SQL."""
        return self.text.name(identifier)

    def beside(self, name: str) -> str | None:
        """``name`` in the schema of the table, as the author wrote that; None if that is not clear."""
        placeholder = "{{tables.%s}}"
        if self.relation.replace(" ", "") == placeholder % self.table:
            return placeholder % name
        head, found, rest = self.relation.rpartition(self.table)
        return f"{head}{name}{rest}" if found and rest in ("", '"', "}}") else None
