"""What a run that failed or was cancelled left behind, and what can be done next. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

from ..api.runs import ALL_MODULES
from .wording import count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..api.modules import MigrationFile
    from ..api.runs import Run
    from .viewer import Viewer


NOT_APPLIED = frozenset({"pending", "failed", "partial", "unknown", "out_of_order", "backfilling"})
# The states of files that a migrate would apply, or be refused for.
_TO_DO = NOT_APPLIED | {"changed"}
# After these failures, the changes of the file may have been made by hand.
_MARKED_AFTER = frozenset({"migration_failed", "insufficient_resources", "lock_timeout", "outcome_unknown"})


class Outcome(NamedTuple):
    """Sentences that say which parts of the run are in the database and which are not."""

    kept: list[str]
    not_kept: list[str]


class Action(NamedTuple):
    """A button. ``posts``: it changes something immediately; otherwise it opens a confirmation page."""

    label: str
    address: str
    what: str
    posts: bool = False
    primary: bool = False


def outcome_of(run: Run, file: MigrationFile | None) -> Outcome | None:
    """None for a run that succeeded, or has not ended. ``file`` is the file that failed."""
    if run.status not in ("failed", "cancelled") or run.module == ALL_MODULES:
        return None
    if run.schema_counts.total > 1:
        return _of_schemas(run)
    problem = run.problem or {}
    applied = [step.filename for schema in run.schemas for step in schema.steps]
    kept = [f"{_names(applied)}: applied by this run."] if applied else []
    filename, statement = problem.get("filename"), problem.get("statement")
    if file is None or filename is None:
        return Outcome(kept or ["Nothing of this run."], [])
    if file.transactional:
        return Outcome(kept or ["Nothing of this run."], [f"{filename}: its transaction was rolled back."])
    if not statement:
        return Outcome(kept, [f"{filename}: it runs without a transaction; the journal lists what was executed."])
    before = statement - 1
    if before:
        kept.append(f"{count(before, 'statement')} of {filename}, which runs without a transaction.")
    if problem.get("code") == "outcome_unknown":
        what = f"Statement {statement} of {filename}: unknown, its connection was lost while it ran."
    else:
        what = f"Statement {statement} of {filename}, and those after it."
    return Outcome(kept or ["Nothing of this run."], [what])


def _of_schemas(run: Run) -> Outcome:
    counts = run.schema_counts
    not_kept = [
        f"{count(number, 'schema')} {word}."
        for number, word in (
            (counts.failed, "failed: the file that failed there was not applied"),
            (counts.cancelled, "cancelled"),
            (counts.not_reached, "not reached: unchanged"),
        )
        if number
    ]
    return Outcome([f"{count(counts.succeeded, 'schema')} migrated."], not_kept)


def actions_after(run: Run, undone: int, states: Mapping[str, str] | None = None) -> list[Action]:
    """What can be done about a run that did not succeed, most likely first.

    ``states`` are the current states of the module's files, by name, if the run was in one schema: what has been done
    in the meantime is not offered again.
    """
    if run.status not in ("failed", "cancelled"):
        return []
    problem = run.problem or {}
    code, module = problem.get("code"), problem.get("module") or run.module
    filename, statement, schema = problem.get("filename"), problem.get("statement"), problem.get("schema")
    base = f"/ui/modules/{module}"
    retry = Action(
        f"Retry {count(undone, 'schema')}" if undone > 1 else "Retry",
        f"/ui/runs/{run.id}/retry",
        "Migrates what did not succeed, with the current files.",
        posts=True,
        primary=code not in ("checksum_changed", "outcome_unknown"),
    )
    found = []
    in_schema = {} if schema is None else {"schema": schema}
    if states and not any(state in _TO_DO for state in states.values()):
        address = f"{base}?{urlencode({'tab': 'history'} | in_schema)}"
        return [Action("Show the history", address, "Since then, everything was applied.")]
    is_to_do = states is None or states.get(filename or "", "pending") in _TO_DO
    if code == "checksum_changed":
        address = f"{base}?{urlencode({'tab': 'changed'} | in_schema)}"
        found.append(Action("Show what changed", address, "The difference from the applied file.", primary=True))
    if code == "outcome_unknown" and filename and statement and is_to_do:
        address = f"{base}/resolve?{urlencode({'filename': filename, 'statement': statement} | in_schema)}"
        what = f"Record whether statement {statement} was executed; then retry."
        found.append(Action(f"Resolve statement {statement}…", address, what, primary=True))
    found.append(retry)
    if filename and is_to_do and code in _MARKED_AFTER:
        address = f"{base}/mark?{urlencode({'filename': filename} | in_schema)}"
        what = "If its changes were made by hand: record it as applied, without running it."
        found.append(Action(f"Mark {filename} as applied…", address, what))
    if run.module != ALL_MODULES:
        found.append(Action("Show the plan", f"{base}?{urlencode({'tab': 'plan'} | in_schema)}", "What is pending."))
    return found


def _names(filenames: list[str]) -> str:
    if len(filenames) <= 3:
        return ", ".join(filenames)
    return f"{filenames[0]} to {filenames[-1]}, {count(len(filenames), 'migration')}"


class Decision(NamedTuple):
    """Whether the viewer may decide about a run that waits for approval; otherwise the reason why not."""

    may_decide: bool
    why_not: str = ""


def decision_of(run: Run, viewer: Viewer) -> Decision | None:
    """What the viewer of a run that waits for approvals may do."""
    if run.status != "waiting_for_approval":
        return None
    if run.created_by == viewer.name:
        return Decision(False, "You requested it: someone else has to decide.")
    if not viewer.may_approve(run.module):
        return Decision(False, f"Approving it requires the scope approve:{run.module}.")
    return Decision(True)
