"""A PATCH, from the decision that asks for one to the API's answer: what may hold it back, the intent, the sending.

What must never happen here: a PATCH that leaves before its intent is on disk, or after the state's lease was lost; one
that was rejected and is repeated although neither side has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from reconciler.model import (
    Action,
    Clock,
    CredentialRefused,
    Live,
    NoRoom,
    Outcome,
    Phase,
    Postponed,
    Priority,
    ProviderError,
    Reason,
    ReconcilerError,
    Record,
    RecordingKey,
    Rejected,
    StalePlan,
    Unavailable,
)
from reconciler.plan import Refusal, Window
from reconciler.providers import Timeouts
from reconciler.reconcile.accounts import RefusedKeys
from reconciler.reconcile.failures import REPEAT_QUEUE_SECONDS, Failures
from reconciler.reconcile.notes import Notes, named
from reconciler.reconcile.observer import Observer
from reconciler.reconcile.record import (
    EARLIER_REQUEST,
    KEY_REFUSED,
    REJECTED,
    as_accepted,
    as_found,
    as_intended,
    as_rejected,
    as_waiting,
    standing,
    with_look,
)
from reconciler.reconcile.surroundings import Sender, Turn, Writer, check_lease
from reconciler.telemetry import Log
from reconciler.work import LONGEST_SECONDS, Again, confirm_seconds_after, missing_seconds

#: A PATCH whose fate is unknown (the answer was lost, or the process died) is given this long to show its effect before
#: it is sent again. Short, because a lost pause must not wait for the whole confirm deadline; long enough for most
#: effects.
UNKNOWN_FATE_SECONDS = 3.0
#: How long a request may be under way: one that an earlier process sent just before it died.
REQUEST = timedelta(seconds=Timeouts().total)
#: When to look whether such a request has had its effect, at the latest.
EARLIER_LOOK_SECONDS = 1.0
#: A limit frees itself as its ten minutes pass.
LIMIT_SECONDS = 60.0


class Patcher:
    """Does the rest of a turn that wants a PATCH. The parameters are those of `Reconciler`, and parts made of them."""

    def __init__(
        self,
        *,
        writer: Writer,
        observer: Observer,
        sender: Sender,
        window: Window,
        managed: Callable[[], int],
        clock: Clock,
        log: Log,
        confirm: timedelta,
        expected: Mapping[RecordingKey, Action] | None,
        postponed: Callable[[str], Postponed | None],
        asked_by: Callable[[Record], str | None],
        notes: Notes,
        refused_keys: RefusedKeys,
        failures: Failures,
    ) -> None:
        self._writer = writer
        self._observer = observer
        self._sender = sender
        self._window = window
        self._managed = managed
        self._clock = clock
        self._log = log
        self._confirm = confirm
        self._expected = expected
        self._postponed = postponed
        self._asked_by = asked_by
        self._notes = notes
        self._refused_keys = refused_keys
        self._failures = failures
        self._began = clock.now()

    async def patch(self, action: Action, seen: Record, live: Live, now: datetime, priority: Priority) -> Turn:
        """Send the PATCH that was decided on, unless something holds it back.

        Raises:
            LeaseLost: another process holds the state now.
            StoreError: the intent, or what came of it, could not be written down.
        """
        if seen.rejected is seen.desired and seen.rejected_live == seen.live:
            # The API has refused exactly this, and neither side has changed since.
            self._notes.drop_edit(seen.key)
            await self._writer.save(standing(seen, Phase.REJECTED, REJECTED, now)._replace(attempts=0))
            return Turn(Phase.REJECTED, outcome=Outcome.REJECTED, error=ReconcilerError(seen.error))
        if seen.sent is seen.desired and seen.accepted_at is not None and seen.confirm_by is not None:
            return await self._failures.unconfirmed(seen)
        rest = _rest_before_repeat(seen, now)
        if rest is not None:
            await self._writer.save(seen)
            again = Again(min(rest.total_seconds(), LONGEST_SECONDS), Priority.RETRY)
            return Turn(seen.phase, again, Outcome.UNCONFIRMED)
        rest = self._rest_after_earlier_request(seen, now)
        if rest is not None:
            await self._writer.save(as_waiting(seen, EARLIER_REQUEST, "", now))
            return Turn(Phase.WAITING, Again(min(rest.total_seconds(), EARLIER_LOOK_SECONDS), Priority.CONFIRM))
        workspace_id = seen.key.workspace_id
        rest = self._refused_keys.rest_before_patch(workspace_id, now)
        if rest is not None:
            blocked = self._refused_keys.blocked(workspace_id, rest)
            record = standing(seen, Phase.FAILED, KEY_REFUSED, now)._replace(error=str(blocked.error))
            await self._writer.save(record)
            return blocked._replace(phase=record.phase)
        held = self._postponed(workspace_id)
        if held is not None:
            # Asked before the intent is recorded: what cannot leave is no PATCH, neither in the history nor to the
            # limits. That the budget has no room is no failure; a circuit that is open for PATCHes alone is one, so
            # that the looks, which cost a request each time, become fewer.
            if isinstance(held, NoRoom):
                return await self._failures.not_tried(seen, held, priority)
            return await self._failures.failed(seen, held)
        if self._expected is not None and not _same(action, self._expected.get(action.key)):
            return await self._stale(action, seen, live)
        # Of how many it is a part is asked of drift alone: edits were counted when they came in.
        managed = self._managed() if action.reason is Reason.DRIFT else 0
        refusal = self._window.admit(action, managed, now)
        if refusal is not None:
            return await self._limit_refused(seen, refusal)
        self._refused_keys.patch_leaves(workspace_id, now)
        return await self._send(action, seen, live, now)

    async def _stale(self, action: Action, seen: Record, live: Live) -> Turn:
        """Send nothing, because the saved plan says something else than what is decided now."""
        await self._writer.save(seen)
        error = StalePlan(
            f"the saved plan no longer fits: last-applied is {action.last_applied or 'none'}, live is {live.word} now"
        )
        return Turn(seen.phase, outcome=Outcome.SKIPPED, error=error)

    async def _limit_refused(self, seen: Record, refusal: Refusal) -> Turn:
        """Record that a limit holds the PATCH back. What it refuses as a whole is said once, by whoever judged it."""
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

    async def _send(self, action: Action, seen: Record, live: Live, now: datetime) -> Turn:
        grace = timedelta(seconds=min(UNKNOWN_FATE_SECONDS, self._confirm.total_seconds()))
        intent = as_intended(seen, action.reason, now, grace, self._asked_by(seen))
        sent_event = self._notes.done(
            "patch_sent",
            intent,
            cause=action.reason,
            requested_at=now,
            irreversible=action.irreversible,
            resumes_foreign=action.foreign,
        )
        await self._writer.save(intent, sent_event)
        check_lease(self._writer)
        self._log.info(
            "patch_sent",
            **named(intent),
            reason=action.reason.value,
            live=live.word,
            desired=intent.desired.value,
        )
        self._notes.edit_step(intent.key, "sent")
        started = self._clock.monotonic()
        try:
            try:
                accepted = await self._sender.set_status(intent.key, intent.desired)
            finally:
                self._observer.forget(intent.key.call)
        except CredentialRefused as error:
            self._notes.patch_failed()
            record = await self._failures.not_sent(seen, error, started, answer=str(error.status))
            return self._refused_keys.refuse(error, reads=True)._replace(phase=record.phase)
        except Rejected as error:
            self._refused_keys.taken(intent.key.workspace_id)
            return await self._rejected(seen, error, started)
        except Unavailable as error:
            return await self._failures.send_failed(seen, intent, error, started)
        self._refused_keys.taken(intent.key.workspace_id)
        record = as_accepted(intent, self._clock.now(), self._confirm)
        event = self._notes.done(
            "patch_accepted",
            record,
            cause=action.reason,
            requested_at=intent.sent_at,
            request_ms=accepted.took_ms,
            answer=str(accepted.status_code),
        )
        await self._writer.save(record, event)
        self._log.info("patch_accepted", **named(record), took_ms=round(accepted.took_ms, 1))
        self._notes.edit_step(record.key, "accepted")
        return Turn(record.phase, Again(confirm_seconds_after(0.0), Priority.CONFIRM))

    def _rest_after_earlier_request(self, seen: Record, now: datetime) -> timedelta | None:
        """Return how long a PATCH of an earlier process to another status may still be under way; None for not at all.

        Nobody knows then which of the two would be the last to take effect. One of this process has ended by now.
        """
        if seen.sent in (None, seen.desired) or seen.accepted_at is not None or seen.sent_at is None:
            return None
        rest = seen.sent_at + REQUEST - now
        return rest if seen.sent_at < self._began and timedelta(0) < rest <= REQUEST else None

    async def _rejected(self, seen: Record, error: Rejected, started: float) -> Turn:
        """Look again after a refusal: the wanted status there is success, anything else a rejection that is kept."""
        now = self._clock.now()
        try:
            live = await self._observer.observe(seen.key, since=now, priority=Priority.CONFIRM)
        except ProviderError as look_error:
            self._notes.patch_failed()
            not_sent = await self._failures.not_sent(seen, error, started, answer=str(error.status))
            return await self._failures.blind(not_sent, look_error)
        if live.missing:
            # It is no answer to the status that was asked for: the recording is not there, or not yet.
            record = await self._failures.not_sent(seen, error, started, answer=f"{error.status} {error.code}")
            return Turn(record.phase, Again(missing_seconds(0.0), Priority.RETRY), Outcome.FAILED, error)
        before, now = seen, self._clock.now()
        seen = with_look(seen, live)
        took_ms = (self._clock.monotonic() - started) * 1000
        answer = f"{error.status} {error.code}"
        if live.satisfies(seen.desired):
            record = as_found(seen, now)
            event = self._notes.seen("applied", before, record, cause="confirm", ours=True)
            event = event._replace(answer=answer, request_ms=took_ms, outcome=Outcome.APPLIED.value)
            await self._writer.save(record, event)
            self._log.info("applied", **named(record), status=record.desired.value, answer=answer)
            self._notes.patch_ended(record.key, Outcome.APPLIED)
            return Turn(Phase.APPLIED, outcome=Outcome.APPLIED)
        record = as_rejected(seen, live, error, now)
        event = self._notes.done(
            "rejected",
            record,
            answer=answer,
            request_ms=took_ms,
            outcome=Outcome.REJECTED,
            detail=str(error),
        )
        await self._writer.save(record, event)
        self._log.error(
            "rejected",
            **named(record),
            desired=record.desired.value,
            live=live.word,
            code=error.code,
            status=error.status,
            error=str(error),
        )
        self._notes.patch_ended(record.key, Outcome.REJECTED)
        return Turn(record.phase, outcome=Outcome.REJECTED, error=error)


def _rest_before_repeat(seen: Record, now: datetime) -> timedelta | None:
    """Return how long a PATCH that showed no effect has to wait before it is sent again; None when it may leave."""
    if seen.phase is not Phase.UNCONFIRMED or seen.sent is not seen.desired or seen.due_at is None:
        return None
    rest = seen.due_at - now
    # More than any wait is one from before the clock was set back.
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
