"""The calls about modules: looking at them, registering them, migrating them, deciding about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..modules.structs import (
    HistoryItem,
    HistoryPage,
    Migration,
    MigrationFile,
    MigrationList,
    ModuleDetail,
    ModuleList,
    ModuleState,
    ModuleSummary,
    SchemaItem,
    SchemaPage,
)
from ..registrations.structs import (
    BundleItem,
    BundlePage,
    Registration,
    RegistrationBody,
    RepositoryChanges,
    Unregistered,
)
from ..runs.structs import MigrateAllBody, MigrateAllResult, MigrateBody, MigrateResult, Run
from ..verbs.structs import (
    BaselineBody,
    BaselineResult,
    Drift,
    JournalEntry,
    JournalList,
    MarkBody,
    Marked,
    ModuleReady,
    Plan,
    Rehearsal,
    RehearseBody,
    RepairBody,
    RepairResult,
    ResolveBody,
    Resolved,
    RevertBody,
    RevertResult,
)
from .call import Call, Listing
from .endpoints import call, listing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..structs import Policy

_DEFAULT_WAIT_S = 60.0


class ModuleCalls:
    """What both clients can do with modules."""

    @listing
    def list_modules(self, *, limit: int | None = None) -> Listing[ModuleSummary]:
        """The modules with their states: the registered ones, then those that only a history table knows."""
        return Listing(path="/modules", page=ModuleList, limit=limit)

    @call
    def get_module(self, module: str) -> Call[ModuleDetail]:
        """One module with its state; for one with many schemas, how many are in which state."""
        return Call(method="GET", path="/modules/{module}", parts={"module": module}, answer=ModuleDetail)

    @listing
    def list_module_schemas(
        self, module: str, *, state: ModuleState | None = None, limit: int | None = None
    ) -> Listing[SchemaItem]:
        """The module's schemas by name, and where it stands in each."""
        path = "/modules/{module}/schemas"
        return Listing(path=path, parts={"module": module}, query={"state": state}, page=SchemaPage, limit=limit)

    @listing
    def list_migrations(self, module: str, *, schema: str | None = None) -> Listing[Migration]:
        """Every migration of the module with its state, in the order in which they apply."""
        return Listing(
            path="/modules/{module}/migrations",
            parts={"module": module},
            query={"schema": schema},
            page=MigrationList,
            page_size=None,
        )

    @call
    def get_migration(self, module: str, filename: str, *, schema: str | None = None) -> Call[MigrationFile]:
        """The SQL of one file, as written and as rendered."""
        return Call(
            method="GET",
            path="/modules/{module}/migrations/{filename}",
            parts={"module": module, "filename": filename},
            query={"schema": schema},
            answer=MigrationFile,
        )

    @listing
    def get_history(self, module: str, *, schema: str | None = None, limit: int | None = None) -> Listing[HistoryItem]:
        """What was applied, newest first."""
        path = "/modules/{module}/history"
        return Listing(path=path, parts={"module": module}, query={"schema": schema}, page=HistoryPage, limit=limit)

    @call
    def register_module(
        self,
        module: str,
        body: RegistrationBody | bytes,
        *,
        schema: str | None = None,
        schemas: Sequence[str] | str | None = None,
        depends_on: Sequence[str] | None = None,
        description: str | None = None,
        out_of_order: Policy | None = None,
        role: str | None = None,
        dry_run: bool | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
    ) -> Call[Registration]:
        """Register a module, or another version of it: ``body`` may be a tar.gz, as :func:`archive_of` makes them.

        The rest counts for more than what the body says of it. With ``dry_run`` everything is checked, and nothing
        stored. ``if_match`` is the digest of the bundle that the module has to have; ``if_none_match="*"``: it has to
        have none.
        """
        return Call(
            method="PUT",
            path="/modules/{module}",
            parts={"module": module},
            query={
                "schema": schema,
                "schemas": schemas,
                "depends_on": depends_on,
                "description": description,
                "out_of_order": out_of_order,
                "role": role,
                "dry_run": dry_run,
            },
            headers={"If-Match": if_match, "If-None-Match": if_none_match},
            body=body,
            answer=Registration,
        )

    @call
    def unregister_module(self, module: str, *, if_match: str | None = None) -> Call[Unregistered]:
        """Forget a registered module. What it has made in the database stays, and so does its history."""
        return Call(
            method="DELETE",
            path="/modules/{module}",
            parts={"module": module},
            headers={"If-Match": if_match},
            answer=Unregistered,
        )

    @listing
    def list_bundles(self, module: str, *, limit: int | None = None) -> Listing[BundleItem]:
        """The bundles that the module has had, newest first."""
        return Listing(path="/modules/{module}/bundles", parts={"module": module}, page=BundlePage, limit=limit)

    @call
    def sync_repository(self) -> Call[RepositoryChanges]:
        """Read the migrations repository again, at once and not when its watcher next looks."""
        return Call(method="POST", path="/repo/sync", answer=RepositoryChanges, is_repeatable=True)

    @call
    def migrate(
        self, module: str, body: MigrateBody | None = None, *, idempotency_key: str | None = None
    ) -> Call[MigrateResult | Run]:
        """Apply what is pending: the result, or the run where it is not done when ``wait_s`` (60 s) is over.

        The client's ``wait_for`` makes a result of either.
        """
        return Call(
            method="POST",
            path="/modules/{module}/migrate",
            parts={"module": module},
            headers={"Idempotency-Key": idempotency_key},
            body=body,
            answer=MigrateResult,
            goes_on=Run,
            waits_s=_DEFAULT_WAIT_S if body is None or body.wait_s is None else body.wait_s,
            # It joins what is under way, and what is applied is not applied again.
            is_repeatable=True,
        )

    @call
    def migrate_all(
        self, *, dry_run: bool = False, wait_s: float | None = None, idempotency_key: str | None = None
    ) -> Call[MigrateAllResult | Run]:
        """Apply what is pending in every module, each after those that it depends on, up to the first failure.

        The results, or the run where it is not done when ``wait_s`` (60 s) is over.
        """
        return Call(
            method="POST",
            path="/migrate",
            headers={"Idempotency-Key": idempotency_key},
            body=MigrateAllBody(dry_run=dry_run, wait_s=wait_s),
            answer=MigrateAllResult,
            goes_on=Run,
            # What only looks is not cut off by the wait.
            waits_s=None if dry_run else _DEFAULT_WAIT_S if wait_s is None else wait_s,
            is_repeatable=True,
        )

    @call
    def get_plan(self, module: str, *, schema: str | None = None, target: str | None = None) -> Call[Plan]:
        """What a migrate would do now: every pending statement with its locks, and what is risky about it."""
        return Call(
            method="GET",
            path="/modules/{module}/plan",
            parts={"module": module},
            query={"schema": schema, "target": target},
            answer=Plan,
            waits_s=None,
        )

    @call
    def get_drift(self, module: str, *, schema: str | None = None) -> Call[Drift]:
        """What is different in the module's schema from when migrations were last applied to it."""
        path, query = "/modules/{module}/drift", {"schema": schema}
        return Call(method="GET", path=path, parts={"module": module}, query=query, answer=Drift)

    @listing
    def get_journal(self, module: str, *, schema: str | None = None, limit: int = 50) -> Listing[JournalEntry]:
        """What happened besides success, newest first: attempts, failures, decisions."""
        path = "/modules/{module}/journal"
        return Listing(
            path=path,
            parts={"module": module},
            query={"schema": schema, "limit": limit},
            page=JournalList,
            page_size=None,
        )

    @call
    def module_ready(self, module: str, *, schema: str | None = None, require: str | None = None) -> Call[ModuleReady]:
        """Whether the module is migrated, up to the version ``require``; otherwise the problem not_migrated."""
        return Call(
            method="GET",
            path="/modules/{module}/ready",
            parts={"module": module},
            query={"schema": schema, "require": require},
            answer=ModuleReady,
        )

    @call
    def mark_migration(self, module: str, filename: str, *, applied: bool, schema: str | None = None) -> Call[Marked]:
        """Write into the history that a file is applied, or take it out. Runs no SQL of it."""
        body = MarkBody(filename=filename, applied=applied, schema=schema)
        path = "/modules/{module}/mark"
        return Call(method="POST", path=path, parts={"module": module}, body=body, answer=Marked, waits_s=None)

    @call
    def baseline_module(
        self, module: str, version: str, *, check: bool = True, schema: str | None = None
    ) -> Call[BaselineResult]:
        """Begin the history of a schema that is there already: up to a version, migrations count as applied.

        With ``check`` they are built in a scratch schema first, and what is there has to be the same.
        """
        body = BaselineBody(version=version, check=check, schema=schema)
        path = "/modules/{module}/baseline"
        return Call(method="POST", path=path, parts={"module": module}, body=body, answer=BaselineResult, waits_s=None)

    @call
    def rehearse_module(
        self, module: str, *, target: str | None = None, timeout_s: float = 60.0, schema: str | None = None
    ) -> Call[Rehearsal]:
        """Run what is pending in a scratch schema, and drop it: the locks really taken, the times, whether it works."""
        body = RehearseBody(target=target, timeout_s=timeout_s, schema=schema)
        path = "/modules/{module}/rehearse"
        return Call(method="POST", path=path, parts={"module": module}, body=body, answer=Rehearsal, waits_s=None)

    @call
    def repair_module(self, module: str, *, accept: bool = False, schema: str | None = None) -> Call[RepairResult]:
        """The applied files whose content has changed; ``accept`` takes what they hold now for applied."""
        body = RepairBody(accept=accept, schema=schema)
        path = "/modules/{module}/repair"
        return Call(method="POST", path=path, parts={"module": module}, body=body, answer=RepairResult, waits_s=None)

    @call
    def revert_module(self, module: str, *, steps: int = 1, schema: str | None = None) -> Call[RevertResult]:
        """Run the ``.down.sql`` files of the newest applied migrations, newest first, each a transaction."""
        body = RevertBody(steps=steps, schema=schema)
        path = "/modules/{module}/revert"
        return Call(method="POST", path=path, parts={"module": module}, body=body, answer=RevertResult, waits_s=None)

    @call
    def resolve_statement(
        self, module: str, filename: str, statement: int, *, done: bool, schema: str | None = None
    ) -> Call[Resolved]:
        """Say whether a statement outside a transaction, whose outcome is unknown, was done. Then migrate again."""
        body = ResolveBody(filename=filename, statement=statement, done=done, schema=schema)
        path = "/modules/{module}/resolve"
        return Call(method="POST", path=path, parts={"module": module}, body=body, answer=Resolved, waits_s=None)
