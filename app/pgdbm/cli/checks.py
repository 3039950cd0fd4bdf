"""The checks of ``pgdbm db check``, each with a verdict: ok, warn or fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from . import catalog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .. import AsyncDatabaseManager
    from .config import Module
    from .output import Output
    from .session import Session

Verdict = Literal["ok", "warn", "fail"]


class Checks:
    """Runs checks, prints each verdict as it comes, and keeps them for the JSON."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self.results: list[dict[str, Any]] = []

    @property
    def status(self) -> Verdict:
        """The worst verdict."""
        verdicts = {result["verdict"] for result in self.results}
        return "fail" if "fail" in verdicts else "warn" if "warn" in verdicts else "ok"

    async def run(self, session: Session, modules: Sequence[Module], long_transactions: float) -> None:
        """Every check; the others are left out when the first, connecting, fails."""
        import time

        from .. import AsyncDatabaseManager, ConnectionError

        began = time.perf_counter()
        try:
            async with session.pool() as pool:
                db = AsyncDatabaseManager(pool=pool)
                version = await db.fetch_value("SELECT pg_catalog.current_setting('server_version')")
                milliseconds = (time.perf_counter() - began) * 1000
                self._add("connect", "ok", f"PostgreSQL {version}, {milliseconds:.0f} ms")
                await self._check_writable(db)
                await self._check_pooler(db, pooler=session.project.pooler)
                await self._check_privileges(db, modules)
                for module in modules:
                    await self._check_module(session, module, pool)
                await self._check_long_transactions(db, long_transactions)
        except ConnectionError as error:
            self._add("connect", "fail", error.message.replace("\n", " "))

    async def _check_writable(self, db: AsyncDatabaseManager) -> None:
        if await db.fetch_value(catalog.READ_ONLY):
            self._add("writable", "fail", "read only: a standby, or default_transaction_read_only is on")
        else:
            self._add("writable", "ok", "takes writes")

    async def _check_pooler(self, db: AsyncDatabaseManager, *, pooler: bool) -> None:
        async with db.acquire() as connection:
            announced, actual = connection.get_server_pid(), await connection.fetchval(catalog.BACKEND)
        if announced == actual:
            self._add("pooler", "ok", "a direct connection")
        elif pooler:
            self._add("pooler", "ok", "a transaction pooler, as configured")
        else:
            self._add(
                "pooler",
                "warn",
                "a transaction pooler is in between: use a direct URL, or set pooler = true under [database]",
            )

    async def _check_privileges(self, db: AsyncDatabaseManager, modules: Sequence[Module]) -> None:
        may_create_schemas = await db.fetch_value(catalog.MAY_CREATE_SCHEMAS)
        missing = []
        for schema in dict.fromkeys(module.schema for module in modules):
            may_create = await db.fetch_value(catalog.MAY_CREATE_IN, schema)
            if may_create is None:
                missing.append(schema)
            elif may_create:
                self._add("privileges", "ok", f"may create in schema {schema}")
            else:
                self._add("privileges", "fail", f"may not create in schema {schema}: GRANT CREATE, USAGE ON SCHEMA")
        if may_create_schemas:
            self._add("privileges", "ok", "may create schemas")
        elif missing:
            self._add("privileges", "fail", f"may not create schemas, and {', '.join(missing)} is not there")
        else:
            self._add("privileges", "ok" if modules else "warn", "may not create schemas")

    async def _check_module(self, session: Session, module: Module, pool: Any) -> None:
        from .. import AsyncDBError

        name = f"module {module.name}"
        try:
            status = await session.migrations(module, pool).status()
            counts = status.counts
        except AsyncDBError as error:
            self._add(name, "fail", error.message.split("\n")[0])
            return
        told = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in counts.items() if count)
        refused = counts["changed"] or counts["out_of_order"]
        verdict: Verdict = "fail" if refused else "warn" if status.pending or counts["missing"] else "ok"
        self._add(name, verdict, told or "no migrations")

    async def _check_long_transactions(self, db: AsyncDatabaseManager, threshold: float) -> None:
        rows = await db.fetch_all(catalog.LONG_TRANSACTIONS, threshold)
        if not rows:
            self._add("transactions", "ok", f"none is older than {threshold:g} s")
        for row in rows:
            who = row["application_name"] or "no application name"
            self._add(
                "transactions",
                "warn",
                f"pid {row['pid']} ({who}, user {row['user']}) is {row['state']} in a transaction for "
                f"{row['seconds']:.0f} s: migrations may have to wait for it",
            )

    def _add(self, check: str, verdict: Verdict, message: str) -> None:
        self.results.append({"check": check, "verdict": verdict, "message": message})
        # Padded before it is coloured: escape codes have no width.
        self._output.line(f"{self._output.verdict(verdict)}{' ' * (6 - len(verdict))}{check}: {message}")
