"""The states of modules in their schemas: read from the histories if there are few schemas, otherwise from summaries.

The histories remain authoritative. ``refresh`` is called after each migration by the service; ``reconcile`` finds in
the background what other programs have changed.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from pgdbm.core.pool import without_reset
from pgdbm.migrations.multi_schema import expression_of
from pgdbm.migrations.sources.names import order_of, version_of

from ..database.rows import reading_rows
from ..database.service_schema import SERVICE_SCHEMA
from ..database.sql import statement
from .applied_sets import NOT_NOW, NOTHING, AppliedSet, AppliedSets, SchemaState, state_of
from .history_tables import IN_STATEMENT, chunks, has_few_histories, modules_in_history, schemas_with_history

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from pgdbm.core.queries import Queries
    from pgdbm.migrations import Migration
    from pgdbm.migrations.results import OutOfOrder

    from ..database.pool import Database
    from ..registry.modules import Module
    from .module_databases import ModuleDatabases, ModuleSchema

FEW = IN_STATEMENT
"""The histories of up to this many schemas are read for each request, with one statement."""

_sql = partial(statement, "summaries")
_LIKE = _sql("like")
_PLACED = _sql("placed", like=_LIKE)


class ModuleInSchema(msgspec.Struct, kw_only=True):
    """A module in one schema, as it was at ``checked_at``; None: not checked yet."""

    schema: str
    state: SchemaState
    checked_at: datetime | None
    last_run: str | None


class AppliedSetCounts(msgspec.Struct, kw_only=True):
    """The number of a module's schemas by applied set, and the run that last migrated it."""

    counts: dict[AppliedSet, int]
    last_run: str | None = None

    def states(self, migrations: Sequence[Migration], out_of_order: OutOfOrder) -> list[tuple[SchemaState, int]]:
        """The states of a module with these files, each with its number of schemas.

        Raises:
            MigrationFileError: a pending file has the version of another.
        """
        return [(state_of(applied_set, migrations, out_of_order), count) for applied_set, count in self.counts.items()]


class UnregisteredModule(msgspec.Struct, kw_only=True):
    """A module that exists only in history tables; ``schema`` is the first of its ``schemas``."""

    name: str
    schema: str
    schemas: int
    applied: int
    version: str


