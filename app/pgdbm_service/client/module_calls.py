"""The calls of modules: reads, registration, migrate and the other operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..api.backfills import Backfill, BackfillBody, BackfillList
from ..api.modules import (
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
from ..api.operations import (
    BaselineBody,
    BaselineResult,
    ChangedFile,
    ChangedFileList,
    Drift,
    JournalEntry,
    JournalList,
    MarkBody,
    Marked,
    ModuleReady,
    RepairBody,
    RepairResult,
    ResolveBody,
    Resolved,
    RevertBody,
    RevertResult,
)
from ..api.plans import Plan
from ..api.registrations import (
    BundleDiff,
    BundleItem,
    BundlePage,
    Registration,
    RegistrationBody,
    RepositoryChanges,
    Unregistered,
)
from ..api.rehearsals import Rehearsal, RehearseBody
from ..api.runs import MigrateAllBody, MigrateAllResult, MigrateBody, MigrateResult, Run
from .call import Call, Listing
from .endpoints import call, listing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pgdbm.migrations.results import ModuleState as SchemaState
    from pgdbm.migrations.results import OutOfOrder

    from ..api.common import Approvals, Windows
    from ..api.runs import IfClosed

_DEFAULT_WAIT_S = 60.0


class ModuleCalls:
    """The calls of modules."""

    @listing
    def list_modules(
        self,
        *,
        state: ModuleState | Sequence[ModuleState] | None = None,
        q: str | None = None,
        limit: int | None = None,
    ) -> Listing[ModuleSummary]:
        """The modules with their states: the registered ones, then those found in history tables only.

        ``state``: only modules in one of these states; ``q``: only modules whose name contains this text.
        """
        states = state if state is None or isinstance(state, str) else ",".join(state)
        return Listing(path="/modules", query={"state": states, "q": q}, page=ModuleList, limit=limit)

    @call
    def get_module(self, module: str) -> Call[ModuleDetail]:
        """One module with its state; with several schemas, the number of schemas in each state."""
        return Call(method="GET", path="/modules/{module}", parts={"module": module}, answer=ModuleDetail)

    @listing
    def list_module_schemas(
        self, module: str, *, state: SchemaState | None = None, limit: int | None = None
    ) -> Listing[SchemaItem]:
        """The module's schemas by name, with its state in each."""
        path = "/modules/{module}/schemas"
        return Listing(path=path, parts={"module": module}, query={"state": state}, page=SchemaPage, limit=limit)

    @listing
    def list_migrations(
        self, module: str, *, schema: str | None = None, limit: int | None = None
    ) -> Listing[Migration]:
        """The migrations of the module with their states, in the order in which they are applied."""
        return Listing(
            path="/modules/{module}/migrations",
            parts={"module": module},
            query={"schema": schema},
            page=MigrationList,
            limit=limit,
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
    def list_backfills(self, module: str, *, schema: str | None = None) -> Listing[Backfill]:
        """The backfills of the module that have started, or were paused or limited before, by file name."""
        return Listing(
            path="/modules/{module}/backfills",
            parts={"module": module},
            query={"schema": schema},
            page=BackfillList,
            page_size=None,
        )

    @call
    def change_backfill(
        self,
        module: str,
        filename: str,
        *,
        schema: str | None = None,
        paused: bool | None = None,
        rate: int | None = None,
    ) -> Call[Backfill]:
        """Pause or resume a backfill, or limit it to ``rate`` rows per second; 0 means no limit."""
        return Call(
            method="POST",
            path="/modules/{module}/backfills/{filename}",
            parts={"module": module, "filename": filename},
            body=BackfillBody(schema=schema, paused=paused, rate=rate),
            answer=Backfill,
        )

    @listing
    def get_history(self, module: str, *, schema: str | None = None, limit: int | None = None) -> Listing[HistoryItem]:
        """The applied migrations, newest first."""
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
        out_of_order: OutOfOrder | None = None,
        role: str | None = None,
        windows: Windows | None = None,
        approvals: Approvals | None = None,
        dry_run: bool | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
    ) -> Call[Registration]:
        """Register a module, or a new version of it. ``body`` may be a tar.gz, as :func:`archive_of` returns it.

        The other parameters override the settings in the body. ``dry_run``: check everything and store nothing.
        ``if_match``: only if this is the digest of the current bundle; ``if_none_match="*"``: only if there is none.
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
                "windows": None if windows is None else msgspec.json.encode(windows).decode(),
                "approvals": None if approvals is None else msgspec.json.encode(approvals).decode(),
                "dry_run": dry_run,
            },
            headers={"If-Match": if_match, "If-None-Match": if_none_match},
            body=body,
            answer=Registration,
        )

    @call
    def unregister_module(
        self, module: str, *, if_match: str | None = None, force: bool | None = None
    ) -> Call[Unregistered]:
        """Unregister a module. Its schemas, data and history stay.

        ``force``: even if other registered modules depend on it; they become invalid.
        """
        return Call(
            method="DELETE",
            path="/modules/{module}",
            parts={"module": module},
            query={"force": force},
            headers={"If-Match": if_match},
            answer=Unregistered,
        )

    @listing
    def list_bundles(self, module: str, *, limit: int | None = None) -> Listing[BundleItem]:
        """The bundles of the module, newest first."""
        return Listing(path="/modules/{module}/bundles", parts={"module": module}, page=BundlePage, limit=limit)

    @call
    def compare_bundles(self, module: str, before: str, after: str) -> Call[BundleDiff]:
        """The differences between two bundles of the module, given by their digests."""
        return Call(
            method="GET",
            path="/modules/{module}/bundles/diff",
            parts={"module": module},
            query={"before": before, "after": after},
            answer=BundleDiff,
        )

    @call
    def sync_repository(self) -> Call[RepositoryChanges]:
        """Read the migrations repository now, without waiting for the next poll."""
        return Call(method="POST", path="/repo/sync", answer=RepositoryChanges, is_repeatable=True)

    @call
    def migrate(
        self, module: str, body: MigrateBody | None = None, *, idempotency_key: str | None = None
    ) -> Call[MigrateResult | Run]:
        """Apply pending migrations. Returns the result, or the run if it takes longer than ``wait_s`` (60 s).

        The client's ``wait_for`` returns the result in both cases.
        """
        return Call(
            method="POST",
            path="/modules/{module}/migrate",
            parts={"module": module},
            headers={"Idempotency-Key": idempotency_key},
            body=body,
            answer=MigrateResult,
            accepted=Run,
            waits_s=_DEFAULT_WAIT_S if body is None or body.wait_s is None else body.wait_s,
            # A repeated call joins the run, and nothing is applied twice.
            is_repeatable=True,
        )

    @call
    def migrate_all(
        self,
        *,
        dry_run: bool = False,
        not_before: datetime | None = None,
        if_closed: IfClosed = "wait",
        wait_s: float | None = None,
        idempotency_key: str | None = None,
    ) -> Call[MigrateAllResult | Run]:
        """Apply pending migrations of all modules in the order of their dependencies, up to the first failure.

        Returns the results, or the run if it takes longer than ``wait_s`` (60 s).
        """
        return Call(
            method="POST",
            path="/migrate",
            headers={"Idempotency-Key": idempotency_key},
            body=MigrateAllBody(dry_run=dry_run, not_before=not_before, if_closed=if_closed, wait_s=wait_s),
            answer=MigrateAllResult,
            accepted=Run,
            # A dry run is not limited by the wait.
            waits_s=None if dry_run else _DEFAULT_WAIT_S if wait_s is None else wait_s,
            is_repeatable=True,
        )

    @call
    def get_plan(self, module: str, *, schema: str | None = None, target: str | None = None) -> Call[Plan]:
        """What a migrate would do now: every pending statement with its locks and risks."""
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
        """The changes of the module's schema since migrations were last applied to it."""
        path, query = "/modules/{module}/drift", {"schema": schema}
        return Call(method="GET", path=path, parts={"module": module}, query=query, answer=Drift)

    @listing
    def get_journal(self, module: str, *, schema: str | None = None, limit: int | None = 50) -> Listing[JournalEntry]:
        """Attempts, failures and manual operations, newest first."""
        path = "/modules/{module}/journal"
        return Listing(
            path=path,
            parts={"module": module},
            query={"schema": schema},
            page=JournalList,
            limit=limit,
        )

    @listing
    def list_changes(self, module: str, *, schema: str | None = None) -> Listing[ChangedFile]:
        """The applied files that were modified afterwards, as diffs."""
        path = "/modules/{module}/changes"
        query = {"schema": schema}
        return Listing(path=path, parts={"module": module}, query=query, page=ChangedFileList, page_size=None)

    @call
    def module_ready(self, module: str, *, schema: str | None = None, require: str | None = None) -> Call[ModuleReady]:
        """Whether the module is migrated, up to the version ``require``; otherwise ProblemError not_migrated."""
        return Call(
            method="GET",
            path="/modules/{module}/ready",
            parts={"module": module},
            query={"schema": schema, "require": require},
            answer=ModuleReady,
        )

    @call
    def mark_migration(self, module: str, filename: str, *, applied: bool, schema: str | None = None) -> Call[Marked]:
        """Add a file to the history, or delete it from the history. Its SQL does not run."""
        body = MarkBody(filename=filename, applied=applied, schema=schema)
        path = "/modules/{module}/mark"
        return Call(method="POST", path=path, parts={"module": module}, body=body, answer=Marked, waits_s=None)

    @call
    def baseline_module(
        self, module: str, version: str, *, check: bool = True, schema: str | None = None
    ) -> Call[BaselineResult]:
        """Start the history of an existing schema: migrations up to a version count as applied.

        ``check``: build them in a scratch schema first, and require that the existing schema equals it.
        """
        body = BaselineBody(version=version, check=check, schema=schema)
        path = "/modules/{module}/baseline"
        return Call(method="POST", path=path, parts={"module": module}, body=body, answer=BaselineResult, waits_s=None)

    @call
    def rehearse_module(
        self,
        module: str,
        *,
        target: str | None = None,
        timeout_s: float = 60.0,
        schema: str | None = None,
        fix: bool = False,
    ) -> Call[Rehearsal]:
        """Run the pending migrations in a scratch schema that is dropped afterwards: locks taken, times, errors.

        ``fix``: also run the fixes of the files in another one, and compare what both build.
        """
        body = RehearseBody(target=target, timeout_s=timeout_s, schema=schema, fix=fix)
        path = "/modules/{module}/rehearse"
        return Call(method="POST", path=path, parts={"module": module}, body=body, answer=Rehearsal, waits_s=None)

    @call
    def repair_module(
        self, module: str, *, accept: bool = False, files: dict[str, str] | None = None, schema: str | None = None
    ) -> Call[RepairResult]:
        """The applied files that were modified. ``accept`` records their current content as applied.

        ``files``: accept only if exactly these files have changed and have these checksums.
        """
        body = RepairBody(accept=accept, files=files, schema=schema)
        path = "/modules/{module}/repair"
        return Call(method="POST", path=path, parts={"module": module}, body=body, answer=RepairResult, waits_s=None)

    @call
    def revert_module(
        self, module: str, *, steps: int = 1, schema: str | None = None, break_glass: str | None = None
    ) -> Call[RevertResult]:
        """Run the ``.down.sql`` files of the newest applied migrations, newest first, each in a transaction.

        ``break_glass``: in an emergency, the reason for reverting although the module needs approvals, is frozen, or is
        outside its windows.
        """
        body = RevertBody(steps=steps, schema=schema, break_glass=break_glass)
        path = "/modules/{module}/revert"
        return Call(method="POST", path=path, parts={"module": module}, body=body, answer=RevertResult, waits_s=None)

    @call
    def resolve_statement(
        self, module: str, filename: str, statement: int, *, done: bool, schema: str | None = None
    ) -> Call[Resolved]:
        """Record whether a non-transactional statement with an unknown outcome took effect. Then migrate again."""
        body = ResolveBody(filename=filename, statement=statement, done=done, schema=schema)
        path = "/modules/{module}/resolve"
        return Call(method="POST", path=path, parts={"module": module}, body=body, answer=Resolved, waits_s=None)
