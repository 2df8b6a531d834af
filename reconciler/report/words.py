"""The words that all reports share: what an action is, why, where, and what deserves a second look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from reconciler.model import Action, ActionKind, Reason
from reconciler.plan import Cause, Plan, Summary
from reconciler.telemetry import visible

HEADINGS: Final = {
    ActionKind.PATCH: "To patch",
    ActionKind.WAIT: "Waiting",
    ActionKind.HOLD: "Held",
    ActionKind.REPORT: "To report",
    ActionKind.RELEASE: "To release",
    ActionKind.NOOP: "In sync",
}
CAUSES: Final = {
    Cause.CHANGE: "Because of this change",
    Cause.DRIFT: "Drift that was there before",
    Cause.PENDING: "Other pending edits",
}
REASONS: Final = {
    Reason.REMOVED: "no document any more",
    Reason.SUSPENDED: "suspended",
    Reason.IN_SYNC: "in sync",
    Reason.ENDED_BEFORE_EFFECT: "ended before it took effect",
    Reason.ENDED: "ended",
    Reason.MOVED: "on another call",
    Reason.NOT_FOUND: "not found",
    Reason.NOT_CONTROLLABLE: "cannot be changed yet",
    Reason.CONFIRMING: "sent, being confirmed",
    Reason.CONTRADICTED: "one look contradicts another, to be looked at again",
    Reason.DRIFT: "drift",
    Reason.FOREIGN_PAUSE: "paused by somebody else",
    Reason.EDIT: "edit",
}
IRREVERSIBLE: Final = "IRREVERSIBLE"
_KINDS: Final = list(HEADINGS)
_CAUSES: Final = list(CAUSES)


def summary_line(summary: Summary) -> str:
    """Return the one line that every text report ends with."""
    lost = f", {summary.lost} lost" if summary.lost else ""
    return (
        f"Plan: {summary.patch} to patch ({summary.drift} drift), {summary.wait} waiting, {summary.hold} held,"
        f" {summary.report} to report, {summary.release} to release{lost}, {summary.noop} in sync."
    )


def move(action: Action, plan: Plan) -> str:
    """Return the change that an action is about, such as ``ongoing -> paused``.

    It begins with the live status, a question mark where nobody looked; in a plan that only holds documents against
    earlier ones, with what these said.
    """
    if action.desired is None:
        return action.last_applied or "-"
    if action.kind is ActionKind.NOOP:
        return action.desired.value
    if action.live is not None:
        before = visible(action.live.word)
    else:
        before = (None if plan.causes is None else action.last_applied) or "?"
    return f"{before} -> {action.desired}"


def reason(action: Action) -> str:
    """Return why, with what a person should know beyond the live word."""
    words = REASONS[action.reason]
    if action.live is not None and action.live.detail:
        return f"{words}: {visible(action.live.detail)}"
    return words


def place(action: Action) -> str:
    """Return where the document stands, or stood."""
    return f"{visible(action.file)}:{action.line}"


def marks(action: Action, plan: Plan) -> list[str]:
    """Return what a reader must not overlook."""
    found = []
    if action.irreversible:
        found.append(IRREVERSIBLE)
    if action.resumes:
        found.append("RESUMES A FOREIGN PAUSE" if action.foreign else "RESUMES")
    if action.key in plan.withheld:
        found.append("WITHHELD BY A LIMIT")
    return found


def sentence(action: Action, plan: Plan) -> str:
    """Return an action in one line, for reports that show each beside its file."""
    cause = f", {CAUSES[plan.causes[action.key]].lower()}" if plan.causes and action.key in plan.causes else ""
    marked = "".join(f" [{mark}]" for mark in marks(action, plan))
    what = f"{HEADINGS[action.kind].lower()}, {move(action, plan)} ({reason(action)}{cause})"
    return f"{visible(action.name)}: {what}{marked}"


def gravest_first(plan: Plan, actions: Sequence[Action]) -> list[Action]:
    """Return actions in the order in which a reviewer should read them: what cannot be undone, resumes, the rest."""

    def order(action: Action) -> tuple[bool, bool, bool, int, int, str]:
        cause = 0 if plan.causes is None else _CAUSES.index(plan.causes.get(action.key, Cause.PENDING))
        return (
            not action.irreversible,
            not action.foreign,
            not action.resumes,
            cause,
            _KINDS.index(action.kind),
            action.name,
        )

    return sorted(actions, key=order)


def unread_line(plan: Plan) -> str:
    """Return what to say of the recordings that are left out; empty where there is none."""
    if not plan.unread:
        return ""
    count = len(plan.unread)
    what = "1 recording is" if count == 1 else f"{count} recordings are"
    return f"{what} left out: the live state could not be read."
