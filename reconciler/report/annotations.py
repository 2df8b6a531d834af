"""A plan, or mistakes, as workflow commands of GitHub Actions: notes at the files and lines of a pull request.

Source: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.model import Action, ActionKind, Problem
from reconciler.plan import Plan
from reconciler.report.words import gravest_first, sentence, unread_line
from reconciler.telemetry import visible


def as_annotations(plan: Plan, *, show_all: bool = False) -> str:
    """Return a command a line: an error for what is withheld, a warning for what deserves a look, else a notice.

    The gravest come first, since GitHub shows only the first ten of each kind in a step.
    """
    shown = [action for action in plan.actions if show_all or action.kind is not ActionKind.NOOP]
    lines = [f"::error title=Safety limit::{_data(str(refusal))}" for refusal in plan.refusals]
    if plan.unread:
        lines.append(f"::error title=Live state::{_data(unread_line(plan))}")
    for action in gravest_first(plan, shown):
        title = f"title={_property(visible(action.name))}"
        # A file that the change takes away has no line to write at.
        place = f"file={_property(action.file)},line={action.line},{title}" if action.file else title
        lines.append(f"::{_level(action, plan)} {place}::{_data(sentence(action, plan))}")
    return "".join(f"{line}\n" for line in lines)


def problems_as_annotations(problems: Iterable[Problem]) -> str:
    """Return an error for each mistake."""
    lines = []
    for problem in problems:
        place = f"file={_property(problem.file)},line={problem.line},col={problem.column}"
        message = f"{problem.message}, {problem.hint}" if problem.hint else problem.message
        pointer = f" [{problem.pointer}]" if problem.pointer else ""
        lines.append(f"::error {place}::{_data(message + pointer)}\n")
    return "".join(lines)


def _level(action: Action, plan: Plan) -> str:
    if action.key in plan.withheld:
        return "error"
    return (
        "warning"
        if action.irreversible or action.resumes or action.kind is ActionKind.REPORT or action.lost
        else "notice"
    )


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
