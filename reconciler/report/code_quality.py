"""A plan, or mistakes, as a Code Quality report of GitLab, shown in the merge request.

Source: https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from reconciler.model import Action, ActionKind, Problem
from reconciler.plan import Plan
from reconciler.report.words import sentence


def as_code_quality(plan: Plan, *, show_all: bool = False) -> str:
    """Return a finding for each action; its fingerprint stays the same for as long as the action does."""
    return _written(
        {
            "description": sentence(action, plan),
            "check_name": f"reconciler.{action.kind}.{action.reason}",
            "fingerprint": _fingerprint(*action.key, action.kind, action.reason, action.desired or ""),
            "severity": _severity(action, plan),
            "location": {"path": action.file, "lines": {"begin": action.line}},
        }
        for action in plan.actions
        if show_all or action.kind is not ActionKind.NOOP
    )


def problems_as_code_quality(problems: Iterable[Problem]) -> str:
    """Return a finding for each mistake."""
    return _written(
        {
            "description": f"{problem.message}, {problem.hint}" if problem.hint else problem.message,
            "check_name": f"reconciler.{problem.rule}",
            "fingerprint": _fingerprint(problem.file, str(problem.line), str(problem.column), problem.message),
            "severity": "blocker",
            "location": {"path": problem.file, "lines": {"begin": problem.line}},
        }
        for problem in problems
    )


def _written(findings: Iterable[dict[str, Any]]) -> str:
    return json.dumps(list(findings), indent=2) + "\n"


def _severity(action: Action, plan: Plan) -> str:
    if action.irreversible or action.key in plan.withheld:
        return "critical"
    if action.resumes:
        return "major"
    return "minor" if action.drifted or action.kind is ActionKind.REPORT or action.lost else "info"


def _fingerprint(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
