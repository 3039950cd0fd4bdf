"""What becomes of answers. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import httpx
import msgspec

from ..runs.structs import MigrateResult
from .errors import ClientError, ProblemError, UnexpectedAnswerError, UnreachableError

if TYPE_CHECKING:
    from ..runs.structs import Run
    from .call import Call

T = TypeVar("T")
PROBLEM = "application/problem+json"
_LONGEST_EXCERPT = 120


def read(call: Call[T], outcome: httpx.Response | httpx.RequestError) -> T:
    """The answer to ``call``.

    Raises:
        ProblemError, UnreachableError, UnexpectedAnswerError: there is none that it could be.
    """
    if isinstance(outcome, httpx.RequestError) or not outcome.is_success:
        raise error_of(outcome)
    kind = call.goes_on if outcome.status_code == httpx.codes.ACCEPTED and call.goes_on else call.answer
    try:
        answer: T = msgspec.json.decode(outcome.content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnexpectedAnswerError(
            f"{call.method} {call.url}: the answer is not what this version of the client knows: {error}.",
            outcome.status_code,
        ) from error
    return answer


def error_of(outcome: httpx.Response | httpx.RequestError) -> ClientError:
    """Why there is no answer. The body of a response has to have been read."""
    if isinstance(outcome, httpx.RequestError):
        url = outcome.request.url
        reason = str(outcome) or type(outcome).__name__
        return UnreachableError(f"{url.scheme}://{url.netloc.decode('ascii')} cannot be reached: {reason}.")
    if is_problem(outcome):
        try:
            return ProblemError(msgspec.json.decode(outcome.content, type=dict))
        except (msgspec.MsgspecError, KeyError):
            pass
    text = " ".join(outcome.text.split())[:_LONGEST_EXCERPT]
    return UnexpectedAnswerError(
        f"{outcome.request.method} {outcome.request.url}: {outcome.status_code} {outcome.reason_phrase}, and not from "
        f"the service: {text or 'no text'}",
        outcome.status_code,
    )


def is_problem(response: httpx.Response) -> bool:
    media_type: str = response.headers.get("content-type", "")
    return media_type.partition(";")[0].strip() == PROBLEM


def result_of(run: Run) -> MigrateResult:
    """What a run that has ended has done; of a run of all modules, all of them together.

    Raises:
        ProblemError: why it did not succeed.
    """
    if run.result is not None:
        return run.result
    if run.status == "succeeded":
        return _of_all([part.result for part in run.modules or () if part.result is not None], run)
    problem = run.problem or {
        "code": "run_cancelled",
        "status": httpx.codes.CONFLICT.value,
        "title": "The run was cancelled",
        "detail": f"Run {run.id} was cancelled before it began.",
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
