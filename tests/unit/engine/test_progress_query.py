"""The progress of REPACK is in a view that PostgreSQL has since 19."""

from __future__ import annotations

from pgdbm.migrations.engine.monitor import progress_query


def test_the_view_of_the_servers_version_is_read() -> None:
    assert "pg_catalog.pg_stat_progress_cluster" in progress_query(18)
    assert "pg_catalog.pg_stat_progress_repack" in progress_query(19)
    assert "pg_stat_progress_cluster" not in progress_query(19)
