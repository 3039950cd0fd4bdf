"""Where modules stand in their schemas: looked up while there are few of them, else from the service's own tables.

The histories stay the truth. ``refresh`` is called after each migration of the service; ``reconcile`` finds what
others have done, in the background.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from pgdbm.migrations.fanout import expression_of
from pgdbm.migrations.files import order_of, version_of

from .history_shapes import IN_STATEMENT, NOTHING, HistoryShapes, Shape, Standing, standing_of
from .history_tables import are_few_histories, modules_in_history, schemas_with_history
from .own_schema import OWN_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from pgdbm.core.queries import Queries
    from pgdbm.migrations import Migration

    from .database import Database
    from .history_shapes import Place
    from .registry import Module
    from .structs import Policy

FEW = IN_STATEMENT
"""Up to so many schemas are looked at each time that they are asked for: one statement does it."""

_LIKE = f"nspname ~ $1 AND nspname !~ '^pg_' AND nspname NOT IN ('{OWN_SCHEMA}', 'information_schema')"
_SCHEMAS_LIKE = f"SELECT nspname AS schema FROM pg_catalog.pg_namespace WHERE {_LIKE} ORDER BY nspname LIMIT $2"  # noqa: S608
_WANTED = f"""
WITH wanted AS (
    SELECT nspname::text COLLATE "C" AS schema FROM pg_catalog.pg_namespace WHERE {_LIKE}
    UNION ALL SELECT name COLLATE "C" FROM pg_catalog.unnest($2::text[]) AS name
)
"""  # noqa: S608
# Grouped and not joined: the planner has no idea how many schemas match, and would look each of them up.
_PLACED = f"""{_WANTED}
, placed AS (
    SELECT schema, pg_catalog.max(fingerprint) AS fingerprint, pg_catalog.max(checked_at) AS checked_at,
           pg_catalog.max(last_run) AS last_run
    FROM (SELECT schema, true AS is_wanted, NULL AS fingerprint, NULL::timestamptz AS checked_at, NULL AS last_run
          FROM wanted
          UNION ALL
          SELECT schema, false, fingerprint, checked_at, last_run
          FROM {{{{tables.schema_summaries}}}} WHERE module = $3) AS either
    GROUP BY schema HAVING pg_catalog.bool_or(is_wanted)
)
"""  # noqa: S608
_COUNTS = f"{_PLACED} SELECT fingerprint, pg_catalog.count(*) AS schemas FROM placed GROUP BY fingerprint"  # noqa: S608
_PAGE = f"""{_PLACED}
SELECT schema, fingerprint, checked_at, last_run FROM placed
WHERE schema > $4 AND ($5::text[] IS NULL OR COALESCE(fingerprint, '') = ANY ($5))
ORDER BY schema LIMIT $6
"""  # noqa: S608
_RUNS = "SELECT schema, last_run FROM {{tables.schema_summaries}} WHERE module = $1 AND schema = ANY ($2::text[])"
_LAST_RUNS = "SELECT module, run FROM {{tables.last_runs}} WHERE module = ANY ($1::text[])"
_KEEP_SHAPES = """
INSERT INTO {{tables.history_shapes}} SELECT * FROM unnest($1::text[], $2::text[]::jsonb[]) ORDER BY 1
ON CONFLICT DO NOTHING
"""
_KEEP = """
INSERT INTO {{tables.schema_summaries}} AS s (module, schema, fingerprint, last_run)
SELECT *, $4 FROM unnest($1::text[], $2::text[], $3::text[]) ORDER BY 1, 2
ON CONFLICT (module, schema) DO UPDATE
SET fingerprint = EXCLUDED.fingerprint, checked_at = now(), last_run = COALESCE(EXCLUDED.last_run, s.last_run)
"""
_KEEP_RUN = """
INSERT INTO {{tables.last_runs}} (module, run) VALUES ($1, $2) ON CONFLICT (module) DO UPDATE SET run = EXCLUDED.run
"""
_SHAPES = "SELECT fingerprint, shape FROM {{tables.history_shapes}} WHERE fingerprint = ANY ($1::text[])"
_OF_MODULES = """
SELECT module, fingerprint, pg_catalog.min(schema) AS schema, pg_catalog.count(*) AS schemas
FROM {{tables.schema_summaries}}
WHERE ($1::text IS NULL OR module = $1) AND module <> ALL ($2::text[])
GROUP BY 1, 2 ORDER BY 1, 3
"""
_BEGIN_RECONCILIATION = """
UPDATE {{tables.reconciliation}} SET began_at = now()
WHERE began_at < now() - pg_catalog.make_interval(secs => $1) RETURNING began_at
"""
_END_RECONCILIATION = "UPDATE {{tables.reconciliation}} SET ended_at = pg_catalog.now()"
_EVER_RECONCILED = "SELECT ended_at IS NOT NULL FROM {{tables.reconciliation}}"
_SCHEMAS_OF_SHAPES = """
SELECT schema FROM {{tables.schema_summaries}} WHERE module = $1 AND fingerprint = ANY ($2::text[])
"""
_FORGET = "DELETE FROM {{tables.schema_summaries}} WHERE checked_at < $1"


class SchemaStanding(msgspec.Struct, kw_only=True):
    """Where a module stands in one schema, as it was at ``checked_at``; None where nobody has looked yet."""

    schema: str
    standing: Standing
    checked_at: datetime | None
    last_run: str | None


class ModuleShapes(msgspec.Struct, kw_only=True):
    """How many schemas of a module have which shape, and the run that last migrated it."""

    counts: dict[Shape, int]
    last_run: str | None = None

    def standings(self, migrations: Sequence[Migration], policy: Policy) -> list[tuple[Standing, int]]:
        """Where a module with these files stands, in how many schemas.

        Raises:
            MigrationFileError: a pending file has the version of another.
        """
        return [(standing_of(shape, migrations, policy), count) for shape, count in self.counts.items()]


class HistoryOnly(msgspec.Struct, kw_only=True):
    """A module that stands in history tables only; ``schema`` is the first of its ``schemas``."""

    name: str
    schema: str
    schemas: int
    applied: int
    version: str


class Summaries:
    """Reads what it is asked for; ``refresh`` and ``reconcile`` write."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._shapes = HistoryShapes()

    async def refresh(self, module: Module, schemas: Collection[str], run: str | None = None) -> None:
        """Look at ``module`` in ``schemas`` and keep what is there; ``run`` is the run that migrated them."""
        await self._keep([(module.name, schema) for schema in schemas], run)
        if run is not None:
            await self._own.execute(_KEEP_RUN, module.name, run)

    async def schemas(self, module: Module, limit: int | None = None) -> list[str]:
        """The schemas that ``module`` is for, in the order in which they are migrated; ``limit`` of a pattern's."""
        if module.pattern is None:
            return list(module.schemas or ())
        rows = await self._database.manager().fetch_all(_SCHEMAS_LIKE, expression_of(module.pattern), limit)
        return [row["schema"] for row in rows]

    async def shapes(self, modules: Sequence[Module]) -> list[ModuleShapes]:
        """What the histories say of each of ``modules`` in all of its schemas."""
        few = [await self._few(module) for module in modules]
        places = [
            (module.name, schema) for module, schemas in zip(modules, few, strict=True) for schema in schemas or ()
        ]
        seen = await self._shapes.look(self._database.manager(), places)
        names = [module.name for module in modules]
        runs = {row["module"]: row["run"] for row in await self._own.fetch_all(_LAST_RUNS, names)}
        found = []
        for module, schemas in zip(modules, few, strict=True):
            if schemas is None:
                counts = await self._counts(module)
            else:
                counts = Counter(seen[module.name, schema] for schema in schemas)
            found.append(ModuleShapes(counts=counts, last_run=runs.get(module.name)))
        return found

    async def page(
        self, module: Module, migrations: Sequence[Migration], *, state: str | None, after: str, limit: int
    ) -> list[SchemaStanding]:
        """Up to ``limit`` schemas of ``module`` behind ``after``, by name, of those in ``state``."""
        few = await self._few(module)
        if few is not None:
            return await self._page_of_few(module, migrations, sorted(few), state, after, limit)
        standings = {
            shape.fingerprint: standing_of(shape, migrations, module.out_of_order)
            for shape in (await self._counts(module)) | {NOTHING: 0}
        }
        chosen = [one for one, standing in standings.items() if state in (None, standing.state)]
        if NOTHING.fingerprint in chosen:
            chosen.append("")
        rows = await self._own.fetch_all(_PAGE, *_wanted(module), module.name, after, chosen, limit)
        return [
            SchemaStanding(
                schema=row["schema"],
                standing=standings[row["fingerprint"] or NOTHING.fingerprint],
                checked_at=row["checked_at"],
                last_run=row["last_run"],
            )
            for row in rows
        ]

    async def shapes_of(self, module: str) -> dict[Shape, str]:
        """What the histories say of ``module``, each with the name of a schema in which it is so."""
        db = self._database.manager()
        # In the first moments of a service, summaries may miss what is there.
        if not await are_few_histories(db, FEW) and await self._own.fetch_value(_EVER_RECONCILED):
            rows = await self._own.fetch_all(_OF_MODULES, module, [])
            shapes = await self._resolve(row["fingerprint"] for row in rows)
            return {shapes[row["fingerprint"]]: row["schema"] for row in rows}
        looked = await self._shapes.look(db, [(module, schema) for schema in await schemas_with_history(db)])
        return {shape: schema for (_, schema), shape in reversed(looked.items())}

    async def look_again(self, module: str, shapes: Iterable[Shape]) -> None:
        """Compare with the histories the schemas of ``module`` that are kept as having one of ``shapes``."""
        rows = await self._own.fetch_all(_SCHEMAS_OF_SHAPES, module, [shape.fingerprint for shape in shapes])
        await self._keep([(module, row["schema"]) for row in rows])

    async def only_in_histories(self, registered: Collection[str], name: str | None = None) -> list[HistoryOnly]:
        """The modules, by name, that stand in history tables and are not ``registered``; only ``name``, if given."""
        if await are_few_histories(self._database.manager(), FEW):
            found = [
                HistoryOnly(
                    name=one.name,
                    schema=one.schema,
                    schemas=1,
                    applied=one.applied,
                    version=version_of(one.last_filename),
                )
                for one in await modules_in_history(self._database.manager())
                if one.name not in registered and name in (None, one.name)
            ]
        else:
            rows = await self._own.fetch_all(_OF_MODULES, name, list(registered))
            shapes = await self._resolve(row["fingerprint"] for row in rows)
            found = [
                HistoryOnly(
                    name=row["module"],
                    schema=row["schema"],
                    schemas=row["schemas"],
                    applied=len(applied) * row["schemas"],
                    version=version_of(max(applied, key=order_of)),
                )
                for row in rows
                if (applied := [filename for filename, _ in shapes[row["fingerprint"]].applied])
            ]
        return _by_name(found)

    async def reconcile(self, modules: Iterable[Module], every_s: float) -> bool:
        """Compare all summaries with the histories, unless some replica did within ``every_s``.

        A hundred schemas at a time, so that it holds no connection for long.
        """
        if await self._own.fetch_value(_BEGIN_RECONCILIATION, every_s) is None:
            return False
        began_at = await self._own.fetch_value("SELECT pg_catalog.now()")
        db = self._database.manager()
        tables = await schemas_with_history(db)
        seen: set[Place] = set()
        for start in range(0, len(tables), IN_STATEMENT):
            found = await modules_in_history(db, tables[start : start + IN_STATEMENT])
            seen |= await self._keep([(one.name, one.schema) for one in found])
        for module in modules:
            if module.problem is None:
                places = [(module.name, schema) for schema in await self.schemas(module)]
                await self._keep([place for place in places if place not in seen])
        await self._own.execute(_FORGET, began_at)
        await self._own.execute(_END_RECONCILIATION)
        return True

    @property
    def _own(self) -> Queries:
        return self._database.manager(OWN_SCHEMA)

    async def _keep(self, places: Sequence[Place], run: str | None = None) -> set[Place]:
        for start in range(0, len(places), IN_STATEMENT):
            shapes = await self._shapes.look(self._database.manager(), places[start : start + IN_STATEMENT])
            distinct = {shape.fingerprint: msgspec.json.encode(shape).decode() for shape in shapes.values()}
            async with self._database.manager(OWN_SCHEMA).transaction() as tx:
                await tx.execute(_KEEP_SHAPES, list(distinct), list(distinct.values()))
                await tx.execute(
                    _KEEP,
                    [module for module, _ in shapes],
                    [schema for _, schema in shapes],
                    [shape.fingerprint for shape in shapes.values()],
                    run,
                )
        return set(places)

    async def _page_of_few(
        self,
        module: Module,
        migrations: Sequence[Migration],
        schemas: Sequence[str],
        state: str | None,
        after: str,
        limit: int,
    ) -> list[SchemaStanding]:
        shapes = await self._shapes.look(self._database.manager(), [(module.name, schema) for schema in schemas])
        runs = {row["schema"]: row["last_run"] for row in await self._own.fetch_all(_RUNS, module.name, list(schemas))}
        now = datetime.now(UTC)
        found = [
            SchemaStanding(
                schema=schema,
                standing=standing_of(shape, migrations, module.out_of_order),
                checked_at=now,
                last_run=runs.get(schema),
            )
            for (_, schema), shape in shapes.items()
        ]
        return sorted(
            (one for one in found if one.schema > after and state in (None, one.standing.state)),
            key=lambda one: one.schema,
        )[:limit]

    async def _few(self, module: Module) -> list[str] | None:
        """The schemas of ``module``; None if they are many."""
        schemas = await self.schemas(module, FEW + 1)
        return schemas if len(schemas) <= FEW else None

    async def _counts(self, module: Module) -> dict[Shape, int]:
        """How many schemas have which shape. One that nobody has looked at yet counts as one without a history."""
        rows = await self._own.fetch_all(_COUNTS, *_wanted(module), module.name)
        shapes = await self._resolve(row["fingerprint"] or NOTHING.fingerprint for row in rows)
        counts: Counter[Shape] = Counter()
        for row in rows:
            counts[shapes[row["fingerprint"] or NOTHING.fingerprint]] += row["schemas"]
        return counts

    async def _resolve(self, fingerprints: Iterable[str]) -> dict[str, Shape]:
        wanted = set(fingerprints)
        found = {one: shape for one in wanted if (shape := self._shapes.known(one)) is not None}
        unknown = list(wanted - found.keys())
        if unknown:
            for row in await self._own.fetch_all(_SHAPES, unknown):
                found[row["fingerprint"]] = self._shapes.know(msgspec.json.decode(row["shape"], type=Shape))
        return found


def _wanted(module: Module) -> tuple[Any, list[str]]:
    """The first two parameters of what joins with the schemas of ``module``."""
    if module.pattern is not None:
        return expression_of(module.pattern), []
    return None, list(module.schemas or ())


def _by_name(found: Sequence[HistoryOnly]) -> list[HistoryOnly]:
    modules: dict[str, HistoryOnly] = {}
    for one in found:
        first = modules.setdefault(one.name, one)
        if first is not one:
            modules[one.name] = HistoryOnly(
                name=one.name,
                schema=first.schema,
                schemas=first.schemas + one.schemas,
                applied=first.applied + one.applied,
                version=max(first.version, one.version, key=lambda version: order_of(f"{version}_")),
            )
    return [modules[name] for name in sorted(modules)]
