"""A plan, or the mistakes that there is no plan for, as a comment on a pull request.

A hidden marker comes first, by which one comment is found again and updated in place. Nothing here depends on the time,
so that the same plan is the same comment. What must never happen in this room: text out of a document, a file's name or
the API becomes Markdown, HTML or a mention.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from reconciler.model import Action, ActionKind, Problem
from reconciler.plan import Plan
from reconciler.report.words import (
    CAUSES,
    HEADINGS,
    REASONS,
    gravest_first,
    marks,
    move,
    place,
    summary_line,
    unread_line,
)
from reconciler.telemetry import visible

#: By which the comment is found again.
MARKER: Final = "<!-- reconciler:plan -->"
#: GitHub refuses a comment of more than 65,536 characters; bytes are never fewer.
MOST_BYTES: Final = 65_535
#: For the note of what was left out and the lines below the table.
_SPARE: Final = 1024

#: What can stand in a code span as it is; everything else is written as character references.
_HARMLESS: Final = re.compile(r"[\w./:\- ?>]+")


def as_markdown(plan: Plan, *, show_all: bool = False) -> str:
    """Return the plan as Markdown of less than 65,536 bytes, what cannot be undone first."""
    shown = [action for action in plan.actions if show_all or action.kind is not ActionKind.NOOP]
    lines = [MARKER, "### Recordings", "", f"**{summary_line(plan.summary)}**", ""]
    warnings = _warnings(plan)
    if warnings:
        lines += ["> [!WARNING]", *(f"> - {warning}" for warning in warnings), ""]
    lines += _table(plan, gravest_first(plan, shown), MOST_BYTES - _SPARE - _size(lines))
    lines += ["", _footer(plan)]
    return "\n".join(lines) + "\n"


def problems_as_markdown(problems: Sequence[Problem]) -> str:
    """Return the mistakes that kept a plan from being made, with the same marker and bound."""
    count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
    lines = [MARKER, "### Recordings", "", f"**No plan: {count} in the documents.**", ""]
    room = MOST_BYTES - _SPARE - _size(lines)
    for number, problem in enumerate(problems):
        message = f"{problem.message}, {problem.hint}" if problem.hint else problem.message
        pointer = f" {code(problem.pointer)}" if problem.pointer else ""
        line = f"- {code(f'{problem.file}:{problem.line}:{problem.column}')} {code(message)}{pointer}"
        room -= _size([line])
        if room < 0:
            lines += ["", f"_{len(problems) - number} more are left out; `reconciler validate` names them all._"]
            break
        lines.append(line)
    return "\n".join(lines) + "\n"


def _warnings(plan: Plan) -> list[str]:
    summary = plan.summary
    found = [str(refusal) for refusal in plan.refusals]
    if summary.irreversible:
        found.append(f"{_recordings(summary.irreversible)} would be ended for good.")
    if summary.resumes:
        found.append(f"{_recordings(summary.resumes)} would be resumed.")
    return [*found, unread_line(plan)] if plan.unread else found


def _recordings(count: int) -> str:
    return "1 recording" if count == 1 else f"{count} recordings"


def _table(plan: Plan, actions: Sequence[Action], room: int) -> list[str]:
    if not actions:
        return ["Nothing to do."]
    columns = ["", "recording", "change", "why", *(["cause"] if plan.causes is not None else []), "document"]
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    room -= _size(lines)
    for number, action in enumerate(actions):
        line = _row(plan, action)
        room -= _size([line])
        if room < 0:
            left = actions[number:]
            kinds = ", ".join(
                f"{count} {heading.lower()}"
                for kind, heading in HEADINGS.items()
                if (count := sum(action.kind is kind for action in left))
            )
            grave = sum(action.irreversible or action.resumes for action in left)
            warning = f" **{grave} of them are irreversible or resume a recording.**" if grave else ""
            return [*lines, "", f"_{len(left)} more are left out here: {kinds}._{warning}"]
        lines.append(line)
    return lines


def _row(plan: Plan, action: Action) -> str:
    grave = marks(action, plan)
    sign = "\N{OCTAGONAL SIGN}" if action.irreversible else "\N{WARNING SIGN}\N{VARIATION SELECTOR-16}" if grave else ""
    cells = [
        " ".join(filter(None, [sign, *(f"**{mark}**" for mark in grave)])) or HEADINGS[action.kind],
        code(action.name),
        code(move(action, plan)),
        _why(action),
    ]
    if plan.causes is not None:
        cause = plan.causes.get(action.key)
        cells.append("" if cause is None else CAUSES[cause].lower())
    cells.append(code(place(action)))
    return f"| {' | '.join(cells)} |"


def _why(action: Action) -> str:
    words = REASONS[action.reason]
    return f"{words}: {code(action.live.detail)}" if action.live is not None and action.live.detail else words


def _footer(plan: Plan) -> str:
    parts = [f"Digest {code(plan.digest)}"]
    if plan.revision is not None:
        parts.append(f"commit {code(plan.revision[:12])}")
    if plan.base is not None:
        parts.append(f"held against {code(plan.base[:12])}")
    parts.append("live state was read" if plan.refreshed else "live state was not read")
    return f"{', '.join(parts)}."


def code(text: str) -> str:
    """Return text as code, whatever it holds; mentions and references mean nothing in code."""
    text = visible(text)
    if _HARMLESS.fullmatch(text) and text == text.strip():
        return f"`{text}`"
    return f"<code>{''.join(each if each.isalnum() or each == ' ' else f'&#{ord(each)};' for each in text)}</code>"


def _size(lines: Sequence[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)
