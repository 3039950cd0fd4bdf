"""Checks of problem documents, the answers to refused requests."""

from __future__ import annotations

from typing import Any


def assert_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """The problem document of ``response``, which must have ``status`` and ``code``."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem: dict[str, Any] = response.json()
    assert (response.status_code, problem["code"]) == (status, code), problem
    assert (problem["status"], problem["type"].endswith(f"/errors/{code}")) == (status, True)
    assert problem["instance"] == response.request.url.raw_path.decode().partition("?")[0]
    assert problem["title"]
    assert problem["detail"]
    assert not problem["detail"].endswith(".."), problem
    assert problem.get("hint") is None or problem["hint"] not in problem["detail"], problem
    return problem
