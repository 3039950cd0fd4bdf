"""Alembic's history: written by Alembic where it is installed, and otherwise as its table is documented."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgdbm.migrations.importers import convert

from .real_tools import ALEMBIC_ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Database, Program

TABLE = "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL PRIMARY KEY)"
EXPORT = """BEGIN;

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

-- Running upgrade  -> a1

CREATE TABLE public.users (id int);

INSERT INTO alembic_version (version_num) VALUES ('a1') RETURNING alembic_version.version_num;

-- Running upgrade a1 -> b2

COMMIT;

CREATE INDEX CONCURRENTLY i ON public.users (id);

BEGIN;

UPDATE alembic_version SET version_num='b2' WHERE alembic_version.version_num = 'a1';

-- Running upgrade a1 -> c3

CREATE TABLE public.orders ();

INSERT INTO alembic_version (version_num) VALUES ('c3') RETURNING alembic_version.version_num;

-- Running upgrade b2, c3 -> d4

DELETE FROM alembic_version WHERE alembic_version.version_num = 'b2';

UPDATE alembic_version SET version_num='d4' WHERE alembic_version.version_num = 'c3';

COMMIT;
"""
BACK = """BEGIN;

-- Running downgrade c3 -> a1

DROP TABLE public.orders;

DELETE FROM alembic_version WHERE alembic_version.version_num = 'c3';

-- Running downgrade a1 ->

DROP TABLE public.users;

DELETE FROM alembic_version WHERE alembic_version.version_num = 'a1';

DROP TABLE alembic_version;

COMMIT;
"""
OURS = ["001_a1.sql", "002_b2.sql", "003_c3.sql", "004_d4.sql"]
PLAIN = {"001_a1_users.sql": "SELECT 1", "002_b2_index.sql": "SELECT 2", "003_c3.sql": "SELECT 3"}


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "upgrade.sql").write_text(EXPORT)
    (tmp_path / "export" / "downgrade.sql").write_text(BACK)
    convert("alembic", tmp_path / "export", tmp_path / "ours")
    return tmp_path / "ours"


async def at(target: Database, *heads: str) -> None:
    await target.run(TABLE)
    for head in heads:
        await target.run(f"INSERT INTO alembic_version VALUES ('{head}')")


# One process for all commands: loading Alembic takes the longest.
COMMANDS = """
from contextlib import redirect_stdout
from pathlib import Path
from alembic.config import main
main(["upgrade", "r2"])
for name, arguments in {"upgrade": ["upgrade", "heads"], "downgrade": ["downgrade", "r3:base"]}.items():
    with Path(f"export/{name}.sql").open("w") as file, redirect_stdout(file):
        main([*arguments, "--sql"])
