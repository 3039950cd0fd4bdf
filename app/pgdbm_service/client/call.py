"""A call of the API as data: the request, and the type of its answer. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from pgdbm.text import sentence

from ..api.runs import MigrateResult
from .errors import ClientError, ProblemError, UnexpectedAnswerError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    Scalar = str | int | float | bool
    from ..api.runs import Run


T = TypeVar("T")
PROBLEM = "application/problem+json"
_MAX_EXCERPT = 120


def read(call: Call[T], outcome: httpx2.Response | httpx2.RequestError) -> T:
    """The decoded answer to ``call``.

    Raises:
        ProblemError, UnreachableError, UnexpectedAnswerError: the call failed.
    """
    if isinstance(outcome, httpx2.RequestError) or not outcome.is_success:
        raise error_of(outcome)
    kind = call.accepted if outcome.status_code == httpx2.codes.ACCEPTED and call.accepted else call.answer
    try:
        answer: T = msgspec.json.decode(outcome.content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnexpectedAnswerError(
            sentence(f"{call.method} {call.url}: this version of the client cannot decode the answer: {error}"),
            outcome.status_code,
        ) from error
    return answer


def error_of(outcome: httpx2.Response | httpx2.RequestError) -> ClientError:
    """The error for a failed call. The response's body must have been read."""
    if isinstance(outcome, httpx2.RequestError):
        url = outcome.request.url
        reason = str(outcome) or type(outcome).__name__
        server = f"{url.scheme}://{url.netloc.decode('ascii')}"
        return UnreachableError(sentence(f"{server} cannot be reached: {reason}"))
    if is_problem(outcome):
        try:
            return ProblemError(msgspec.json.decode(outcome.content, type=dict))
        except (msgspec.MsgspecError, KeyError):
            pass
    text = " ".join(outcome.text.split())[:_MAX_EXCERPT]
    return UnexpectedAnswerError(
        f"{outcome.request.method} {outcome.request.url}: {outcome.status_code} {outcome.reason_phrase}, which "
        f"did not come from the service: {text or 'no text'}",
        outcome.status_code,
    )


def is_problem(response: httpx2.Response) -> bool:
    media_type: str = response.headers.get("content-type", "")
    return media_type.partition(";")[0].strip() == PROBLEM


def result_of(run: Run) -> MigrateResult:
    """The result of a run that has ended. The result of a run of all modules contains the result of each module.

    Raises:
        ProblemError: the run did not succeed.
    """
    if run.result is not None:
        return run.result
    if run.status == "succeeded":
        return _of_all([child.result for child in run.modules or () if child.result is not None], run)
    problem = run.problem or {
        "code": "run_cancelled",
        "status": httpx2.codes.CONFLICT.value,
        "title": "The run was cancelled",
        "detail": f"Run {run.id} was cancelled before it started.",
    }
    raise ProblemError({"module": run.module} | problem | {"run_id": str(run.id)})


def _of_all(results: list[MigrateResult], run: Run) -> MigrateResult:
    applied = [one for result in results for one in result.applied]
    took = run.ended_at - run.started_at if run.ended_at and run.started_at else None
    return MigrateResult(
        module=run.module,
        status="success" if applied else "up_to_date",
        applied=applied,
        pending=[],
        skipped=sum(result.skipped for result in results),
        total=sum(result.total for result in results),
        total_time_ms=None if took is None else round(1000 * took.total_seconds(), 1),
        run_id=run.id,
    )


T_co = TypeVar("T_co", covariant=True)
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
MAX_PAGE_SIZE = 200


class Page(Protocol[T_co]):
    """A page of a list. ``next`` is the cursor of the next page, None on the last one."""

    @property
    def items(self) -> Sequence[T_co]: ...

    @property
    def next(self) -> str | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """``parts`` fill the template ``path``. Values in ``query`` and ``headers`` that are None are not sent.

    ``answer`` is the type of the answer, ``accepted`` the type of a 202. ``waits_s`` is how long the service itself may
    wait before it answers; None: without a limit. ``is_repeatable``: sending it twice has the same effect as once.
    """

    method: Method
    path: str
    answer: type[T]
    parts: Mapping[str, str | UUID] = field(default_factory=dict)
    query: Mapping[str, Scalar | Sequence[str] | None] = field(default_factory=dict)
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: msgspec.Struct | bytes | None = None
    accepted: type[T] | None = None
    waits_s: float | None = 0.0
    is_repeatable: bool = False

    @property
    def url(self) -> str:
        return self.path.format_map({name: quote(str(part), safe="") for name, part in self.parts.items()})

    @property
    def may_be_repeated(self) -> bool:
        return self.is_repeatable or self.method in ("GET", "PUT")

    def content(self) -> tuple[bytes | None, str | None]:
        """The encoded body and its media type."""
        if self.body is None:
            return None, None
        if isinstance(self.body, bytes):
            return self.body, "application/gzip"
        return msgspec.json.encode(_changed_fields(self.body)), "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[T]):
    """A list that is read page by page, up to ``limit`` items. Without ``page_size`` it is a single page."""

    path: str
    page: type[Page[T]]
    parts: Mapping[str, str | UUID] = field(default_factory=dict)
    query: Mapping[str, Scalar | None] = field(default_factory=dict)
    limit: int | None = None
    page_size: int | None = MAX_PAGE_SIZE
    cursor: str | None = None

    @property
    def call(self) -> Call[Page[T]]:
        """The call for the next page."""
        query: dict[str, Any] = dict(self.query)
        if self.page_size is not None:
            query |= {"limit": min(self.page_size, self.limit or self.page_size), "next": self.cursor}
        return Call(method="GET", path=self.path, answer=self.page, parts=self.parts, query=query)

    def after(self, page: Page[T]) -> Listing[T] | None:
        """The rest of the list after ``page``; None if ``page`` is the last one."""
        left = None if self.limit is None else self.limit - len(page.items)
        if page.next is None or (left is not None and left <= 0):
            return None
        return replace(self, cursor=page.next, limit=left)


def _changed_fields(body: msgspec.Struct) -> dict[str, Any]:
    """The fields that differ from their defaults, so that an older service does not have to know the others."""
    return {
        one.encode_name: value
        for one in msgspec.structs.fields(body)
        if (value := getattr(body, one.name)) != _default(one)
    }


def _default(one: msgspec.structs.FieldInfo) -> Any:
    return one.default if one.default_factory is msgspec.NODEFAULT else one.default_factory()
