"""A plan for programs: `reconciler.plan/v2`, described by `schemas/plan.schema.json`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Final

from reconciler.model import Action, ActionKind, instant
from reconciler.plan.plan import FORMAT, Plan

#: Where every desired status comes from so far.
ORIGIN: Final = "document"


def as_data(plan: Plan, *, show_all: bool = False) -> dict[str, Any]:
    """Return the plan as plain data. `base` and each action's `cause` are null where no change was asked about."""
    shown = [action for action in plan.actions if show_all or action.kind is not ActionKind.NOOP]
    return {
        "format": FORMAT,
        "createdAt": instant(plan.created_at),
        "revision": plan.revision,
        "base": plan.base,
        "api": plan.api,
        "paths": list(plan.paths),
        "refreshed": plan.refreshed,
        "summary": asdict(plan.summary),
        "refusals": [
            {
                "name": refusal.name,
                "rule": refusal.rule.value,
                "count": refusal.count,
                "allowed": refusal.allowed,
                "setting": refusal.setting,
            }
            for refusal in plan.refusals
        ],
        "actions": [_action_data(action, plan) for action in shown],
        "digest": plan.digest,
    }


def _action_data(action: Action, plan: Plan) -> dict[str, Any]:
    cause = None if plan.causes is None else plan.causes.get(action.key)
    return {
        "name": action.name,
        "action": action.kind.value,
        "reason": action.reason.value,
        "origin": ORIGIN,
        "cause": cause,
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
