"""The parameters of a connection string: libpq's, and well-known ones of other tools."""

from __future__ import annotations

FOREIGN = {
    "schema": "Prisma",
    "pgbouncer": "Prisma",
    "connection_limit": "Prisma",
    "pool_timeout": "Prisma",
    "socket_timeout": "Prisma",
    "sslaccept": "Prisma",
    "sslidentity": "Prisma",
    "single_use_connections": "Prisma",
    "currentSchema": "the JDBC driver",
    "prepareThreshold": "the JDBC driver",
    "sslfactory": "the JDBC driver",
    "reWriteBatchedInserts": "the JDBC driver",
    "loggerLevel": "the JDBC driver",
    "pool_max_conns": "pgx",
    "pool_min_conns": "pgx",
    "pool_max_conn_lifetime": "pgx",
    "default_query_exec_mode": "pgx",
    "statement_cache_capacity": "pgx",
    "binary_parameters": "lib/pq",
    "prepared_statement_cache_size": "SQLAlchemy",
    "async_fallback": "SQLAlchemy",
    "statement_cache_size": "asyncpg",
    "command_timeout": "asyncpg",
    "uselibpqcompat": "node-postgres",
    "prepared_statements": "Rails",
    "pool": "Rails",
    "serverVersion": "Doctrine",
    "charset": "Doctrine",
}
"""Parameters that other tools read from the same URL, with the name of the tool."""

FOREIGN_PREFIXES = {"x-": "golang-migrate"}

# If these were ignored, a connection that the string forbids would be accepted silently; or they need a protocol that
# asyncpg does not implement.
REFUSED = {
    "require_auth": "asyncpg cannot restrict the authentication methods that a server may ask for",
    "requirepeer": "asyncpg cannot check the owner of the server process",
    "replication": "replication connections cannot run migrations",
    "scram_client_key": "asyncpg needs the password itself",
    "scram_server_key": "asyncpg needs the password itself",
    "sslcrldir": "asyncpg reads revocation lists from a file only: use sslcrl",
    "oauth_issuer": "asyncpg has no OAuth authentication",
    "oauth_client_id": "asyncpg has no OAuth authentication",
    "oauth_client_secret": "asyncpg has no OAuth authentication",
    "oauth_scope": "asyncpg has no OAuth authentication",
}

# Values that have no effect, because they are asyncpg's default behavior. Other values are refused, or ignored with a
# warning.
SATISFIED = {
    "channel_binding": ("disable", "prefer"),
    "gssencmode": ("disable", "prefer"),
    "gssdelegation": ("0",),
    "sslcompression": ("0", "1"),
    "sslsni": ("1",),
    "sslcertmode": ("allow",),
    "min_protocol_version": ("3.0",),
    "max_protocol_version": ("3.0", "3.2", "latest"),
    "client_encoding": ("auto", "utf8", "utf-8", "unicode"),
    "sslkeylogfile": (),
}
IGNORED_WITH_A_WARNING = frozenset(("channel_binding", "gssdelegation", "sslsni", "sslcertmode", "sslkeylogfile"))

TLS = (
    "sslmode",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslrootcert",
    "sslcrl",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
)
FILES = frozenset(("sslcert", "sslkey", "sslrootcert", "sslcrl"))

# Parameters that the parser or asyncpg implements. Everything else is sent to the server as a setting.
HONOURED = frozenset(
    (
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "password",
        "passfile",
        "service",
        "connect_timeout",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
        "load_balance_hosts",
        "target_session_attrs",
        "fallback_application_name",
        "krbsrvname",
        "gsslib",
        *TLS,
    )
)
CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "load_balance_hosts": ("disable", "random"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "keepalives": ("0", "1"),
}
NUMBERS = frozenset(
    ("connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")
)

# The variables of libpq that asyncpg does not read, each with the parameter that it sets.
ENVIRONMENT = {
    "PGAPPNAME": "application_name",
    "PGCHANNELBINDING": "channel_binding",
    "PGCLIENTENCODING": "client_encoding",
    "PGCONNECT_TIMEOUT": "connect_timeout",
    "PGDATESTYLE": "datestyle",
    "PGGEQO": "geqo",
    "PGGSSDELEGATION": "gssdelegation",
    "PGGSSENCMODE": "gssencmode",
    "PGHOSTADDR": "hostaddr",
    "PGLOADBALANCEHOSTS": "load_balance_hosts",
    "PGMAXPROTOCOLVERSION": "max_protocol_version",
    "PGMINPROTOCOLVERSION": "min_protocol_version",
    "PGOPTIONS": "options",
    "PGREQUIREAUTH": "require_auth",
    "PGREQUIREPEER": "requirepeer",
    "PGSSLCERTMODE": "sslcertmode",
    "PGSSLCOMPRESSION": "sslcompression",
    "PGSSLCRLDIR": "sslcrldir",
    "PGSSLSNI": "sslsni",
    "PGTZ": "timezone",
}
