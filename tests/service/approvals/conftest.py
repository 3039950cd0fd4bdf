"""A service with tokens, and the people who ask for runs and approve them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from ..running_service import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TABLE = "CREATE TABLE {{tables.t}} (id integer)"
WITH_TOKENS = pytest.mark.settings(auth="tokens", auth_failures_per_minute=10000)
APPROVALS = 'approvals = {count = 1, when = "always"}'


@dataclass
class Person:
    """A client with a token of its own. ``name`` is what the service calls it."""

    name: str
    service: Any
    headers: dict[str, str]

    def get(self, path: str) -> Any:
        return self.service.client.get(path, headers=self.headers)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return self.service.client.request(method, path, json=body, headers=self.headers | headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.send("POST", path, body, **headers)

    def migrate(self, module: str = "orders", **body: Any) -> Any:
        """The run of a migrate that has not ended."""
        answer = self.post(f"/modules/{module}/migrate", body, Prefer="respond-async")
        assert answer.status_code == 202, answer.text
        return answer.json()

    def run(self, run: Any) -> Any:
        return self.get(f"/runs/{run['id']}").json()

    def approve(self, run: Any, **body: Any) -> Any:
        """The answer to an approval of the plan that the run has."""
        plan = run["approval"]["plan"] if run.get("approval") else "sha256:" + 64 * "0"
        return self.post(f"/runs/{run['id']}/approve", {"plan": plan} | body)

    def ended(self, run: Any) -> Any:
        """The run once it has ended."""
        return eventually(lambda: (now := self.run(run))["ended_at"] and now)


@dataclass
class People:
    """``dev`` registers and migrates orders, ``lead`` and ``owner`` approve, ``admin`` may do everything."""

    dev: Person
    lead: Person
    owner: Person
    admin: Person


@pytest.fixture
def people_of(make_token: Callable[..., str]) -> Callable[[Any], People]:
    """``people_of(service)``."""
    scopes = {
        "dev": ("read", "register:orders*", "migrate:*"),
        "lead": ("read", "approve:orders*"),
        "owner": ("read", "approve:*", "migrate:*"),
        "admin": ("admin",),
    }
    tokens = {name: make_token(*wanted, name=name) for name, wanted in scopes.items()}

    def make(service: Any) -> People:
        made = {
            name: Person(f"token:{name}", service, {"Authorization": f"Bearer {token}"})
            for name, token in tokens.items()
        }
        return People(**made)

    return make


@pytest.fixture
def people(service: Any, people_of: Callable[[Any], People]) -> Iterator[People]:
    """The principals of the shared service, which needs the settings :data:`WITH_TOKENS`."""
    made = people_of(service)
    yield made
    # A run of all modules would wait for the approval of one of them forever.
    for run in made.admin.get("/runs").json()["items"]:
        if run["ended_at"] is None:
            made.admin.post(f"/runs/{run['id']}/cancel")
