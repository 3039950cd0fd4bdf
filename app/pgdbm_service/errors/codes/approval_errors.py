"""The errors of approvals, and of freezes and windows: HTTP statuses 403 and 409."""

from __future__ import annotations

from .kind import ErrorKind

APPROVAL_ERRORS = (
    ErrorKind(
        "approvals_weakened",
        403,
        "Only an admin can weaken approvals and windows",
        "The module was previously registered with approvals, or with windows in which its runs may start. "
        "This registration requires fewer approvals, or has different windows. It is compared with the last one even "
        "if the module was unregistered. Nothing was registered.",
        "Register with the same `approvals` and `windows` as before, or with a token that has the scope `admin`.",
        "module scope",
    ),
    ErrorKind(
        "approval_required",
        409,
        "The module needs approvals",
        "Migrations of the module need the approvals of other people. The request is not a migrate, so there is no "
        "plan to approve. Nothing was done.",
        "Write a new migration that undoes the change, and migrate. In an emergency, send `break_glass` with a reason, "
        "and a token with the scope `admin`.",
        "module",
    ),
    ErrorKind(
        "self_approval",
        403,
        "The principal who requested a run cannot decide about it",
        "The principal who requested a run can neither approve nor reject it. Nothing was changed.",
        "Ask someone else with the scope `approve` for the module. To withdraw a run, cancel it.",
        "module run_id",
    ),
    ErrorKind(
        "run_not_waiting",
        409,
        "The run does not wait for a decision",
        "Only a run that waits for approvals can be approved or rejected, and break-glass applies only to a run "
        "that has not started. Nothing was changed.",
        "`GET /runs/{run_id}` shows its current status.",
        "module run_id run_status",
    ),
    ErrorKind(
        "run_rejected",
        409,
        "The run was rejected",
        "Someone with the scope `approve` for the module rejected the run. Nothing was applied.",
        "See `reason`, or ask `principal`. Correct the migrations and migrate again: the new run waits for approvals.",
        "module principal reason run_id",
    ),
    ErrorKind(
        "closed",
        409,
        "Runs of the module do not start now",
        "The module is frozen, or outside the windows in which its runs may start, and the request has `if_closed: "
        '"refuse"`. Nothing was applied.',
        "Send it again after `until`, or without `if_closed`, so that the run waits. `GET /freeze` lists the freezes; "
        "`GET /modules/{module}` shows the windows.",
        "module reason until",
    ),
)
