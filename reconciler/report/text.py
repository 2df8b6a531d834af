"""A plan for people at a terminal and in logs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat

from reconciler.model import Action, ActionKind
from reconciler.plan import Cause, Outline, Plan
from reconciler.report.words import CAUSES, HEADINGS, marks, move, reason, summary_line, unread_line
from reconciler.telemetry import visible

#: Colours text: takes the text and a word for its role (`change`, `danger`, `quiet`, `heading`).
Paint = Callable[[str, str], str]


def plain(text: str, _role: str) -> str:
    """Paint nothing."""
    return text


def as_text(plan: Plan, *, show_all: bool = False, paint: Paint = plain) -> str:
    """Return the plan as text, grouped by cause where it has causes and by what happens, the summary line last."""
    lines: list[str] = []
    if plan.causes is None:
        lines += _groups(plan.actions, plan, paint, show_all=show_all)
    else:
        if Cause.CHANGE not in plan.causes.values():
            lines += ["This change leads to no action.", ""]
        for cause, heading in CAUSES.items():
            because = [action for action in plan.actions if plan.causes.get(action.key) is cause]
            if because:
                lines += [paint(f"{heading} ({len(because)})", "heading"), ""]
                lines += _groups(because, plan, paint, show_all=show_all)
        if show_all:
            quiet = [action for action in plan.actions if action.kind is ActionKind.NOOP]
            lines += _groups(quiet, plan, paint, show_all=True)
    return _ended(lines, plan, paint)


def outline_as_text(outline: Outline, *, paint: Paint = plain) -> str:
    """Return an outline as text: that of the plan with all its actions."""
    plan = outline.sample
    lines: list[str] = []
    if outline.names:
        lines = [
            paint(f"{HEADINGS[ActionKind.PATCH]} ({len(outline.names)})", "heading"),
            *_columns(outline, paint),
            "",
        ]
    return _ended(lines, plan, paint)


def _columns(outline: Outline, paint: Paint) -> list[str]:
    plan = outline.sample
    names, width = _column(outline.names)
    padded = map(str.ljust, names, repeat(width))
    moves = [move(action, plan) for action in plan.actions]
    move_width = max(map(len, moves))
    changes = [paint(f"{change:<{move_width}}", "change") for change in moves]
    # What stands between a row's name and its place, and behind that: the same for all of a sort.
    middles = [f"  {change}  {reason(action)}  " for action, change in zip(plan.actions, changes, strict=True)]
    ends = ["".join(f"  {paint(mark, 'danger')}" for mark in marks(action, plan)) for action in plan.actions]
    places = [
        paint(f"{file}:{line}", "quiet") for file, line in zip(_visible(outline.files), outline.lines, strict=True)
    ]
    return [
        f"  {name}{middles[sort]}{place}{ends[sort]}"
        for name, place, sort in zip(padded, places, outline.sorts, strict=True)
    ]


def _column(names: Sequence[str]) -> tuple[Sequence[str], int]:
    """Return names as they are shown, and the width of their column."""
    shown = _visible(names)
    return shown, max(map(len, shown))


def _visible(texts: Sequence[str]) -> Sequence[str]:
    joined = "".join(texts)
    # All at once, since there may be a hundred thousand; what is merely suspicious is looked at one by one.
    harmless = joined.isprintable() and "##[" not in joined and "::" not in joined
    return texts if harmless else [visible(text) for text in texts]


def _groups(actions: Sequence[Action], plan: Plan, paint: Paint, *, show_all: bool) -> list[str]:
    lines = []
    for kind, heading in HEADINGS.items():
        group = [action for action in actions if action.kind is kind]
        if not group or (kind is ActionKind.NOOP and not show_all):
            continue
        lines.append(paint(f"{heading} ({len(group)})", "heading"))
        lines += _rows(group, plan, paint)
        lines.append("")
    return lines


def _rows(group: Sequence[Action], plan: Plan, paint: Paint) -> list[str]:
    moves = [move(action, plan) for action in group]
    names, name_width = _column([action.name for action in group])
    move_width = max(map(len, moves))
    role = "change" if group[0].kind is ActionKind.PATCH else "quiet"
    # There may be a hundred thousand rows, and few different changes, files and marks among them.
    changes = {change: paint(f"{change:<{move_width}}", role) for change in set(moves)}
    files = {file: visible(file) for file in {action.file for action in group}}
    rows = []
    for action, name, change in zip(group, names, moves, strict=True):
        where = paint(f"{files[action.file]}:{action.line}", "quiet")
        row = f"  {name:<{name_width}}  {changes[change]}  {reason(action)}  {where}"
        if action.irreversible or action.resumes or plan.withheld:
            for mark in marks(action, plan):
                row += f"  {paint(mark, 'danger')}"
        rows.append(row)
    return rows


def _ended(lines: list[str], plan: Plan, paint: Paint) -> str:
    """Return the lines of a report with those that stand below all actions."""
    for refusal in plan.refusals:
        lines += [paint(f"Limit: {refusal}", "danger"), ""]
    if plan.unread:
        lines += [paint(unread_line(plan), "danger"), ""]
    lines.append(summary_line(plan.summary))
    return "\n".join(lines) + "\n"
