"""What becomes of a turn whose look or PATCH failed, or showed no effect: it is recorded, said, and comes back later.

What must never happen here: a PATCH whose fate is unknown that is taken for one that was not sent, or the reverse. The
next turn looks before it sends again, and what it may conclude from that look stands in the record.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from reconciler.model import (
    Event,
    NoRoom,
    Outcome,
    Phase,
    Postponed,
    Priority,
    ProviderError,
    Record,
    RecordingKey,
    Throttled,
    Unanswered,
    Unavailable,
)
from reconciler.reconcile.notes import Notes, named
from reconciler.reconcile.parts import State
from reconciler.reconcile.record import THROTTLED, as_blind, as_failed, as_not_sent, as_unanswered, as_unconfirmed, why
from reconciler.reconcile.surroundings import Turn
from reconciler.work import Again, repeat_seconds, retry_seconds

#: How many PATCHes that showed no effect are sent again in a second, all recordings together. One that was lost goes
#: out at once; where hundreds have no effect the API is not well, and to repeat them all would not mend it.
REPEATS_PER_SECOND = 5.0
#: The longest that a repetition is put off so that others may go before it, in seconds.
REPEAT_QUEUE_SECONDS = 600.0


class Failures:
    """Ends turns that got no further. Each ending is on disk before it is returned."""

    def __init__(self, state: State, notes: Notes, confirm: timedelta) -> None:
        self._reader = state.reader
        self._writer = state.writer
        self._notes = notes
        self._clock = notes.run.clock
        self._log = notes.run.log
        self._sparing = notes.run.sparing
        self._confirm = confirm
        #: Looks in a row that were not answered. Not on disk: of a recording that was in sync nothing new is known.
        self._unanswered: Counter[RecordingKey] = Counter()
        #: When, in monotonic seconds, the next repetition of a PATCH may leave.
        self._next_repeat = 0.0

    def answered(self, key: RecordingKey) -> bool:
        """Forget the looks at a recording that were not answered, now that one was; return whether there were any."""
        return bool(self._unanswered.pop(key, 0))

    async def blind(self, record: Record, error: ProviderError) -> Turn:
        """Come back, because a look was asked for and not answered."""
        phase = await self.note_blind(record, error)
        self._unanswered[record.key] += 1
        attempts = self._unanswered[record.key]
        if isinstance(error, Unavailable):
            return self._retry(record._replace(phase=phase, attempts=attempts), error)
        seconds = retry_seconds(attempts, self._clock.random)
        self._sparing.say(
            "warning", "retry_scheduled", **named(record), after_seconds=round(seconds, 3), error=str(error)
        )
        return Turn(phase, Again(seconds, Priority.RETRY), Outcome.FAILED, error)

    async def not_tried(self, record: Record, error: Postponed, priority: Priority) -> Turn:
        """Come back, as urgent as before, when a look may leave: the API has not been asked, so nothing is known anew.

        All recordings of a workspace may come by here again and again while the API is down.
        """
        phase = await self.note_blind(record, error)
        return Turn(phase, Again(error.retry_after or 0.0, priority), Outcome.FAILED, error)

    async def note_blind(self, record: Record, error: ProviderError) -> Phase:
        """Write down, once, that nobody sees a recording of which something is owed; return the phase to show.

        A recording that was in sync costs no write: that it is out of sight now is known of its workspace.
        """
        now = self._clock.now()
        expired = record.confirm_by is not None and now >= record.confirm_by
        if expired and record.sent is record.desired and record.accepted_at is not None:
            # Whether somebody can look or not, the effect has not been seen in time.
            await self.unconfirmed(record)
            return Phase.UNCONFIRMED
        blinded = as_blind(record, error, now)
        stored = self._reader.get(record.key)
        # What only waits for its share of the budget, and was never asked for, is not worth a row of its own.
        untried = isinstance(error, NoRoom) and stored is None
        if blinded != stored and not untried:
            begins = blinded.phase is Phase.BLIND and record.phase is not Phase.BLIND
            events = (
                (self._notes.seen("blind", record, blinded, cause=why(error), detail=str(error)),) if begins else ()
            )
            await self._writer.save(blinded, *events)
        hidden = blinded.phase is Phase.APPLIED and why(error) != THROTTLED
        return Phase.BLIND if hidden else blinded.phase

    async def failed(self, seen: Record, error: Postponed) -> Turn:
        """Record that a PATCH may not leave for longer than a moment."""
        record = as_failed(seen, error, self._clock.now())._replace(attempts=seen.attempts + 1)
        await self._writer.save(record)
        return self._retry(record, error)

    async def send_failed(self, seen: Record, intent: Record, error: Unavailable, started: float) -> Turn:
        """Record a PATCH that got no answer to rely on; the next turn looks before it sends again."""
        if isinstance(error, (Unanswered, Throttled)):  # else none left
            self._notes.patch_failed()
        if not isinstance(error, Unanswered):
            return self._retry(await self.not_sent(seen, error, started, answer=error.code), error)
        answered = error.status is not None
        # A server error is an answer, and the API calls it safe to send again; a lost answer may be an effect under
        # way.
        record = as_unanswered(intent, error, self._clock.now() if answered else intent.confirm_by)
        await self._writer.save(record, self._failure(record, error.code, started))
        return self._retry(record, error, unknown_fate=not answered)

    async def not_sent(self, seen: Record, error: ProviderError, started: float, *, answer: str) -> Record:
        """Record that a PATCH was not processed: what was under way before it is under way still."""
        record = as_not_sent(seen, error, self._clock.now())
        await self._writer.save(record, self._failure(record, answer, started))
        return record

    async def unconfirmed(self, seen: Record) -> Turn:
        """Record that an accepted PATCH showed no effect by its deadline, and when it may leave again."""
        now, tick = self._clock.now(), self._clock.monotonic()
        wait = repeat_seconds(seen.attempts + 1)
        queued = min(max(0.0, self._next_repeat - tick), REPEAT_QUEUE_SECONDS)
        self._next_repeat = tick + queued + 1.0 / REPEATS_PER_SECOND
        record = as_unconfirmed(seen, self._confirm, timedelta(seconds=max(wait, queued)), now)
        event = self._notes.done(
            "unconfirmed", record, cause="confirm", outcome=Outcome.UNCONFIRMED, requested_at=seen.sent_at
        )
        await self._writer.save(record, event)
        self._log.warning("unconfirmed", **named(record), desired=record.desired.value, live=record.live)
        self._notes.patch_ended(record.key, Outcome.UNCONFIRMED)
        return Turn(Phase.UNCONFIRMED, Again(wait, Priority.RETRY), Outcome.UNCONFIRMED)

    def _failure(self, record: Record, answer: str, started: float) -> Event:
        return self._notes.done(
            "patch_failed",
            record,
            outcome=Outcome.FAILED,
            answer=answer,
            request_ms=(self._clock.monotonic() - started) * 1000,
            detail=record.error,
        )

    def _retry(self, record: Record, error: Unavailable, *, unknown_fate: bool = False) -> Turn:
        seconds = retry_seconds(record.attempts, self._clock.random, at_least=error.retry_after or 0.0)
        event = "throttled" if why(error) == THROTTLED else "retry_scheduled"
        values = {**named(record), "after_seconds": round(seconds, 3), "attempts": record.attempts, "error": str(error)}
        if error.said:
            # What stopped the workspace has been said once, for all its recordings.
            self._log.debug(event, **values)
        elif unknown_fate:
            # A PATCH that may have had its effect, and of which nobody has said so, is never only counted.
            self._log.warning(event, **values)
        else:
            self._sparing.say("warning", event, **values)
        return Turn(record.phase, Again(seconds, Priority.RETRY), Outcome.FAILED, error)
