"""What a decision leads to that sends nothing: it is recorded, said, and looked at again where there is reason to.

What must never happen here: a PATCH taken for effective before a look shows its effect, or two lines of history for one
thing that was seen.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from reconciler.model import (
    Action,
    LiveStatus,
    Outcome,
    Phase,
    Priority,
    Reason,
    ReconcilerError,
    Record,
    RecordingKey,
)
from reconciler.reconcile.failures import Failures
from reconciler.reconcile.looks import Looks
from reconciler.reconcile.notes import Notes, named
from reconciler.reconcile.parts import Desires
from reconciler.reconcile.record import (
    EARLIER_REQUEST,
    as_confirming,
    as_drifted,
    as_held,
    as_in_sync,
    as_reported,
    as_waiting,
    standing,
)
from reconciler.reconcile.surroundings import Turn, Writer
from reconciler.work import Again, confirm_seconds_after, missing_seconds

#: When to look again at a recording that has not started, and at one in a status that this program does not know.
NOT_STARTED_SECONDS = 1.0
UNKNOWN_STATUS_SECONDS = 30.0
#: When to look again after a look that contradicts the one of a moment ago: long enough for another copy of what the
#: API knows to answer, or for the same one to catch up.
CONTRADICTED_SECONDS = 0.25
#: How many recordings that are not found are looked at in a second, all together. Each costs several requests, and a
#: workspace ID that is wrong may stand in a hundred thousand documents.
MISSING_PER_SECOND = 20.0
#: For so long a recording that is not found is looked for before others are looked at again.
MISSING_URGENT = timedelta(seconds=60)
#: A look that changes nothing is written down when the one on disk is so much older: until then the recording is known
#: to have been as it was.
LOOK_KEPT = timedelta(seconds=1)

#: The word of the event for what is only reported; anything else is drift that is left as it is.
_REPORTED = {
    Reason.ENDED: "ended",
    Reason.ENDED_BEFORE_EFFECT: "ended",
    Reason.MOVED: "moved",
    Reason.NOT_FOUND: "not_found",
}


class Unsent:
    """Ends turns that want no PATCH. Each ending is on disk before it is returned."""

    def __init__(
        self,
        desires: Desires,
        writer: Writer,
        notes: Notes,
        failures: Failures,
        looks: Looks,
        confirm: timedelta,
    ) -> None:
        """Prepare the endings.

        Args:
            desires: what the documents ask for.
            writer: writes the state.
            notes: makes the lines of the history.
            failures: ends a turn whose PATCH showed no effect in time.
            looks: knows how many recordings are not found.
            confirm: how long an effect is waited for.
        """
        self._desires = desires
        self._writer = writer
        self._notes = notes
        self._log = notes.run.log
        self._failures = failures
        self._looks = looks
        self._confirm = confirm

    async def release(self, key: RecordingKey, record: Record | None) -> Turn:
        """Forget a recording that no document names any more; it is left as it is."""
        self._notes.drop_edit(key)
        self._failures.answered(key)
        self._looks.forget(key)
        if record is not None:
            revision = self._desires.changed_by(key)
            released = record._replace(revision=revision, reason=Reason.REMOVED.value)
            event = self._notes.done("released", released, cause=Reason.REMOVED)
            event = event._replace(to_status=None, last_seen=record.live, last_seen_at=record.observed_at)
            await self._writer.release(key, event)
            self._log.info("released", name=record.name, recording_id=key.recording_id)
        return Turn(None)

    async def hold(self, until: datetime, stored: Record | None, record: Record, now: datetime) -> Turn:
        """Leave a recording alone that is suspended, and come back when it no longer is."""
        self._notes.drop_edit(record.key)
        held = as_held(record, until, self._desires.asked_by(record), now)
        if record.phase is not Phase.HELD:
            event = self._notes.done("suspended", held, cause=Reason.SUSPENDED)
            event = event._replace(to_status=held.live, last_seen=held.live, last_seen_at=held.observed_at)
            await self._writer.save(held, event)
            self._log.info("suspended", **named(held), until=until.isoformat())
        elif held != stored:
            await self._writer.save(held)
        return Turn(Phase.HELD, Again((until - now).total_seconds(), Priority.RESYNC))

    async def in_sync(self, action: Action, before: Record, seen: Record, now: datetime) -> Turn:
        """Record that a recording is as desired, unless an earlier PATCH may still change that."""
        if seen.sent is not None and seen.sent_at is not None and seen.sent is not seen.desired:
            # An earlier PATCH to another status may still take effect, even one whose answer was lost or an error: what
            # is seen now is not yet the end of it.
            until = max(seen.sent_at + self._confirm, seen.confirm_by or seen.sent_at)
            if now < until:
                await self._writer.save(standing(seen, Phase.CONFIRMING, EARLIER_REQUEST, now))
                return Turn(Phase.CONFIRMING, self._next_look(seen, now, until))
        confirmed = seen.sent is seen.desired
        record = as_in_sync(seen, before, now)
        if confirmed:
            event = self._notes.seen("applied", before, record, cause="confirm", ours=True)
            event = event._replace(outcome=Outcome.APPLIED.value, requested_at=before.sent_at)
            await self._writer.save(record, event)
            self._log.info("applied", **named(record), status=record.desired.value)
            self._notes.patch_ended(record.key, Outcome.APPLIED)
        elif before.last_applied is not record.last_applied or _news(before):
            await self._writer.save(record, self._notes.seen("in_sync", before, record, cause=action.reason))
        else:
            await self._writer.save(record)
        self._notes.drop_edit(record.key)
        final = action.live is not None and action.live.final
        return Turn(Phase.APPLIED, outcome=Outcome.APPLIED if confirmed else None, final=final)

    async def drifted(self, action: Action, before: Record, seen: Record, now: datetime) -> Record:
        """Write down, once, that a recording has moved away from what was applied; what is done about it comes next."""
        known = before.unmet_since is not None and before.reason != Reason.CONTRADICTED
        if before.sent is not None or (known and before.live == seen.live):
            return seen
        record = as_drifted(seen, now)
        await self._writer.save(record, self._notes.seen("drift_detected", before, record, cause=action.reason))
        self._log.warning(
            "drift_detected",
            **named(record),
            desired=record.desired.value,
            live=record.live,
            reason=action.reason.value,
        )
        return record

    async def report(self, action: Action, before: Record, seen: Record, now: datetime) -> Turn:
        """Record and say, once, that a recording is not as desired and that nothing will be sent to it."""
        ended = action.reason in (Reason.ENDED, Reason.ENDED_BEFORE_EFFECT)
        away = action.reason in (Reason.MOVED, Reason.NOT_FOUND)
        detail = "" if action.live is None else action.live.detail
        record = as_reported(seen, action.reason, detail, now)
        lost = ended and before.sent is before.desired
        self._notes.drop_edit(action.key)
        if before.phase is record.phase and before.live == record.live and before.reason == record.reason:
            await self._writer.save(record)
        else:
            word = _REPORTED.get(action.reason, "drift_detected")
            outcome = Outcome.UNCONFIRMED if lost else Outcome.SKIPPED
            event = self._notes.seen(word, before, record, cause=action.reason, detail=detail)
            await self._writer.save(record, event._replace(outcome=outcome.value))
            # That a call ends is the ordinary way of things, as long as it owed nothing.
            log = self._log.info if action.reason is Reason.ENDED and not lost else self._log.warning
            log(
                word,
                **named(record),
                reason=action.reason.value,
                desired=record.desired.value,
                live=record.live,
                detail=detail,
            )
        if lost:
            self._notes.patch_ended(record.key, Outcome.UNCONFIRMED)
            return Turn(record.phase, outcome=Outcome.UNCONFIRMED, final=True)
        if away:
            return Turn(record.phase, outcome=Outcome.FAILED, error=ReconcilerError(detail))
        return Turn(record.phase, final=ended)

    async def wait(self, action: Action, before: Record, seen: Record, now: datetime) -> Turn:
        """Come back for an effect that is waited for, or for a recording that nothing can be sent to yet."""
        until = seen.confirm_by
        if seen.sent is seen.desired and until is not None:
            # Whatever status is seen while our PATCH takes its effect, it is the effect that is waited for.
            if now < until:
                record = as_confirming(seen, now)
                if _differs(before, record):
                    await self._writer.save(record)
                return Turn(record.phase, self._next_look(record, now, until))
            if seen.accepted_at is not None:
                return await self._failures.unconfirmed(seen)
        unknown = action.live is not None and action.live.status is LiveStatus.UNKNOWN
        missing = action.reason is Reason.NOT_FOUND
        detail = action.live.detail if missing and action.live is not None else ""
        record = as_waiting(seen, action.reason, detail, now)
        begins = before.reason != record.reason or before.live != record.live
        if begins and record.phase is Phase.WAITING and action.reason is not Reason.CONTRADICTED:
            event = self._notes.seen("waiting", before, record, cause=action.reason, detail=detail)
            await self._writer.save(record, event)
            log = self._log.warning if unknown or missing else self._log.info
            log("waiting", **named(record), reason=action.reason.value, live=record.live, detail=detail)
        elif _differs(before, record):
            await self._writer.save(record)
        return Turn(record.phase, self._look_again(action.reason, record, now, unknown=unknown))

    def _look_again(self, reason: Reason, record: Record, now: datetime, *, unknown: bool) -> Again:
        """Return when to look again at a recording that nothing can be sent to yet."""
        if reason is Reason.CONTRADICTED:
            return Again(CONTRADICTED_SECONDS, Priority.CONFIRM)
        if reason is not Reason.NOT_FOUND:
            return Again(UNKNOWN_STATUS_SECONDS if unknown else NOT_STARTED_SECONDS, Priority.CONFIRM)
        elapsed = now - (record.missing_since or now)
        seconds = max(missing_seconds(elapsed.total_seconds()), self._looks.missing / MISSING_PER_SECOND)
        return Again(seconds, Priority.RETRY if elapsed < MISSING_URGENT else Priority.RESYNC)

    def _next_look(self, record: Record, now: datetime, until: datetime) -> Again:
        """Return when to look for the effect again; the last look comes just after the deadline."""
        since = record.accepted_at or record.sent_at or now
        seconds = confirm_seconds_after((now - since).total_seconds())
        return Again(min(seconds, (until - now).total_seconds() + 0.001), Priority.CONFIRM)


def _differs(before: Record, record: Record) -> bool:
    """Return whether a look is worth a write: it tells something new, or the one on disk has grown old."""
    if (before.phase, before.reason, before.live, before.error) != (
        record.phase,
        record.reason,
        record.live,
        record.error,
    ):
        return True
    if before.observed_at is None or record.observed_at is None:
        return before.observed_at is not record.observed_at
    return not timedelta(0) <= record.observed_at - before.observed_at < LOOK_KEPT


def _news(before: Record) -> bool:
    """Return whether it is worth a line in the history that a recording is in sync: a doubt of a moment is not."""
    return before.phase is not Phase.APPLIED and before.reason != Reason.CONTRADICTED
