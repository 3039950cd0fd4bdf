"""The webhooks in the settings, which do not have to be created over HTTP."""

from __future__ import annotations

import base64
import os
from pathlib import Path  # noqa: TC003 - msgspec evaluates it
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from ..api.webhooks import WebhookBody, refusal_of_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

VARIABLE = "PGDBM_WEBHOOKS"
_PREFIX = "whsec_"


class WebhookSetting(WebhookBody, kw_only=True, forbid_unknown_fields=True):
    """A webhook with a ``name``, and the fields of one that is created over HTTP.

    The secret that it signs with is the content of ``secret_file`` or of the environment variable ``secret_variable``:
    ``whsec_`` and base64. Webhooks for Slack and Teams need none.
    """

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]
    secret_file: Path | None = None
    secret_variable: str | None = None

    def secret(self) -> str | None:
        """The current secret.

        Raises:
            OSError: the file cannot be read.
        """
        if self.secret_file is not None:
            return self.secret_file.read_text().strip()
        return None if self.secret_variable is None else os.environ.get(self.secret_variable, "").strip()


def problems_of(webhooks: Sequence[WebhookSetting], *, allow_http: bool) -> Iterator[str]:
    """What is wrong with ``webhooks``, each problem as the part of a line that follows the name of the setting.

    No URL is shown, because those for Slack and Teams are secret.
    """
    names = [one.name for one in webhooks]
    if len(set(names)) < len(names):
        yield " has a name twice."
    for one in webhooks:
        refusal = refusal_of_url(one.url, allow_http=allow_http)
        if refusal is not None:
            yield f", {one.name}: its url {refusal}."
        if one.secret_file is not None and one.secret_variable is not None:
            yield f", {one.name}: set secret_file or secret_variable, not both."
        try:
            secret = one.secret()
        except (OSError, ValueError):
            yield f", {one.name}: the file '{one.secret_file}' cannot be read."
            continue
        if secret is None and one.format == "standard":
            yield f", {one.name}: set secret_file or secret_variable, which signs the deliveries."
        if secret is not None and not _is_secret(secret):
            yield f", {one.name}: its secret must be whsec_ and the base64 of 24 to 64 bytes."


def _is_secret(text: str) -> bool:
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except ValueError:
        return False
    return text.startswith(_PREFIX) and 24 <= len(key) <= 64
