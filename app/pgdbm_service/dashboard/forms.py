"""The forms that pages send, and their fields. A browser sends a page's fields; other clients may send anything."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from litestar.enums import RequestEncodingType
from litestar.params import Body

from ..errors import invalid_request

Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]

# Numbers with at most this many digits are valid for both PostgreSQL and Python.
_MOST_DIGITS = 9
_FILE = "file:"


def text_in(form: Form, name: str) -> str | None:
    """The field ``name`` without white space around it; None if it is empty, or not there.

    Raises:
        ServiceError: invalid_request, if it contains NUL, which PostgreSQL's text cannot hold. The functions below
            raise it, too.
    """
    text = form.get(name, "").strip()
    if "\x00" in text:
        raise _invalid(name, "contains the character NUL")
    return text or None


def required_in(form: Form, name: str) -> str:
    """The field ``name``, which must not be empty."""
    text = text_in(form, name)
    if text is None:
        raise _invalid(name, "is missing")
    return text


def number_in(form: Form, name: str) -> int:
    text = required_in(form, name)
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise _invalid(name, f"{text[:40]!r} is not a number")
    return int(text)


def time_in(form: Form, name: str) -> datetime | None:
    text = text_in(form, name)
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        raise _invalid(name, f"{text!r:.40} is not a time") from None


def id_in(form: Form, name: str) -> UUID | None:
    text = text_in(form, name)
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise _invalid(name, f"{text!r:.40} is not an id") from None


def file_field(filename: str) -> str:
    """The name of the field with the checksum of a changed file."""
    return f"{_FILE}{filename}"


def files_in(form: Form) -> dict[str, str]:
    """The checksums of the changed files that the page showed, by name."""
    return {name.removeprefix(_FILE): checksum for name, checksum in form.items() if name.startswith(_FILE)}


def _invalid(name: str, message: str) -> Exception:
    return invalid_request([{"field": name, "message": message}])
