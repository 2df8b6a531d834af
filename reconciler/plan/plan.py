"""The plan: the decision about every recording, in order, with its counts, its safety limits and its digest.

Pure. A plan is a value that can be printed, saved and compared; making one sends nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from operator import attrgetter

from reconciler.model import Action, ActionKind, Desired, Live, Record, RecordingKey
from reconciler.plan.decision import CALL_SECONDS, decide
from reconciler.plan.limits import Limits, Refusal, withhold

FORMAT = "reconciler.plan/v2"


@dataclass(frozen=True, slots=True)
class Summary:
    """How many actions of each kind, and how many of them deserve a second look."""

    patch: int = 0
    wait: int = 0
    hold: int = 0
    report: int = 0
    release: int = 0
    noop: int = 0
    #: Recordings whose live status moved away from what was applied, whatever is done about it.
    drift: int = 0
    irreversible: int = 0
    resumes: int = 0
    #: Recordings that are not found, are on another call, or ended before their desired status took effect.
    lost: int = 0

    @property
    def changes(self) -> bool:
        """Whether something is not as the documents say: what `--detailed-exitcode` answers."""
        return self.patch > 0 or self.release > 0 or self.lost > 0


class Cause(StrEnum):
    """Why an action is in a plan that holds a change against the documents before it."""

    #: The documents before would lead to another action, or to none.
    CHANGE = "change"
    #: The documents before would lead to the same, since live has moved away from what was applied.
    DRIFT = "drift"
    #: The documents before would lead to the same: an edit that is not applied yet, or something to wait for.
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Plan:
    """All decisions, sorted by name; no-ops included, unless only their number was asked for."""

    created_at: datetime
    revision: str | None
    #: Whether live state was looked at.
    refreshed: bool
    actions: tuple[Action, ...]
    summary: Summary
    #: Limits that the plan passes, and the PATCHes that are therefore not sent.
    refusals: tuple[Refusal, ...] = ()
    withheld: frozenset[RecordingKey] = field(default_factory=frozenset)
    #: Recordings that are left out, because their live state could not be read.
    unread: frozenset[RecordingKey] = field(default_factory=frozenset)
    #: The Git commit of the documents that a change is held against, and the cause of each action but the no-ops; None
    #: in a plan that holds nothing against them.
    base: str | None = None
    causes: Mapping[RecordingKey, Cause] | None = None
    #: Of which API it tells (scheme, host and path, or `sandbox`), and of which files and folders, as they were given.
    api: str = ""
    paths: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Covers what the plan is bound to, and desired, last-applied and live of every action but the no-ops.

        The time and the place of the documents do not count: the same decisions made again have the same digest.
        """
        lines = (digest_line(action) for action in self.actions if action.kind is not ActionKind.NOOP)
        return digest_of(lines, api=self.api, paths=self.paths)

    @property
    def patches(self) -> tuple[Action, ...]:
        """The PATCHes that applying would send."""
        return tuple(
            action for action in self.actions if action.kind is ActionKind.PATCH and action.key not in self.withheld
        )


def make_plan(
    desired: Iterable[Desired],
    applied: Mapping[RecordingKey, Record],
    live: Mapping[RecordingKey, Live] | None,
    *,
    now: datetime,
    limits: Limits,
    revision: str | None = None,
    unread: frozenset[RecordingKey] = frozenset(),
    in_sync: int = 0,
    call_seconds: float = CALL_SECONDS,
) -> Plan:
    """Decide for every recording that has a document or a record.

    Args:
        desired: every document.
        applied: our record of each recording.
        live: what the API answered, by recording; None when nobody looked (`--no-refresh`).
        now: the time of the decision.
        limits: the safety limits that the whole is held against.
        revision: the Git commit of the documents, where there is one.
        unread: recordings whose live state could not be read: they are left out.
        in_sync: how many more recordings there are that row 10 holds to be in sync, since nobody looks at live state:
            no suspension, nothing sent, the last-applied status desired. They are counted, and not in `actions`.
        call_seconds: how long a recording that is not found is waited for.
    """
    documents = tuple(desired)
    seen = {document.key for document in documents} if applied else ()
    looks: Mapping[RecordingKey, Live] = {} if live is None else live
    actions = [
        decide(
            document.key,
            document,
            applied.get(document.key),
            looks.get(document.key),
            now,
            call_seconds=call_seconds,
        )
        for document in documents
        if document.key not in unread
    ]
    actions += [decide(key, None, record, None, now) for key, record in applied.items() if key not in seen]
    actions.sort(key=attrgetter("name", "key"))
    summary = summarise(actions)
    if in_sync:
        summary = replace(summary, noop=summary.noop + in_sync)
    plan = Plan(now, revision, live is not None, tuple(actions), summary, unread=unread)
    managed = in_sync + sum(record.last_applied is not None for record in applied.values())
    return hold_against(plan, limits, managed)


