"""If-Match and If-None-Match against the digest of a bundle."""

from __future__ import annotations

import pytest

from pgdbm_service.errors import ServiceError
from pgdbm_service.web.conditional import Preconditions, etag_of

CURRENT = "sha256:aa"


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "digest", "holds"),
    [
        (None, None, CURRENT, True),
        (None, None, None, True),
        (f'"{CURRENT}"', None, CURRENT, True),
        (f'W/"{CURRENT}"', None, CURRENT, True),
        (CURRENT, None, CURRENT, True),
        (f'"sha256:bb", "{CURRENT}"', None, CURRENT, True),
        ('"sha256:bb"', None, CURRENT, False),
        (f'"{CURRENT}x"', None, CURRENT, False),
        (f'"{CURRENT}"', None, None, False),
        ("*", None, CURRENT, True),
        (" * ", None, CURRENT, True),
        ("*", None, None, False),
        (None, "*", None, True),
        (None, "*", CURRENT, False),
        (None, f'"{CURRENT}"', CURRENT, False),
        (None, f'"sha256:bb", W/"{CURRENT}"', CURRENT, False),
        (None, '"sha256:bb"', CURRENT, True),
        (None, f'"{CURRENT}"', None, True),
        (f'"{CURRENT}"', f'"{CURRENT}"', CURRENT, False),
        ("", None, CURRENT, False),
    ],
)
def test_preconditions(if_match: str | None, if_none_match: str | None, digest: str | None, holds: bool) -> None:
    preconditions = Preconditions(if_match=if_match, if_none_match=if_none_match)
    if holds:
        preconditions.check(digest)
        return
    with pytest.raises(ServiceError) as caught:
        preconditions.check(digest)
    assert caught.value.code == "precondition_failed"
    assert caught.value.fields.get("current_bundle") == digest


def test_an_etag_satisfies_the_precondition_that_it_is_sent_in() -> None:
    assert etag_of(CURRENT) == f'"{CURRENT}"'
    Preconditions(if_match=etag_of(CURRENT)).check(CURRENT)
