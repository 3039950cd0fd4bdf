"""The safer form of column changes that would rewrite the table: filled in batches, while programs use it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ....pgparse.tree import column_constraints, strings
from ..rules.columns import rewrites
from .backfills import backfill_step
from .constraints import not_null_steps, set_not_null_steps, validated_steps
from .steps import Place, Replacement, Step
from .text import default_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from .subcommand import Subcommand

_SERIALS = {
    "bigserial": "bigint",
    "serial": "integer",
    "serial2": "smallint",
    "serial4": "integer",
    "serial8": "bigint",
    "smallserial": "smallint",
}
_LATER = {"CONSTR_CHECK": "PGDBM008", "CONSTR_UNIQUE": "PGDBM010", "CONSTR_PRIMARY": "PGDBM010"}


class _NewColumn:
    """A column that is added: its definition, and each of its constraints, as the author wrote them."""

    def __init__(self, command: Subcommand) -> None:
        self.command = command
        self.column = command.name(command.about.colname)
        piece, text = command.piece, command.text
        found = sorted(
            (piece.at(text.offset(constraint.location)), kind, constraint)
            for kind, constraint in column_constraints(command.about)
        )
        ends = [*(number for number, *_ in found[1:]), len(piece.words)]
        self.parts = [
            (kind, constraint, piece.part(number, end))
            for (number, kind, constraint), end in zip(found, ends[: len(found)], strict=True)
        ]
        self.definition = piece.source(0, found[0][0] if found else None)

    def without(self, kinds: Collection[str]) -> str:
        """The subcommand without its constraints of these ``kinds``."""
        kept = [part.source() for kind, _, part in self.parts if kind not in kinds]
        return " ".join((self.definition, *kept))

    def has(self, *kinds: str) -> bool:
        return any(kind in kinds for kind, *_ in self.parts)

    def text_of(self, kind: str) -> str:
        """The text of its constraint of ``kind``, without a name and its first word."""
        part = next(part for one, _, part in self.parts if one == kind)
        return part.source(3 if part.words[0] == "CONSTRAINT" else 1)

    def constraints(self) -> Iterator[Step]:
        """The constraints that are added later."""
        for kind, constraint, part in self.parts:
            if kind not in _LATER:
                continue
            named = part.words[0] == "CONSTRAINT"
            label = {"CONSTR_CHECK": "check", "CONSTR_UNIQUE": "key"}.get(kind, "pkey")
            columns = [] if label == "pkey" else [self.command.about.colname]
            given = default_name(self.command.table, columns, label)
            name = self.command.name(constraint.conname or given)
            if kind == "CONSTR_CHECK":
                yield from validated_steps(self.command, part.source(2 if named else 0), name)
                continue
            word = "UNIQUE" if kind == "CONSTR_UNIQUE" else "PRIMARY KEY"
            distinct = " NULLS NOT DISTINCT" if constraint.nulls_not_distinct else ""
            on = f"{self.command.relation} ({self.column}){distinct}"
            yield Step(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON {on};", Place.OUTSIDE)
            yield Step(f"{self.command.head} ADD CONSTRAINT {name} {word} USING INDEX {name};")


def fix_add_column(command: Subcommand, rules: Collection[str]) -> Replacement | None:
    if command.node.missing_ok:
        return None
    added = _NewColumn(command)
    reason = rewrites(command.about) if "PGDBM003" in rules else None
    later = {kind for kind, rule in _LATER.items() if rule in rules and added.has(kind)}
    if reason is None and not later:
        return None
    settled = {_LATER[kind] for kind in later}
    if reason is None:
        return Replacement([Step(f"{command.head} {added.without(later)};"), *added.constraints()], frozenset(settled))
    filled = _filled(command, added, set(_LATER))
    if filled is None:
        return None
    return Replacement([*filled, *added.constraints()], frozenset({"PGDBM003", *settled}))


def _filled(command: Subcommand, added: _NewColumn, later: set[str]) -> list[Step] | None:
    """The column without the part that rewrites the table, which is added afterwards; None if that is not possible."""
    key = _key_of(command)
    if key is None or added.has("CONSTR_GENERATED"):
        return None
    column, alter = added.column, f"{command.head} ALTER COLUMN {added.column}"
    fill = backfill_step(command.relation, key, _update(command, f"{column} = DEFAULT"), f"{column} IS NULL")
    never_null = list(set_not_null_steps(command, command.about.colname))
    kind = strings(command.about.type_name.names)[-1]
    without = added.without({*later, "CONSTR_DEFAULT", "CONSTR_IDENTITY", "CONSTR_NOTNULL"})
    add = Step(f"{command.head} {without};")
    if kind in _SERIALS:
        sequence = command.beside(default_name(command.table, [command.about.colname], "seq"))
        if sequence is None:
            return None
        return [
            Step(f"CREATE SEQUENCE {sequence} AS {_SERIALS[kind]};"),
            Step(f"{command.head} {_with_type(without, command, _SERIALS[kind])};"),
            Step(f"{alter} SET DEFAULT nextval('{sequence}'::regclass);"),
            Step(f"ALTER SEQUENCE {sequence} OWNED BY {command.relation}.{column};"),
            fill,
            *never_null,
        ]
    if added.has("CONSTR_IDENTITY"):
        sequence = command.beside(default_name(command.table, [command.about.colname], "fill"))
        if sequence is None:
            return None
        own = f"pg_get_serial_sequence('{command.relation}', '{command.about.colname}')"
        return [
            Step(f"CREATE SEQUENCE {sequence};"),
            add,
            Step(f"{alter} SET DEFAULT nextval('{sequence}'::regclass);"),
            fill,
            *never_null,
            Step(f"{alter} DROP DEFAULT;"),
            Step(f"{alter} ADD GENERATED {added.text_of('CONSTR_IDENTITY')};"),
            Step(f"SELECT setval({own}, nextval('{sequence}'));"),
            Step(f"DROP SEQUENCE {sequence};"),
        ]
    default = Step(f"{alter} SET DEFAULT {added.text_of('CONSTR_DEFAULT')};")
    required = added.has("CONSTR_NOTNULL", "CONSTR_PRIMARY")
    return [add, default, fill, *(never_null if required else [])]


def _key_of(command: Subcommand) -> list[str] | None:
    """The key that a backfill walks."""
    if command.facts is None or command.facts.key is None:
        return None
    return [command.name(column) for column in command.facts.key]


def _with_type(subcommand: str, command: Subcommand, kind: str) -> str:
    """``subcommand`` with the type ``kind`` instead of its own."""
    type_ = command.piece.at(command.text.offset(command.about.type_name.location))
    written = command.piece.source(type_, type_ + 1)
    head, _, rest = subcommand.partition(f" {written}")
    return f"{head} {kind}{rest}"


def fix_column_type(command: Subcommand, rules: Collection[str]) -> Replacement | None:
    key, facts = _key_of(command), command.facts
    column = command.node.name
    if "PGDBM005" not in rules or key is None or facts is None or column in facts.used:
        return None
    new = f"{column}_new"
    function = command.beside(default_name(command.table, [new], "copy"))
    if function is None:
        return None
    old_name, new_name, trigger = command.name(column), command.name(new), command.name(f"{new}_copy")
    value, copied = _value(command, old_name)
    body = f"BEGIN NEW.{new_name} := {copied}; RETURN NEW; END"
    kind = _type_of(command)
    default = facts.defaults.get(column)
    steps = [
        Step(f"{command.head} ADD COLUMN {new_name} {kind};"),
        Step(f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $copy$ {body} $copy$;"),
        Step(
            f"CREATE TRIGGER {trigger} BEFORE INSERT OR UPDATE ON {command.relation}"
            f" FOR EACH ROW EXECUTE FUNCTION {function}();"
        ),
        backfill_step(
            command.relation,
            key,
            _update(command, f"{new_name} = {value}"),
            f"{new_name} IS NULL AND {old_name} IS NOT NULL",
        ),
    ]
    if column in facts.not_null:
        steps += not_null_steps(command, [new], default_name(command.table, [new], "not_null_check"))
    steps += [
        Step(f"DROP TRIGGER {trigger} ON {command.relation};", Place.SAME if column in facts.not_null else Place.NEW),
        Step(f"DROP FUNCTION {function}();"),
        Step(f"{command.head} DROP COLUMN {old_name};"),
        Step(f"{command.head} RENAME COLUMN {new_name} TO {old_name};"),
    ]
    if default is not None:
        steps.append(Step(f"{command.head} ALTER COLUMN {old_name} SET DEFAULT {default};"))
    return Replacement(steps, frozenset({"PGDBM005"}), f"{column} becomes the last column of {command.table}.")


def _type_of(command: Subcommand) -> str:
    piece = command.piece
    begin = piece.words.index("TYPE") + 1
    return piece.source(begin, piece.find("USING", start=begin))


def _value(command: Subcommand, column: str) -> tuple[str, str]:
    """The new value, as in an UPDATE and as in a trigger."""
    using = command.piece.find("USING")
    if using is None:
        return column, f"NEW.{column}"
    value = command.piece.source(using + 1)
    return value, f"(SELECT {value} FROM (SELECT NEW.*) AS changed)"  # noqa: S608 - written into a file


def _update(command: Subcommand, change: str) -> str:
    return f"UPDATE {command.relation} SET {change}"  # noqa: S608 - the same
