"""What a recording can be: as it is wanted, as it is live, and as this program sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final


class Word(StrEnum):
    """A word of a fixed set, hashed as the text that it equals: the library's own hash is ten times slower."""

    __hash__ = str.__hash__


class Status(Word):
    """What a document may ask for: the three values that Bird's update operation takes.

    Source: https://docs.bird.com/api/voice-api/voice-calls-api/update-a-call-recording
    """

    ONGOING = "ongoing"
    PAUSED = "paused"
    COMPLETED = "completed"


class LiveStatus(Word):
    """What a recording may be: Bird's seven published values, and two words of ours.

    Source: https://docs.bird.com/api/voice-api/voice-calls-api/update-a-call-recording
    """

    ACCEPTED = "accepted"
    ONGOING = "ongoing"
    PAUSED = "paused"
    COMPLETED = "completed"
    AVAILABLE = "available"
    ABSENT = "absent"
    FAILED = "failed"
    #: Ours: Bird knows no such recording, neither on the call nor among the workspace's recordings.
    GONE = "gone"
    #: Ours: Bird answered a word that this program does not know; the word itself is kept beside it.
    UNKNOWN = "unknown"


#: Which live statuses meet a desired one. That `available` (media ready) meets `completed` is assumed.
SATISFIES: Final[Mapping[Status, frozenset[LiveStatus]]] = {
    Status.ONGOING: frozenset({LiveStatus.ONGOING}),
    Status.PAUSED: frozenset({LiveStatus.PAUSED}),
    Status.COMPLETED: frozenset({LiveStatus.COMPLETED, LiveStatus.AVAILABLE}),
}


#: Statuses that nothing leads out of (assumed: Bird publishes the words, not the transitions).
FINAL: Final = frozenset({LiveStatus.COMPLETED, LiveStatus.AVAILABLE, LiveStatus.ABSENT, LiveStatus.FAILED})


class Drift(Word):
    """What to do when the live status has moved away from what was applied."""

    #: Correct it, except that a pause made by somebody else is never resumed.
    SAFE = "safe"
    #: Correct it always.
    HEAL = "heal"
    #: Only say so.
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Live:
    """What the API answered about one recording, and when the question was asked."""

    status: LiveStatus
    #: Bird's own word, equal to `status` unless that is `unknown`.
    word: str
    #: False when the recording was found only among the workspace's recordings, or nowhere: it can no longer be
    #: changed.
    active: bool
    observed_at: datetime
    #: What a person should know beyond the word, such as that Bird does not know the call at all.
    detail: str = ""
    #: Whether it is proven that the recording has ended, whatever its word: its call has.
    ended: bool = False
    #: The ID of the call on which the recording was found instead.
    moved_to: str | None = None

    @classmethod
    def from_word(
        cls, word: str, observed_at: datetime, *, active: bool = True, detail: str = "", ended: bool = False
    ) -> Live:
        """Read Bird's word; one that is not published becomes `unknown` and keeps its text, cut to 64 characters."""
        try:
            status = LiveStatus(word)
        except ValueError:
            status = LiveStatus.UNKNOWN
        if status in _OUR_WORDS:
            return cls(LiveStatus.UNKNOWN, word[:64], active, observed_at, detail, ended)
        return cls(status, word, active, observed_at, detail, ended)

    @classmethod
    def gone(cls, observed_at: datetime, detail: str = "", *, ended: bool = False, moved_to: str | None = None) -> Live:
        """The recording is nowhere to be found, or not where it was looked for.

        Args:
            observed_at: when the question was asked.
            detail: what a person should know.
            ended: whether its call is known to have ended, which proves that the recording has.
            moved_to: the ID of the call on which it was found instead.
        """
        word = LiveStatus.GONE
        return cls(word, word.value, False, observed_at, detail, ended, moved_to)

    @property
    def final(self) -> bool:
        """Whether it is proven that no PATCH can change it any more. Not to be found is no proof: the API may lag."""
        return self.ended or self.status in FINAL

    @property
    def missing(self) -> bool:
        """Whether it is not where it was looked for, with no proof that it has ended."""
        return not self.active and not self.final

    def satisfies(self, status: Status) -> bool:
        return self.status in SATISFIES[status]


_OUR_WORDS: Final = frozenset({LiveStatus.GONE, LiveStatus.UNKNOWN})


class Phase(Word):
    """Where a recording stands in our own record of it."""

    #: Seen in a document, nothing known yet.
    PENDING = "pending"
    #: The intent to send is on disk; whether the PATCH left is not known until the next entry.
    SENDING = "sending"
    #: The API accepted (202); a read has not shown the effect yet.
    CONFIRMING = "confirming"
    #: A read has shown the desired status.
    APPLIED = "applied"
    #: The deadline passed without a read that shows the effect.
    UNCONFIRMED = "unconfirmed"
    #: The API refused, and a read after it did not show the wanted status.
    REJECTED = "rejected"
    #: The last turn failed in a way that waiting may cure.
    FAILED = "failed"
    #: The document is suspended.
    HELD = "held"
    #: Not in a status that can be changed yet.
    WAITING = "waiting"
    #: The live status differs and the document's drift setting says to leave it.
    DRIFTED = "drifted"
    #: A safety limit holds the PATCH back.
    REFUSED = "refused"
    #: Nothing can change it any more, and it did not end as desired.
    ENDED = "ended"
    #: The last look was not answered (the key was refused, the API is away), and the desired status has not been seen.
    #: A recording that was seen as desired keeps its phase: that nobody sees it now is a fact of its workspace.
    BLIND = "blind"


class Outcome(Word):
    """What became of one action."""

    APPLIED = "applied"
    UNCONFIRMED = "unconfirmed"
    REJECTED = "rejected"
    FAILED = "failed"
    SKIPPED = "skipped"