def make_change_plan(
    desired: Iterable[Desired],
    before: Iterable[Desired],
    applied: Mapping[RecordingKey, Record],
    live: Mapping[RecordingKey, Live] | None,
    *,
    base: str | None,
    now: datetime,
    limits: Limits,
    revision: str | None = None,
    unread: frozenset[RecordingKey] = frozenset(),
    call_seconds: float = CALL_SECONDS,
) -> Plan:
    """Decide for every recording, and say of each action whether it is there because of a change of the documents.

    Where nothing at all has been recorded (nobody looked into the state, or a CI machine has none), the documents
    before the change take the place of last-applied. One that is suspended takes no place: nobody knows what holds.

    Args:
        desired: every document.
        before: every document before the change.
        applied: our record of each recording.
        live: what the API answered, by recording; None when nobody looked.
        base: the Git commit of the documents before.
        now: the time of the decision.
        limits: the safety limits that the whole is held against.
        revision: the Git commit of the documents, where there is one.
        unread: recordings whose live state could not be read: they are left out.
        call_seconds: how long a recording that is not found is waited for.
    """
    earlier = {document.key: document for document in before}
    documents = {document.key: document for document in desired}
    known = applied or {key: _stand_in(document, now) for key, document in earlier.items()}
    # A document that goes away before it was ever recorded is still a change that somebody should see.
    dropped = {
        key: _stand_in(document, now)._replace(last_applied=None)
        for key, document in earlier.items()
        if key not in documents and key not in known
    }
    plan = make_plan(
        documents.values(),
        {**known, **dropped},
        live,
        now=now,
        limits=limits,
        revision=revision,
        unread=unread,
        call_seconds=call_seconds,
    )
    causes = {
        action.key: _cause(action, earlier.get(action.key), known.get(action.key), now, call_seconds)
        for action in plan.actions
        if action.kind is not ActionKind.NOOP
    }
    return replace(plan, base=base, causes=causes)


def _stand_in(document: Desired, now: datetime) -> Record:
    """Return the record that a recording would have, had its document been applied."""
    held = document.suspend is not None and now < document.suspend.until
    return Record(
        document.key,
        document.name,
        document.file,
        document.line,
        document.status,
        document.drift,
        document.suspend,
        last_applied=None if held else document.status,
        labels=document.labels,
    )


def _cause(
    action: Action, earlier: Desired | None, applied: Record | None, now: datetime, call_seconds: float
) -> Cause:
    if earlier is None and applied is None:
        return Cause.CHANGE
    before = decide(action.key, earlier, applied, action.live, now, call_seconds=call_seconds)
    if (before.kind, before.reason, before.desired) != (action.kind, action.reason, action.desired):
        return Cause.CHANGE
    return Cause.DRIFT if action.drifted else Cause.PENDING


def hold_against(plan: Plan, limits: Limits, managed: int) -> Plan:
    """Return the plan with what the limits withhold, where so many recordings have a last-applied status."""
    refusals, withheld = withhold(plan.actions, managed, limits)
    return replace(plan, refusals=refusals, withheld=withheld)


def narrow(plan: Plan, keys: Collection[RecordingKey]) -> Plan:
    """Return the plan with the actions of some recordings only; no-ops, which send nothing, stay."""
    actions = tuple(action for action in plan.actions if action.key in keys or action.kind is ActionKind.NOOP)
    return replace(plan, actions=actions, summary=summarise(actions))


def select(plan: Plan, keys: Collection[RecordingKey]) -> Plan:
    """Return the plan with the actions of some recordings only, for a look at these; limits are those of the whole."""
    actions = tuple(action for action in plan.actions if action.key in keys)
    causes = None if plan.causes is None else {key: cause for key, cause in plan.causes.items() if key in keys}
    return replace(plan, actions=actions, summary=summarise(actions), causes=causes, unread=plan.unread & set(keys))


def summarise(actions: Iterable[Action]) -> Summary:
    """Count the actions by kind."""
    counts = dict.fromkeys(ActionKind, 0)
    drift = irreversible = resumes = lost = 0
    # Few sorts of action are among many.
    sorts = Counter(map(attrgetter("kind", "drifted", "irreversible", "resumes", "lost"), actions))
    for (kind, drifted, ends, resuming, losing), count in sorts.items():
        counts[kind] += count
        drift += drifted and count
        irreversible += ends and count
        resumes += resuming and count
        lost += losing and count
    return Summary(
        **{kind.value: count for kind, count in counts.items()},
        drift=drift,
        irreversible=irreversible,
        resumes=resumes,
        lost=lost,
    )


def digest_line(action: Action) -> str:
    """Return what the digest covers of one action."""
    live = None if action.live is None else action.live.word
    decision = (action.kind.value, action.reason.value)
    return line_of(action.key, action.name, decision, (action.desired, action.last_applied, live))


def line_of(
    key: RecordingKey, name: str, decision: tuple[str, str], states: tuple[str | None, str | None, str | None]
) -> str:
    """Return what the digest covers of one action, as a saved plan gives it: desired, last-applied, live."""
    return json.dumps([*key, name, *decision, *states], separators=(",", ":"))


def digest_of(lines: Iterable[str], *, api: str, paths: Sequence[str]) -> str:
    """Return the digest of lines, whatever their order, and of the API and the paths that they are bound to.

    The form is ``sha256:<hex>``.
    """
    bound = json.dumps([api, *paths], separators=(",", ":"))
    return "sha256:" + hashlib.sha256("\n".join([bound, *sorted(lines)]).encode()).hexdigest()
