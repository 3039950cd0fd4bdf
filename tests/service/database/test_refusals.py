"""The database refuses connections or privileges: 503 until it grants them again, without a restart."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from .test_outages import assert_unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ONE = {"migrations": [{"filename": "001_a.sql", "content": "SELECT 1"}]}


class Login(NamedTuple):
    """A database user without privileges but CREATE on the test's database."""

    name: str
    database: str
    url: str
    admin: str

    def run(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as a superuser."""

        async def execute() -> None:
            connection = await asyncpg.connect(urlunsplit(urlsplit(self.admin)._replace(path=f"/{database}")))
            try:
                for statement in statements:
                    await connection.execute(statement.format(role=self.name, database=self.database))
            finally:
                await connection.close()

        asyncio.run(execute())


TERMINATE = "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE datname = '{database}'"


@pytest.fixture
def login(database: str, postgres_dsn: str, sql: Callable[..., Any], watch: Any) -> Iterator[Login]:
    parts = urlsplit(database)
    name = parts.path.strip("/")
    role = f"login_{name}"
    url = urlunsplit(parts._replace(netloc=f"{role}:first-password@{parts.hostname}:{parts.port}"))
    watch.plant("a password", "first-password")
    one = Login(role, name, url, postgres_dsn)
    sql("DROP SCHEMA pgdbm_service CASCADE")
    one.run("CREATE ROLE {role} LOGIN PASSWORD 'first-password'", "GRANT CREATE ON DATABASE {database} TO {role}")
    yield one
    one.run("ALTER DATABASE {database} ALLOW_CONNECTIONS true")
    one.run("REASSIGN OWNED BY {role} TO CURRENT_USER", "DROP OWNED BY {role}", "DROP ROLE {role}", database=name)


@pytest.mark.parametrize(
    ("refuse", "allow", "reported"),
    [
        (["ALTER ROLE {role} PASSWORD 'other'"], ["ALTER ROLE {role} PASSWORD 'first-password'"], "password"),
        (["ALTER ROLE {role} NOLOGIN"], ["ALTER ROLE {role} LOGIN"], "log in"),
        (
            ["REVOKE CONNECT ON DATABASE {database} FROM PUBLIC"],
            ["GRANT CONNECT ON DATABASE {database} TO PUBLIC"],
            "CONNECT",
        ),
        (["ALTER ROLE {role} CONNECTION LIMIT 0"], ["ALTER ROLE {role} CONNECTION LIMIT -1"], "too many connections"),
        (
            ["ALTER DATABASE {database} ALLOW_CONNECTIONS false"],
            ["ALTER DATABASE {database} ALLOW_CONNECTIONS true"],
            "accept",
        ),
        (
            [
                "ALTER DATABASE {database} ALLOW_CONNECTIONS false",
                TERMINATE,
                "ALTER DATABASE {database} RENAME TO {database}_x",
            ],
            ["ALTER DATABASE {database}_x RENAME TO {database}", "ALTER DATABASE {database} ALLOW_CONNECTIONS true"],
            "does not exist",
        ),
    ],
    ids=["password", "login", "connect", "limit", "connections", "renamed"],
)
def test_connections_that_are_refused(
    start: Callable[..., Any],
    repo: Any,
    login: Login,
    eventually: Callable[..., Any],
    refuse: list[str],
    allow: list[str],
    reported: str,
) -> None:
    repo.write("m", _001_a="SELECT 1")
    service = start(database_url=login.url, metrics_sample_s=0.05, database_timeout_s=1)
    eventually(lambda: "pgdbm_database_up 1.0" in service.get("/metrics").text)
    login.run(*refuse, TERMINATE)
    try:
        eventually(lambda: service.get("/health/ready").status_code == 503)
        assert_unavailable(service)
        (check,) = [one for one in service.get("/health/ready").json()["checks"] if not one["ok"]]
        assert reported in check["detail"]
        eventually(lambda: "pgdbm_database_up 0.0" in service.get("/metrics").text)
    finally:
        login.run(*allow)
    eventually(service.ready)
    assert service.post("/modules/m/migrate").json()["status"] == "success"
    eventually(lambda: "pgdbm_database_up 1.0" in service.get("/metrics").text)


def test_the_server_message_is_only_for_those_who_may_read(
    start: Callable[..., Any],
    login: Login,
    make_token: Callable[..., str],
    sql: Callable[..., Any],
    eventually: Callable[..., Any],
) -> None:
    start(database_url=login.url)
    sql(f"GRANT ALL ON ALL TABLES IN SCHEMA pgdbm_service TO {login.name}")
    reader, migrator = make_token("read"), make_token("migrate:m")
    service = start(database_url=login.url, auth="tokens", auth_for_health=True, wait=False)
    headers = [{"Authorization": f"Bearer {token}"} for token in (reader, migrator)]
    eventually(lambda: service.get("/health/ready", headers=headers[0]).status_code == 200)
    for one in headers:
        service.get("/health/ready", headers=one)
        service.post("/modules/m/migrate", headers=one)
    login.run("ALTER ROLE {role} PASSWORD 'other'", TERMINATE)
    ready = service.get("/health/ready", headers=headers[0])
    assert login.name in ready.text
    refused = service.post("/modules/m/migrate", headers=headers[1]).json()
    assert refused["detail"].startswith("The database rejects the service's password.")
    assert login.name not in str(refused)
    open_to_all = start(database_url=login.url, auth="tokens", wait=False)
    (check,) = [one for one in open_to_all.get("/health/ready").json()["checks"] if one["name"] == "database"]
    assert login.name not in str(check)


def test_a_limit_of_connections_is_waited_out(
    start: Callable[..., Any], repo: Any, login: Login, eventually: Callable[..., Any]
) -> None:
    """The role's limit is below the size of the pool: callers wait for the existing connections."""
    for name in ("a", "b"):
        repo.write(name, _001_x="SELECT pg_sleep(0.2)", _002_y="CREATE TABLE {{tables.t}} (id integer)")
    login.run("ALTER ROLE {role} CONNECTION LIMIT 4")
    service = start(database_url=login.url, max_connections=10)

    async def ask() -> list[int]:
        import httpx2

        async with httpx2.AsyncClient(base_url=service.url, timeout=30) as client:
            reads = [client.get("/schemas") for _ in range(12)]
            migrations = [client.post(f"/modules/{name}/migrate") for name in ("a", "b") * 4]
            return [answer.status_code for answer in await asyncio.gather(*reads, *migrations)]

    assert asyncio.run(ask()) == [200] * 20


@pytest.mark.parametrize(
    ("revoke", "grant"),
    [
        ("REVOKE USAGE ON SCHEMA pgdbm_service FROM {role}", "GRANT USAGE ON SCHEMA pgdbm_service TO {role}"),
        ("REVOKE ALL ON pgdbm_service.runs FROM {role}", "GRANT ALL ON pgdbm_service.runs TO {role}"),
        ("REVOKE INSERT ON pgdbm_service.pgqueuer FROM {role}", "GRANT INSERT ON pgdbm_service.pgqueuer TO {role}"),
    ],
)
def test_privileges_that_are_lost(
    start: Callable[..., Any],
    repo: Any,
    login: Login,
    sql: Callable[..., Any],
    eventually: Callable[..., Any],
    revoke: str,
    grant: str,
) -> None:
    repo.write("m", _001_a="SELECT 1")
    service = start(database_url=login.url, metrics_sample_s=0.05)
    sql(revoke.format(role=login.name))
    ready = service.get("/health/ready")
    assert ready.status_code == 503
    assert "lacks privileges" in ready.text
    answer = service.post("/modules/m/migrate")
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable"), answer.text
    assert answer.headers["retry-after"]
    sql(grant.format(role=login.name))
    eventually(service.ready)
    assert service.post("/modules/m/migrate").json()["status"] == "success"


@pytest.mark.parametrize("superuser", [False, True])
def test_two_users(
    start: Callable[..., Any], database: str, login: Login, eventually: Callable[..., Any], superuser: bool
) -> None:
    direct = database if superuser else login.url.replace(login.name, f"{login.name}_2", 1)
    login.run("CREATE ROLE {role}_2 LOGIN PASSWORD 'first-password'", "GRANT CREATE ON DATABASE {database} TO {role}_2")
    try:
        service = start(database_url=login.url, direct_url=direct, wait=False)

        def reason() -> str:
            checks = service.get("/health/ready").json()["checks"]
            return str(next(one["detail"] for one in checks if one["name"] == "database"))

        eventually(lambda: "PGDBM_DIRECT_URL connects as the user" in reason())
        assert login.name in reason()
    finally:
        login.run("DROP OWNED BY {role}_2", "REVOKE ALL ON DATABASE {database} FROM {role}_2", "DROP ROLE {role}_2")


@pytest.mark.parametrize("prefer", [{}, {"Prefer": "respond-async"}])
def test_the_service_schema_is_dropped(
    start: Callable[..., Any],
    repo: Any,
    sql: Callable[..., Any],
    eventually: Callable[..., Any],
    prefer: dict[str, str],
) -> None:
    """What was registered is lost with it. The service creates it again, and continues."""
    repo.write("m", _001_a="SELECT 1")
    service, other = start(), start()
    for one in (service, other):
        assert one.client.put("/modules/r", json=ONE).status_code in (200, 201)
    assert service.post("/modules/m/migrate").json()["status"] == "success"
    sql("DROP SCHEMA pgdbm_service CASCADE")
    answer = service.get("/runs")
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable"), answer.text
    assert answer.headers["retry-after"]
    repo.write("m", _002_b="SELECT 2")
    for one in (service, other):
        eventually(one.ready)
        eventually(lambda one=one: [item["name"] for item in one.get("/modules").json()["items"]] == ["m"])
    service.sync()
    result = service.post("/modules/m/migrate", headers=prefer)
    assert result.status_code in (200, 202), result.text
    eventually(lambda: service.get("/runs").json()["items"][0]["status"] == "succeeded")
    for number, one in enumerate((service, other) * 3):
        repo.write("m", **{f"_01{number}_c": "SELECT 3"})
        one.sync()
        answer = one.post("/modules/m/migrate")
        assert answer.status_code == 200, answer.text


def assert_names_the_grant(answer: Any, grant: str, *words: str) -> None:
    problem = answer.json()
    assert answer.status_code in (403, 409, 422), answer.text
    said = f"{problem['detail']} {problem.get('hint')}"
    for text in (grant, *words):
        assert text in said


def test_no_privilege_to_create_a_schema(
    start: Callable[..., Any], repo: Any, login: Login, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    login.run("REVOKE CREATE ON DATABASE {database} FROM {role}")
    repo.write("orders", 'schema = "shop"', _001_a="CREATE TABLE {{tables.t}} (id integer)")
    service = start(database_url=login.url, wait=False)
    eventually(lambda: "CREATE on the schema" in service.get("/health/ready").text)
    sql("CREATE SCHEMA pgdbm_service")
    sql(f"GRANT USAGE, CREATE ON SCHEMA pgdbm_service TO {login.name}")
    eventually(service.ready)
    for path in ("/modules/orders/migrate", "/modules/orders/rehearse", "/migrate"):
        words = () if path.endswith("rehearse") else ("shop",)
        assert_names_the_grant(service.post(path), f"GRANT CREATE ON DATABASE {login.database} TO", *words)
    sql(f'CREATE SCHEMA shop AUTHORIZATION "{login.name}"')
    assert service.post("/modules/orders/migrate").json()["status"] == "success"


def test_no_privilege_to_create_in_a_schema(
    start: Callable[..., Any], repo: Any, login: Login, sql: Callable[..., Any]
) -> None:
    repo.write("m", 'schema = "public"', _001_a="CREATE TABLE {{tables.t}} (id integer)")
    service = start(database_url=login.url)
    sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    answer = service.post("/modules/m/migrate")
    assert_names_the_grant(answer, "CREATE ON SCHEMA", "public")
    sql(f"GRANT CREATE ON SCHEMA public TO {login.name}")
    assert service.post("/modules/m/migrate").json()["status"] == "success"


def test_a_transaction_timeout_of_the_database(
    start: Callable[..., Any], repo: Any, database: str, sql: Callable[..., Any]
) -> None:
    """It is for applications: neither migrations nor the service's own statements end with it."""
    if sql("SHOW server_version_num")[0][0] < "170000":
        pytest.skip("transaction_timeout came with PostgreSQL 17")
    sql(f"ALTER DATABASE \"{urlsplit(database).path[1:]}\" SET transaction_timeout = '400ms'")
    repo.write("plain", _001_a="SELECT pg_sleep(1)")
    repo.write("concurrently", _001_a="-- pgdbm:no-transaction\nSELECT pg_sleep(1);")
    service = start(max_connections=4)
    for name in ("plain", "concurrently"):
        answer = service.post(f"/modules/{name}/migrate")
        assert answer.json()["status"] == "success", answer.text
    service.post("/modules/plain/rehearse")
    assert service.get("/modules").status_code == 200


# fmt: off
STATES = [
    "57P01", "57P02", "57P03", "57P04", "57P05", "53300", "53100", "53200", "53400", "08P01", "08004", "25006",
    "3D000", "28P01", "28000", "55000", "42501", "58000", "58030", "XX000", "0A000", "42704", "22023",
]
# fmt: on


class RefusingServer:
    """Answers every startup message with an error of the SQLSTATE ``state``."""

    def __init__(self) -> None:
        self.state = STATES[0]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                fields = f"SFATAL\0C{self.state}\0Mrefused for role secret_role\0\0".encode()
                connection.sendall(b"E" + struct.pack("!i", len(fields) + 4) + fields)


def test_whatever_the_server_answers(
    start: Callable[..., Any], repo: Any, proxy: Any, proxied: str, database: str, eventually: Callable[..., Any]
) -> None:
    repo.write("m", _001_a="SELECT 1")
    service = start(database_url=proxied, database_timeout_s=1, metrics_sample_s=0.05)
    refusing = RefusingServer()
    proxy.cut()
    proxy.restore(("127.0.0.1", refusing.port))
    try:
        for state in STATES:
            refusing.state = state
            for path in ("/health/ready", "/modules", "/schemas"):
                answer = service.get(path)
                assert (answer.status_code, state) == (503, state), answer.text
                assert answer.headers["retry-after"]
                assert "secret_role" in answer.text
            assert service.post("/modules/m/migrate").status_code == 503
        eventually(lambda: "pgdbm_database_up 0.0" in service.get("/metrics").text)
    finally:
        refusing.close()
        proxy.cut()
    parts = urlsplit(database)
    proxy.restore((str(parts.hostname), int(parts.port or 5432)))
    eventually(service.ready)
    assert service.post("/modules/m/migrate").json()["status"] == "success"


def test_a_database_that_is_dropped_and_created_again(
    start: Callable[..., Any], repo: Any, login: Login, eventually: Callable[..., Any]
) -> None:
    """What is migrated afterwards is in the new database; the service's own tables are created again."""
    repo.write("m", _001_a="CREATE TABLE {{tables.t}} (id integer)")
    service = start(database_url=login.url, metrics_sample_s=0.05, database_timeout_s=5)
    assert service.post("/modules/m/migrate").json()["applied"]
    login.run("DROP DATABASE {database} WITH (FORCE)")
    try:
        eventually(lambda: service.get("/health/ready").status_code == 503)
        answer = service.post("/modules/m/migrate")
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert answer.json()["sqlstate"] == "3D000"
        assert "The database does not exist." in answer.json()["detail"]
        eventually(lambda: "pgdbm_database_up 0.0" in service.get("/metrics").text)
    finally:
        login.run("CREATE DATABASE {database}", "GRANT CREATE ON DATABASE {database} TO {role}")
    eventually(service.ready)
    assert [one["filename"] for one in service.post("/modules/m/migrate").json()["applied"]] == ["001_a.sql"]
    assert service.post("/modules/m/migrate").json()["status"] == "up_to_date"


def test_the_limit_of_connections_is_named(start: Callable[..., Any], login: Login) -> None:
    service = start(database_url=login.url, database_timeout_s=1)
    login.run("ALTER ROLE {role} CONNECTION LIMIT 0", TERMINATE)
    try:
        answer = service.post("/modules/m/migrate")
    finally:
        login.run("ALTER ROLE {role} CONNECTION LIMIT -1")
    assert answer.status_code == 503, answer.text
    assert answer.json()["sqlstate"] == "53300"
    assert "too many connections for role" in answer.json()["database_message"]
    assert "accepts no more connections" in answer.json()["detail"]
