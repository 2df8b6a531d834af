"""A plan, or mistakes, as JUnit XML: a test case for each recording, which passes when nothing differs.

What drifted, ended or is only reported fails; what an edit asks for, waits, is held or released is skipped, since an
ordinary change is no failure; what a limit withholds is an error. The form is the strictest of those in use, so that
all of its readers take it.

Source: https://github.com/windyroad/JUnit-Schema, https://docs.gitlab.com/ci/testing/unit_test_reports/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

from reconciler.model import Action, ActionKind, Problem
from reconciler.plan import Plan
from reconciler.report.words import REASONS, sentence, unread_line
from reconciler.telemetry import visible

_SKIPPED = (ActionKind.PATCH, ActionKind.WAIT, ActionKind.HOLD, ActionKind.RELEASE)


@dataclass(frozen=True, slots=True)
class _Case:
    name: str
    file: str
    #: `failure`, `error`, `skipped`, or empty for what passes.
    result: str = ""
    kind: str = ""
    message: str = ""


def as_junit(plan: Plan) -> str:
    """Return one suite with all recordings, those in sync as well."""
    cases = [_case(action, plan) for action in plan.actions]
    if plan.unread:
        cases.append(_Case("live state", "reconciler", "error", "unread", unread_line(plan)))
    return _suite(cases, plan.created_at)


def problems_as_junit(problems: Iterable[Problem], now: datetime) -> str:
    """Return one suite with a failed case for each mistake."""
    cases = [
        _Case(f"{problem.line}:{problem.column}", problem.file, "failure", problem.rule, str(problem))
        for problem in problems
    ]
    return _suite(cases, now)


def _case(action: Action, plan: Plan) -> _Case:
    if action.kind is ActionKind.NOOP:
        return _Case(action.name, action.file)
    expected = action.kind in _SKIPPED and not (action.drifted or action.lost)
    result = "error" if action.key in plan.withheld else "skipped" if expected else "failure"
    return _Case(action.name, action.file, result, REASONS[action.reason], sentence(action, plan))


def _suite(cases: Sequence[_Case], now: datetime) -> str:
    counts = {word: sum(case.result == word for case in cases) for word in ("failure", "error", "skipped")}
    about = f'package="reconciler" id="0" name="plan" timestamp="{now:%Y-%m-%dT%H:%M:%S}" hostname="localhost"'
    totals = f'tests="{len(cases)}" failures="{counts["failure"]}" errors="{counts["error"]}"'
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<testsuites>",
        f'  <testsuite {about} {totals} skipped="{counts["skipped"]}" time="0">',
        "    <properties/>",
    ]
    for case in cases:
        begin = f'    <testcase name="{_safe(case.name)}" classname="{_safe(case.file)}" time="0"'
        if not case.result:
            lines.append(f"{begin}/>")
        elif case.result == "skipped":
            lines += [f"{begin}>", f'      <skipped message="{_safe(case.message)}"/>', "    </testcase>"]
        else:
            message = _safe(case.message)
            failed = f'      <{case.result} type="{_safe(case.kind)}" message="{message}">{message}</{case.result}>'
            lines += [f"{begin}>", failed, "    </testcase>"]
    lines += ["    <system-out/>", "    <system-err/>", "  </testsuite>", "</testsuites>"]
    return "\n".join(lines) + "\n"


def _safe(text: str) -> str:
    return escape(visible(text))
