"""The safety limits of the daemon, to which changes come one after the other: what it let pass, and what it holds back.

Pure: time is passed in. A change of the documents is judged once, as a whole, when it comes in; what was said of it
holds until the documents change again, across every restart. What nobody judged beforehand (drift, and resumes of
pauses that somebody else made) is judged when its PATCH is decided. What must never happen here: a PATCH that is let
pass although it is part of what is refused, or a change set that is held against a limit a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice, takewhile

from reconciler.model import Action, Judged, Judgements, Phase, Reason, RecordingKey, RefusedSet, Rule, Status
from reconciler.plan.limits import Limits, Refusal, kinds_of, name_of_items, share_of

#: The rules by which a change of the documents is judged as a whole, in the order in which they are said.
_OF_CHANGES = (Rule.CHANGES, Rule.PAUSES, Rule.IRREVERSIBLE)
#: Phases in which nothing is left of what a recording was allowed: it is as desired, or nothing more will be sent.
ENDED = frozenset({Phase.APPLIED, Phase.DRIFTED, Phase.REJECTED, Phase.ENDED, Phase.HELD})

#: So many of its documents are named with what is refused.
SAMPLE = 5

Items = Mapping[RecordingKey, Status]


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """What one change of the documents asks for, as far as it is known before anybody looks at live state."""

    #: Every recording whose document changed.
    changed: frozenset[RecordingKey] = frozenset()
    #: By rule, the recordings that count towards it, with the status that is wanted: those with a last-applied status
    #: that their document now differs from, and those that are to be `completed` and are not known to be.
    counted: Mapping[Rule, Items] = field(default_factory=dict)

    @classmethod
    def of(
        cls, changed: Iterable[RecordingKey], states: Iterable[tuple[RecordingKey, Status, Status | None]]
    ) -> ChangeSet:
        """Sort recordings into a change set.

        Args:
            changed: every recording whose document changed.
            states: of the recordings that have a document: desired and last-applied status.
        """
        counted: dict[Rule, dict[RecordingKey, Status]] = {rule: {} for rule in _OF_CHANGES}
        for key, desired, last_applied in states:
            if last_applied is desired:
                continue
            if last_applied is not None:
                counted[share_of(desired)][key] = desired
            if desired is Status.COMPLETED:
                counted[Rule.IRREVERSIBLE][key] = desired
        return cls(frozenset(changed), counted)

    def without(self, judged: Iterable[Judged]) -> ChangeSet:
        """Return what is left of it to be judged, where that was done with a part of it before."""
        counted = {rule: dict(items) for rule, items in self.counted.items()}
        for each in judged:
            counted.get(each.rule, {}).pop(each.key, None)
        return ChangeSet(self.changed, counted)


@dataclass(frozen=True, slots=True, eq=False)
class Refused:
    """What is refused as a whole. `refusal.count` is what was counted against the limit when it was judged."""

    refusal: Refusal
    items: Items
    at: datetime
    #: Whether it was refused as one change of the documents, and stays so until it is approved or they change. Else it
    #: is all that a rule holds back at the moment, which time may let pass.
    whole: bool = True

    @property
    def name(self) -> str:
        return self.refusal.name

    @classmethod
    def of(cls, refusal: Refusal, items: Items, at: datetime, *, whole: bool = True) -> Refused:
        """Name what is refused after its content."""
        named = Refusal(
            refusal.rule, refusal.count, refusal.allowed, refusal.setting, name_of_items(refusal.rule, items)
        )
        return cls(named, items, at, whole)

    def as_set(self, name_of: Callable[[RecordingKey], str | None]) -> RefusedSet:
        """Return it as people see it, with the names of some of its documents."""
        names = filter(None, (name_of(key) for key in islice(self.items, SAMPLE)))
        said = self.refusal
        return RefusedSet(
            *(self.name, self.at, said.rule, len(self.items), said.count, said.allowed, said.setting),
            tuple(sorted(names)),
        )

    @classmethod
    def known(cls, refused: RefusedSet) -> Refused:
        """Return what an earlier process refused, but for its recordings."""
        refusal = Refusal(refused.rule, refused.count, refused.allowed, refused.setting, refused.name)
        return cls(refusal, {}, refused.at)

    def approved(self) -> Judgements:
        """Return what is written down when it is approved, before it is lifted."""
        rule = self.refusal.rule
        return Judgements(lifted=(self.name,), judged=[Judged(key, rule, status) for key, status in self.items.items()])

    def judged(self) -> Iterator[Judged]:
        """Yield what was said of each of its recordings; of what time may let pass nothing was."""
        if not self.whole:
            return iter(())
        return (Judged(key, self.refusal.rule, status, self.name) for key, status in self.items.items())


@dataclass(slots=True)
class Verdict:
    """What was newly said, to be written down before anything of it is sent, and to be told."""

    #: Recordings of which something was said that holds no more, since their documents changed.
    forgotten: frozenset[RecordingKey] = frozenset()
    passed: list[Judged] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    #: Names of refusals that hold no more.
    lifted: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.forgotten or self.passed or self.refused or self.lifted)

    def joined(self, later: Verdict) -> Verdict:
        """Return both as one."""
        return Verdict(
            self.forgotten | later.forgotten,
            [*self.passed, *later.passed],
            [*self.refused, *later.refused],
            [*self.lifted, *later.lifted],
        )

    def to_write(self, name_of: Callable[[RecordingKey], str | None]) -> Judgements:
        """Return it as the state keeps it.

        Args:
            name_of: answers the name of a recording's document; None where it has none any more.
        """
        judged = [*self.passed, *(each for refused in self.refused for each in refused.judged())]
        refused = [each.as_set(name_of) for each in self.refused]
        return Judgements(self.forgotten, self.lifted, judged, refused)


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
        #: By rule, keys whose edits were let pass lately, the longest ago first.
        self._announced: dict[Rule, dict[RecordingKey, datetime]] = {Rule.CHANGES: {}, Rule.PAUSES: {}}
        #: By rule, what was let pass beforehand and has not come to its end: it is not held against the rule again.
        self._passed: dict[Rule, dict[RecordingKey, Status]] = {rule: {} for rule in Rule}
        #: By name, what is refused as a whole, and by rule and recording which of it that is.
        self._refused: dict[str, Refused] = {}
        self._refused_by: dict[Rule, dict[RecordingKey, str]] = {rule: {} for rule in Rule}
        self._drifted: dict[Rule, set[RecordingKey]] = {Rule.CHANGES: set(), Rule.PAUSES: set()}
        self._held: dict[Rule, _Held] = {rule: _Held() for rule in Rule}
        #: What was found at the start, where somebody said that all of it is meant.
        self._overridden: set[RecordingKey] = set()

    def remember(self, rule: Rule, key: RecordingKey, at: datetime) -> None:
        """Count a PATCH that an earlier process sent, as the history tells it."""
        self._sent[rule][key] = at

    @property
    def refused(self) -> tuple[Refused, ...]:
        """All that is refused as a whole, the oldest first."""
        return tuple(sorted(self._refused.values(), key=lambda each: each.at))

    def refused_as(self, name: str) -> Refused | None:
        """Return what is refused under a name; None where nothing is."""
        return self._refused.get(name)

    # What comes in as a whole.

    def resume(self, judged: Iterable[Judged], earlier: Mapping[str, Refused], managed: int) -> Verdict:
        """Take over what an earlier process said of documents that say the same still.

        What it refused is refused under its name still, unless the settings allow it by now.

        Args:
            judged: what was said.
            earlier: by name, what was refused; the recordings in it do not count, those in `judged` do.
            managed: how many recordings have a last-applied status.
        """
        verdict = Verdict()
        groups: dict[str, dict[RecordingKey, Status]] = {}
        for each in judged:
            if each.refusal is None:
                self._passed[each.rule][each.key] = each.status
            elif each.refusal in earlier:
                groups.setdefault(each.refusal, {})[each.key] = each.status
        verdict.lifted += (name for name in earlier if name not in groups)
        for name, items in groups.items():
            refused = earlier[name]
            rule, count = refused.refusal.rule, refused.refusal.count
            allowance = self.limits.allowance(rule, managed)
            if allowance is None or count <= allowance[0]:
                verdict.lifted.append(name)
                self._let_pass(rule, items, verdict)
                continue
            now_refused = Refused.of(Refusal(rule, count, *allowance), items, refused.at)
            if now_refused.name != name:
                verdict.lifted.append(name)
            self._refuse(now_refused, verdict)
        return verdict

    def override(self, verdict: Verdict, keys: Iterable[RecordingKey]) -> Verdict:
        """Let pass all that some recordings ask for, each until it has come to its end or its document changes.

        Args:
            verdict: what was just said of them, and is said no more.
            keys: the recordings.
        """
        self._overridden.update(keys)
        for refused in verdict.refused:
            lifted = self.lift(refused)
            if lifted is not None:
                verdict.passed += lifted.passed
                verdict.lifted.append(refused.name)
        return Verdict(verdict.forgotten, verdict.passed, [], verdict.lifted)

    @property
    def overridden(self) -> int:
        """How many recordings no limit holds for, since somebody said at the start that what it finds is meant."""
        return len(self._overridden)

    def announce(self, change: ChangeSet, managed: int, now: datetime) -> Verdict:
        """Take in one change set, and refuse as a whole what it changes too much of at once.

        Args:
            change: what changed; what was said of it before is forgotten.
            managed: how many recordings have a last-applied status.
            now: the time of the change set.
        """
        verdict = Verdict()
        self._forget(change.changed, verdict)
        for announced in self._announced.values():
            for key in list(takewhile(lambda key: now - announced[key] > self.BURST, announced)):  # noqa: B023 (at once)
                del announced[key]
        for rule in _OF_CHANGES:
            items = change.counted.get(rule)
            if items:
                self._judge(rule, items, managed, now, verdict)
        return verdict

    def _judge(self, rule: Rule, items: Items, managed: int, now: datetime, verdict: Verdict) -> None:
        if rule is Rule.IRREVERSIBLE:
            # What is on its way is as good as sent.
            count = len(self._recent(rule, now).keys() | self._passed[rule].keys() | items.keys())
        else:
            announced = self._announced[rule]
            count = len(announced) + sum(key not in announced for key in items)
        allowance = self.limits.allowance(rule, managed)
        if allowance is not None and count > allowance[0]:
            self._refuse(Refused.of(Refusal(rule, count, *allowance), items, now), verdict)
            return
        self._let_pass(rule, items, verdict)
        if rule is not Rule.IRREVERSIBLE:
            for key in items:
                announced.pop(key, None)
                announced[key] = now

    def _refuse(self, refused: Refused, verdict: Verdict) -> None:
        self._refused[refused.name] = refused
        self._refused_by[refused.refusal.rule].update(dict.fromkeys(refused.items, refused.name))
        verdict.refused.append(refused)

    def _let_pass(self, rule: Rule, items: Items, verdict: Verdict) -> None:
        self._passed[rule].update(items)
        verdict.passed += (Judged(key, rule, status) for key, status in items.items())

    def _forget(self, keys: frozenset[RecordingKey], verdict: Verdict) -> None:
        """Forget what was said of recordings. What they were refused with stays refused, under the name that fits."""
        shrunk: dict[str, None] = {}
        known: set[RecordingKey] = set()
        self._overridden -= keys
        for key in keys:
            for rule in Rule:
                if self._passed[rule].pop(key, None) is not None:
                    known.add(key)
                self._held[rule].drop(key)
                name = self._refused_by[rule].pop(key, None)
                if name is not None:
                    shrunk[name] = None
                    known.add(key)
        verdict.forgotten = frozenset(known)
        for name in shrunk:
            refused = self._refused.pop(name)
            verdict.lifted.append(name)
            rest = {key: status for key, status in refused.items.items() if key not in keys}
            if rest:
                self._refuse(Refused.of(refused.refusal, rest, refused.at), verdict)

    def lift(self, refused: Refused) -> Verdict | None:
        """Let pass, once, exactly what is refused; None where it is not what is refused any more."""
        if self._refused.get(refused.name) is not refused:
            return None
        verdict = Verdict(lifted=[refused.name])
        rule = refused.refusal.rule
        del self._refused[refused.name]
        for key in refused.items:
            self._refused_by[rule].pop(key, None)
            self._held[rule].drop(key)
        self._let_pass(rule, refused.items, verdict)
        return verdict

    def drop_gone(self, declared: Container[RecordingKey]) -> Verdict:
        """Forget what is refused of recordings of which none has a document any more.

        Where some have, it keeps its name: nothing will be sent for the others.
        """
        verdict = Verdict()
        for refused in list(self._refused.values()):
            if refused.whole and not any(key in declared for key in refused.items):
                verdict.lifted.append(refused.name)
                del self._refused[refused.name]
                for key in refused.items:
                    self._refused_by[refused.refusal.rule].pop(key, None)
        return verdict

    # What is decided one by one.

    def begin_resync(self) -> None:
        """Start to count drift afresh."""
        for drifted in self._drifted.values():
            drifted.clear()

    def admit(self, action: Action, managed: int, now: datetime) -> Refusal | None:
        """Count one PATCH and let it pass, or say which limit forbids it. Asking again about a key counts it once."""
        kinds = kinds_of(action)
        refusal = None if action.key in self._overridden else self._refusal(action, kinds, managed, now)
        if refusal is not None:
            return refusal
        for rule in kinds:
            self._held[rule].drop(action.key)
            if rule in self._sent:
                self._sent[rule][action.key] = now
            elif action.reason is Reason.DRIFT:
                self._drifted[rule].add(action.key)
        return None

    def _refusal(self, action: Action, kinds: Iterable[Rule], managed: int, now: datetime) -> Refusal | None:
        if action.reason is not Reason.DRIFT:  # of drift, what the document asked for has been there already
            for by_key in self._refused_by.values():
                name = by_key.get(action.key)
                if name is not None:
                    return self._refused[name].refusal
        for rule in kinds:
            counted = self._counted(rule, action, now)
            if counted is None or action.key in counted or self._passed[rule].get(action.key) is action.desired:
                continue
            allowance = self.limits.allowance(rule, managed)
            if allowance is not None and len(counted) >= allowance[0]:
                refusal = Refusal(rule, len(counted) + 1, *allowance)
                if action.desired is not None:
                    self._held[rule].put(action.key, action.desired, refusal)
                return refusal
        return None

    def _counted(self, rule: Rule, action: Action, now: datetime) -> Collection[RecordingKey] | None:
        """Return what a PATCH is counted with; None for an edit, which was counted when its document changed."""
        if rule in self._sent:
            return self._recent(rule, now)
        return self._drifted[rule] if action.reason is Reason.DRIFT else None

    def turned(self, key: RecordingKey, phase: Phase | None) -> None:
        """Note how a turn left a recording, None for one that is ours no more: what it was allowed ends with that."""
        if phase is not Phase.REFUSED:
            for held in self._held.values():
                held.drop(key)
        if phase is None or phase in ENDED:
            self._overridden.discard(key)
            for passed in self._passed.values():
                passed.pop(key, None)

    def gather(self, now: datetime) -> Verdict:
        """Name what the rules hold back one by one, once nothing has been added to it or taken from it for a while.

        Ask it in steps of a second or so.
        """
        verdict = Verdict()
        for held in self._held.values():
            if not held.at_rest():
                continue
            if held.named is not None and self._refused.get(held.named.name) is held.named:
                del self._refused[held.named.name]
                verdict.lifted.append(held.named.name)
            held.named = None
            if held.items and held.refusal is not None:
                held.named = Refused.of(held.refusal, dict(held.items), now, whole=False)
                self._refused[held.named.name] = held.named
                verdict.refused.append(held.named)
        return verdict

    def _recent(self, rule: Rule, now: datetime) -> dict[RecordingKey, datetime]:
        sent = self._sent[rule]
        for key in [key for key, at in sent.items() if now - at > self.SPAN]:
            del sent[key]
        return sent


class _Held:
    """What a rule holds back one by one at the moment, and under which name that was last told."""

    #: So many looks in a row may find it changed before it is named all the same.
    PATIENCE = 10

    def __init__(self) -> None:
        self.items: dict[RecordingKey, Status] = {}
        self.refusal: Refusal | None = None
        self.named: Refused | None = None
        self._changed = False
        self._untold = 0

    def put(self, key: RecordingKey, status: Status, refusal: Refusal) -> None:
        if self.items.get(key) is not status:
            self.items[key] = status
            self._changed = True
        self.refusal = refusal

    def drop(self, key: RecordingKey) -> None:
        if self.items.pop(key, None) is not None:
            self._changed = True

    def at_rest(self) -> bool:
        """Whether it is to be named anew now."""
        if self._changed and self._untold < self.PATIENCE:
            self._changed = False
            self._untold += 1
            return False
        due = self._untold > 0
        self._untold = 0
        self._changed = False
        return due
