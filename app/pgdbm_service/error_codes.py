"""Every error code of the service, with its page. ``docs/reference/errors`` holds the same pages:

python -m pgdbm_service.error_codes docs/reference/errors
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """A code with what is the same each time it happens. ``retry_after_s`` is there where a retry may help."""

    code: str
    status: int
    title: str
    meaning: str
    remedy: str
    fields: tuple[str, ...] = ()
    retry_after_s: int | None = None

    @property
    def type(self) -> str:
        """The address of the page, served by the service itself."""
        return f"/errors/{self.code}"

    def page(self) -> str:
        """The page, as Markdown."""
        lines = [f"# {self.code}", "", f"{self.title}. HTTP status {self.status}."]
        lines += ["", "## What happened", "", self.meaning, "", "## What to do", "", self.remedy]
        if self.retry_after_s is not None:
            lines += ["", "The answer has a `Retry-After` header: the same request may succeed later."]
        if self.fields:
            lines += ["", "## Fields", "", "Besides `type`, `title`, `status`, `detail`, `instance` and `code`:", ""]
            lines += [f"- `{field}`" for field in self.fields]
        return "\n".join(lines) + "\n"


_KINDS = (
    ErrorKind(
        "invalid_request",
        400,
        "The request is not valid",
        "The body is not JSON, has a field that the call does not know or a value of the wrong kind, or a query "
        "parameter is unknown or out of range. Nothing was done.",
        "`errors` names each field or parameter and says what is expected. `/docs` describes every call.",
        ("errors",),
    ),
    ErrorKind(
        "unauthenticated",
        401,
        "Nobody knows who asks",
        "The request has no `Authorization: Bearer` header, or what it shows is not a token of this service or of its "
        "issuer, has expired, or was revoked. Nothing was done.",
        "Send `Authorization: Bearer TOKEN`. `pgdbm token create` makes a token, `GET /tokens` and `pgdbm token list` "
        "say what has become of it.",
    ),
    ErrorKind(
        "forbidden",
        403,
        "The token lacks a scope",
        "Who asks is known, and may not do this. Nothing was done.",
        "Use a token that has the scope in `scope`, or `admin`.",
        ("module", "scope"),
    ),
    ErrorKind(
        "not_loopback",
        403,
        "Only this machine is served",
        "No auth is configured, so the service answers only what comes over the loopback interface and is "
        "addressed to `localhost`, `127.0.0.1` or `[::1]`. A browser page that pretends to be another host is "
        "refused the same way.",
        "Use `http://127.0.0.1:PORT`. To serve others, configure auth with `PGDBM_AUTH`, or start the service with "
        "`PGDBM_ALLOW_UNAUTHENTICATED=true`; whoever reaches the port can then migrate the database.",
    ),
    ErrorKind(
        "cross_origin",
        403,
        "Another site's page may not change anything",
        "The request comes from a web page of another origin, and would have changed something.",
        "Call the service from a program, or from a page that it serves itself.",
    ),
    ErrorKind(
        "not_found",
        404,
        "There is nothing at this address",
        "The path is not one of the service's.",
        "`/docs` lists every path.",
    ),
    ErrorKind(
        "module_unknown",
        404,
        "There is no such module",
        "No folder of the migrations repository has this name. Where the name stands in a history table only, its "
        "history can be read, but there are no files to apply.",
        "`GET /modules` lists the modules; `hint` names the ones that are spelt alike.",
        ("module", "hint"),
    ),
    ErrorKind(
        "schema_unknown",
        404,
        "There is no such schema",
        "The database has no schema of this name.",
        "`GET /schemas` lists the schemas, with `?system=true` those of PostgreSQL itself too; `hint` names the "
        "ones that are spelt alike. A module's schema is created when the module is first migrated.",
        ("schema", "hint"),
    ),
    ErrorKind(
        "migration_unknown",
        404,
        "There is no such migration",
        "The module has no file of this name.",
        "`GET /modules/{module}/migrations` lists the files; `hint` names the ones that are spelt alike.",
        ("module", "filename", "hint"),
    ),
    ErrorKind(
        "bundle_unknown",
        404,
        "There is no such bundle",
        "No bundle with this digest was ever registered.",
        "`GET /modules/{module}/bundles` lists the bundles that a module has had.",
        ("module", "bundle"),
    ),
    ErrorKind(
        "run_unknown",
        404,
        "There is no such run",
        "There never was a run with this id, or it ended more than `PGDBM_RUN_RETENTION_DAYS` ago.",
        "`GET /runs` lists the runs.",
        ("run_id",),
    ),
    ErrorKind(
        "token_unknown",
        404,
        "There is no such token",
        "No token has this id.",
        "`GET /tokens` lists the tokens.",
    ),
    ErrorKind(
        "method_not_allowed",
        405,
        "This address does not take this method",
        "The path exists, but not with this HTTP method.",
        "The `Allow` header lists the methods that it takes.",
    ),
    ErrorKind(
        "checksum_changed",
        409,
        "An applied migration has changed",
        "A file that was applied has another content than it had then. Nothing was applied, or registered. `diff` "
        "shows what is different, where the former content is known.",
        "Put the file back as it was, and write the change as a new migration.",
        ("module", "filename", "schema", "recorded_checksum", "current_checksum", "diff", "changed"),
    ),
    ErrorKind(
        "out_of_order",
        409,
        "A migration comes too late",
        "A pending file sorts before one that is applied, and the module's policy is `reject`. Nothing was applied.",
        'Give the file a newer version, or set `out_of_order = "allow"` in the module\'s `module.toml`.',
        ("module", "filename", "newest_applied"),
    ),
    ErrorKind(
        "baseline_mismatch",
        409,
        "The schema is not what a baseline says",
        "The schema differs from what the migrations that the baseline skips would build. The history is as it was. "
        "`changes` has each object that differs: `kind` (`added`: it is there besides, `removed`: it is missing, "
        "`changed`), `object_kind`, `name`, and its definition as the files would build it (`before`) and as it is "
        "(`after`).",
        'Bring the two together, or say `"check": false` (in Python `check=False`) if the difference is meant.',
        ("module", "changes"),
    ),
    ErrorKind(
        "outcome_unknown",
        409,
        "Nobody knows whether a statement was done",
        "An earlier run died under a statement that cannot run in a transaction, and nothing in the database tells "
        "whether it was done. Nothing was applied after it.",
        "Look at the database, say what you found with `POST /modules/{module}/resolve` (in Python "
        "`AsyncMigrationManager.resolve_statement`), and migrate again.",
        ("module", "filename", "statement", "line", "column"),
    ),
    ErrorKind(
        "plan_moved",
        409,
        "The plan is not what it was",
        "The digest in `plan` is not that of what is pending now: files came or changed, or somebody else has migrated "
        "meanwhile. With a `target` the plan has to be for the same target. Nothing was applied.",
        "Look at `GET /modules/{module}/plan` again, and migrate with its digest.",
        ("module", "plan", "current_plan"),
    ),
    ErrorKind(
        "bundle_moved",
        409,
        "The module has another bundle now",
        "The digest in `bundle` is not that of the module now: somebody has registered another bundle, or the files of "
        "the repository have changed. Nothing was applied.",
        "Look at `GET /modules/{module}` again, and migrate with its digest.",
        ("module", "bundle", "current_bundle"),
    ),
    ErrorKind(
        "run_cancelled",
        409,
        "The run was cancelled",
        "Somebody has cancelled the run. The statement at work was rolled back, unless it runs without a transaction; "
        "what was applied before it stays applied.",
        "Migrate again, or `POST /runs/{run_id}/retry`: it goes on where it stopped.",
        ("module", "schema", "run_id"),
    ),
    ErrorKind(
        "run_ended",
        409,
        "The run has ended",
        "What has ended cannot be cancelled.",
        "`GET /runs/{run_id}` says how it ended.",
        ("run_id", "run_status"),
    ),
    ErrorKind(
        "run_not_retryable",
        409,
        "There is nothing to retry",
        "The run is under way, or has succeeded in every schema.",
        "Wait for it, or migrate the module.",
        ("run_id", "run_status"),
    ),
    ErrorKind(
        "module_conflict",
        409,
        "The module cannot be changed like this",
        "The module is a folder of the migrations repository, where it has to be changed; or other modules depend on "
        "what was to be unregistered. Nothing was changed.",
        "Follow `hint`.",
        ("module", "hint"),
    ),
    ErrorKind(
        "precondition_failed",
        412,
        "The module has changed meanwhile",
        "`If-Match` names another bundle than the module has, or `If-None-Match: *` was sent and the module is "
        "registered. Nothing was changed.",
        "Look at `GET /modules/{module}`, whose ETag is the digest of the bundle, and decide again.",
        ("current_bundle",),
    ),
    ErrorKind(
        "token_exists",
        409,
        "There is a token of this name",
        "Names are what the audit tells tokens by, so no two that are not revoked have the same. Nothing was made.",
        "Choose another name, or revoke that token first.",
    ),
    ErrorKind(
        "body_too_large",
        413,
        "The body is too large",
        "The body has more bytes than `PGDBM_MAX_BODY_BYTES`.",
        "Send less, or raise the limit.",
    ),
    ErrorKind(
        "bundle_too_large",
        413,
        "The module is too large",
        "The files have more bytes together, once unpacked, than `PGDBM_MAX_BUNDLE_BYTES`, or there are more of them "
        "than `PGDBM_MAX_BUNDLE_FILES`. Nothing was stored.",
        "Send less, or raise the limits.",
        ("max_bytes", "max_files"),
    ),
    ErrorKind(
        "archive_invalid",
        422,
        "The archive cannot be taken",
        "It is damaged, or no tar or tar.gz; or a member is a link or a device, leads out of the archive, is there "
        "twice, or lies in another folder than the rest. Nothing was stored.",
        "Make it anew from the module's folder: `tar -czf m.tar.gz -C FOLDER .`",
        ("filename",),
    ),
    ErrorKind(
        "idempotency_key_reused",
        422,
        "The Idempotency-Key belongs to another request",
        "The same caller has used the key before, for another module or with another body. Nothing was done.",
        "Take a new key for a new request.",
        ("module", "run_id"),
    ),
    ErrorKind(
        "migration_failed",
        422,
        "The database refused a statement",
        "PostgreSQL refused a statement of a migration. The file was rolled back, unless it runs without a "
        "transaction; what was applied before it, listed in `applied`, stays applied.",
        "Correct the file at `line` and `column` and migrate again: it goes on where it stopped.",
        (
            "module",
            "filename",
            "statement",
            "line",
            "column",
            "sqlstate",
            "database_message",
            "database_detail",
            "hint",
            "applied",
            "schema",
            "run_id",
        ),
    ),
    ErrorKind(
        "migration_file_invalid",
        422,
        "A migration file cannot be run",
        "A file cannot be read, is empty, is not UTF-8, has the version of another file, holds a placeholder that "
        "does not exist, or is not SQL. It was found before anything was run.",
        "Correct the file at `line` and `column`.",
        ("module", "filename", "line", "column", "hint"),
    ),
    ErrorKind(
        "module_invalid",
        422,
        "The module cannot be used",
        "The module's folder or its `module.toml` is not right: a key that does not exist, a value of the wrong "
        "kind, a dependency that is unknown or leads in a circle.",
        "Correct `filename` at `key`, or register the module again. A change in the repository is seen within seconds, "
        "or at once after `POST /repo/sync`.",
        ("module", "filename", "key", "line", "column", "hint"),
    ),
    ErrorKind(
        "migration_error",
        422,
        "The migrations cannot be applied",
        "The state of the module does not allow what was asked; `detail` says why.",
        "Follow `detail`.",
        ("module", "filename"),
    ),
    ErrorKind(
        "too_many_attempts",
        429,
        "Too many failed attempts",
        "More requests from this address had no token, or a wrong one, than `PGDBM_AUTH_FAILURES_PER_MINUTE` allows. "
        "Other addresses, and tokens that this instance has seen to be good, are served meanwhile.",
        "Find out which program has the wrong token, and wait.",
        ("retry_after",),
        retry_after_s=60,
    ),
    ErrorKind(
        "internal_error",
        500,
        "The service failed",
        "A defect of the service. Its log has the cause, under the `request_id` of the answer.",
        "Report it together with that part of the log.",
        ("request_id",),
    ),
    ErrorKind(
        "database_error",
        500,
        "The database refused what the service asked",
        "PostgreSQL refused a statement of the service's own, most often because the database user lacks a privilege.",
        "`sqlstate` and `database_message` say what was missing.",
        ("sqlstate", "database_message"),
    ),
    ErrorKind(
        "database_unavailable",
        503,
        "The database cannot be reached",
        "The database is away, does not accept connections, takes no writes (as a standby), or did not answer within "
        "`PGDBM_DATABASE_TIMEOUT_S`. "
        "The service keeps trying and needs no restart. A migration that was cut off was rolled back, unless it "
        "runs without a transaction.",
        "Try again. `GET /health/ready` says what fails.",
        ("retry_after",),
        retry_after_s=2,
    ),
    ErrorKind(
        "issuer_unavailable",
        503,
        "The issuer's keys cannot be fetched",
        "The request shows a JWT, and the keys that it would be checked with cannot be fetched from the issuer.",
        "Try again. The log says what is wrong with `PGDBM_JWT_ISSUER` or `PGDBM_JWKS_URL`.",
        ("retry_after",),
        retry_after_s=10,
    ),
    ErrorKind(
        "lock_timeout",
        503,
        "Somebody else holds a lock",
        "Another runner of the same module did not finish within `PGDBM_LOCK_WAIT_S`, or a statement met locks of "
        "other work each time that it was tried for so long. Nothing of the migration it belongs to was kept.",
        "Try again, or look at what `holder` is doing.",
        (
            "module",
            "holder",
            "waited_s",
            "filename",
            "statement",
            "line",
            "column",
            "sqlstate",
            "schema",
            "run_id",
            "retry_after",
        ),
        retry_after_s=5,
    ),
    ErrorKind(
        "busy",
        503,
        "Too many migrations are running",
        "As many migrations are running as `PGDBM_MAX_CONNECTIONS` allows, and none finished in time.",
        "Try again, or allow more connections.",
        ("retry_after",),
        retry_after_s=5,
    ),
    ErrorKind(
        "shutting_down",
        503,
        "The service is stopping",
        "The service was told to stop. It takes no new migrations, and one that did not finish within "
        "`PGDBM_SHUTDOWN_GRACE_S` was cancelled and rolled back, unless it runs without a transaction. Its run "
        "is in the queue again.",
        "Try again: another instance, or this one after its restart, goes on where it stopped, and the call joins it.",
        ("module", "run_id", "retry_after"),
        retry_after_s=5,
    ),
    ErrorKind(
        "not_ready",
        503,
        "The service is not ready",
        "A check of readiness fails.",
        "`checks` says which one, and why.",
        ("checks", "retry_after"),
        retry_after_s=2,
    ),
    ErrorKind(
        "dependency_not_migrated",
        503,
        "A module that this one needs is not migrated so far",
        "The module depends on another one at a version (`module@version`), and the other one is not migrated up to "
        "that version in each of its schemas. Nothing was applied.",
        "Migrate `dependency` first, or everything in its order with `POST /migrate`. `schemas` names some of those "
        "that lack it; where there are none, no file of the dependency has the version.",
        ("module", "dependency", "version", "schemas", "retry_after"),
        retry_after_s=5,
    ),
    ErrorKind(
        "not_migrated",
        503,
        "The module is not migrated",
        "Not every migration that `GET /modules/{module}/ready` asks for is applied: those up to `require`, or all.",
        "Wait, or migrate. `missing` has the names of the files; where no file has the version in `require`, that.",
        ("module", "schema", "missing", "hint", "retry_after"),
        retry_after_s=5,
    ),
)

ERROR_KINDS = {kind.code: kind for kind in _KINDS}


def write_pages(folder: Path) -> None:
    """Write every page to ``folder/<code>.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in _KINDS:
        (folder / f"{kind.code}.md").write_text(kind.page(), encoding="utf-8")


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
