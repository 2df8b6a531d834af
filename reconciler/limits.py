"""Safety limits: how much may change at once before a person must say that it is meant.

Pure. `apply` asks `withhold` about a whole plan; the daemon asks a `Window`, which remembers what was sent in the last
ten minutes. A lost state file, a wrong branch or a bad merge must not stop every recording or undo every agent's pause.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import takewhile

from reconciler.model import Action, ActionKind, Reason, RecordingKey, Status


class Rule(StrEnum):
    IRREVERSIBLE = "irreversible"
    RESUMES = "resumes"
    CHANGES = "changes"


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings of the three rules; None lifts a rule."""

    #: PATCHes to `completed` in a run (in the daemon: in ten minutes).
    max_irreversible: int | None = 25
    #: Resumes of pauses that this program did not make, over the same span.
    max_resumes: int | None = 25
    #: Share of the recordings with a last-applied status that may be patched at once, in percent ...
    max_change_percent: float | None = 50.0
    #: ... once there are this many of them.
    min_managed: int = 20

    @classmethod
    def lifted(cls) -> Limits:
        """No limit at all: what `--override-limits` asks for."""
        return cls(None, None, None)

    def changes_allowed(self, managed: int) -> int | None:
        """Return how many of `managed` recordings may be patched at once; None when the rule does not apply."""
        if self.max_change_percent is None or managed < self.min_managed:
            return None
        return int(managed * self.max_change_percent / 100)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A limit that was passed: the rule, the numbers, and what a person can do about it."""

    rule: Rule
    count: int
    allowed: int
    setting: str

    def as_log(self) -> dict[str, str | int]:
        """Return what a log line says of it."""
        return {
            "rule": self.rule.value,
            "count": self.count,
            "allowed": self.allowed,
            "setting": self.setting,
            "override": "--override-limits",
        }

    def __str__(self) -> str:
        what = {
            Rule.IRREVERSIBLE: f"{self.count} recordings would be ended for good, at most {self.allowed} may be",
            Rule.RESUMES: (
                f"{self.count} pauses that somebody else made would be resumed, at most {self.allowed} may be"
            ),
            Rule.CHANGES: (
                f"{self.count} recordings that already have an applied status would change at once,"
                f" at most {self.allowed} may"
            ),
        }[self.rule]
        return f"{what} ({self.setting}); nothing of that kind is sent. If it is meant: --override-limits"


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
        rules.append(Rule.CHANGES)
    return tuple(rules)


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
    by_rule: dict[Rule, list[RecordingKey]] = {rule: [] for rule in Rule}
    for action in actions:
        for rule in kinds_of(action):
            by_rule[rule].append(action.key)
    refusals = refusals_of({rule: len(keys) for rule, keys in by_rule.items()}, managed, limits)
    return refusals, frozenset(key for refusal in refusals for key in by_rule[refusal.rule])


def refusals_of(counts: Mapping[Rule, int], managed: int, limits: Limits) -> tuple[Refusal, ...]:
    """Return the limits that are passed by so many PATCHes of each rule."""
    return tuple(
        Refusal(rule, counts[rule], allowed, setting)
        for rule, allowed, setting in _allowances(limits, managed)
        if counts[rule] > allowed
    )


def _allowances(limits: Limits, managed: int) -> Iterable[tuple[Rule, int, str]]:
    if limits.max_irreversible is not None:
        yield Rule.IRREVERSIBLE, limits.max_irreversible, f"max_irreversible: {limits.max_irreversible}"
    if limits.max_resumes is not None:
        yield Rule.RESUMES, limits.max_resumes, f"max_resumes: {limits.max_resumes}"
    changes = limits.changes_allowed(managed)
    if changes is not None:
        yield Rule.CHANGES, changes, f"max_change_percent: {limits.max_change_percent:g} of {managed}"


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """What one change of the documents asks for, as far as it is known before anybody looks at live state."""

    #: Every recording whose document changed.
    changed: frozenset[RecordingKey] = frozenset()
    #: Those with a last-applied status that their document now differs from.
    edited: frozenset[RecordingKey] = frozenset()
    #: Those that their document wants `completed` and that are not known to be.
    ending: frozenset[RecordingKey] = frozenset()

    @classmethod
    def of(
        cls, changed: Iterable[RecordingKey], states: Iterable[tuple[RecordingKey, Status, Status | None]]
    ) -> ChangeSet:
        """Sort recordings into a change set.

        Args:
            changed: every recording whose document changed.
            states: of the recordings that have a document: desired and last-applied status.
        """
        edited, ending = set(), set()
        for key, desired, last_applied in states:
            if last_applied is desired:
                continue
            if last_applied is not None:
                edited.add(key)
            if desired is Status.COMPLETED:
                ending.add(key)
        return cls(frozenset(changed), frozenset(edited), frozenset(ending))


class Window:
    """What may still be sent, given what was sent lately: a run's memory, or the daemon's of the last ten minutes.

    Irreversible PATCHes and foreign resumes are counted over `SPAN`. The share of changed recordings is about what
    changes *at once*: one edit of nearly everything is a mistake, while a busy shift in which each recording is paused
    once within ten minutes is a normal day, and refusing its pauses would be the very breach that this program
    prevents. So edits are counted per change set (with what was announced in the `BURST` before it), and drift per
    resync.
    """

    SPAN = timedelta(minutes=10)
    #: Long enough that one mass change that arrives in several pieces is seen as one.
    BURST = timedelta(seconds=5)

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._sent: dict[Rule, dict[RecordingKey, datetime]] = {Rule.IRREVERSIBLE: {}, Rule.RESUMES: {}}
        #: Keys whose edits were let pass lately, the longest ago first.
        self._announced: dict[RecordingKey, datetime] = {}
        self._refused_edits: dict[RecordingKey, Refusal] = {}
        self._drifted: set[RecordingKey] = set()

    def remember(self, rule: Rule, key: RecordingKey, at: datetime) -> None:
        """Count a PATCH that an earlier process sent, as the history tells it."""
        self._sent[rule][key] = at

    def announce(self, change: ChangeSet, managed: int, now: datetime) -> tuple[Refusal, ...]:
        """Take in one change set, and refuse as a whole what it changes too much of at once.

        Args:
            change: what changed; what was refused of it before is forgotten.
            managed: how many recordings have a last-applied status.
            now: the time of the change set.
        """
        changed, edited = change.changed, change.edited
        refusals = []
        for key in changed:
            self._refused_edits.pop(key, None)
        for key in list(takewhile(lambda key: now - self._announced[key] > self.BURST, self._announced)):
            del self._announced[key]
        allowed = self.limits.changes_allowed(managed)
        at_once = len(self._announced) + sum(key not in self._announced for key in edited)
        if edited and allowed is not None and at_once > allowed:
            refusals.append(self._changes_refusal(at_once, allowed, managed))
            self._refused_edits.update(dict.fromkeys(edited, refusals[-1]))
        else:
            for key in edited:
                self._announced.pop(key, None)
                self._announced[key] = now
        ended = self._recent(Rule.IRREVERSIBLE, now).keys() | change.ending
        most = self.limits.max_irreversible
        if change.ending and most is not None and len(ended) > most:
            refusals.append(Refusal(Rule.IRREVERSIBLE, len(ended), most, f"max_irreversible: {most}"))
            self._refused_edits.update(dict.fromkeys(change.ending, refusals[-1]))
        return tuple(refusals)

    def begin_resync(self) -> None:
        """Start to count drift afresh."""
        self._drifted.clear()

    def admit(self, action: Action, managed: int, now: datetime) -> Refusal | None:
        """Count one PATCH and let it pass, or say which limit forbids it. Asking again about a key counts it once."""
        refusal = self._refused_edits.get(action.key)
        if refusal is not None:
            return refusal
        kinds = kinds_of(action)
        for rule, allowed, setting in _allowances(self.limits, managed):
            if rule not in kinds or (rule is Rule.CHANGES and action.reason is not Reason.DRIFT):
                continue
            counted = self._drifted if rule is Rule.CHANGES else self._recent(rule, now)
            if action.key not in counted and len(counted) >= allowed:
                return Refusal(rule, len(counted) + 1, allowed, setting)
        for rule in kinds:
            if rule is not Rule.CHANGES:
                self._sent[rule][action.key] = now
            elif action.reason is Reason.DRIFT:
                self._drifted.add(action.key)
        return None

    def _recent(self, rule: Rule, now: datetime) -> dict[RecordingKey, datetime]:
        sent = self._sent[rule]
        for key in [key for key, at in sent.items() if now - at > self.SPAN]:
            del sent[key]
        return sent

    def _changes_refusal(self, count: int, allowed: int, managed: int) -> Refusal:
        return Refusal(
            Rule.CHANGES,
            count,
            allowed,
            f"max_change_percent: {self.limits.max_change_percent:g} of {managed}",
        )
