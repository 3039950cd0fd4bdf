"""The words for states, times and waits on the pages. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pgdbm.text import sentence

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..api.runs import Progress

Tone = Literal["ok", "run", "wait", "bad", "pend"]

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_LONGEST_QUERY = 100


@dataclass(frozen=True, slots=True)
class Badge:
    """A state as word, color and shape: ``tone`` names both the color and the shape."""

    word: str
    tone: Tone


_TONES: dict[str, Tone] = {
    "up_to_date": "ok",
    "ahead": "ok",
    "applied": "ok",
    "baseline": "ok",
    "succeeded": "ok",
    "success": "ok",
    "active": "ok",
    "delivered": "ok",
    "running": "run",
    "backfilling": "run",
    "queued": "wait",
    "held": "wait",
    "waiting_for_approval": "wait",
    "blocked": "wait",
    "retrying": "wait",
    "behind": "pend",
    "empty": "wait",
    "invalid_index": "wait",
    "pending": "pend",
    "out_of_order": "pend",
    "unregistered": "pend",
    "not_reached": "pend",
    "cancelled": "pend",
    "disabled": "pend",
    "dropped": "pend",
    "expired": "pend",
}


def badge(state: str) -> Badge:
    """The badge of a state or status of the API; unknown words are shown as bad."""
    return Badge(state.replace("_", " "), _TONES.get(state, "bad"))


def duration(seconds: float) -> str:
    """A length of time: ``12 ms``, ``0.2 s``, ``21 s``, ``2 min 04 s``, ``1 h 12 min``, ``3 d``."""
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"
    return f"{whole // _DAY} d"


def ago(then: datetime, now: datetime) -> str:
    """How long before ``now``: ``just now``, ``40 s ago``, ``3 min ago``, ``2 h ago``, ``5 d ago``."""
    seconds = max((now - then).total_seconds(), 0)
    if seconds < 5:
        return "just now"
    for unit, length in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return f"{int(seconds)} s ago"


def day(then: datetime, now: datetime) -> str:
    """The day of ``then``: ``today``, ``yesterday``, or the date; UTC."""
    days = (now.date() - then.date()).days
    return {0: "today", 1: "yesterday"}.get(days) or then.strftime("%Y-%m-%d")


def by_day(items: Iterable[Any]) -> list[tuple[str, list[Any]]]:
    """Items with ``applied_at``, newest first, in groups of one day each."""
    now = datetime.now(UTC)
    groups: list[tuple[str, list[Any]]] = []
    for item in items:
        name = day(item.applied_at, now)
        if not groups or groups[-1][0] != name:
            groups.append((name, []))
        groups[-1][1].append(item)
    return groups


def size(count: int | None) -> str:
    """A number of bytes: ``812 B``, ``40 kB``, ``1.2 GB``; a dash if it is not known."""
    if count is None:
        return "\u2013"
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def count(number: int, one: str, several: str | None = None) -> str:
    """``1 migration``, ``1,200 migrations``."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def waits_for(progress: Progress, *, with_query: bool = False) -> str | None:
    """What a run at ``progress`` waits for, in one or two sentences; None if it waits for nothing.

    ``with_query``: with the statement of the session that holds the lock.
    """
    if progress.waiting_for:
        wanted = next((one["relation"] for one in progress.waiting_for if one.get("relation")), None)
        lock = f"a lock on {wanted}" if wanted else "a lock"
        text = f"{_where(progress)} waits for {lock}. {_blockers(progress.waiting_for, with_query=with_query)}"
        return f"{text} {_attempt(progress)}" if progress.retrying else text
    if progress.holder:
        holder = progress.holder
        name = holder.get("application_name") or "Another session"
        return f"{name} (pid {holder.get('pid')}) is migrating the same module in this schema; this run waits for it."
    if progress.retrying:
        sqlstate = progress.retrying.get("sqlstate")
        why = "did not get a lock in time" if sqlstate == "55P03" else f"failed with SQLSTATE {sqlstate}"
        return f"{_where(progress)} {why} and is being retried. {_attempt(progress)}"
    return None


def _attempt(progress: Progress) -> str:
    retrying = progress.retrying or {}
    return f"Attempt {int(retrying.get('attempt') or 1) + 1}."


def works_on(progress: Progress) -> str:
    """What a run at ``progress`` is doing, as one sentence."""
    if progress.filename is None:
        if progress.applied_count:
            return f"{progress.applied_count:,} of {count(progress.pending_count, 'migration')} applied."
        return "Reading what is pending."
    text = _where(progress)
    if progress.command:
        text += f" {progress.command}, {progress.phase}" if progress.phase else f" {progress.command}"
    elif progress.statement is not None and progress.statements:
        text += " is executed"
    if progress.percent is not None:
        text += f", {progress.percent:g} %"
    if progress.rows is not None and progress.total_rows:
        text += f", {progress.rows:,} of about {progress.total_rows:,} rows"
        if progress.rows_per_s:
            text += f", {progress.rows_per_s:,.0f} a second"
    return sentence(f"{text}. It waits: {progress.reason}") if progress.reason else f"{text}."


def left(seconds: float | None) -> str:
    """``About 40 s left.``; empty if it is not known."""
    return "" if seconds is None else f"About {duration(seconds if seconds >= 1 else 1)} left."


def _where(progress: Progress) -> str:
    if progress.filename is None:
        return "The run"
    if progress.statement is None or not progress.statements:
        return progress.filename
    return f"{progress.filename}, statement {progress.statement} of {progress.statements},"


def _blockers(blockers: Sequence[Mapping[str, Any]], *, with_query: bool) -> str:
    """The first of the sessions that do not wait, and the number of the others."""
    waiting = {one.get("blocks") for one in blockers}
    roots = [one for one in blockers if one.get("pid") not in waiting] or list(blockers)
    root = roots[-1]
    text = f"{root.get('application_name') or root.get('user') or 'A session'} (pid {root.get('pid')})"
    state = root.get("state")
    age = root.get("transaction_age_s")
    text += f" holds it and is {state}" if state else " holds it"
    if age is not None:
        text += f", its transaction is {duration(float(age))} old"
    others = len({one.get("pid") for one in blockers}) - 1
    text = f"{text}; {count(others, 'other session')} in between." if others else f"{text}."
    query = " ".join((root.get("query") or "").split()) if with_query else ""
    if not query:
        return text
    shown = query if len(query) <= _LONGEST_QUERY else f"{query[:_LONGEST_QUERY].rstrip()}…"
    return f"{text} Its {'statement' if state == 'active' else 'last statement'}: {shown}."


def lifetime(expires: str) -> str:
    """The expiry of a token, such as ``90d``, in words."""
    units = {"m": "minute", "h": "hour", "d": "day", "w": "week"}
    return count(int(expires[:-1]), units[expires[-1]]) if expires[-1] in units else expires


def until(then: datetime, now: datetime) -> str:
    """How long after ``now``: ``in 3 min``, ``in 2 h``; the date if that is over two days away, or past."""
    seconds = (then - now).total_seconds()
    if not 0 < seconds < 2 * _DAY:
        return then.strftime("%Y-%m-%d")
    return f"in {round(seconds / _HOUR)} h" if seconds >= _HOUR else f"in {max(1, round(seconds / _MINUTE))} min"


def with_chosen(choices: Iterable[str], chosen: str) -> list[str]:
    """``choices``, and ``chosen`` if it is not among them: otherwise the page would show the first choice instead."""
    found = list(choices)
    return found if chosen in ("", *found) else [*found, chosen]


def host(origin: str) -> str:
    """The host and port of an origin."""
    return origin.partition("//")[2]
