"""A plan as one HTML page: no script, nothing loaded from anywhere, light or dark as its reader likes, good on paper.

What must never happen in this room: text out of a document, a file's name or the API becomes HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from typing import Final

from reconciler.model import Action, ActionKind, instant
from reconciler.plan import Plan
from reconciler.report.words import CAUSES, HEADINGS, gravest_first, marks, move, place, reason, unread_line
from reconciler.telemetry import visible

#: No source of anything is allowed but the style that stands in the page.
_HEAD: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Plan of call recordings</title>
<style>
:root { --ink: #1d2530; --quiet: #5b6675; --line: #d9dee5; --card: #f5f7f9; --paper: #fff; --change: #8a5a00;
  --danger: #b3261e; --danger-card: #fdecea; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --quiet: #9aa6b5; --line: #343d49; --card: #1f262f;
  --paper: #151a21; --change: #f0b94d; --danger: #ff8a80; --danger-card: #3a1d1c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 3rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 0; padding-top: 1rem; border-top: 2px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
h2 small, h3 small { color: var(--quiet); font-weight: normal; }
p { margin: .5rem 0; }
code { font: .92em ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
.quiet { color: var(--quiet); }
.counts { display: grid; grid-template-columns: repeat(auto-fit, minmax(6.2rem, 1fr)); gap: .6rem; padding: 0;
  margin: 1.25rem 0; list-style: none; }
.counts li { background: var(--card); border-radius: .5rem; padding: .6rem .8rem; }
.counts b { display: block; font-size: 1.5rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.counts li.none { color: var(--quiet); }
.counts li.grave b { color: var(--danger); }
.warning { border-left: 4px solid var(--danger); background: var(--danger-card); padding: .5rem .9rem;
  border-radius: .25rem; }
.wide { overflow-x: auto; }
table { width: 100%; min-width: 44rem; table-layout: fixed; border-collapse: collapse; }
th:nth-child(1) { width: 35%; } th:nth-child(2) { width: 22%; } th:nth-child(3) { width: 18%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--quiet); font-weight: 600; font-size: .85rem; }
td { overflow-wrap: anywhere; }
.patch td.move { color: var(--change); font-weight: 600; }
.mark { display: inline-block; color: var(--danger); border: 1px solid currentColor; border-radius: .25rem;
  padding: 0 .35rem; font-size: .75rem; font-weight: 700; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } h2, h3 { break-after: avoid; }
  table { min-width: 0; }
  tr, .warning, .counts li { break-inside: avoid; } thead { display: table-header-group; } .wide { overflow: visible; }
  .counts li { border: 1px solid var(--line); } }
@page { margin: 15mm; }
</style>
</head>
"""
_GRAVE: Final = ("irreversible", "resumes", "drift", "lost")


def as_html(plan: Plan, *, show_all: bool = False) -> str:
    """Return the plan as a page that needs nothing beside it."""
    lines = [
        "<body>",
        "<h1>Plan of call recordings</h1>",
        f'<p class="quiet">{_about(plan)}</p>',
        '<ul class="counts">',
        *(_count(word, count) for word, count in asdict(plan.summary).items()),
        "</ul>",
    ]
    lines += [f'<p class="warning">{_safe(str(refusal))}</p>' for refusal in plan.refusals]
    if plan.unread:
        lines.append(f'<p class="warning">{unread_line(plan)}</p>')
    shown = [action for action in plan.actions if show_all or action.kind is not ActionKind.NOOP]
    if not shown:
        lines.append("<p>Nothing to do.</p>")
    if plan.causes is None:
        lines += _groups(plan, shown)
    else:
        for cause, heading in CAUSES.items():
            because = [action for action in shown if plan.causes.get(action.key) is cause]
            if because:
                lines += [f"<h2>{heading} <small>{len(because)}</small></h2>", *_groups(plan, because)]
        lines += _groups(plan, [action for action in shown if action.key not in plan.causes])
    lines += [f'<p class="quiet">Digest <code>{plan.digest}</code></p>', "</body>", "</html>"]
    return _HEAD + "\n".join(lines) + "\n"


def _about(plan: Plan) -> str:
    parts = [f"Made at {instant(plan.created_at)}"]
    if plan.revision is not None:
        parts.append(f"commit <code>{_safe(plan.revision[:12])}</code>")
    if plan.base is not None:
        parts.append(f"held against <code>{_safe(plan.base[:12])}</code>")
    parts.append("live state was read" if plan.refreshed else "live state was not read")
    return ", ".join(parts) + "."


def _count(word: str, count: int) -> str:
    title = {kind.value: heading for kind, heading in HEADINGS.items()}.get(word, word.capitalize())
    grave = " grave" if count and word in _GRAVE else ""
    return f'<li class="{"some" if count else "none"}{grave}"><b>{count}</b>{title}</li>'


def _groups(plan: Plan, actions: Sequence[Action]) -> list[str]:
    lines = []
    for kind, heading in HEADINGS.items():
        group = [action for action in actions if action.kind is kind]
        if group:
            lines += [
                f"<h3>{heading} <small>{len(group)}</small></h3>",
                f'<div class="wide"><table class="{kind.value}">',
                "<thead><tr><th>Recording</th><th>Change</th><th>Why</th><th>Document</th></tr></thead>",
                "<tbody>",
                *(_row(plan, action) for action in gravest_first(plan, group)),
                "</tbody>",
                "</table></div>",
            ]
    return lines


def _row(plan: Plan, action: Action) -> str:
    marked = "".join(f' <span class="mark">{mark}</span>' for mark in marks(action, plan))
    change = _safe(move(action, plan)).replace("-&gt;", "&rarr;")
    return (
        f"<tr><td><code>{_safe(action.name)}</code>{marked}</td>"
        f'<td class="move">{change}</td>'
        f"<td>{_safe(reason(action))}</td><td><code>{_safe(place(action))}</code></td></tr>"
    )


def _safe(text: str) -> str:
    return escape(visible(text))
