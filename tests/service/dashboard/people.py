"""Browsers without a screen: a cookie jar, and the headers that a browser sends."""

from __future__ import annotations

import contextlib
import html
import re
from typing import TYPE_CHECKING, Any

import httpx2

from ..running_service import DEADLINE_S, NO_TLS

if TYPE_CHECKING:
    from collections.abc import Iterator

OPENS = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"}
POLLS = {"Accept": "*/*", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
COOKIE = "pgdbm_session"


class Person:
    """Opens pages and sends forms, as a browser does for a person."""

    def __init__(self, service: Any, client: httpx2.Client) -> None:
        self.client = client
        self.url: str = service.url
        self.form_headers = {**OPENS, "Origin": service.url, "Sec-Fetch-Site": "same-origin"}

    def open(self, path: str, **options: Any) -> httpx2.Response:
        return self.client.get(path, **{"headers": OPENS} | options)

    def send(self, path: str, **fields: str) -> httpx2.Response:
        return self.client.post(path, data=fields, headers=self.form_headers)

    def sign_in(self, token: str, wanted: str = "/ui") -> httpx2.Response:
        return self.send("/ui/sign-in", token=token, next=wanted)

    @property
    def cookie(self) -> str | None:
        return self.client.cookies.get(COOKIE)

    @cookie.setter
    def cookie(self, value: str) -> None:
        self.client.cookies.clear()
        self.client.cookies.set(COOKIE, value, domain="127.0.0.1", path="/")


@contextlib.contextmanager
def person(service: Any) -> Iterator[Person]:
    """A person with a separate browser, which does not follow redirects by itself."""
    hooks = service.client.event_hooks
    with httpx2.Client(base_url=service.url, timeout=DEADLINE_S, event_hooks=hooks, verify=NO_TLS) as client:
        yield Person(service, client)


def place_of(answer: httpx2.Response) -> str:
    """The target of a redirect."""
    assert answer.status_code == 303, (answer.status_code, text_of(answer))
    return answer.headers["location"]


def text_of(answer: httpx2.Response) -> str:
    """The text of a page."""
    text = re.sub(r"<[^>]+>", " ", answer.text)
    return re.sub(r"\s+", " ", html.unescape(text))
