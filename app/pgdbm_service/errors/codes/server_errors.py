"""The errors of the service and its database: HTTP statuses from 500."""

from __future__ import annotations

from .kind import ErrorKind

SERVER_ERRORS = (
    ErrorKind(
        "internal_error",
        500,
        "The service failed",
        "A bug in the service. Its log has the cause, under the answer's `request_id`.",
        "Report it together with that part of the log.",
        "request_id",
    ),
    ErrorKind(
        "files_changing",
        503,
        "The files are being changed",
        "The module's files in the migrations repository were being written or replaced. Nothing was applied.",
        "Try again when they are complete.",
        "module retry_after",
        retry_after_s=2,
    ),
    ErrorKind(
        "repository_unreadable",
        503,
        "The migrations repository cannot be read",
        "What `PGDBM_MIGRATIONS_REPO` names is missing, is not a folder, is a symbolic link to nothing, or may not be "
        "read. Modules that were read before are still listed. Nothing was applied. Registered modules can be migrated "
        "one by one, but `POST /migrate` cannot know all modules.",
        "Mount the folder, or let the service's user read it. The service needs no restart: it reads the folder as "
        "soon as it can.",
        "module retry_after",
        retry_after_s=5,
    ),
    ErrorKind(
        "modules_missing",
        503,
        "Required modules are missing",
        "Some modules in `PGDBM_REQUIRE_MODULES`, listed in `missing`, are neither in the migrations repository "
        "nor registered, or have no migration files. Nothing was applied.",
        "Check what is mounted at `PGDBM_MIGRATIONS_REPO`.",
        "missing retry_after",
        retry_after_s=5,
    ),
    ErrorKind(
        "database_error",
        500,
        "The database rejected a statement of the service",
        "PostgreSQL rejected one of the service's own statements.",
        "`sqlstate` and `database_message` contain the server's message.",
        "sqlstate database_message",
    ),
    ErrorKind(
        "database_unavailable",
        503,
        "The database is unavailable",
        "The database cannot be reached, does not accept connections, is read-only (a standby), has no disk space or "
        "memory left for the service's own rows, or did not answer within `PGDBM_DATABASE_TIMEOUT_S`; or its answer "
        "could not be understood because something in between changed it. "
        "The service keeps trying and does not need a restart. A migration that was interrupted was rolled back, "
        "unless it runs without a transaction.",
        "Try again. `GET /health/ready` shows the failing check. `sqlstate` and `database_message` contain the "
        "server's message, if there is one and the principal has the scope `read`.",
        "sqlstate database_message retry_after",
        retry_after_s=2,
    ),
    ErrorKind(
        "insufficient_resources",
        503,
        "The database server lacks disk space or memory",
        "A statement of a migration, or pgdbm's row about it, needed more disk space or memory than the database "
        "server has, or than its configuration allows (SQLSTATE 53000, 53100, 53200, 53400). The file was rolled back, "
        "unless it runs without a transaction. Files that were applied before stay applied.",
        "Free space where the data of the server is, or raise the limit that `database_message` names. Then try again: "
        "neither the server nor the service needs a restart. If the statement itself needs too much, split it.",
        "module filename statement line column sqlstate database_message database_detail database_context hint applied "
        "schema schema_counts failed_schemas run_id retry_after",
        retry_after_s=30,
    ),
    ErrorKind(
        "login_unavailable",
        503,
        "The database login of the module was refused",
        "The operator has given the module a database login of its own in `PGDBM_MODULE_POLICIES`. The server does "
        "not accept its connections, or the service refused it because its sessions could access what belongs to "
        "others. Nothing was applied. Other modules are not affected.",
        "`database_message` has the reason. See [how to create a login](../../howto/secure-the-service.md). Then try "
        "again: the service needs no restart.",
        "login module schema sqlstate database_message hint retry_after",
        retry_after_s=10,
    ),
    ErrorKind(
        "issuer_unavailable",
        503,
        "The issuer's keys cannot be fetched",
        "The request has a JWT, but the keys to verify it cannot be fetched from the issuer.",
        "Try again. The log shows how fetching `PGDBM_JWT_ISSUER` or `PGDBM_JWKS_URL` failed.",
        "retry_after",
        retry_after_s=10,
    ),
    ErrorKind(
        "lock_timeout",
        503,
        "A lock was not available",
        "Another runner of the same module did not finish within `PGDBM_LOCK_WAIT_S`, or a statement did not get a "
        "lock in any attempt within that time. The migration was rolled back.",
        "Try again, or check what `holder` is doing, or the sessions in `waiting_for`: each has the process id, the "
        "user, the application, the state, the age of its transaction in seconds, its query, the session that it "
        "`blocks`, and the `mode` and `relation` of the lock that this session waits for. "
        "`POST /activity/backends/{pid}/terminate` ends one. "
        "`attempts` were made within `waited_s` seconds.",
        "module holder waiting_for attempts waited_s filename statement line column sqlstate database_message "
        "database_detail database_context hint applied "
        "schema schema_counts failed_schemas run_id retry_after",
        retry_after_s=5,
    ),
    ErrorKind(
        "run_not_ended",
        504,
        "The run has not ended",
        "The request had `require_done=true`, and the run did not end within the wait. It continues. `Location` is its "
        "address.",
        "Send the same request again: it joins the run and waits for its end. `run_status` is `queued` or `running`.",
        "module run_id run_status retry_after",
        retry_after_s=1,
    ),
    ErrorKind(
        "busy",
        503,
        "Too many migrations are running",
        "As many migrations as `PGDBM_MAX_CONNECTIONS` allows are running, and none of them finished in time.",
        "Try again, or allow more connections.",
        "retry_after",
        retry_after_s=5,
    ),
    ErrorKind(
        "shutting_down",
        503,
        "The service is stopping",
        "The service is shutting down. It accepts no new migrations, and those that did not finish "
        "within `PGDBM_SHUTDOWN_GRACE_S` were cancelled and rolled back, unless they run without a transaction. "
        "Their runs were queued again.",
        "Try again: another replica, or this one after its restart, continues the run, and the request joins it.",
        "module run_id retry_after",
        retry_after_s=5,
    ),
    ErrorKind(
        "not_ready",
        503,
        "The service is not ready",
        "A readiness check fails.",
        "`checks` shows which one failed, and why.",
        "checks retry_after",
        retry_after_s=2,
    ),
    ErrorKind(
        "not_migrated",
        503,
        "The module is not migrated",
        "Some migrations that `GET /modules/{module}/ready` requires are not applied: those up to `require`, or any.",
        "Wait, or migrate. `missing` lists the files, or the version in `require` if no file has it.",
        "module schema missing hint retry_after",
        retry_after_s=5,
    ),
)