class Summaries:
    """The owner of the tables of summaries. ``refresh``, ``recheck`` and ``reconcile`` write, the others read."""

    def __init__(self, database: Database, databases: ModuleDatabases) -> None:
        self._database = database
        self._databases = databases
        self._sets = AppliedSets()

    async def refresh(self, module: Module, schemas: Collection[str], run: str | None = None) -> None:
        """Summarize ``module`` in ``schemas``; ``run`` is the run that migrated them."""
        with without_reset():
            await self._keep([(module.name, schema) for schema in schemas], run)

    async def schemas(self, module: Module, limit: int | None = None) -> list[str]:
        """The schemas of ``module``, in the order in which they are migrated; for a pattern, at most ``limit``."""
        if module.pattern is None:
            return list(module.schemas or ())
        query = _sql("schemas_like", like=_LIKE)
        found: list[str] = await self._database.manager().fetch_value(query, expression_of(module.pattern), limit)
        return found

    async def counts(self, modules: Sequence[Module]) -> list[AppliedSetCounts]:
        """What is applied of each of ``modules``, in all of its schemas."""
        few = [await self._few(module) for module in modules]
        keys = [(module.name, schema) for module, schemas in zip(modules, few, strict=True) for schema in schemas or ()]
        applied_sets = await self._sets.read(self._databases, keys)
        names = [module.name for module in modules]
        rows = await self._own.fetch_all(_sql("last_runs"), names)
        with reading_rows():
            runs = {row["module"]: row["run"] for row in rows}
        found = []
        for module, schemas in zip(modules, few, strict=True):
            if schemas is None:
                counts = await self._summarized(module)
            else:
                counts = Counter(applied_sets[module.name, schema] for schema in schemas)
            found.append(AppliedSetCounts(counts=counts, last_run=runs.get(module.name)))
        return found

    async def page(
        self, module: Module, migrations: Sequence[Migration], *, state: str | None, after: str, limit: int
    ) -> list[ModuleInSchema]:
        """Up to ``limit`` schemas of ``module`` after ``after``, by name; with ``state``, only those in this state."""
        few = await self._few(module)
        if few is not None:
            return await self._page_of_few(module, migrations, sorted(few), state, after, limit)
        states = {
            applied_set.digest: state_of(applied_set, migrations, module.out_of_order)
            for applied_set in (await self._summarized(module)) | {NOTHING: 0}
        }
        chosen = [digest for digest, one in states.items() if state in (None, one.state)]
        if NOTHING.digest in chosen:
            chosen.append("")
        query = _sql("page", placed=_PLACED)
        rows = await self._own.fetch_all(query, *_wanted(module), module.name, after, chosen, limit)
        return [
            ModuleInSchema(
                schema=row["schema"],
                state=states[row["digest"] or NOTHING.digest],
                checked_at=row["checked_at"],
                last_run=row["last_run"],
            )
            for row in rows
        ]

    async def applied_sets_of(self, module: str) -> dict[AppliedSet, str]:
        """The distinct applied sets of ``module``, each with the name of a schema that has it."""
        reader = self._databases.reader(module)
        # Before the first reconciliation, summaries may be missing.
        if not await has_few_histories(reader, FEW) and await self._own.fetch_value(_sql("was_reconciled")):
            rows = await self._own.fetch_all(_sql("by_module"), module, [])
            applied_sets = await self._resolve(row["digest"] for row in rows)
            return {applied_sets[row["digest"]]: row["schema"] for row in rows}
        schemas = await schemas_with_history(reader)
        found = await self._sets.read(self._databases, [(module, schema) for schema in schemas])
        return {applied_set: schema for (_, schema), applied_set in reversed(found.items())}

    async def recheck(self, module: str, applied_sets: Iterable[AppliedSet]) -> None:
        """Summarize ``module`` again in the schemas whose summary is one of ``applied_sets``."""
        digests = [applied_set.digest for applied_set in applied_sets]
        rows = await self._own.fetch_all(_sql("schemas_with"), module, digests)
        await self._keep([(module, row["schema"]) for row in rows])

    async def unregistered(self, registered: Collection[str], name: str | None = None) -> list[UnregisteredModule]:
        """The modules in history tables, by name, that are not ``registered``; only ``name``, if given."""
        everywhere = self._databases.everywhere
        if await has_few_histories(everywhere, FEW):
            found = [
                UnregisteredModule(
                    name=one.name,
                    schema=one.schema,
                    schemas=1,
                    applied=one.applied,
                    version=version_of(one.last_filename),
                )
                for one in await modules_in_history(everywhere)
                if one.name not in registered and name in (None, one.name)
            ]
        else:
            rows = await self._own.fetch_all(_sql("by_module"), name, list(registered))
            applied_sets = await self._resolve(row["digest"] for row in rows)
            found = [
                UnregisteredModule(
                    name=row["module"],
                    schema=row["schema"],
                    schemas=row["schemas"],
                    applied=len(applied) * row["schemas"],
                    version=version_of(max(applied, key=order_of)),
                )
                for row in rows
                if (applied := [filename for filename, _ in applied_sets[row["digest"]].applied])
            ]
        return _by_name(found)

    async def reconcile(self, modules: Iterable[Module], every_s: float) -> bool:
        """Compare all summaries with the histories, unless a replica started doing so within ``every_s``.

        A hundred schemas at a time: no connection is held for long.
        """
        started_at = await self._own.fetch_value(_sql("start_reconciliation"), every_s)
        if started_at is None:
            return False
        everywhere = self._databases.everywhere
        checked: set[ModuleSchema] = set()
        for some in chunks(await schemas_with_history(everywhere)):
            keys = [(one.name, one.schema) for one in await modules_in_history(everywhere, some)]
            await self._keep(keys)
            checked.update(keys)
        for module in modules:
            if module.problem is None:
                keys = [(module.name, schema) for schema in await self.schemas(module)]
                await self._keep([key for key in keys if key not in checked])
        await self._own.execute(_sql("end_reconciliation"), started_at)
        return True

    @property
    def _own(self) -> Queries:
        return self._database.manager(SERVICE_SCHEMA)

    async def _keep(self, keys: Sequence[ModuleSchema], run: str | None = None) -> None:
        for some in chunks(keys):
            # The summary of a run is read after its migrations, so it is newer than all earlier reads.
            read_at = None if run is not None else await self._own.fetch_value(_sql("now"))
            found = await self._sets.read(self._databases, some, are_new=run is not None and len(some) == 1)
            found = {key: one for key, one in found.items() if one not in NOT_NOW}
            contents = {one.digest: msgspec.json.encode(one).decode() for one in found.values()}
            await self._own.execute(
                _sql("keep"),
                [module for module, _ in found],
                [schema for _, schema in found],
                [applied_set.digest for applied_set in found.values()],
                run,
                read_at,
                list(contents),
                list(contents.values()),
                None if run is None else keys[0][0],
            )

    async def _page_of_few(
        self,
        module: Module,
        migrations: Sequence[Migration],
        schemas: Sequence[str],
        state: str | None,
        after: str,
        limit: int,
    ) -> list[ModuleInSchema]:
        applied_sets = await self._sets.read(self._databases, [(module.name, schema) for schema in schemas])
        rows = await self._own.fetch_all(_sql("last_runs_in"), module.name, list(schemas))
        runs = {row["schema"]: row["last_run"] for row in rows}
        now = datetime.now(UTC)
        found = [
            ModuleInSchema(
                schema=schema,
                state=state_of(applied_set, migrations, module.out_of_order),
                checked_at=now,
                last_run=runs.get(schema),
            )
            for (_, schema), applied_set in applied_sets.items()
        ]
        return sorted(
            (one for one in found if one.schema > after and state in (None, one.state.state)),
            key=lambda one: one.schema,
        )[:limit]

    async def _few(self, module: Module) -> list[str] | None:
        """The schemas of ``module``; None if there are many."""
        schemas = await self.schemas(module, FEW + 1)
        return schemas if len(schemas) <= FEW else None

    async def _summarized(self, module: Module) -> dict[AppliedSet, int]:
        """The number of schemas by applied set; nothing is applied in schemas that were not checked yet."""
        rows = await self._own.fetch_all(_sql("count", placed=_PLACED), *_wanted(module), module.name)
        applied_sets = await self._resolve(row["digest"] or NOTHING.digest for row in rows)
        counts: Counter[AppliedSet] = Counter()
        for row in rows:
            counts[applied_sets[row["digest"] or NOTHING.digest]] += row["schemas"]
        return counts

    async def _resolve(self, digests: Iterable[str]) -> dict[str, AppliedSet]:
        wanted = set(digests)
        found = {digest: one for digest in wanted if (one := self._sets.kept(digest)) is not None}
        unknown = list(wanted - found.keys())
        if unknown:
            for row in await self._own.fetch_all(_sql("applied_sets"), unknown):
                found[row["digest"]] = self._sets.keep(msgspec.json.decode(row["content"], type=AppliedSet))
        return found


def _wanted(module: Module) -> tuple[Any, list[str]]:
    """The parameters $1 and $2 of statements with ``placed``."""
    if module.pattern is not None:
        return expression_of(module.pattern), []
    return None, list(module.schemas or ())


def _by_name(found: Sequence[UnregisteredModule]) -> list[UnregisteredModule]:
    modules: dict[str, UnregisteredModule] = {}
    for one in found:
        first = modules.setdefault(one.name, one)
        if first is not one:
            modules[one.name] = UnregisteredModule(
                name=one.name,
                schema=first.schema,
                schemas=first.schemas + one.schemas,
                applied=first.applied + one.applied,
                version=max(first.version, one.version, key=lambda version: order_of(f"{version}_")),
            )
    return [modules[name] for name in sorted(modules)]
