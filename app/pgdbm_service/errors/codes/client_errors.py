"""The errors of requests: HTTP statuses 400 to 499."""

from __future__ import annotations

from .kind import ErrorKind

CLIENT_ERRORS = (
    ErrorKind(
        "invalid_request",
        400,
        "The request is invalid",
        "The body is not JSON, has an unknown field or a value of the wrong type, or a query "
        "parameter is unknown or out of range. Nothing was done.",
        "`errors` names each field or parameter and states what is expected. `/docs` describes every call.",
        "errors",
    ),
    ErrorKind(
        "unauthenticated",
        401,
        "Authentication is required",
        "The request has no `Authorization: Bearer` header, or its token was not issued by this service or its "
        "JWT issuer, has expired, or was revoked. On a page of the dashboard: the session has ended, or the sign-in "
        "was refused. Nothing was done.",
        "Send `Authorization: Bearer TOKEN`. `pgdbm token create` creates a token; `GET /tokens` and `pgdbm token "
        "list` show the state of each. In a browser, sign in at `/ui/sign-in`.",
    ),
    ErrorKind(
        "forbidden",
        403,
        "The token lacks a scope",
        "The client is authenticated, but its token does not allow this. Nothing was done.",
        "Use a token with the scope in `scope`, or with `admin`.",
        "module scope",
    ),
    ErrorKind(
        "not_loopback",
        403,
        "Only clients on this machine are served",
        "No auth is configured, so the service answers only requests that arrive over the loopback interface and are "
        "addressed to `localhost`, `127.0.0.1` or `[::1]`. This also refuses a browser page whose host name was "
        "pointed at this machine (DNS rebinding).",
        "Use `http://127.0.0.1:PORT`. To serve other machines, configure auth with `PGDBM_AUTH`, or start the service "
        "with `PGDBM_ALLOW_UNAUTHENTICATED=true`; then everyone who can reach the port can migrate the database.",
    ),
    ErrorKind(
        "host_not_allowed",
        403,
        "The Host is not allowed",
        "The request is addressed to a host name that the service is not configured for. Without auth, every name "
        "except `localhost` is refused, because a web page could point its own host name at the service (DNS "
        "rebinding).",
        "Use an IP address or `localhost`, or add the name to `PGDBM_ALLOWED_HOSTS`.",
        "hint",
    ),
    ErrorKind(
        "cross_origin",
        403,
        "Pages of other sites cannot change anything",
        "The request was made by a web page from another origin and would have changed something. A form of the "
        "dashboard is also refused if the browser sends neither `Origin` nor `Sec-Fetch-Site`.",
        "Call the service from a program, or from a page that it serves itself. Add the origin of a trusted page to "
        "`PGDBM_CORS_ORIGINS`. A reverse proxy that replaces the `Host` must send `X-Forwarded-Host` and be listed in "
        "`PGDBM_TRUSTED_PROXIES`; or set `PGDBM_PUBLIC_ORIGIN`.",
        "hint",
    ),
    ErrorKind(
        "policy_violated",
        403,
        "The operator's policy does not allow this",
        "The operator of the service restricts the schemas and the roles of modules with `PGDBM_MODULE_POLICIES`, "
        "and this module has different ones. Nothing was registered or applied.",
        "Follow `hint`.",
        "module schema hint run_id",
    ),
    ErrorKind(
        "not_found",
        404,
        "There is nothing at this address",
        "The service has no such path.",
        "`/docs` lists every path.",
        "hint",
    ),
    ErrorKind(
        "module_unknown",
        404,
        "There is no such module",
        "Neither the migrations repository nor the registrations contain a module with this name. If "
        "the name occurs in a "
        "history table, its history can be read, but there are no files to apply.",
        "`GET /modules` lists the modules; `hint` suggests similar names.",
        "module hint",
    ),
    ErrorKind(
        "schema_unknown",
        404,
        "There is no such schema",
        "The database has no schema with this name.",
        "`GET /schemas` lists the schemas, with `?system=true` including PostgreSQL's own; `hint` suggests similar "
        "names. A module's schema is created when the module is first migrated.",
        "schema hint",
    ),
    ErrorKind(
        "migration_unknown",
        404,
        "There is no such migration",
        "The module has no file with this name.",
        "`GET /modules/{module}/migrations` lists the files; `hint` suggests similar names.",
        "module filename hint",
    ),
    ErrorKind(
        "bundle_unknown",
        404,
        "There is no such bundle",
        "No bundle with this digest was ever registered.",
        "`GET /modules/{module}/bundles` lists the bundles of a module.",
        "module bundle",
    ),
    ErrorKind(
        "run_unknown",
        404,
        "There is no such run",
        "There never was a run with this id, or it ended more than `PGDBM_RUN_RETENTION_DAYS` ago.",
        "`GET /runs` lists the runs.",
        "run_id",
    ),
    ErrorKind(
        "token_unknown",
        404,
        "There is no such token",
        "No token has this id.",
        "`GET /tokens` lists the tokens.",
    ),
    ErrorKind(
        "webhook_unknown",
        404,
        "There is no such webhook",
        "No webhook has this id, or the delivery does not belong to it or was deleted.",
        "`GET /webhooks` lists the webhooks, and `GET /webhooks/{webhook_id}/deliveries` the deliveries of one.",
    ),
    ErrorKind(
        "webhook_in_settings",
        409,
        "The webhook is in the settings of the service",
        "A webhook in `PGDBM_WEBHOOKS` cannot be changed or deleted over HTTP. Nothing was changed.",
        "Change the setting, and restart the service. A webhook that was disabled because its receiver failed "
        "can be enabled, though.",
    ),
    ErrorKind(
        "method_not_allowed",
        405,
        "This address does not support this method",
        "The path exists, but not with this HTTP method.",
        "The `Allow` header lists the methods that it supports.",
    ),
    ErrorKind(
        "request_timeout",
        408,
        "The request did not arrive in time",
        "The headers and the body were not received within `PGDBM_REQUEST_TIMEOUT_S`. Nothing was done.",
        "Send the request again over a faster connection, or raise the limit.",
    ),
    ErrorKind(
        "checksum_changed",
        409,
        "An applied migration was modified",
        "A file was modified after it was applied. Nothing was applied or registered. `diff` shows the changes if the "
        "previous content is known.",
        "Restore the file, and write the change as a new migration.",
        "module filename schema recorded_checksum current_checksum diff changed",
    ),
    ErrorKind(
        "out_of_order",
        409,
        "A migration is out of order",
        "A pending file sorts before an applied one, and the module's `out_of_order` is `reject`. Nothing was applied. "
        "`applied_as` is the name of `newest_applied` in the history, if it was renamed.",
        'Give the file a newer version, or set `out_of_order = "allow"` in the module\'s `module.toml`.',
        "module filename newest_applied applied_as",
    ),
    ErrorKind(
        "plan_refused",
        409,
        "The plan does more than is allowed",
        "A pending file exceeds `max_rewrite`, `max_blocked` or `findings`, the limits of the module or of the "
        "operator's policy for it. `limit` names the limit, and `statement` and `line` the statement. "
        "Nothing was applied.",
        "Use the safer form: it is `fix` in the plan, and `pgdbm migrate fix` writes the files. If the change is "
        "intended as it is, raise the limit in `module.toml` or in PGDBM_MODULE_POLICIES.",
        "module filename statement line column limit hint",
    ),
    ErrorKind(
        "baseline_mismatch",
        409,
        "The schema does not match the baseline",
        "The schema differs from the one that the migrations skipped by the baseline would build. The history was not "
        "changed. `changes` lists each object that differs: `kind` (`added`: only the schema has it, `removed`: it is "
        "missing, `changed`), `object_kind`, `name`, and its definition as the files would build it (`before`) and in "
        "the schema (`after`).",
        'Reconcile the two, or send `"check": false` (in Python `check=False`) if the difference is intended.',
        "module changes",
    ),
    ErrorKind(
        "outcome_unknown",
        409,
        "The outcome of a statement is unknown",
        "An earlier run was interrupted during a statement that cannot run in a transaction, and the catalog does not "
        "show whether it took effect. No later statement was executed.",
        "Check the database, record the outcome with `POST /modules/{module}/resolve` (in Python "
        "`AsyncMigrationManager.resolve_statement`), and migrate again.",
        "module filename statement line column",
    ),
    ErrorKind(
        "plan_moved",
        409,
        "The plan has changed",
        "The digest in `plan` does not match what is now pending: files were added or changed, or the module was "
        "migrated. With a `target`, the plan must be one for the same target. If the run was waiting for approval, it "
        "has ended and its approvals are void. If another runner changes the history during the run, what was applied "
        "before is in `applied`; otherwise nothing was applied.",
        "Review `GET /modules/{module}/plan` again and migrate with its digest.",
        "module plan current_plan applied bundle current_bundle run_id",
    ),
    ErrorKind(
        "bundle_moved",
        409,
        "The module now has a different bundle",
        "The digest in `bundle` is not the module's current one: a different bundle was registered, or the files in "
        "the repository were changed. Nothing was applied.",
        "Review `GET /modules/{module}` again, and migrate with its digest.",
        "module bundle current_bundle",
    ),
    ErrorKind(
        "run_cancelled",
        409,
        "The run was cancelled",
        "The run was cancelled on request. The statement in progress was rolled back, unless it runs without a "
        "transaction; migrations that were applied before stay applied.",
        "Migrate again, or `POST /runs/{run_id}/retry`: it continues where the run stopped.",
        "module schema run_id",
    ),
    ErrorKind(
        "run_poisoned",
        422,
        "The run has killed replicas",
        "Two replicas of the service died while they were processing the run, and nothing was applied in between. "
        "The run is not retried, so that it does not prevent other modules from being migrated.",
        "Check the logs of the replicas and of the system that ran them for a crash or a memory limit. Then correct "
        "`filename`, or migrate again if something else caused the crashes.",
        "module schema filename replica_crashes schema_counts failed_schemas run_id",
    ),
    ErrorKind(
        "run_ended",
        409,
        "The run has ended",
        "A run that has ended cannot be cancelled.",
        "`GET /runs/{run_id}` shows how it ended.",
        "run_id run_status",
    ),
    ErrorKind(
        "run_not_retryable",
        409,
        "There is nothing to retry",
        "The run has not ended, or it succeeded in every schema.",
        "Wait for it to end, or migrate the module.",
        "run_id run_status",
    ),
    ErrorKind(
        "backend_unknown",
        404,
        "There is no such session",
        "No session of the database has this process id, or it has already ended, or it is one of the "
        "service's migrations.",
        "Read `/activity/blocking` again. To stop a migration, cancel its run.",
        "pid",
    ),
    ErrorKind(
        "backend_not_blocking",
        409,
        "The session does not block a migration",
        "A session is ended only while it keeps a migration waiting, or if `backend_start` identifies it.",
        "Read `/activity/blocking` again, or send its `backend_start`.",
        "pid",
    ),
    ErrorKind(
        "module_conflict",
        409,
        "The module cannot be changed in this way",
        "The module is a folder in the migrations repository and must be changed there; the module that was to be "
        "unregistered is a dependency of others; or its files are applied as the module `applied_as`, which no "
        "longer exists. Nothing was changed.",
        "Follow `hint`.",
        "module schema applied_as hint",
    ),
    ErrorKind(
        "precondition_failed",
        412,
        "The module was changed in the meantime",
        "`If-Match` is not the module's current bundle, or `If-None-Match: *` was sent and the module is "
        "registered. Nothing was changed.",
        "Read `GET /modules/{module}` again, whose ETag is the digest of the bundle, and decide again.",
        "current_bundle",
    ),
    ErrorKind(
        "token_exists",
        409,
        "There is already a token with this name",
        "The audit identifies tokens by their names, so two tokens that are not revoked cannot share one. Nothing was "
        "created.",
        "Choose another name, or revoke that token first.",
    ),
    ErrorKind(
        "body_too_large",
        413,
        "The body is too large",
        "The body exceeds `PGDBM_MAX_BODY_BYTES`.",
        "Send less, or raise the limit.",
    ),
    ErrorKind(
        "bundle_too_large",
        413,
        "The module is too large",
        "The unpacked files exceed `PGDBM_MAX_BUNDLE_BYTES` in total, or there are more of them than "
        "`PGDBM_MAX_BUNDLE_FILES`. Nothing was stored.",
        "Send less, or raise the limits.",
        "max_bytes max_files",
    ),
    ErrorKind(
        "archive_invalid",
        422,
        "The archive is invalid",
        "It is damaged, or is not a tar or tar.gz; or a member is a link or a device, has a path that leads out of the "
        "archive, occurs twice, or is not in the same folder as the rest. Nothing was stored.",
        "Create it again from the module's folder: `tar -czf m.tar.gz -C FOLDER .`",
        "filename",
    ),
    ErrorKind(
        "idempotency_key_reused",
        422,
        "The Idempotency-Key belongs to another request",
        "The same principal has already used the key, for a different module or with a different "
        "body. Nothing was done.",
        "Use a new key for a new request.",
        "module run_id",
    ),
    ErrorKind(
        "migration_failed",
        422,
        "The database rejected a statement",
        "PostgreSQL rejected a statement of a migration. The file was rolled back, unless it runs without a "
        "transaction; the migrations applied before it, listed in `applied`, stay applied.",
        "Correct the file at `line` and `column` and migrate again: it continues where it stopped.",
        "module filename statement line column sqlstate database_message database_detail database_context hint applied "
        "schema schema_counts failed_schemas run_id",
    ),
    ErrorKind(
        "migration_file_invalid",
        422,
        "A migration file is invalid",
        "A file cannot be read, is empty, is not UTF-8, has the same version as another file, contains an "
        "unknown placeholder, or is not SQL. This was found before anything was executed.",
        "Correct the file at `line` and `column`.",
        "module filename line column hint",
    ),
    ErrorKind(
        "module_invalid",
        422,
        "The module is invalid",
        "The module's folder or its `module.toml` is invalid: an unknown key, a value of the wrong type, an unknown "
        "dependency or a dependency cycle.",
        "Correct `filename` at `key`, or register the module again. A change in the repository is read within seconds, "
        "or immediately after `POST /repo/sync`.",
        "module filename key line column hint",
    ),
    ErrorKind(
        "migration_error",
        422,
        "The state of the module does not allow it",
        "The state of the module does not allow the operation; `detail` states why.",
        "Follow `detail`.",
        "module filename",
    ),
    ErrorKind(
        "insufficient_privilege",
        422,
        "The database user lacks a privilege",
        "The service's database user is not allowed to do what the migrations need, such as creating a schema, or "
        "creating or reading the history table in it. Nothing was applied.",
        "`database_message` contains the server's message, and `hint` the GRANT. Alternatively, make the "
        "user the owner of the schema.",
        "sqlstate database_message hint",
    ),
    ErrorKind(
        "too_many_attempts",
        429,
        "Too many failed attempts",
        "More requests from this address than `PGDBM_AUTH_FAILURES_PER_MINUTE` allows had no token or an invalid one. "
        "Other addresses are not affected.",
        "Find the program that uses an invalid token, and wait for `retry_after` seconds.",
        "retry_after",
        retry_after_s=60,
    ),
    ErrorKind(
        "too_many_modules",
        409,
        "Too many modules are registered",
        "As many modules are registered as `PGDBM_MAX_MODULES` allows in all, or `PGDBM_MAX_MODULES_PER_PRINCIPAL` for "
        "one principal. Nothing was stored. New versions of registered modules are still accepted.",
        "Unregister modules that are no longer needed, or raise the limit.",
        "limit",
    ),
    ErrorKind(
        "too_many_registrations",
        429,
        "Too many registrations",
        "Within an hour, the principal has registered as many changes as `PGDBM_MAX_REGISTRATIONS_PER_HOUR` allows. "
        "Nothing was stored. Registering the same content again does not count.",
        "Find the program that registers a different bundle each time, or raise the limit.",
        "limit retry_after",
        retry_after_s=60,
    ),
    ErrorKind(
        "headers_too_large",
        431,
        "The headers are too large",
        "The request line and the headers exceed 64 KB. Nothing was done.",
        "Send fewer or smaller headers.",
    ),
    ErrorKind(
        "dependency_not_migrated",
        409,
        "A dependency is not migrated",
        "The module depends on another module (`depends_on`), and a migration of that one is pending in one of its "
        "schemas: any migration, or one up to the version in `module@version`. Nothing was applied.",
        "Migrate `dependency` first, or send `with_dependencies: true`, or migrate all modules in order with `POST "
        "/migrate`. `schemas` lists some of the schemas in which it is pending; if it is missing, no file "
        "of the dependency has the version. If the module needs only a certain version of its "
        "dependency, let `depends_on` name that version.",
        "module dependency version schemas hint",
    ),
)
