"""A plan as SARIF 2.1.0, for code-scanning pages: a result for each action, at its document."""

from __future__ import annotations

from collections.abc import Collection

from reconciler.model import Action, ActionKind, RecordingKey
from reconciler.plan import Plan
from reconciler.report.sarif_log import Result, write_sarif
from reconciler.report.words import REASONS, gravest_first, sentence, unread_line

_LIMIT = "safety-limit"
_UNREAD = "unread"


def as_sarif(plan: Plan, *, show_all: bool = False) -> str:
    """Return one run; `note` is a change or a wait, `warning` deserves a look, `error` is withheld or unread."""
    rules = {reason.value: words for reason, words in REASONS.items()}
    rules |= {_LIMIT: "a safety limit is passed", _UNREAD: "the live state could not be read"}
    results = [Result(_LIMIT, "error", str(refusal), *_place_of(plan, plan.withheld)) for refusal in plan.refusals]
    if plan.unread:
        results.append(Result(_UNREAD, "error", unread_line(plan), *_place_of(plan, plan.unread)))
    results += [
        Result(
            action.reason.value,
            _level(action, plan),
            sentence(action, plan),
            action.file,
            action.line,
            fingerprint="/".join([*action.key, action.kind, action.desired or "-"]),
        )
        for action in gravest_first(plan, plan.actions)
        if show_all or action.kind is not ActionKind.NOOP
    ]
    return write_sarif(results, rules)


def _place_of(plan: Plan, keys: Collection[RecordingKey]) -> tuple[str, int]:
    """Return where a finding about several recordings stands: at the first of them, or at what the plan was made of."""
    for action in plan.actions:
        if action.key in keys:
            return action.file, action.line
    return (*plan.paths, "desired_state")[0], 1


def _level(action: Action, plan: Plan) -> str:
    if action.key in plan.withheld:
        return "error"
    grave = action.irreversible or action.resumes or action.kind is ActionKind.REPORT or action.drifted or action.lost
    return "warning" if grave else "note"
