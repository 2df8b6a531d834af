"""What follows from the three states: the action for one recording, and why."""

from __future__ import annotations

from typing import Final, NamedTuple

from reconciler.model.keys import RecordingKey
from reconciler.model.statuses import Live, Status, Word


class Rule(Word):
    """The rules of the safety limits."""

    #: PATCHes that cannot be undone.
    IRREVERSIBLE = "irreversible"
    #: Resumes of pauses that this program did not make.
    RESUMES = "resumes"
    #: The share of recordings that change at once; PATCHes to `paused` are apart from it.
    CHANGES = "changes"
    #: The same share for PATCHes to `paused`, for those who must record everything.
    PAUSES = "pauses"


class ActionKind(Word):
    PATCH = "patch"
    WAIT = "wait"
    HOLD = "hold"
    REPORT = "report"
    RELEASE = "release"
    NOOP = "noop"


class Reason(Word):
    REMOVED = "removed"
    SUSPENDED = "suspended"
    IN_SYNC = "in_sync"
    ENDED_BEFORE_EFFECT = "ended_before_effect"
    ENDED = "ended"
    #: Found on another call, which nobody has declared.
    MOVED = "moved"
    #: Not to be found, with no proof that it has ended.
    NOT_FOUND = "not_found"
    NOT_CONTROLLABLE = "not_controllable"
    CONFIRMING = "confirming"
    #: One look says otherwise than the one of a moment ago; another will tell which of them was right.
    CONTRADICTED = "contradicted"
    DRIFT = "drift"
    FOREIGN_PAUSE = "foreign_pause"
    EDIT = "edit"


#: Reasons that leave a desired status which nobody has ever seen, and which no PATCH can bring about now.
LOST: Final = frozenset({Reason.NOT_FOUND, Reason.MOVED, Reason.ENDED_BEFORE_EFFECT})


class Action(NamedTuple):
    """The decision about one recording, with all that it was made from, so that nobody has to ask again.

    A tuple for the same reason as `Desired`.
    """

    kind: ActionKind
    reason: Reason
    key: RecordingKey
    name: str
    file: str
    line: int
    desired: Status | None
    last_applied: Status | None
    #: None when live was not looked at.
    live: Live | None
    irreversible: bool = False
    #: A PATCH from a live pause to `ongoing`; `foreign` when that pause was not made by this program.
    resumes: bool = False
    foreign: bool = False

    @property
    def drifted(self) -> bool:
        """Whether live has moved away from what was applied, whatever is done about it."""
        return self.reason in (Reason.DRIFT, Reason.FOREIGN_PAUSE)

    @property
    def lost(self) -> bool:
        """Whether the desired status could not be brought about if all stayed as it was seen."""
        return self.reason in LOST
