"""A PATCH, from the decision that asks for one to the API's answer: the intent, the sending, what was answered.

What must never happen here: a PATCH that leaves before its intent is on disk, after the state's lease was lost, or
without the permits' consent.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from reconciler.model import (
    Action,
    CredentialRefused,
    Live,
    Outcome,
    Phase,
    Priority,
    ProviderError,
    Record,
    Rejected,
    Unavailable,
)
from reconciler.reconcile.failures import Failures
from reconciler.reconcile.notes import Notes, named
from reconciler.reconcile.parts import Desires, LiveState
from reconciler.reconcile.permits import Permits
from reconciler.reconcile.record import as_accepted, as_found, as_intended, as_rejected, with_look
from reconciler.reconcile.surroundings import Turn, Writer, check_lease
from reconciler.work import Again, confirm_seconds_after, missing_seconds

#: A PATCH whose fate is unknown (the answer was lost, or the process died) is given this long to show its effect before
#: it is sent again. Short, because a lost pause must not wait for the whole confirm deadline; long enough for most
#: effects.
UNKNOWN_FATE_SECONDS = 3.0


class Patcher:
    """Does the rest of a turn that wants a PATCH."""

    def __init__(
        self,
        desires: Desires,
        writer: Writer,
        live_state: LiveState,
        permits: Permits,
        failures: Failures,
        notes: Notes,
        confirm: timedelta,
    ) -> None:
        """Prepare to send.

        Args:
            desires: what the documents ask for.
            writer: writes the state.
            live_state: how live state is read and changed.
            permits: asked before each PATCH.
            failures: ends a turn whose PATCH failed.
            notes: makes the lines of the history.
            confirm: how long an effect is waited for.
        """
        self._desires = desires
        self._writer = writer
        self._live_state = live_state
        self._permits = permits
        self._refused_keys = permits.refused_keys
        self._failures = failures
        self._notes = notes
        self._clock = notes.run.clock
        self._log = notes.run.log
        self._confirm = confirm

    async def patch(self, action: Action, seen: Record, live: Live, now: datetime, priority: Priority) -> Turn:
        """Send the PATCH that was decided on, unless something keeps it back.

        Raises:
            LeaseLost: another process holds the state now.
            StoreError: the intent, or what came of it, could not be written down.
        """
        kept_back = await self._permits.keep_back(action, seen, live, now, priority)
        if kept_back is not None:
            return kept_back
        self._refused_keys.patch_leaves(seen.key.workspace_id, now)
        return await self._send(action, seen, live, now)

    async def _send(self, action: Action, seen: Record, live: Live, now: datetime) -> Turn:
        """Write the intent down, send, and write down what was answered."""
        grace = timedelta(seconds=min(UNKNOWN_FATE_SECONDS, self._confirm.total_seconds()))
        intent = as_intended(seen, action.reason, now, grace, self._desires.asked_by(seen))
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
                accepted = await self._live_state.sender.set_status(intent.key, intent.desired)
            finally:
                self._live_state.observer.forget(intent.key.call)
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

    async def _rejected(self, seen: Record, error: Rejected, started: float) -> Turn:
        """Look again after a refusal: the wanted status there is success, anything else a rejection that is kept."""
        now = self._clock.now()
        try:
            live = await self._live_state.observer.observe(seen.key, since=now, priority=Priority.CONFIRM)
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
