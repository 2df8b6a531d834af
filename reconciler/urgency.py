"""Which recording somebody should look at first, and which one nobody has to look at any more.

Pure. Whoever lists recordings sorts them by this, so that a list that is cut loses what matters least. What must never
happen in this room: an end that left something undone passes for an ordinary one.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from reconciler.model import Phase, Reason, Status

#: How long the ordinary end of a call stays in lists: as long as whoever was on that call may still ask.
ORDINARY_END_SHOWN: Final = timedelta(hours=1)

_ORDER: Final = (
    # Asked for and not so.
    Phase.UNCONFIRMED,
    Phase.REJECTED,
    Phase.REFUSED,
    Phase.FAILED,
    Phase.BLIND,
    # On its way.
    Phase.SENDING,
    Phase.CONFIRMING,
    Phase.PENDING,
    Phase.WAITING,
    # Otherwise than declared, on purpose.
    Phase.DRIFTED,
    Phase.HELD,
    Phase.APPLIED,
    Phase.ENDED,
)
_RANK: Final = {phase: rank for rank, phase in enumerate(_ORDER)}


def urgency(phase: Phase, *, ordinary_end: bool) -> int:
    """Return a number by which to sort: the lower, the sooner somebody should look.

    Args:
        phase: of the recording.
        ordinary_end: whether its call ended by itself, with nothing left undone.
    """
    if phase is Phase.ENDED and not ordinary_end:
        return -1  # What was asked for never came to be, and cannot any more.
    return _RANK[phase]


def is_ordinary_end(phase: Phase, reason: str, desired: Status, last_applied: Status | None) -> bool:
    """Return whether a recording ended by itself while it was as desired.

    Args:
        phase: of the recording.
        reason: why it is in that phase; empty where an earlier version recorded it.
        desired: the status that is asked for.
        last_applied: the one that a look has shown.
    """
    if phase is not Phase.ENDED:
        return False
    return reason == Reason.ENDED or (not reason and last_applied is desired)


def is_past(since: datetime | None, now: datetime) -> bool:
    """Return whether an ordinary end is too long ago for a list; since when nobody recorded, long ago."""
    return since is None or now - since > ORDINARY_END_SHOWN
