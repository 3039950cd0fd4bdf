"""Projects of other migration tools: each is created, and migrated by the tool up to its last migration but one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_S = 240.0


class ToolMissingError(Exception):
    """The tool cannot be installed here, and why."""


@dataclass(frozen=True)
class ToolProject:
    """A folder for a project, the database that it migrates, and the folder of the tool's programs."""

    folder: Path
    dsn: str
    scratch: str
    programs: Path

    def url(self, scheme: str = "postgresql") -> str:
        return urlsplit(self.dsn)._replace(scheme=scheme, query="").geturl()

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, command: str) -> str:
        """What a shell command prints."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env={
                "PATH": f"{self.programs}:{os.environ['PATH']}",
                "HOME": str(self.folder),
                "LANG": "C.UTF-8",
                "DATABASE_URL": self.url(),
                "SCRATCH_URL": urlsplit(self.scratch)._replace(query="").geturl(),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout


def programs_of(tool: str) -> Path:
    """The folder of a tool's programs: those of the development environment, or from ``.ci/migration_tools``.

    Raises:
        ToolMissingError: the tool cannot be installed.
    """
    if (Path(sys.executable).parent / tool).is_file():
        return Path(sys.executable).parent
    found = subprocess.run(
        [ROOT / ".ci/migration_tools", tool], capture_output=True, text=True, timeout=600, check=False
    )
    if found.returncode != 0:
        raise ToolMissingError(found.stderr.strip())
    return Path(found.stdout.strip())


def alembic(place: ToolProject) -> None:
    url = place.url("postgresql+psycopg").replace("%", "%%")
    place.write("alembic.ini", f"[alembic]\nscript_location = %(here)s/revisions\nsqlalchemy.url = {url}\n")
    place.write("revisions/env.py", ALEMBIC_ENVIRONMENT)
    steps = {
        "r1": "op.execute('CREATE TABLE users (id int)')",
        "r2": "with op.get_context().autocommit_block():\n"
        "        op.execute('CREATE INDEX CONCURRENTLY users_id ON users (id)')",
        "r3": "op.execute('CREATE TABLE orders (id int)')",
    }
    for revision, below in zip(steps, (None, "r1", "r2"), strict=True):
        text = f"from alembic import op\nrevision = {revision!r}\ndown_revision = {below!r}\n"
        place.write(f"revisions/versions/{revision}.py", f"{text}def upgrade():\n    {steps[revision]}\n")
    place.run("alembic upgrade r2")


ALEMBIC_ENVIRONMENT = """
from alembic import context
from sqlalchemy import create_engine
url = context.config.get_main_option("sqlalchemy.url")
if context.is_offline_mode():
    context.configure(url=url, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    with create_engine(url).connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
"""


def django(place: ToolProject) -> None:
    parts = urlsplit(place.dsn)
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": parts.username,
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname,
        "PORT": parts.port,
    }
    apps = ["django.contrib.contenttypes", "django.contrib.auth", "shop"]
    place.write(
        "settings.py",
        f"SECRET_KEY = 'x'\nUSE_TZ = True\nINSTALLED_APPS = {apps}\nDATABASES = {{'default': {database}}}\n"
        "DEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'\n",
    )
    place.write(
        "manage.py",
        "import os, sys\nfrom django.core.management import execute_from_command_line\n"
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'settings'\nexecute_from_command_line(sys.argv)\n",
    )
    place.write("shop/__init__.py", "")
    place.write("shop/migrations/__init__.py", "")
    fields = "[('id', models.BigAutoField(primary_key=True)), ('note', models.TextField())]"
    index = "AddIndexConcurrently('order', models.Index(fields=['note'], name='order_note'))"
    steps = {
        "0001_initial": ("", f"migrations.CreateModel('Order', {fields})"),
        "0002_note": ("atomic = False", index),
        "0003_data": ("", "migrations.RunPython(migrations.RunPython.noop, migrations.RunPython.noop)"),
        "0004_total": ("", "migrations.AddField('order', 'total', models.IntegerField(null=True))"),
    }
    below = ""
    for name, (option, operation) in steps.items():
        depends = f"[('shop', '{below}')]" if below else "[]"
        place.write(
            f"shop/migrations/{name}.py",
            "from django.contrib.postgres.operations import AddIndexConcurrently\n"
            "from django.db import migrations, models\n"
            f"class Migration(migrations.Migration):\n    {option or 'initial = False'}\n"
            f"    dependencies = {depends}\n    operations = [{operation}]\n",
        )
        below = name
    place.run("python manage.py migrate && python manage.py migrate shop 0003")


def drizzle(place: ToolProject) -> None:
    _link_modules(place)
    place.write(
        "drizzle.config.ts",
        "export default { dialect: 'postgresql', schema: './schema.ts', out: './drizzle',"
        " dbCredentials: { url: process.env.DATABASE_URL } };\n",
    )
    schema = "import { pgTable, serial, text } from 'drizzle-orm/pg-core';\n"
    for number, name in enumerate(("users", "orders", "items"), 1):
        schema += f"export const {name} = pgTable('{name}', {{ id: serial('id').primaryKey(), a: text('a') }});\n"
        place.write("schema.ts", schema)
        place.run(f"drizzle-kit generate --name {name}")
        if number == 2:
            place.run("drizzle-kit migrate")


def knex(place: ToolProject) -> None:
    _link_modules(place)
    place.write("knexfile.js", "module.exports = { client: 'pg', connection: process.env.DATABASE_URL };\n")
    place.write(
        "migrations/20240101000000_users.js",
        "exports.up = async (knex) => {\n"
        "  await knex.schema.createTable('users', (t) => { t.increments('id'); t.string('email').notNullable(); });\n"
        "  await knex('users').insert([{ email: \"it's\" }, { email: '?' }]);\n};\n"
        "exports.down = (knex) => knex.schema.dropTable('users');\n",
    )
    place.write(
        "migrations/20240102000000_index.js",
        "exports.config = { transaction: false };\n"
        "exports.up = (knex) => knex.raw('CREATE INDEX CONCURRENTLY users_email ON users (email)');\n"
        "exports.down = (knex) => knex.raw('DROP INDEX CONCURRENTLY users_email');\n",
    )
    place.run("knex migrate:latest")
    place.write(
        "migrations/20240103000000_orders.js",
        "exports.up = (knex) => knex.schema.createTable('orders', (t) => { t.increments('id'); });\n"
        "exports.down = (knex) => knex.schema.dropTable('orders');\n",
    )


def liquibase(place: ToolProject) -> None:
    place.write(
        "changelog.xml",
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<databaseChangeLog xmlns="http://www.liquibase.org/xml/ns/dbchangelog"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation='
        '"http://www.liquibase.org/xml/ns/dbchangelog'
        ' http://www.liquibase.org/xml/ns/dbchangelog/dbchangelog-4.28.xsd">\n'
        '<changeSet id="1" author="ann"><createTable tableName="users"><column name="id" type="int">'
        '<constraints primaryKey="true"/></column><column name="email" type="text"/></createTable></changeSet>\n'
        '<include file="more.sql" relativeToChangelogFile="true"/>\n</databaseChangeLog>\n',
    )
    more = (
        "--liquibase formatted sql\n--changeset bob:add-index runInTransaction:false\n"
        "CREATE INDEX CONCURRENTLY users_email ON users (email);\n--rollback DROP INDEX CONCURRENTLY users_email;\n\n"
        "--changeset bob:view runOnChange:true\nCREATE OR REPLACE VIEW v AS SELECT id FROM users;\n"
        "--rollback DROP VIEW v;\n"
    )
    place.write("more.sql", more)
    parts = urlsplit(place.dsn)
    place.run(
        f"liquibase --url=jdbc:postgresql://{parts.hostname}:{parts.port}{parts.path} --username={parts.username} "
        f"--password='{unquote(parts.password or '')}' --changelog-file=changelog.xml update"
    )
    place.write("more.sql", f"{more}\n--changeset bob:orders\nCREATE TABLE orders (id int);\n")


def node_pg_migrate(place: ToolProject) -> None:
    _link_modules(place)
    place.write(
        "migrations/1704067200000_users.js",
        "exports.up = (pgm) => { pgm.createTable('users', { id: 'id', email: { type: 'text' } }); };\n"
        "exports.down = (pgm) => { pgm.dropTable('users'); };\n",
    )
    place.write(
        "migrations/1704153600000_index.js",
        "exports.up = (pgm) => { pgm.noTransaction(); pgm.createIndex('users', 'email', { concurrently: true }); };\n"
        "exports.down = (pgm) => { pgm.noTransaction(); pgm.dropIndex('users', 'email', { concurrently: true }); };\n",
    )
    place.run("node-pg-migrate up")
    place.write(
        "migrations/1704240000000_orders.sql",
        "-- Up Migration\nCREATE TABLE orders (id int);\n-- Down Migration\nDROP TABLE orders;\n",
    )


def sqitch(place: ToolProject) -> None:
    parts = urlsplit(place.dsn)
    target = f"db:pg://{parts.netloc}{parts.path}"
    place.run("sqitch config --user user.name 'Ann B' && sqitch config --user user.email ann@example.com")
    place.run("sqitch init shop --engine pg")
    users = "BEGIN;\nCREATE TABLE public.users (id int);\nCOMMIT;\n"
    place.run("sqitch add users -n 'Users.' && sqitch tag v1 -n 'One.'")
    place.write("deploy/users.sql", users)
    place.write("revert/users.sql", "BEGIN;\nDROP TABLE public.users;\nCOMMIT;\n")
    place.run("sqitch add index --requires users -n 'Index.' && sqitch rework users -n 'More.'")
    place.write("deploy/index.sql", "CREATE INDEX CONCURRENTLY users_id ON public.users (id);\n")
    place.write("revert/index.sql", "DROP INDEX CONCURRENTLY public.users_id;\n")
    place.write("deploy/users.sql", "BEGIN;\nALTER TABLE public.users ADD email text;\nCOMMIT;\n")
    place.write("revert/users.sql", "BEGIN;\nALTER TABLE public.users DROP email;\nCOMMIT;\n")
    # Without its checks: verify/ has only the scripts that Sqitch generates, which do nothing.
    place.run(f"sqitch deploy --no-verify '{target}'")
    place.run("sqitch add orders -n 'Orders.'")
    place.write("deploy/orders.sql", "BEGIN;\nCREATE TABLE public.orders (id int);\nCOMMIT;\n")
    place.write("revert/orders.sql", "BEGIN;\nDROP TABLE public.orders;\nCOMMIT;\n")


def yoyo(place: ToolProject) -> None:
    place.write("theirs/20240101_01_users.sql", "-- depends:\nCREATE TABLE public.users (id int);\n")
    place.write("theirs/20240101_01_users.rollback.sql", "DROP TABLE public.users;\n")
    place.write(
        "theirs/20240101_02_index.sql",
        "-- depends: 20240101_01_users\n-- transactional: false\nCREATE INDEX CONCURRENTLY i ON public.users (id);\n",
    )
    place.run(f"yoyo apply --batch --no-config-file --database '{place.url('postgresql+psycopg')}' theirs")
    place.write(
        "theirs/20240102_01_orders.sql", "-- depends: 20240101_02_index\nCREATE TABLE public.orders (id int);\n"
    )


def _link_modules(place: ToolProject) -> None:
    (place.folder / "node_modules").symlink_to(place.programs.parent)


# What each tool has recorded, oldest first: a part of the name of pgdbm's file, and the time in UTC, or null.
HISTORIES = {
    "alembic": "SELECT unnest(ARRAY['r1', version_num]), NULL FROM alembic_version",
    "django": "SELECT app || '_' || name, applied FROM django_migrations ORDER BY id",
    "drizzle": "SELECT unnest(ARRAY['users', 'orders']), NULL",
    "knex": "SELECT split_part(name, '.', 1), migration_time FROM knex_migrations ORDER BY id",
    "liquibase": "SELECT id, dateexecuted::timestamptz FROM databasechangelog ORDER BY orderexecuted",
    "node-pg-migrate": "SELECT name, run_on::timestamptz FROM pgmigrations ORDER BY id",
    "sqitch": "SELECT change, committed_at FROM sqitch.changes ORDER BY committed_at",
    "yoyo": (
        "SELECT split_part(migration_id, '_', 3), applied_at_utc AT TIME ZONE 'UTC' FROM _yoyo_migration"
        " ORDER BY applied_at_utc"
    ),
}

PROJECTS: dict[str, Callable[[ToolProject], None]] = {
    "alembic": alembic,
    "django": django,
    "drizzle": drizzle,
    "knex": knex,
    "liquibase": liquibase,
    "node-pg-migrate": node_pg_migrate,
    "sqitch": sqitch,
    "yoyo": yoyo,
}


def is_sent_to_git(path: Path) -> bool:
    """Whether a file of a project is part of its recording: its migrations and exports, not what the tool needs."""
    parts = path.parts
    return not {"node_modules", "__pycache__", ".config", ".npm", "sql"} & set(parts) and (
        path.suffix in (".sql", ".plan", ".js") and path.name != "knexfile.js"
    )


def copy_project(source: Path, destination: Path) -> None:
    """Copy the files of a project that :func:`is_sent_to_git`."""
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if path.is_file() and is_sent_to_git(relative):
            (destination / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, destination / relative)
