"""Reads settings and files from the body of a registration, in each of its forms."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from litestar.datastructures import UploadFile

from ...api.common import ModuleProblem, ModuleSettings
from ...api.registrations import RegistrationBody
from ...errors import ServiceError, invalid_request
from ...registry.bundles import is_bundle_file
from ...registry.modules import MODULE_FILE
from ...registry.repository import read_settings_file
from ...registry.settings import CheckedSettings, SettingError, checked
from ...web.problems import invalid_body, unknown_entry
from .archives import files_in, is_archive

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...web.request import HTTPRequest
    from .archives import Limits

Given = dict[str, Any]
"""Settings by their names in module.toml, as they were given beside the files."""

_LISTS = frozenset({"schemas", "depends_on"})
_OBJECTS = frozenset({"windows", "approvals"})
# The checked setting that results from a given one.
_BECOMES = {"schema": "schemas"}


class Submission(msgspec.Struct, frozen=True):
    """What should be registered; the files are not checked yet."""

    settings: CheckedSettings
    files: dict[str, bytes]


async def read_submission(request: HTTPRequest, beside: Given, limits: Limits) -> Submission:
    """The submission in ``request``. ``beside`` has settings from its query parameters, which override the body.

    Raises:
        ServiceError: invalid_request, module_invalid, migration_file_invalid, archive_invalid, bundle_too_large,
            body_too_large.
    """
    if request.content_type[0] == "multipart/form-data":
        fields, files = await _form(request, limits)
        return await asyncio.to_thread(_submission, files, fields | beside)
    body = await request.body()
    if is_archive(body):
        return await asyncio.to_thread(lambda: _submission(files_in(body, limits), beside))
    return _of_json(body, beside, limits)


def _of_json(body: bytes, beside: Given, limits: Limits) -> Submission:
    if not body:
        raise invalid_request(
            [{"field": "body", "message": "it is empty: send JSON, files as multipart/form-data, or a tar.gz"}]
        )
    try:
        data = msgspec.json.decode(body, type=RegistrationBody)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise invalid_body(error, RegistrationBody.__struct_fields__) from error
    sent = [(one.filename, one.content.encode(errors="surrogatepass")) for one in data.migrations]
    files = _by_name(sent)
    _check_limits(files, limits)
    given = {name: getattr(data, name) for name in ModuleSettings.__struct_fields__}
    settings = _checked(given)
    return Submission(_with(settings, beside), files)


async def _form(request: HTTPRequest, limits: Limits) -> tuple[Given, dict[str, bytes]]:
    fields: dict[str, list[str]] = {}
    files: list[tuple[str, bytes]] = []
    try:
        form = await request.form()
    except (UnicodeDecodeError, LookupError) as error:
        raise invalid_request([{"field": "body", "message": f"a field of the form is not text: {error}"}]) from error
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                limits.check_files(len(files) + 1)
                files.append((value.filename, await value.read()))
            else:
                fields.setdefault(name, []).append(value)
    finally:
        await form.close()
    unknown = fields.keys() - set(ModuleSettings.__struct_fields__)
    if unknown:
        raise invalid_request([unknown_entry(name, ModuleSettings.__struct_fields__) for name in sorted(unknown)])
    by_name = _by_name(files, MODULE_FILE)
    _check_limits(by_name, limits)
    return {name: as_given(name, values) for name, values in fields.items()}, by_name


def as_given(name: str, values: list[str]) -> Any:
    """The value of setting ``name`` in a form or a query, where it may be repeated.

    Raises:
        ServiceError: invalid_request, if it should be a JSON object but is not.
    """
    if name in _OBJECTS:
        try:
            return msgspec.json.decode(values[-1], type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise invalid_request([{"field": name, "message": f"not a JSON object: {error}"}]) from None
    if name == "schemas" and len(values) == 1:
        return values[0]
    return values if name in _LISTS else values[-1]


def _submission(files: dict[str, bytes], given: Given) -> Submission:
    settings = CheckedSettings()
    raw = files.pop(MODULE_FILE, None)
    if raw is not None:
        read = read_settings_file(_text_of(raw), MODULE_FILE)
        if isinstance(read, ModuleProblem):
            fields = msgspec.structs.asdict(read)
            raise ServiceError(fields.pop("code"), fields.pop("detail"), **fields)
        settings = read
    return Submission(_with(settings, given), files)


def _text_of(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ServiceError("module_invalid", f"{MODULE_FILE} is not UTF-8.", filename=MODULE_FILE) from None


def _with(settings: CheckedSettings, given: Given) -> CheckedSettings:
    """``settings``, overridden by those that are ``given``."""
    if not given:
        return settings
    other = _checked(given)
    names = {_BECOMES.get(name, name) for name in given}
    return msgspec.structs.replace(settings, **{name: getattr(other, name) for name in names})


def _checked(given: Mapping[str, Any]) -> CheckedSettings:
    try:
        return checked(msgspec.convert(given, ModuleSettings))
    except msgspec.ValidationError as error:
        raise invalid_body(error) from error
    except SettingError as error:
        raise ServiceError("module_invalid", f"{error.key}: {error.reason}.", key=error.key, hint=error.hint) from None


def _by_name(files: Sequence[tuple[str, bytes]], also: str | None = None) -> dict[str, bytes]:
    for name, count in Counter(name for name, _ in files).items():
        if "/" in name or "\\" in name or not (is_bundle_file(name) or name == also):
            shown = name.encode(errors="replace").decode()
            raise ServiceError(
                "migration_file_invalid",
                f"{shown!r} cannot be the name of a migration, which must end with .sql, contain no "
                f"folder, and not begin with a dot.",
                filename=shown,
            )
        if count > 1:
            raise ServiceError("migration_file_invalid", f"{name} occurs {count} times.", filename=name)
    return dict(files)


def _check_limits(files: Mapping[str, bytes], limits: Limits) -> None:
    limits.check_files(len(files))
    limits.check_bytes(sum(map(len, files.values())))
