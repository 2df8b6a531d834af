"""A plan as text for people and as JSON for programs. Pure: it returns strings and prints nothing.

What a report shows is chosen field by field, so that nothing that was not meant to be shown can be.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from reconciler.model import Action, ActionKind, Reason
from reconciler.plan import FORMAT, Plan, Summary, digest

#: Colours text: takes the text and a word for its role (`change`, `danger`, `quiet`, `heading`).
Paint = Callable[[str, str], str]

_HEADINGS = {
    ActionKind.PATCH: "To patch",
    ActionKind.WAIT: "Waiting",
    ActionKind.HOLD: "Held",
    ActionKind.REPORT: "To report",
    ActionKind.RELEASE: "To release",
    ActionKind.NOOP: "In sync",
}
_REASONS = {
    Reason.REMOVED: "no document any more",
    Reason.SUSPENDED: "suspended",
    Reason.IN_SYNC: "in sync",
    Reason.ENDED_BEFORE_EFFECT: "ended before it took effect",
    Reason.ENDED: "ended",
    Reason.NOT_CONTROLLABLE: "cannot be changed yet",
    Reason.CONFIRMING: "sent, being confirmed",
    Reason.DRIFT: "drift",
    Reason.FOREIGN_PAUSE: "paused by somebody else",
    Reason.EDIT: "edit",
}


def plain(text: str, _role: str) -> str:
    """Paint nothing."""
    return text


def as_text(plan: Plan, *, show_all: bool = False, paint: Paint = plain) -> str:
    """Return the plan as text, grouped by what happens, the summary line last."""
    lines: list[str] = []
    for kind, heading in _HEADINGS.items():
        group = [action for action in plan.actions if action.kind is kind]
        if not group or (kind is ActionKind.NOOP and not show_all):
            continue
        lines.append(paint(f"{heading} ({len(group)})", "heading"))
        lines += _rows(group, plan, paint)
        lines.append("")
    for refusal in plan.refusals:
        lines += [paint(f"Limit: {refusal}", "danger"), ""]
    lines.append(summary_line(plan.summary))
    return "\n".join(lines) + "\n"


def _rows(group: Sequence[Action], plan: Plan, paint: Paint) -> list[str]:
    moves = [_move(action) for action in group]
    name_width = max(len(action.name) for action in group)
    move_width = max(len(move) for move in moves)
    rows = []
    for action, move in zip(group, moves, strict=True):
        role = "change" if action.kind is ActionKind.PATCH else "quiet"
        reason = _REASONS[action.reason]
        if action.live is not None and action.live.detail:
            reason = f"{reason}: {action.live.detail}"
        row = f"  {action.name:<{name_width}}  {paint(f'{move:<{move_width}}', role)}  {reason}"
        row += f"  {paint(f'{action.file}:{action.line}', 'quiet')}"
        for mark in _marks(action, plan):
            row += f"  {paint(mark, 'danger')}"
        rows.append(row)
    return rows


def _move(action: Action) -> str:
    live = "?" if action.live is None else action.live.word
    if action.desired is None:
        return action.last_applied or "-"
    if action.kind is ActionKind.NOOP:
        return action.desired.value
    return f"{live} -> {action.desired.value}"


def _marks(action: Action, plan: Plan) -> list[str]:
    marks = []
    if action.irreversible:
        marks.append("IRREVERSIBLE")
    if action.resumes:
        marks.append("RESUMES A FOREIGN PAUSE" if action.foreign else "RESUMES")
    if action.key in plan.withheld:
        marks.append("WITHHELD BY A LIMIT")
    return marks


def summary_line(summary: Summary) -> str:
    """Return the one line that every text report ends with."""
    return (
        f"Plan: {summary.patch} to patch ({summary.drift} drift), {summary.wait} waiting, {summary.hold} held,"
        f" {summary.report} to report, {summary.release} to release, {summary.noop} in sync."
    )


def as_data(plan: Plan, *, show_all: bool = False) -> dict[str, Any]:
    """Return the plan as the plain data of its JSON form, described by `schemas/plan.schema.json`."""
    shown = [action for action in plan.actions if show_all or action.kind is not ActionKind.NOOP]
    return {
        "format": FORMAT,
        "createdAt": instant(plan.created_at),
        "revision": plan.revision,
        "refreshed": plan.refreshed,
        "summary": asdict(plan.summary),
        "actions": [_action_data(action) for action in shown],
        "digest": digest(plan.actions),
    }


def _action_data(action: Action) -> dict[str, Any]:
    return {
        "name": action.name,
        "action": action.kind.value,
        "reason": action.reason.value,
        "desired": action.desired,
        "lastApplied": action.last_applied,
        "live": None if action.live is None else action.live.word,
        "irreversible": action.irreversible,
        "resumes": action.resumes,
        "workspaceId": action.key.workspace_id,
        "channelId": action.key.channel_id,
        "callId": action.key.call_id,
        "recordingId": action.key.recording_id,
        "file": action.file,
        "line": action.line,
    }


def as_json(plan: Plan, *, show_all: bool = False) -> str:
    """Return the plan as JSON text."""
    return json.dumps(as_data(plan, show_all=show_all), indent=2) + "\n"


def instant(moment: datetime) -> str:
    """Return a moment as RFC 3339 in UTC with milliseconds, the form Bird's samples have."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
