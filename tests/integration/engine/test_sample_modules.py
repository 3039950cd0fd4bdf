"""The sample modules of ``migrations_repo`` apply in dependency order, and their tables work."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager

from ...conftest import ROOT

if TYPE_CHECKING:
    import asyncpg

REPO = ROOT / "migrations_repo"
MODULES = ("identity", "catalog", "orders")


async def apply_all(pool: asyncpg.Pool[Any]) -> dict[str, dict[str, Any]]:
    return {
        module: await AsyncMigrationManager(
            AsyncDatabaseManager(pool=pool, schema=module), REPO / module, module, out_of_order="reject"
        ).apply_pending_migrations()
        for module in MODULES
    }


async def test_the_sample_modules_apply_and_are_up_to_date(pool: asyncpg.Pool[Any]) -> None:
    first = await apply_all(pool)
    assert {result["status"] for result in first.values()} == {"success"}
    assert sum(len(result["applied"]) for result in first.values()) >= 20
    assert {result["status"] for result in (await apply_all(pool)).values()} == {"up_to_date"}
    invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
    unvalidated = "SELECT count(*) FROM pg_constraint WHERE NOT convalidated"
    assert await pool.fetchval(invalid) == 0
    assert await pool.fetchval(unvalidated) == 0


async def test_the_tables_of_the_sample_modules_work(pool: asyncpg.Pool[Any]) -> None:
    await apply_all(pool)
    kinds = {
        row["relkind"].decode(): row["count"]
        for row in await pool.fetch(
            "SELECT relkind, count(*) FROM pg_class WHERE relnamespace::regnamespace::text = ANY ($1) GROUP BY 1",
            list(MODULES),
        )
    }
    # Tables, a partitioned table, views, a materialized view, indexes.
    assert {"r", "p", "v", "m", "i"} <= set(kinds)
    assert await pool.fetchval("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") > 0
    assert await pool.fetchval("SELECT count(*) FROM pg_attribute WHERE attgenerated = 's'") > 0
    assert await pool.fetchval("SELECT count(*) FROM pg_enum") > 0
    assert await pool.fetchval("SELECT count(*) FROM pg_constraint WHERE contype = 'f'") > 0
    indexes = "SELECT count(*) FROM pg_index WHERE indrelid::regclass::text ~ '^(identity|catalog|orders)[.]' AND {}"
    assert await pool.fetchval(indexes.format("indpred IS NOT NULL")) > 0
    assert await pool.fetchval(indexes.format("indexprs IS NOT NULL")) > 0
    assert await pool.fetchval("SELECT count(*) FROM orders.order_overview") == 0


def test_the_sample_modules_use_the_documented_syntax() -> None:
    texts = [path.read_text() for module in MODULES for path in sorted((REPO / module).glob("*.sql"))]
    outside = [text for text in texts if text.startswith("-- pgdbm:no-transaction")]
    assert any(re.search("CREATE (UNIQUE )?INDEX CONCURRENTLY", text) for text in outside)
    assert any(re.search(r"DO \$\w*\$.*LOOP.*LIMIT", text, re.DOTALL) for text in texts), "a backfill in batches"
    assert all("{{tables." in text or "{{schema}}" in text for text in texts)


def test_the_sample_modules_declare_their_dependencies() -> None:
    seen: set[str] = set()
    for module in MODULES:
        settings = tomllib.loads((REPO / module / "module.toml").read_text())
        assert settings["schema"] == module
        assert set(settings.get("depends_on", ())) <= seen
        for path in (REPO / module).glob("*.sql"):
            others = set(re.findall(r"\{\{tables\.(\w+)\.\w+\}\}", path.read_text())) - {module}
            assert others <= set(settings.get("depends_on", ())), path
        seen.add(module)
