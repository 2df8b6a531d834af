"""Which recording somebody should look at first, and which one nobody has to look at any more.

Pure. Whoever lists recordings sorts them by this, so that a list that is cut loses what matters least. What must never
happen in this room: an end that left something undone passes for an ordinary one, or a record of a workspace that does
not answer for what is so.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from reconciler.model.actions import Reason
from reconciler.model.records import Record, Resting
from reconciler.model.statuses import Phase, Status

#: How long an ordinary end of a call is shown: as long as whoever was on that call may still ask.
ENDED_SHOWN: Final = timedelta(hours=1)
#: How urgent a phase is, the first the most; before all of them go pauses that are asked for and not seen.
_ORDER: Final = (
    Phase.UNCONFIRMED,
    Phase.REFUSED,
    Phase.REJECTED,
    Phase.FAILED,
    Phase.BLIND,
    Phase.ENDED,
    Phase.DRIFTED,
    Phase.WAITING,
    Phase.SENDING,
    Phase.CONFIRMING,
    Phase.PENDING,
    Phase.HELD,
    Phase.APPLIED,
)
_RANK: Final = {phase: rank for rank, phase in enumerate(_ORDER, 1)}
#: After all of them, what ended by itself.
_ORDINARY_END: Final = len(_ORDER) + 1
#: Phases in which a pause that is asked for is not missing, or is not ours to bring about.
_NOT_MISSING: Final = frozenset({Phase.APPLIED, Phase.HELD, Phase.ENDED})


def urgency(phase: Phase, desired: Status | None, *, ordinary_end: bool = False) -> int:
    """Return a number by which to sort: the lower, the sooner somebody should look.

    Args:
        phase: of the recording.
        desired: the status that is asked for; None where no document asks.
        ordinary_end: whether its call ended by itself, with nothing left undone.
    """
    if desired is Status.PAUSED and phase not in _NOT_MISSING:
        return 0
    return _ORDINARY_END if ordinary_end else _RANK[phase]


def is_ordinary_end(record: Record) -> bool:
    """Return whether a recording ended by itself while it was as desired."""
    if record.phase is not Phase.ENDED:
        return False
    if not record.reason:  # an earlier version recorded it
        return record.last_applied is record.desired
    return record.reason != Reason.ENDED_BEFORE_EFFECT


def is_past(since: datetime | None, now: datetime) -> bool:
    """Return whether an ordinary end is too long ago for a list; since when nobody recorded, long ago."""
    return since is None or now - since >= ENDED_SHOWN


def as_seen(record: Record, blind: Mapping[str, Resting]) -> Record:
    """Return a record as it is to be shown: what was in sync when its workspace last answered is not known to be so.

    Args:
        record: as the state has it.
        blind: the workspaces that are not looked at, by their IDs.
    """
    resting = blind.get(record.key.workspace_id) if record.phase is Phase.APPLIED else None
    if resting is None:
        return record
    return record._replace(phase=Phase.BLIND, reason=resting.cause, phase_since=resting.since, error=resting.reason)
