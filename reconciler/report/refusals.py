"""What a safety limit refuses as a whole, for people and for programs: wherever it is shown, in the same words."""

from __future__ import annotations

from typing import Any

from reconciler.model import RefusedSet, instant
from reconciler.plan import Refusal
from reconciler.telemetry import visible


def refusal_of(refused: RefusedSet) -> Refusal:
    """Return the refusal that each of its recordings was given, whose words stand in their records."""
    return Refusal(refused.rule, refused.count, refused.allowed, refused.setting, refused.name)


def refusal_line(refused: RefusedSet) -> str:
    """Return it as one line: its name, what it is, since when, which documents, and what lifts it."""
    more = refused.recordings - len(refused.sample)
    names = ", ".join(visible(name) for name in refused.sample)
    others = f" and {more} more" if more > 0 else ""
    return f"{refusal_of(refused)}. Refused since {instant(refused.at)}: {names}{others}."


def refusal_data(refused: RefusedSet) -> dict[str, Any]:
    """Return it as plain data."""
    return {
        "name": refused.name,
        "at": instant(refused.at),
        "rule": refused.rule.value,
        "recordings": refused.recordings,
        "count": refused.count,
        "allowed": refused.allowed,
        "setting": refused.setting,
        "sample": list(refused.sample),
    }
