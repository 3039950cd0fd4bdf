"""The checks of ``pgdbm db check``. Each has a verdict: ok, warn or fail."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import pgdbm

from ..errors import AsyncDBError, ConnectionError
from ..sql import statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .. import AsyncDatabaseManager
    from .context import CommandContext
    from .output import Output
    from .project import ModuleConfig

Verdict = Literal["ok", "warn", "fail"]


class Checks:
    """Runs checks, prints each verdict, and collects them for JSON."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self.results: list[dict[str, Any]] = []

    @property
    def status(self) -> Verdict:
        """The worst verdict."""
        verdicts = {result["verdict"] for result in self.results}
        return "fail" if "fail" in verdicts else "warn" if "warn" in verdicts else "ok"

    async def run(self, context: CommandContext, modules: Sequence[ModuleConfig], long_transactions: float) -> None:
        """Run all checks. If connecting fails, the others are skipped."""
        started = time.perf_counter()
        try:
            async with context.pool() as pool:
                db = pgdbm.AsyncDatabaseManager(pool=pool)
                version = await db.fetch_value("SELECT pg_catalog.current_setting('server_version')")
                milliseconds = (time.perf_counter() - started) * 1000
                self._add("connect", "ok", f"PostgreSQL {version}, {milliseconds:.0f} ms")
                await self._check_writable(db)
                await self._check_pooler(db, pooler=context.project.pooler)
                await self._check_privileges(db, modules)
                for module in modules:
                    await self._check_module(context, module, pool)
                await self._check_long_transactions(db, long_transactions)
        except ConnectionError as error:
            self._add("connect", "fail", error.message.replace("\n", " "))

    async def _check_writable(self, db: AsyncDatabaseManager) -> None:
        if await db.fetch_value(statement("database", "read_only")):
            self._add("writable", "fail", "read-only: a standby, or default_transaction_read_only is on")
        else:
            self._add("writable", "ok", "accepts writes")

    async def _check_pooler(self, db: AsyncDatabaseManager, *, pooler: bool) -> None:
        from ..core.connection import is_pooled

        async with db.acquire() as connection:
            pooled = await is_pooled(connection)
        if not pooled:
            self._add("pooler", "ok", "direct connection")
        elif pooler:
            self._add("pooler", "ok", "pooler, as configured")
        else:
            self._add(
                "pooler",
                "warn",
                "connected through a pooler: use a direct URL, or set pooler = true under [database]",
            )

    async def _check_privileges(self, db: AsyncDatabaseManager, modules: Sequence[ModuleConfig]) -> None:
        from ..core.templating import quote

        missing = []
        # Without a configured module, commands migrate the schema public.
        for schema in dict.fromkeys(module.schema for module in modules) or ("public",):
            found = await db.fetch_one(statement("database", "may_create_in"), schema)
            if found is None:
                missing.append(schema)
                continue
            lacking = [name for name, column in (("CREATE", "may_create"), ("USAGE", "may_use")) if not found[column]]
            if lacking:
                grant = f"GRANT {', '.join(lacking)} ON SCHEMA {quote(schema)} TO {quote(found['user'])}"
                self._add("privileges", "fail", f"may not create objects in schema {schema}: {grant}")
            else:
                self._add("privileges", "ok", f"may create objects in schema {schema}")
        if await db.fetch_value(statement("database", "may_create_schemas")):
            self._add("privileges", "ok", "may create schemas")
        elif missing:
            self._add("privileges", "fail", f"may not create schemas, and {', '.join(missing)} does not exist")
        else:
            self._add("privileges", "ok", "may not create schemas; all of them exist")

    async def _check_module(self, context: CommandContext, module: ModuleConfig, pool: Any) -> None:
        name = f"module {module.name}"
        try:
            status = await context.migrations(module, pool).status()
            counts = status.counts
        except AsyncDBError as error:
            self._add(name, "fail", error.message.split("\n")[0])
            return
        summary = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in counts.items() if count)
        refused = counts["changed"] or counts["out_of_order"]
        verdict: Verdict = "fail" if refused else "warn" if status.pending or counts["missing"] else "ok"
        self._add(name, verdict, summary or "no migrations")

    async def _check_long_transactions(self, db: AsyncDatabaseManager, threshold: float) -> None:
        rows = await db.fetch_all(statement("database", "long_transactions"), threshold)
        if not rows:
            self._add("transactions", "ok", f"none is older than {threshold:g} s")
        for row in rows:
            who = row["application_name"] or "no application name"
            self._add(
                "transactions",
                "warn",
                f"pid {row['pid']} ({who}, user {row['user']}, {row['state']}) has had a transaction open for "
                f"{row['seconds']:.0f} s: migrations may have to wait for it",
            )

    def _add(self, check: str, verdict: Verdict, message: str) -> None:
        self.results.append({"check": check, "verdict": verdict, "message": message})
        # Padded before it is colored: escape codes have no width.
        self._output.line(f"{self._output.verdict(verdict)}{' ' * (6 - len(verdict))}{check}: {message}")
