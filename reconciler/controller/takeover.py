"""How the daemon begins: it takes over what earlier runs left, and asks for the first turns.

What changed while nobody watched is one change set, held against the limits as one. What must never happen here: a
restart that sends what a limit refused before it.
"""

from __future__ import annotations

from collections.abc import Collection

from reconciler.controller.judging import Judge
from reconciler.controller.parts import Following, Memory, Waiting
from reconciler.controller.standing import Stand
from reconciler.model import Phase, Priority, RecordingKey, Status
from reconciler.state import OwnRecords
from reconciler.state import Standing as StoredStanding

#: Phases after which a restart finds nothing to do for a document that says what it said.
_SETTLED = frozenset({Phase.APPLIED, Phase.HELD, Phase.DRIFTED, Phase.REJECTED, Phase.ENDED})


def take_over(following: Following, memory: Memory, judge: Judge, waiting: Waiting, *, override: bool) -> None:
    """Take over what earlier runs left: phases, and what changed while nobody watched, as one change set.

    Args:
        following: the documents in force.
        memory: what earlier runs wrote down.
        judge: holds the change set against the limits.
        waiting: where the first turns are asked for.
        override: whether all that is found is meant, whatever the limits say.
    """
    desired = following.catalog.desired
    changed: dict[RecordingKey, Status | None] = {}
    unsettled: set[RecordingKey] = set()
    for standing in filter(None, map(memory.records.standing, memory.records.all_keys())):
        document = desired.get(standing.key)
        if document is None:
            if following.follower.covers(standing.file, standing.base):
                memory.standings.note(standing.key, _stand(standing))
            continue
        # The document's own key: a second one beside it would take half a kilobyte.
        key = document.key
        memory.standings.note(key, _stand(standing))
        if standing.last_applied is not document.status:
            changed[key] = standing.last_applied
        settled = standing.phase in _SETTLED and standing.sent is None
        if not settled or standing.desired is not document.status:
            unsettled.add(key)
    new = {key for key in desired if key not in memory.standings}
    judge.take_over({*changed, *new}, changed, memory.standings.phase_of, override=override)
    # What is as it was left is only looked at again; all else is what the first pass is for.
    waiting.resync.first_pass = unsettled | new
    _add_first(following, waiting, unsettled | new, changed)


def _add_first(
    following: Following, waiting: Waiting, first: Collection[RecordingKey], changed: Collection[RecordingKey]
) -> None:
    """Ask for the first turns: they go before what is only looked at again, and after what is saved from now on.

    Where everything is new the resync does that, a share at a time; but for pauses that are asked for and not seen.
    """
    desired = following.catalog.desired
    everything = len(first) == len(desired)
    for key in sorted(first):
        pause = key in changed and desired[key].status is Status.PAUSED
        if pause or not everything:
            waiting.workers.add(key, Priority.PAUSE if pause else Priority.RETRY, passes=True)


def every_key(following: Following, records: OwnRecords) -> list[RecordingKey]:
    """Return every recording that has a document, or had one here, those of one call side by side.

    In a thread of its own, for there are as many records as recordings. Nearly all come in order, so that the
    sorting finds next to nothing to do; of a hundred thousand in no order it would take a quarter of a second.
    """
    desired = following.catalog.desired
    keys = []
    found = 0
    for key in records.all_keys():
        if key in desired:
            keys.append(key)
            found += 1
        elif (standing := records.standing(key)) and following.follower.covers(standing.file, standing.base):
            keys.append(key)
    # Copied in one step, for the loop goes on changing it; nothing is missing where all were found.
    declared = list(desired)
    if found < len(declared):
        recorded = frozenset(keys)
        keys.extend(key for key in declared if key not in recorded)
    keys.sort()
    return keys


def _stand(standing: StoredStanding) -> Stand:
    return Stand(standing.phase, standing.reason, standing.since, standing.unmet_since)
