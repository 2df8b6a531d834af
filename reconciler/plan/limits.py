"""Safety limits: how much may change at once before a person must say that it is meant.

Pure. `plan`, `apply` and `run --once` ask `withhold` about a whole plan; the daemon, to which changes come one after
the other, asks `window`. A lost state file, a wrong branch or a bad merge must not stop every recording or
undo every agent's pause. Yet what is refused must never be the safe direction unless somebody asked for that: a pause
leaves a gap in a recording, while one that is held back lets a card number be recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from reconciler.model import Action, ActionKind, RecordingKey, Rule, Status, status_line

#: Hexadecimal digits in the name of what is refused: as many as a person copies without a mistake.
NAME_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings of the rules; None lifts a rule."""

    #: PATCHes to `completed` in a run (in the daemon: in ten minutes).
    max_irreversible: int | None = 25
    #: Resumes of pauses that this program did not make, over the same span.
    max_resumes: int | None = 25
    #: Share of the recordings with a last-applied status that may be patched at once, in percent ...
    max_change_percent: float | None = 50.0
    #: ... once there are this many of them.
    min_managed: int = 20
    #: The share that may be paused at once, in percent, from as many on.
    max_pause_percent: float | None = None

    @classmethod
    def lifted(cls) -> Limits:
        """No limit at all: what `--override-limits` asks a command for."""
        return cls(None, None, None)

    def allowance(self, rule: Rule, managed: int) -> tuple[int, str] | None:
        """Return how many PATCHes a rule allows, and the setting that says so; None where it allows any number.

        Args:
            rule: which one.
            managed: how many recordings have a last-applied status.
        """
        match rule:
            case Rule.IRREVERSIBLE:
                most = self.max_irreversible
                return None if most is None else (most, f"max_irreversible: {most}")
            case Rule.RESUMES:
                most = self.max_resumes
                return None if most is None else (most, f"max_resumes: {most}")
            case Rule.CHANGES:
                name, percent = "max_change_percent", self.max_change_percent
            case Rule.PAUSES:
                name, percent = "max_pause_percent", self.max_pause_percent
        if percent is None or managed < self.min_managed:
            return None
        return int(managed * percent / 100), f"{name}: {percent:g} of {managed}"


def name_of(rule: Rule, lines: Iterable[str]) -> str:
    """Return the name of what a rule refuses: digits over its content, the same in every process and on every host.

    Args:
        rule: that refuses it.
        lines: the `status_line` of each recording with the status that is wanted for it, in any order.
    """
    return hashlib.sha256("\n".join((rule.value, *sorted(lines))).encode()).hexdigest()[:NAME_DIGITS]


def name_of_items(rule: Rule, items: Mapping[RecordingKey, Status]) -> str:
    """Return the name of what a rule refuses, given each recording and the status that is wanted for it."""
    return name_of(rule, (status_line(key, status) for key, status in items.items()))


_WORDS: Final = {
    Rule.IRREVERSIBLE: "{count} recordings would be ended for good, at most {allowed} may be",
    Rule.RESUMES: "{count} pauses that somebody else made would be resumed, at most {allowed} may be",
    Rule.CHANGES: (
        "{count} recordings that already have an applied status would change at once, at most {allowed} may"
    ),
    Rule.PAUSES: "{count} recordings that already have an applied status would pause at once, at most {allowed} may",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A limit that was passed: the rule, the numbers, and what a person can do about it."""

    rule: Rule
    count: int
    allowed: int
    setting: str
    #: That of what is refused as a whole; empty for a single PATCH that time may let pass.
    name: str = ""

    @property
    def way(self) -> str:
        """What lifts it, once, in a daemon and in a command."""
        return f"`{approval(self.name)}` beside a running daemon, --override-limits for a command"

    def as_log(self) -> dict[str, str | int]:
        """Return what a log line says of it. `refusal` is its name: `name` is that of a document everywhere."""
        return {
            "refusal": self.name,
            "rule": self.rule.value,
            "count": self.count,
            "allowed": self.allowed,
            "setting": self.setting,
            "approve": approval(self.name),
            "override": "--override-limits",
        }

    def __str__(self) -> str:
        what = _WORDS[self.rule].format(count=self.count, allowed=self.allowed)
        named = f"{self.name}: " if self.name else ""
        return f"{named}{what} ({self.setting}); nothing of that kind is sent. If it is meant: {self.way}"


def approval(name: str) -> str:
    """Return the command that approves what is refused; without a name the one that lists it."""
    return f"reconciler approve {name} --reason TEXT" if name else "reconciler approve"


def kinds_of(action: Action) -> tuple[Rule, ...]:
    """Return the rules that a PATCH counts towards; none for any other action."""
    if action.kind is not ActionKind.PATCH or not (
        action.irreversible or action.foreign or action.last_applied is not None
    ):
        return ()
    rules = []
    if action.irreversible:
        rules.append(Rule.IRREVERSIBLE)
    if action.foreign:
        rules.append(Rule.RESUMES)
    if action.last_applied is not None:
        rules.append(share_of(action.desired))
    return tuple(rules)


def share_of(desired: Status | None) -> Rule:
    """Return by which share a change to a status is counted."""
    return Rule.PAUSES if desired is Status.PAUSED else Rule.CHANGES


def withhold(
    actions: Sequence[Action], managed: int, limits: Limits
) -> tuple[tuple[Refusal, ...], frozenset[RecordingKey]]:
    """Hold a whole plan against the limits.

    Args:
        actions: the plan's actions; only its PATCHes count.
        managed: how many recordings have a last-applied status.
        limits: the settings.

    Returns:
        The limits that are passed, and the keys of every PATCH of a kind that is refused.
    """
    by_rule: dict[Rule, dict[RecordingKey, Status]] = {rule: {} for rule in Rule}
    for action in actions:
        for rule in kinds_of(action):
            if action.desired is not None:
                by_rule[rule][action.key] = action.desired
    refusals = tuple(
        refusal
        for rule, items in by_rule.items()
        if (refusal := refusal_of(rule, len(items), managed, limits, partial(name_of_items, rule, items))) is not None
    )
    return refusals, frozenset(key for refusal in refusals for key in by_rule[refusal.rule])


def refusal_of(rule: Rule, count: int, managed: int, limits: Limits, name: Callable[[], str]) -> Refusal | None:
    """Return what a rule says of so many PATCHes; None where it lets them pass.

    Args:
        rule: which one.
        count: how many there are.
        managed: how many recordings have a last-applied status.
        limits: the settings.
        name: returns the name of what is refused, asked only where it is.
    """
    allowance = limits.allowance(rule, managed)
    if allowance is None or count <= allowance[0]:
        return None
    return Refusal(rule, count, *allowance, name())
