"""The parameters and values that a call accepts, for the messages about invalid requests."""

from __future__ import annotations

import inspect
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeGuard, get_args, get_origin, get_type_hints

import msgspec
from litestar.params import ParameterKwarg

from ..api.common import ModuleSettings
from ..errors import SYNONYMS, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

NO_SUCH_FIELD = "there is no such field"

_NOT_LEGAL = re.compile(r"Invalid enum value (.*)")
_MISSING_FIELD = "Object missing required field"
# Litestar's name of a required body that was not sent.
_NO_BODY = "'data'"


def explained(errors: Sequence[Mapping[str, str]], handler: Callable[..., Any]) -> list[dict[str, str]]:
    """``errors`` of invalid_request with the parameters' names in the URL and the legal values."""
    names, values, body = _of(handler)
    return [_explained(names.get(one["field"], one["field"]), one["message"], values, body) for one in errors]


def _explained(
    field: str, message: str, values: Mapping[str, tuple[str, ...]], body: type[msgspec.Struct] | None
) -> dict[str, str]:
    illegal = _NOT_LEGAL.match(message)
    legal = values.get(re.split(r"[.\[]", field)[-1])
    if illegal is not None and legal is not None:
        message = f"{illegal[1]} is not one of {', '.join(legal)}"
    elif message == _NO_BODY and body is not None:
        message = f"it is empty: send a JSON object. {_fields(body)}"
    elif message == NO_SUCH_FIELD and body is not None:
        hint = _other_name(field, body)
        message = f"{message}. {hint}" if hint else message
    elif message.startswith(_MISSING_FIELD) and body is not None and field == "body":
        message = f"{message}. {_fields(body)}"
    return {"field": field, "message": message}


def _other_name(field: str, body: type[msgspec.Struct]) -> str | None:
    """The name of the field of ``body`` that was probably intended, or the request that has ``field``."""
    setting = SYNONYMS.get(field, field)
    if setting in ModuleSettings.__struct_fields__ and setting not in body.__struct_fields__:
        return f"{setting} belongs to the registration, PUT /modules/{{module}}"
    return did_you_mean(field, body.__struct_fields__)


def _fields(body: type[msgspec.Struct]) -> str:
    fields = msgspec.structs.fields(body)
    required = [field.name for field in fields if field.required]
    others = [field.name for field in fields if not field.required]
    return f"Required: {', '.join(required)}" + (f"; optional: {', '.join(others)}" if others else "")


@lru_cache(256)
def _of(handler: Callable[..., Any]) -> tuple[dict[str, str], dict[str, tuple[str, ...]], type[msgspec.Struct] | None]:
    """The names of parameters in the URL by their names in the code, the legal values by name, and the body."""
    names: dict[str, str] = {}
    values: dict[str, tuple[str, ...]] = _legal_in(ModuleSettings)
    body: type[msgspec.Struct] | None = None
    for parameter in inspect.signature(handler, eval_str=True).parameters.values():
        if parameter.name == "data":
            body = next((kind for kind in _kinds(parameter.annotation) if _is_struct(kind)), None)
            values |= {} if body is None else _legal_in(body)
            continue
        name = parameter.name
        if get_origin(parameter.annotation) is Annotated:
            for one in get_args(parameter.annotation)[1:]:
                if isinstance(one, ParameterKwarg) and one.query:
                    names[name] = name = one.query
        legal = _legal(parameter.annotation)
        if legal:
            values[name] = legal
    return names, values, body


def _legal_in(struct: type) -> dict[str, tuple[str, ...]]:
    return {name: legal for name, hint in get_type_hints(struct).items() if (legal := _legal(hint))}


def _legal(annotation: Any) -> tuple[str, ...]:
    return tuple(value for kind in _kinds(annotation) if get_origin(kind) is Literal for value in get_args(kind))


def _kinds(annotation: Any) -> list[Any]:
    """The types in ``annotation``, with unions and Annotated expanded."""
    origin = get_origin(annotation)
    if origin is None or origin is Literal or origin in (list, tuple, dict):
        return [annotation]
    inner = get_args(annotation)[:1] if origin is Annotated else get_args(annotation)
    return [kind for one in inner for kind in _kinds(one)]


def _is_struct(kind: Any) -> TypeGuard[type[msgspec.Struct]]:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
