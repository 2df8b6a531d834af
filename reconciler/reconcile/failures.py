"""What becomes of a turn whose look or PATCH failed, or showed no effect: it is recorded, said, and comes back later.

What must never happen here: a PATCH whose fate is unknown that is taken for one that was not sent, or the reverse. The
next turn looks before it sends again, and what it may conclude from that look stands in the record.
"""

from __future__ import annotations

from datetime import timedelta

from reconciler.backoff import retry_seconds
from reconciler.errors import BirdError, BirdUnavailable
from reconciler.logs import Log
from reconciler.model import Applied, Event, Outcome, Phase, Priority
from reconciler.reconcile.notes import Notes, named
from reconciler.reconcile.record import as_failed, as_not_sent, as_unanswered, as_unconfirmed
from reconciler.reconcile.surroundings import Clock, Reader, Turn, Writer
from reconciler.workqueue import Again


class Failures:
    """Ends turns that got no further. Each ending is on disk before it is returned."""

    def __init__(
        self, reader: Reader, writer: Writer, clock: Clock, log: Log, notes: Notes, confirm: timedelta
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self._log = log
        self._notes = notes
        self._confirm = confirm

    async def failed(self, applied: Applied, error: BirdError) -> Turn:
        """Record that live state could not be read, or that a PATCH may not leave for longer than a moment."""
        record = as_failed(applied, error)._replace(attempts=applied.attempts + 1)
        await self._writer.save(record)
        if isinstance(error, BirdUnavailable):
            return self._retry(record, error)
        seconds = retry_seconds(record.attempts, self._clock.random)
        self._log.warning("retry_scheduled", **named(record), after_seconds=round(seconds, 3), error=str(error))
        return Turn(record.phase, Again(seconds, Priority.RETRY), Outcome.FAILED, error)

    async def not_tried(self, applied: Applied, error: BirdUnavailable, priority: Priority) -> Turn:
        """Come back, as urgent as before, when a look may leave: the API has not been asked, so nothing is known anew.

        Written down only where somebody should see it, and once: all recordings of a workspace may come by here again
        and again while the API is down.
        """
        phase = applied.phase
        if not error.throttled:
            record = as_failed(applied, error)
            phase = record.phase
            if record != self._reader.get(applied.key):
                await self._writer.save(record)
        return Turn(phase, Again(error.retry_after or 0.0, priority), Outcome.FAILED, error)

    async def send_failed(self, seen: Applied, intent: Applied, error: BirdUnavailable, started: float) -> Turn:
        """Record a PATCH that got no answer to rely on; the next turn looks before it sends again."""
        if error.sent or error.throttled:  # else none left
            self._notes.patch_failed()
        if not error.sent:
            return self._retry(await self.not_sent(seen, error, started, answer=error.code), error)
        answered = error.code.startswith("http_")
        # A server error is an answer, and the API calls it safe to send again; a lost answer may be an effect under
        # way.
        record = as_unanswered(intent, error, self._clock.now() if answered else intent.confirm_by)
        await self._writer.save(record, self._failure(record, error.code, started))
        return self._retry(record, error)

    async def not_sent(self, seen: Applied, error: BirdError, started: float, *, answer: str) -> Applied:
        """Record that a PATCH was not processed: what was under way before it is under way still."""
        record = as_not_sent(seen, error)
        await self._writer.save(record, self._failure(record, answer, started))
        return record

    async def unconfirmed(self, seen: Applied) -> Turn:
        """Record that an accepted PATCH showed no effect by its deadline."""
        record = as_unconfirmed(seen, self._confirm)
        event = self._notes.event(
            "unconfirmed", record, cause="confirm", outcome=Outcome.UNCONFIRMED, requested_at=seen.sent_at
        )
        await self._writer.save(record, event)
        self._log.warning("unconfirmed", **named(record), desired=record.desired.value, live=record.live)
        self._notes.patch_ended(record.key, Outcome.UNCONFIRMED)
        again = Again(retry_seconds(record.attempts, self._clock.random), Priority.RETRY)
        return Turn(Phase.UNCONFIRMED, again, Outcome.UNCONFIRMED)

    def _failure(self, record: Applied, answer: str, started: float) -> Event:
        return self._notes.event(
            "patch_failed",
            record,
            outcome=Outcome.FAILED,
            answer=answer,
            request_ms=(self._clock.monotonic() - started) * 1000,
            detail=record.error,
        )

    def _retry(self, record: Applied, error: BirdUnavailable) -> Turn:
        seconds = retry_seconds(record.attempts, self._clock.random, at_least=error.retry_after or 0.0)
        event = "throttled" if error.throttled else "retry_scheduled"
        # What stopped the workspace has been said once, for all its recordings.
        log = self._log.debug if error.said else self._log.warning
        log(event, **named(record), after_seconds=round(seconds, 3), attempts=record.attempts, error=str(error))
        return Turn(record.phase, Again(seconds, Priority.RETRY), Outcome.FAILED, error)
