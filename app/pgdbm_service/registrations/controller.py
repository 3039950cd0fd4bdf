"""PUT and DELETE /modules/{module}, its bundles, and POST /repo/sync."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from litestar import Controller, Request, Response, delete, get, post, put
from litestar.openapi import ResponseSpec
from litestar.params import Parameter

from pgdbm.migrations.files import order_of

from ..auth import caller_of
from ..conditions import Conditions, etag_of
from ..cursors import cursor_of, read_cursor
from ..database import Database
from ..errors import documented
from ..registry import Module, Registry
from ..repository_sync import RepositorySync
from .limits import Limits
from .registrar import Registrar
from .request_body import RegistrationOperation
from .structs import BundlePage, Registration, RegistrationStatus, RepositoryChanges, Unregistered
from .submissions import as_given, read_submission

_ANY = ("database_unavailable", "lock_timeout", "database_error")
_CHANGE = ("cross_origin", "module_conflict", "precondition_failed", *_ANY)

IfMatch = Annotated[
    str | None, Parameter(header="If-Match", description="Only if the module has the bundle with this ETag.")
]
IfNoneMatch = Annotated[
    str | None, Parameter(header="If-None-Match", description="`*`: only if the module is not registered yet.")
]
Policy = Literal["allow", "reject"]
_BESIDE = "Instead of what the body says; for bodies that cannot say it."


class RegistrationController(Controller):
    path = "/modules/{module:str}"
    tags = ("registrations",)
    opt = {"needs": "register"}  # noqa: RUF012 - Litestar merges it into each handler's

    @put(
        status_code=200,
        operation_class=RegistrationOperation,
        responses={
            201: ResponseSpec(Registration, generate_examples=False, description="The module has this bundle now."),
            **documented(
                "invalid_request",
                "body_too_large",
                "bundle_too_large",
                "archive_invalid",
                "module_invalid",
                "migration_file_invalid",
                "checksum_changed",
                *_CHANGE,
            ),
        },
    )
    async def register_module(
        self,
        request: Request[Any, Any, Any],
        database: Database,
        registrar: Registrar,
        bundle_limits: Limits,
        module: str,
        if_match: IfMatch = None,
        if_none_match: IfNoneMatch = None,
        schema: Annotated[str | None, Parameter(description=_BESIDE)] = None,
        schemas: Annotated[list[str] | None, Parameter(description=f"Names, or one pattern. {_BESIDE}")] = None,
        depends_on: Annotated[list[str] | None, Parameter(description=_BESIDE)] = None,
        description: Annotated[str | None, Parameter(description=_BESIDE)] = None,
        out_of_order: Annotated[Policy | None, Parameter(description=_BESIDE)] = None,
        policy: Annotated[Policy | None, Parameter(description=_BESIDE)] = None,
        role: Annotated[str | None, Parameter(description=_BESIDE)] = None,
        dry_run: Annotated[bool, Parameter(description="Check everything, and store nothing.")] = False,
    ) -> Response[Registration]:
        """Register a module, or another version of it: JSON, files as a form, or a tar.gz.

        Everything is parsed at once, and nothing stored if a file is not right. The same content again changes nothing.
        """
        said = {
            "schema": schema,
            "schemas": None if schemas is None else as_given("schemas", schemas),
            "depends_on": depends_on,
            "description": description,
            "out_of_order": out_of_order,
            "policy": policy,
            "role": role,
        }
        beside = {name: value for name, value in said.items() if value is not None}
        submission = await read_submission(request, beside, bundle_limits)
        conditions = Conditions(if_match, if_none_match)
        registered, changed = await registrar.register(
            module, submission, conditions, caller_of(request).name, dry_run=dry_run
        )
        pending = await database.within_limit(registrar.pending(registered))
        status: RegistrationStatus = "unchanged" if not changed else "dry_run" if dry_run else "registered"
        answer = _registration(registered, status, pending)
        created = status == "registered"
        return Response(answer, status_code=201 if created else 200, headers={"ETag": etag_of(answer.digest)})

    @delete(status_code=200, responses=documented("module_unknown", *_CHANGE))
    async def unregister_module(
        self,
        request: Request[Any, Any, Any],
        registrar: Registrar,
        module: str,
        if_match: IfMatch = None,
    ) -> Unregistered:
        """Forget a registered module. What it has made in the database stays, and so does its history."""
        digest = await registrar.unregister(module, Conditions(if_match), caller_of(request).name)
        return Unregistered(module=module, digest=digest)

    @get("/bundles", opt={"needs": "read"}, responses=documented("module_unknown", *_ANY))
    async def list_bundles(
        self,
        database: Database,
        registrar: Registrar,
        module: str,
        limit: Annotated[int, Parameter(ge=1, le=200, description="How many items a page has.")] = 20,
        cursor: Annotated[str | None, Parameter(query="next", description="The `next` of the page before.")] = None,
    ) -> BundlePage:
        """The bundles that the module has had, newest first."""
        before = None if cursor is None else read_cursor(cursor, int)
        page, following = await database.within_limit(registrar.bundles(module, limit, before))
        page.next = None if following is None else cursor_of(following)
        return page


@post(
    "/repo/sync", status_code=200, tags=["registrations"], opt={"needs": "admin"}, responses=documented("cross_origin")
)
async def sync_repository(repository_sync: RepositorySync, registry: Registry) -> RepositoryChanges:
    """Read the migrations repository again, at once and not when its watcher next looks."""
    changes = await repository_sync.sync()
    return RepositoryChanges(
        added=changes.added,
        changed=changes.changed,
        removed=changes.removed,
        unchanged=changes.unchanged,
        invalid=[module.name for module in registry if module.source == "repo" and module.problem is not None],
        hidden=sorted(registry.repo.keys() & registry.registered.keys()),
    )


def _registration(module: Module, status: RegistrationStatus, pending: list[str]) -> Registration:
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
        migrations=sorted(module.bundle.files, key=order_of),
        pending=pending,
    )
