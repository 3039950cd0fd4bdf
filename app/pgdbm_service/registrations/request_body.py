"""How OpenAPI describes the three forms of a registration: Litestar cannot tell, as we read the body ourselves."""

from __future__ import annotations

from dataclasses import dataclass

from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, Reference, RequestBody, Schema

_TEXT = Schema(type=OpenAPIType.STRING)
_TEXTS = Schema(type=OpenAPIType.ARRAY, items=_TEXT)
_POLICY = Schema(type=OpenAPIType.STRING, enum=["allow", "reject"])
_SETTINGS: dict[str, Reference | Schema] = {
    "schema": _TEXT,
    "schemas": Schema(one_of=[_TEXTS, _TEXT], description="Names, or a pattern such as tenant_*"),
    "depends_on": Schema(type=OpenAPIType.ARRAY, items=_TEXT, description="As module or module@version"),
    "description": _TEXT,
    "out_of_order": _POLICY,
    "policy": _POLICY,
    "role": _TEXT,
}
_MIGRATION = Schema(
    type=OpenAPIType.OBJECT,
    properties={
        "filename": Schema(type=OpenAPIType.STRING, min_length=1, max_length=255),
        "content": _TEXT,
    },
    required=["filename", "content"],
)
_JSON = Schema(
    type=OpenAPIType.OBJECT,
    properties={**_SETTINGS, "migrations": Schema(type=OpenAPIType.ARRAY, items=_MIGRATION)},
    required=["migrations"],
)
_FILE = Schema(type=OpenAPIType.STRING, content_media_type="application/octet-stream")
_FORM = Schema(
    type=OpenAPIType.OBJECT,
    properties={**_SETTINGS, "files": Schema(type=OpenAPIType.ARRAY, items=_FILE)},
    required=["files"],
)


@dataclass
class RegistrationOperation(Operation):
    """The ``operation_class`` of PUT /modules/{module}."""

    def __post_init__(self) -> None:
        self.request_body = RequestBody(
            required=True,
            content={
                "application/json": OpenAPIMediaType(schema=_JSON),
                "multipart/form-data": OpenAPIMediaType(schema=_FORM),
                "application/gzip": OpenAPIMediaType(schema=_FILE),
            },
        )