"""
CONCURRENTLY = """with op.get_context().autocommit_block():
        op.execute("CREATE INDEX CONCURRENTLY i ON public.users (id)")"""


async def test_revisions_applied_by_alembic_are_imported(target: Database, alembic: Program) -> None:
    steps = {
        "r1": ('op.execute("CREATE TABLE public.users (id int)")', 'op.execute("DROP TABLE public.users")'),
        "r2": (CONCURRENTLY, 'op.execute("DROP INDEX public.i")'),
        "r3": ('op.execute("CREATE TABLE public.later ()")', 'op.execute("DROP TABLE public.later")'),
    }
    url = alembic.url("postgresql+psycopg").replace("%", "%%")
    alembic.write("alembic.ini", f"[alembic]\nscript_location = %(here)s/migrations\nsqlalchemy.url = {url}\n")
    alembic.write("migrations/env.py", ALEMBIC_ENVIRONMENT)
    alembic.write("export/readme.txt", "")
    for revision, below, (up, down) in zip(steps, (None, "r1", "r2"), steps.values(), strict=True):
        alembic.write(
            f"migrations/versions/{revision}.py",
            f"from alembic import op\nrevision = {revision!r}\ndown_revision = {below!r}\n"
            f"def upgrade():\n    {up}\ndef downgrade():\n    {down}\n",
        )
    alembic.run_python(COMMANDS)
    ours = alembic.folder / "ours"
    conversion = convert("alembic", alembic.folder / "export", ours)
    assert sorted(conversion.written) == sorted(
        f"00{number}_r{number}{ending}" for number in (1, 2, 3) for ending in (".sql", ".down.sql")
    )
    assert conversion.notes == ()
    assert (ours / "002_r2.sql").read_text().startswith("-- pgdbm:no-transaction\n")
    for path in ours.iterdir():
        assert "alembic_version" not in path.read_text()
    report = await target.take("alembic", ours)
    assert report.imported == ("001_r1.sql", "002_r2.sql")
    assert report.pending == ("003_r3.sql",)
    assert await target.apply(ours) == ["003_r3.sql"]


async def test_revisions_below_the_heads_are_imported(target: Database, ours: Path) -> None:
    await at(target)
    for number, (heads, imported) in enumerate(
        [
            (["a1"], OURS[:1]),
            (["b2"], OURS[:2]),
            (["c3"], [OURS[0], OURS[2]]),
            (["b2", "c3"], OURS[:3]),
            (["d4"], OURS),
            ([], []),
        ]
    ):
        rows = "".join(f"INSERT INTO alembic_version VALUES ('{head}');" for head in heads)
        await target.run(f"DELETE FROM alembic_version; {rows}")
        report = await target.take("alembic", ours, migrations_table=f"ours_{number}")
        assert list(report.imported) == imported
        pending = await target.manager(ours, migrations_table=f"ours_{number}").get_pending_migrations()
        assert [migration.filename for migration in pending] == [name for name in OURS if name not in imported]


async def test_converted_files_build_a_new_database(target: Database, ours: Path) -> None:
    assert await target.apply(ours) == OURS
    assert await target.db.table_exists("public.orders")
    assert not await target.db.table_exists("public.alembic_version")
    assert (ours / "003_c3.down.sql").read_text() == "DROP TABLE public.orders;\n"
    assert (ours / "001_a1.down.sql").read_text() == "DROP TABLE public.users;\n"


async def test_files_without_a_down_revision_are_refused(target: Database) -> None:
    await at(target, "b2")
    report = await target.take("alembic", PLAIN)
    assert report.imported == ("001_a1_users.sql", "002_b2_index.sql")
    assert await target.pending(PLAIN) == ["003_c3.sql"]


async def test_several_heads_need_files_with_down_revisions(target: Database) -> None:
    await at(target, "b2", "c3")
    error = await target.refusal("alembic", PLAIN)
    assert (error.reason, error.files) == ("unknown_revision", ("b2", "c3"))
    assert "alembic merge heads" in str(error)


async def test_a_head_without_a_file_is_refused(target: Database) -> None:
    await at(target, "ffff")
    error = await target.refusal("alembic", PLAIN)
    assert (error.reason, error.files) == ("unknown_revision", ("ffff",))
    assert "alembic upgrade heads --sql" in str(error)


UPGRADE_ALL = """from contextlib import redirect_stdout
from pathlib import Path
from alembic.config import main
main(["upgrade", "heads"])
Path("export").mkdir()
with Path("export/upgrade.sql").open("w") as file, redirect_stdout(file):
    main(["upgrade", "heads", "--sql"])
"""


async def test_a_dependency_in_another_branch_counts_as_applied(target: Database, alembic: Program) -> None:
    """With depends_on, Alembic removes the head that the other branch depends on: its row would say nothing new."""
    url = alembic.url("postgresql+psycopg").replace("%", "%%")
    alembic.write("alembic.ini", f"[alembic]\nscript_location = %(here)s/migrations\nsqlalchemy.url = {url}\n")
    alembic.write("migrations/env.py", ALEMBIC_ENVIRONMENT)
    for revision, below, other in (("u1", None, None), ("u2", "u1", None), ("o1", None, None), ("o2", "o1", "u2")):
        alembic.write(
            f"migrations/versions/{revision}.py",
            f"from alembic import op\nrevision = {revision!r}\ndown_revision = {below!r}\ndepends_on = {other!r}\n"
            f"def upgrade():\n    op.execute('CREATE TABLE public.{revision} ()')\ndef downgrade():\n    pass\n",
        )
    alembic.run_python(UPGRADE_ALL)
    ours = alembic.folder / "ours"
    convert("alembic", alembic.folder / "export", ours)
    assert len(list(ours.iterdir())) == 4
    report = await target.take("alembic", ours)
    assert (len(report.imported), report.pending) == (4, ())
