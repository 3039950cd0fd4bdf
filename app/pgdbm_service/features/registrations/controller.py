"""PUT and DELETE /modules/{module}, its bundles, and POST /repo/sync."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, Response, delete, get, post, put
from litestar.openapi import ResponseSpec
from litestar.params import Parameter

from pgdbm.migrations.results import OutOfOrder
from pgdbm.migrations.sources.names import order_of

from ...api.registrations import (
    BundleDiff,
    BundlePage,
    Registration,
    RegistrationStatus,
    RepositoryChanges,
    Unregistered,
)
from ...database.pool import Database
from ...registry.modules import Module, Registry
from ...registry.repository_watch import RepositoryWatch
from ...web.conditional import Preconditions, etag_of
from ...web.openapi import RegistrationOperation
from ...web.pagination import Cursor, Limit, cursor_of, read_number
from ...web.problems import error_responses
from ...web.request import HTTPRequest, principal_of
from .archives import Limits
from .registrar import Registrar
from .submissions import as_given, read_submission

_ANY = ("database_unavailable", "lock_timeout", "database_error", "insufficient_privilege")
_CHANGE = ("cross_origin", "module_conflict", "precondition_failed", *_ANY)

IfMatch = Annotated[
    str | None, Parameter(header="If-Match", description="Only if this is the ETag of the module's current bundle.")
]
IfNoneMatch = Annotated[
    str | None, Parameter(header="If-None-Match", description="`*`: only if the module is not registered yet.")
]
_OVERRIDES = "Overrides the body; for bodies that cannot contain it."


class RegistrationController(Controller):
    path = "/modules/{module:str}"
    tags = ("registrations",)
    opt = {"needs": "register"}  # noqa: RUF012 - Litestar merges it into each handler's

    @put(
        status_code=200,
        operation_class=RegistrationOperation,
        responses={
            201: ResponseSpec(Registration, generate_examples=False, description="The module now has this bundle."),
            **error_responses(
                "invalid_request",
                "policy_violated",
                "approvals_weakened",
                "body_too_large",
                "bundle_too_large",
                "archive_invalid",
                "module_invalid",
                "migration_file_invalid",
                "checksum_changed",
                "too_many_modules",
                "too_many_registrations",
                *_CHANGE,
            ),
        },
    )
    async def register_module(
        self,
        request: HTTPRequest,
        database: Database,
        registrar: Registrar,
        bundle_limits: Limits,
        module: str,
        if_match: IfMatch = None,
        if_none_match: IfNoneMatch = None,
        schema: Annotated[str | None, Parameter(description=_OVERRIDES)] = None,
        schemas: Annotated[list[str] | None, Parameter(description=f"Names, or one pattern. {_OVERRIDES}")] = None,
        depends_on: Annotated[list[str] | None, Parameter(description=_OVERRIDES)] = None,
        description: Annotated[str | None, Parameter(description=_OVERRIDES)] = None,
        out_of_order: Annotated[OutOfOrder | None, Parameter(description=_OVERRIDES)] = None,
        role: Annotated[str | None, Parameter(description=_OVERRIDES)] = None,
        windows: Annotated[str | None, Parameter(description=f"A JSON object. {_OVERRIDES}")] = None,
        approvals: Annotated[str | None, Parameter(description=f"A JSON object. {_OVERRIDES}")] = None,
        dry_run: Annotated[bool, Parameter(description="Check everything but store nothing.")] = False,
    ) -> Response[Registration]:
        """Register a module, or a new version of it: JSON, files as a form, or a tar.gz.

        All files are parsed first, and nothing is stored if one is invalid. Registering the same content again changes
        nothing.
        """
        parameters = {
            "schema": schema,
            "schemas": None if schemas is None else as_given("schemas", schemas),
            "depends_on": depends_on,
            "description": description,
            "out_of_order": out_of_order,
            "role": role,
            "windows": None if windows is None else as_given("windows", [windows]),
            "approvals": None if approvals is None else as_given("approvals", [approvals]),
        }
        overrides = {name: value for name, value in parameters.items() if value is not None}
        submission = await read_submission(request, overrides, bundle_limits)
        conditions = Preconditions(if_match, if_none_match)
        registered, changed = await registrar.register(
            module, submission, conditions, principal_of(request), dry_run=dry_run
        )
        pending = await database.with_timeout(registrar.pending(registered))
        status: RegistrationStatus = "unchanged" if not changed else "dry_run" if dry_run else "registered"
        warnings = await database.with_timeout(registrar.warnings(registered))
        answer = _registration(registered, status, pending, warnings)
        created = status == "registered"
        return Response(answer, status_code=201 if created else 200, headers={"ETag": etag_of(answer.digest)})

    @delete(status_code=200, responses=error_responses("module_unknown", *_CHANGE))
    async def unregister_module(
        self,
        request: HTTPRequest,
        registrar: Registrar,
        module: str,
        if_match: IfMatch = None,
        force: Annotated[bool, Parameter(description="Even if other registered modules depend on it.")] = False,
    ) -> Unregistered:
        """Unregister a module. Its schemas, data and history stay."""
        caller = principal_of(request).name
        digest = await registrar.unregister(module, Preconditions(if_match), caller, force=force)
        return Unregistered(module=module, digest=digest)

    @get("/bundles", opt={"needs": "read"}, responses=error_responses("module_unknown", *_ANY))
    async def list_bundles(
        self,
        database: Database,
        registrar: Registrar,
        module: str,
        limit: Limit = 20,
        cursor: Cursor = None,
    ) -> BundlePage:
        """The bundles that the module has had, newest first."""
        page, following = await database.with_timeout(registrar.bundles(module, limit, read_number(cursor)))
        page.next = None if following is None else cursor_of(following)
        return page

    @get("/bundles/diff", opt={"needs": "read"}, responses=error_responses("bundle_unknown", *_ANY))
    async def compare_bundles(
        self,
        database: Database,
        registrar: Registrar,
        module: str,
        before: Annotated[str, Parameter(description="The digest of a bundle.")],
        after: Annotated[str, Parameter(description="The digest of the bundle to compare it with.")],
    ) -> BundleDiff:
        """The differences between two bundles that were registered at some time, as diffs."""
        return await database.with_timeout(registrar.compare_bundles(module, before, after))


@post(
    "/repo/sync",
    status_code=200,
    tags=["registrations"],
    opt={"needs": "admin"},
    responses=error_responses("cross_origin", "repository_unreadable"),
)
async def sync_repository(repository_watch: RepositoryWatch, registry: Registry) -> RepositoryChanges:
    """Read the migrations repository now, without waiting for the next poll."""
    changes = await repository_watch.sync()
    return RepositoryChanges(
        added=changes.added,
        changed=changes.changed,
        removed=changes.removed,
        unchanged=changes.unchanged,
        invalid=[module.name for module in registry if module.source == "repo" and module.problem is not None],
        hidden=sorted(registry.repo.keys() & registry.registered.keys()),
    )


def _registration(module: Module, status: RegistrationStatus, pending: list[str], warnings: list[str]) -> Registration:
    assert module.bundle is not None
    names = module.schemas
    return Registration(
        module=module.name,
        status=status,
        digest=module.bundle.digest,
        schema=names[0] if names is not None and len(names) == 1 else None,
        schemas=list(names) if names is not None else module.schema,
        depends_on=module.depends_on,
        description=module.description,
        out_of_order=module.out_of_order,
        role=module.role,
        windows=module.settings.windows,
        approvals=module.settings.approvals,
        migrations=sorted(module.bundle.files, key=order_of),
        pending=pending,
        warnings=warnings,
    )
