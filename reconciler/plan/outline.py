"""A plan of recordings that nobody has a record of, without an `Action` for each: one decision for each sort of them.

Before the first `apply`, or on a machine without state, every recording is to be patched; of a hundred thousand the
decision differs in no more than the status that is asked for. Pure. What must never happen in this room: a decision
that `decide` did not make, or one that differs from the plan that lists every action.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain, repeat
from typing import Protocol, TypeVar

from reconciler.model import ActionKind, Desired, Rule, Suspend
from reconciler.plan.decision import decide
from reconciler.plan.limits import Limits, kinds_of, name_of, refusal_of
from reconciler.plan.plan import Plan, Summary

T = TypeVar("T")


class Columns(Protocol):
    """Documents, column by column: what an outline asks of them. Rows are recordings, file after file."""

    @property
    def files(self) -> Sequence[str]: ...
    @property
    def counts(self) -> Sequence[int]: ...
    @property
    def lines(self) -> Sequence[str]: ...
    @property
    def names(self) -> Sequence[str]: ...
    @property
    def places(self) -> Sequence[int]: ...
    @property
    def drifts(self) -> Sequence[int]: ...
    @property
    def suspends(self) -> Mapping[int, Suspend]: ...
    def __len__(self) -> int: ...
    def statuses(self, rows: Sequence[int]) -> Sequence[str]: ...
    def at(self, rows: Sequence[int]) -> Sequence[Desired]: ...


@dataclass(frozen=True, slots=True)
class Outline:
    """All PATCHes of a plan in columns, sorted by name."""

    #: The plan, with one action for each sort in place of all of them. Its summary and its refusals are of the whole.
    sample: Plan
    #: Of each PATCH: the name, the file, the 1-based line, and the place of its sort in `sample.actions`.
    names: Sequence[str]
    files: Sequence[str]
    lines: Sequence[int]
    sorts: Sequence[int]


def make_outline(
    documents: Columns, in_sync: AbstractSet[str], *, now: datetime, limits: Limits, revision: str | None
) -> Outline | None:
    """Decide for every document, where nobody looks at live state and no recording has a record but those in sync.

    Args:
        documents: all of them; no two share a name or a recording.
        in_sync: the `status_line` of each recording that row 10 of the decision holds to be in sync, all of documents.
        now: the time of the decision.
        limits: the safety limits that the whole is held against.
        revision: the Git commit of the documents, where there is one.

    Returns:
        None where the recordings differ in more than what an outline can tell apart.
    """
    if documents.suspends:
        return None
    rows: Sequence[int] = range(len(documents))
    if len(in_sync) == len(documents):
        rows = ()
    elif in_sync:
        rows = [row for row, line in enumerate(documents.lines) if line not in in_sync]
    if rows and sorted(documents.names) != documents.names:
        rows = sorted(rows, key=documents.names.__getitem__)
    files = list(chain.from_iterable(map(repeat, documents.files, documents.counts))) if rows else []
    words = list(zip(documents.statuses(rows), _chosen(documents.drifts, rows), strict=True))
    counts = Counter(words)
    first = [rows[words.index(word)] for word in counts]
    actions = tuple(decide(each.key, each, None, None, now) for each in documents.at(first))
    if any(action.kind is not ActionKind.PATCH for action in actions):
        return None
    places = {word: place for place, word in enumerate(counts)}
    totals: Counter[Rule] = Counter()
    for action, count in zip(actions, counts.values(), strict=True):
        totals.update(dict.fromkeys(kinds_of(action), count))
    sorts = list(map(places.__getitem__, words))

    def name(rule: Rule) -> str:
        counted = [rule in kinds_of(action) for action in actions]
        return name_of(rule, (documents.lines[row] for row, sort in zip(rows, sorts, strict=True) if counted[sort]))

    refusals = tuple(
        refusal
        for rule in Rule
        if (refusal := refusal_of(rule, totals[rule], len(in_sync), limits, partial(name, rule))) is not None
    )
    refused = {refusal.rule for refusal in refusals}
    summary = Summary(
        patch=len(rows),
        noop=len(in_sync),
        irreversible=sum(count for action, count in zip(actions, counts.values(), strict=True) if action.irreversible),
    )
    withheld = frozenset(action.key for action in actions if refused.intersection(kinds_of(action)))
    sample = Plan(
        now, revision, refreshed=False, actions=actions, summary=summary, refusals=refusals, withheld=withheld
    )
    return Outline(
        sample,
        _chosen(documents.names, rows),
        _chosen(files, rows),
        _chosen(documents.places, rows),
        sorts,
    )


def _chosen(column: Sequence[T], rows: Sequence[int]) -> Sequence[T]:
    """Return some rows of a column; all of them, as they are, where the rows are a range."""
    return column if isinstance(rows, range) else [column[row] for row in rows]
