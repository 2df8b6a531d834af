"""What may keep back a PATCH that was decided on: asked in this order, before its intent is recorded.

What must never happen here: a PATCH that was rejected and is let out again although neither side has changed, one that
passes a limit uncounted, or one whose own wait is not over.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from reconciler.model import (
    Action,
    Live,
    NoRoom,
    Outcome,
    Phase,
    Priority,
    Reason,
    ReconcilerError,
    Record,
    StalePlan,
)
from reconciler.plan import Refusal
from reconciler.providers import Timeouts
from reconciler.reconcile.failures import REPEAT_QUEUE_SECONDS, Failures
from reconciler.reconcile.notes import Notes, named
from reconciler.reconcile.parts import Guards
from reconciler.reconcile.record import EARLIER_REQUEST, KEY_REFUSED, REJECTED, as_waiting, standing
from reconciler.reconcile.surroundings import Turn, Writer
from reconciler.work import LONGEST_SECONDS, Again

#: How long a request may be under way: one that an earlier process sent just before it died.
REQUEST = timedelta(seconds=Timeouts().total)
#: When to look whether such a request has had its effect, at the latest.
EARLIER_LOOK_SECONDS = 1.0
#: When to ask a safety limit again that keeps a PATCH back: its ten minutes pass, and what it counts becomes less.
LIMIT_SECONDS = 60.0


class Permits:
    """Lets a PATCH leave, or ends the turn that wanted it."""

    def __init__(self, guards: Guards, writer: Writer, notes: Notes, failures: Failures) -> None:
        self._guards = guards
        self.refused_keys = guards.refused_keys
        self._writer = writer
        self._notes = notes
        self._clock = notes.run.clock
        self._log = notes.run.log
        self._failures = failures
        self._began = self._clock.now()

    async def keep_back(
        self, action: Action, seen: Record, live: Live, now: datetime, priority: Priority
    ) -> Turn | None:
        """Return what the turn came to, because the PATCH may not leave now; None where it may, and is counted.

        Raises:
            StoreError: why it was kept back could not be written down.
        """
        if seen.rejected is seen.desired and seen.rejected_live == seen.live:
            # The API has refused exactly this, and neither side has changed since.
            self._notes.drop_edit(seen.key)
            await self._writer.save(standing(seen, Phase.REJECTED, REJECTED, now)._replace(attempts=0))
            return Turn(Phase.REJECTED, outcome=Outcome.REJECTED, error=ReconcilerError(seen.error))
        if seen.sent is seen.desired and seen.accepted_at is not None and seen.confirm_by is not None:
            return await self._failures.unconfirmed(seen)
        turn = await self._wait_for_earlier(seen, now)
        if turn is None:
            turn = await self._wait_for_workspace(seen, now, priority)
        if turn is not None:
            return turn
        if self._guards.expected is not None and not _same(action, self._guards.expected.get(action.key)):
            return await self._stale(action, seen, live)
        # Of how many recordings it changes a part is asked of drift alone: edits were counted when they came in.
        managed = self._guards.managed() if action.reason is Reason.DRIFT else 0
        refusal = self._guards.window.admit(action, managed, now)
        return None if refusal is None else await self._limit_refused(seen, refusal)

    async def _wait_for_earlier(self, seen: Record, now: datetime) -> Turn | None:
        """Wait where a PATCH was sent to this recording before, and may still be under way or is to be repeated."""
        rest = _rest_before_repeat(seen, now)
        if rest is not None:
            await self._writer.save(seen)
            again = Again(min(rest.total_seconds(), LONGEST_SECONDS), Priority.RETRY)
            return Turn(seen.phase, again, Outcome.UNCONFIRMED)
        rest = self._rest_after_earlier_request(seen, now)
        if rest is not None:
            await self._writer.save(as_waiting(seen, EARLIER_REQUEST, "", now))
            return Turn(Phase.WAITING, Again(min(rest.total_seconds(), EARLIER_LOOK_SECONDS), Priority.CONFIRM))
        return None

    async def _wait_for_workspace(self, seen: Record, now: datetime, priority: Priority) -> Turn | None:
        """Wait where nothing may be sent to the workspace for now.

        Asked before the intent is recorded: what cannot leave is no PATCH, neither in the history nor to the limits.
        """
        workspace_id = seen.key.workspace_id
        rest = self.refused_keys.rest_before_patch(workspace_id, now)
        if rest is not None:
            blocked = self.refused_keys.blocked(workspace_id, rest)
            record = standing(seen, Phase.FAILED, KEY_REFUSED, now)._replace(error=str(blocked.error))
            await self._writer.save(record)
            return blocked._replace(phase=record.phase)
        postponed = self._guards.postponed(workspace_id)
        if postponed is None:
            return None
        # That the budget has no room is no failure. A circuit that is open for PATCHes alone is one, so that the looks,
        # which cost a request each time, become fewer.
        if isinstance(postponed, NoRoom):
            return await self._failures.not_tried(seen, postponed, priority)
        return await self._failures.failed(seen, postponed)

    def _rest_after_earlier_request(self, seen: Record, now: datetime) -> timedelta | None:
        """Return how long a PATCH of an earlier process to another status may still be under way; None for not at all.

        Nobody knows then which of the two would be the last to take effect. One of this process has ended by now.
        """
        if seen.sent in (None, seen.desired) or seen.accepted_at is not None or seen.sent_at is None:
            return None
        rest = seen.sent_at + REQUEST - now
        return rest if seen.sent_at < self._began and timedelta(0) < rest <= REQUEST else None

    async def _stale(self, action: Action, seen: Record, live: Live) -> Turn:
        """Send nothing, because the saved plan says something else than what is decided now."""
        await self._writer.save(seen)
        error = StalePlan(
            f"the saved plan no longer fits: last-applied is {action.last_applied or 'none'}, live is {live.word} now"
        )
        return Turn(seen.phase, outcome=Outcome.SKIPPED, error=error)

    async def _limit_refused(self, seen: Record, refusal: Refusal) -> Turn:
        """Record that a limit keeps the PATCH back. What it refuses as a whole is said once, by whoever judged it."""
        record = standing(seen, Phase.REFUSED, refusal.rule, self._clock.now())._replace(error=str(refusal))
        if seen.phase is not Phase.REFUSED:
            event = self._notes.done("limit_refused", record, cause=refusal.rule, outcome=Outcome.SKIPPED)
            await self._writer.save(record, event)
            self._log.debug("limit_refused", **named(record), **refusal.as_log())
        else:
            await self._writer.save(record)
        # What is refused under a name waits for a person, the rest for time.
        again = None if refusal.name else Again(LIMIT_SECONDS, Priority.RESYNC)
        return Turn(Phase.REFUSED, again, Outcome.SKIPPED, refusal=refusal)


def _rest_before_repeat(seen: Record, now: datetime) -> timedelta | None:
    """Return how long a PATCH that showed no effect has to wait before it is sent again; None when it may leave."""
    if seen.phase is not Phase.UNCONFIRMED or seen.sent is not seen.desired or seen.due_at is None:
        return None
    rest = seen.due_at - now
    # A rest that is longer than any wait was begun before the clock was set back.
    return rest if timedelta(0) < rest <= timedelta(seconds=LONGEST_SECONDS + REPEAT_QUEUE_SECONDS) else None


def _same(action: Action, expected: Action | None) -> bool:
    """Return whether a PATCH is the one that was expected, on the same precondition."""
    if expected is None or expected.live is None or action.live is None:
        return False
    return (action.kind, action.desired, action.last_applied, action.live.word) == (
        expected.kind,
        expected.desired,
        expected.last_applied,
        expected.live.word,
    )
