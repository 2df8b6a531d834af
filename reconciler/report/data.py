"""A plan for programs: `reconciler.plan/v1`, described by `schemas/plan.schema.json`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from reconciler.model import Action, ActionKind
from reconciler.plan import FORMAT, Plan, digest
from reconciler.report.words import instant


def as_data(plan: Plan, *, show_all: bool = False) -> dict[str, Any]:
    """Return the plan as plain data. `base` and each action's `cause` are there where a change was asked about."""
    shown = [action for action in plan.actions if show_all or action.kind is not ActionKind.NOOP]
    return {
        "format": FORMAT,
        "createdAt": instant(plan.created_at),
        "revision": plan.revision,
        **({} if plan.causes is None else {"base": plan.base}),
        "refreshed": plan.refreshed,
        "summary": asdict(plan.summary),
        "actions": [_action_data(action, plan) for action in shown],
        "digest": digest(plan.actions),
    }


def _action_data(action: Action, plan: Plan) -> dict[str, Any]:
    cause = None if plan.causes is None else plan.causes.get(action.key)
    return {
        "name": action.name,
        "action": action.kind.value,
        "reason": action.reason.value,
        **({} if cause is None else {"cause": cause.value}),
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
