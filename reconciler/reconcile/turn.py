"""One turn, from the document to the decision, and all that is done without a PATCH.

What must never happen here: a decision on a look that is older than what it is to find, or on one from before a person
asked for a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from reconciler.alarm import Alarm
from reconciler.backoff import confirm_seconds_after, retry_seconds
from reconciler.decide import decide
from reconciler.errors import BirdError, BirdUnauthorized, BirdUnavailable, LeaseLost, StoreError
from reconciler.logs import Log
from reconciler.model import (
    Action,
    ActionKind,
    Applied,
    Desired,
    Live,
    LiveStatus,
    Outcome,
    Phase,
    Priority,
    Reason,
    RecordingKey,
)
from reconciler.observer import Observer
from reconciler.reconcile.failures import Failures
from reconciler.reconcile.notes import Notes, named
from reconciler.reconcile.patch import Patcher
from reconciler.reconcile.record import (
    as_declared,
    as_edited,
    as_held,
    as_in_sync,
    as_reported,
    with_document,
    with_overtaken,
    within_reach,
)
from reconciler.reconcile.refused_keys import RefusedKeys
from reconciler.reconcile.surroundings import Clock, Meters, NoMeters, Reader, Sender, Turn, Writer
from reconciler.window import Window
from reconciler.workqueue import Again

#: When to look again at a recording that has not started (Bird's `accepted`), and at one in an unknown status.
NOT_STARTED_SECONDS = 1.0
UNKNOWN_STATUS_SECONDS = 30.0
#: How old a plan's look, or one that a resync shares, may be for a PATCH to be decided on it.
FRESH_SECONDS = 2.0
#: Turns of one call that begin this close together share a look: less than a person needs to notice, and more than a
#: batch of turns needs to begin.
SHARED_SECONDS = 0.1


class Reconciler:
    """Does turns. Holds no recording's state: that is in the store."""

    def __init__(
        self,
        *,
        desired: Callable[[RecordingKey], Desired | None],
        base: str,
        reader: Reader,
        writer: Writer,
        observer: Observer,
        sender: Sender,
        window: Window,
        managed: Callable[[], int],
        clock: Clock,
        log: Log,
        run_id: str,
        confirm_seconds: float,
        meters: Meters | None = None,
        first_looks: Mapping[RecordingKey, Live] | None = None,
        expected: Mapping[RecordingKey, Action] | None = None,
        revision_of: Callable[[RecordingKey], str | None] = lambda _key: None,
        newest_revision: Callable[[], str | None] = lambda: None,
        authorized_again: Callable[[str], None] = lambda _workspace_id: None,
        fingerprint: Callable[[str], int | None] = lambda _workspace_id: None,
        held_back: Callable[[str], BirdUnavailable | None] = lambda _workspace_id: None,
    ) -> None:
        """Put the parts together.

        Args:
            desired: answers what a recording's document asks for; None when there is none.
            base: what the files of the documents are relative to; see `Applied.base`.
            reader: the store's committed rows.
            writer: the store's writer, whose lease is held.
            observer: looks at live state.
            sender: sends the PATCH.
            window: the safety limits and what they remember.
            managed: answers how many recordings have a last-applied status.
            clock: time and chance.
            log: where the events go.
            run_id: stands in every event of the history.
            confirm_seconds: how long an effect is waited for.
            meters: what is measured.
            first_looks: what a command has just seen for its plan. It serves each recording's first turn, except that a
                PATCH is not decided on a look older than `FRESH_SECONDS`.
            expected: the actions of a saved plan: a PATCH that is not one of them, or whose precondition (desired,
                last-applied and live status) no longer holds, is not sent.
            revision_of: answers which Git commit gave a recording its document, or took it away; None where that is not
                known.
            newest_revision: answers which Git commit all documents are of; None outside Git.
            authorized_again: told the workspace whose key is taken again, so that what waited for it comes back.
            fingerprint: answers the `hash` of a workspace's present key; None when there is none.
            held_back: answers why a PATCH to a workspace could not leave now; None when it could.
        """
        self._desired = desired
        self._base = base
        self._reader = reader
        self._writer = writer
        self._observer = observer
        self._clock = clock
        self._log = log
        #: Met by each turn that the state held up; who runs turns for long looks at it now and then.
        self.state_alarm = Alarm(log, "state_unwritable", "state_writable_again", clock.monotonic)
        self._confirm = timedelta(seconds=confirm_seconds)
        self._first_looks = dict(first_looks or {})
        self._revision_of = revision_of
        self._newest_revision = newest_revision
        self._not_before = datetime.min.replace(tzinfo=UTC)
        self._notes = Notes(clock, meters or NoMeters(), run_id)
        self._refused_keys = RefusedKeys(clock, log, fingerprint, authorized_again)
        self._failures = Failures(reader, writer, clock, log, self._notes, self._confirm)
        self._patcher = Patcher(
            writer=writer,
            observer=observer,
            sender=sender,
            window=window,
            managed=managed,
            clock=clock,
            log=log,
            confirm=self._confirm,
            expected=expected,
            held_back=held_back,
            asked_by=self._asked_by,
            notes=self._notes,
            refused_keys=self._refused_keys,
            failures=self._failures,
        )

    def look_afresh(self) -> None:
        """From now on decide on no look that began before this moment: somebody asked for one."""
        self._not_before = self._clock.now()

    def saw_edit(self, key: RecordingKey) -> None:
        """Note that a document changed, to measure how long its PATCH takes."""
        self._notes.saw_edit(key)

    @property
    def unauthorized(self) -> frozenset[str]:
        """Workspaces that refused the key and have not taken it since."""
        return self._refused_keys.workspaces

    def try_new_keys(self) -> list[str]:
        """Let the next turn of each refused workspace try its key, if that has changed; return those workspaces."""
        return self._refused_keys.try_new()

    def looks_refused(self, workspace_id: str) -> bool:
        """Whether a workspace refuses the key for looks as well, and not only for PATCHes."""
        return self._refused_keys.looks(workspace_id)

    def seconds_before_a_patch(self, workspace_id: str) -> float:
        """Return in how many seconds a PATCH to a workspace that refused the key may try it again; 0 where it may."""
        rest = self._refused_keys.rest_before_patch(workspace_id, self._clock.now())
        return 0.0 if rest is None else rest.total_seconds()

    def look_answered(self, workspace_id: str) -> None:
        """Go on with a workspace whose key was refused, now that somebody else's look was answered."""
        self._refused_keys.look_answered(workspace_id)

    def key_refused(self, error: BirdUnauthorized) -> None:
        """Note that somebody else's look was refused for its key."""
        self._refused_keys.refuse(error, reads=False)

    async def reconcile(self, key: RecordingKey, priority: Priority) -> Turn:
        """Do one turn of one recording.

        Raises:
            LeaseLost: another process holds the state now; this one must end.
        """
        desired = self._desired(key)
        try:
            stored = self._reader.get(key)
            if desired is None:
                return await self._release(key, stored)
            now = self._clock.now()
            applied = self._declared(key, stored, desired)
            if desired.suspend is not None and now < desired.suspend.until:
                return await self._hold(desired.suspend.until, stored, applied, now)
            rest = self._refused_keys.rest_before_look(key.workspace_id, now)
            if rest is not None:
                if applied != stored:
                    await self._writer.save(applied)
                return replace(self._refused_keys.blocked(key.workspace_id, rest), looked=False)
            return await self._look_and_act(key, desired, applied, priority)
        except LeaseLost:
            raise
        except StoreError as error:
            # Nothing was sent without its intent on disk; what was sent will be looked at again.
            self.state_alarm.met(error)
            again = Again(retry_seconds(3, self._clock.random), Priority.RETRY)
            return Turn(None, again, Outcome.FAILED, error, looked=False)

    def _declared(self, key: RecordingKey, stored: Applied | None, desired: Desired) -> Applied:
        """Return the record with what the document says now."""
        if stored is None:
            return as_declared(key, desired, self._base)
        if stored.desired is not desired.status:
            stored = as_edited(stored, desired.status, self._revision_of(key) or self._newest_revision())
        return with_document(stored, desired, self._base)

    async def _look_and_act(self, key: RecordingKey, desired: Desired, applied: Applied, priority: Priority) -> Turn:
        try:
            live = self._first_look(key, desired, applied)
            if live is None:
                since = self._since(applied, priority)
                live = await self._observer.observe(key, since=since, priority=priority)
        except BirdUnauthorized as error:
            if applied.error != str(error):
                await self._writer.save(applied._replace(error=str(error)))
            return replace(self._refused_keys.refuse(error, reads=False), looked=False)
        except BirdError as error:
            if isinstance(error, BirdUnavailable) and error.held:
                turn = await self._failures.not_tried(applied, error, priority)
            else:
                turn = await self._failures.failed(applied, error)
            return replace(turn, looked=not isinstance(error, BirdUnavailable))
        self._refused_keys.look_answered(key.workspace_id)
        now = self._clock.now()
        reached = within_reach(applied, now, self._confirm)
        if reached is not applied:
            await self._writer.save(reached)
        applied = with_overtaken(reached, live, now)
        action = decide(key, desired, applied, live, now)
        # What was sent keeps the commit that asked for it.
        revision = self._asked_by(applied) if applied.sent is None else applied.revision
        seen = applied._replace(live=live.word, observed_at=live.observed_at, revision=revision)
        match action.kind:
            case ActionKind.NOOP:
                return await self._in_sync(action, applied, seen, now)
            case ActionKind.REPORT:
                return await self._report(action, applied, seen)
            case ActionKind.WAIT:
                return await self._wait(action, applied, seen, now)
            case _:
                return await self._patcher.patch(action, seen, live, now, priority)

    def _first_look(self, key: RecordingKey, desired: Desired, applied: Applied) -> Live | None:
        """Return what the plan saw, if this turn may still decide on it."""
        live = self._first_looks.pop(key, None)
        if live is None:
            return None
        now = self._clock.now()
        fresh = timedelta(0) <= now - live.observed_at <= timedelta(seconds=FRESH_SECONDS)
        return live if fresh or decide(key, desired, applied, live, now).kind is not ActionKind.PATCH else None

    def _since(self, applied: Applied, priority: Priority) -> datetime:
        """Return when the look must have begun at the earliest."""
        now = self._clock.now()
        if applied.sent is None:
            shared = FRESH_SECONDS if priority is Priority.RESYNC else SHARED_SECONDS
            return max(self._not_before, now - timedelta(seconds=shared))
        if applied.accepted_at is None:
            # The fate of the PATCH is unknown: only a look that began after its failure was known says anything.
            return now
        shared = SHARED_SECONDS
        if applied.confirm_by is not None and now < applied.confirm_by:
            # One look serves every recording of the call that waits for its effect; half the wait since the last look
            # keeps one that is a moment too old from costing a turn.
            shared = max(shared, confirm_seconds_after((now - applied.accepted_at).total_seconds()) / 2)
        return max(applied.accepted_at, now - timedelta(seconds=shared))

    def _asked_by(self, record: Applied) -> str | None:
        """Return the commit that asked for what is decided now: its document's own, or the last one known of it."""
        return self._revision_of(record.key) or record.revision or self._newest_revision()

    # What a decision that sends nothing leads to, one method each.

    async def _release(self, key: RecordingKey, applied: Applied | None) -> Turn:
        self._notes.drop_edit(key)
        if applied is not None:
            released = applied._replace(revision=self._revision_of(key) or self._newest_revision())
            await self._writer.release(key, self._notes.event("released", released, cause=Reason.REMOVED))
            self._log.info("released", name=applied.name, recording_id=key.recording_id)
        return Turn(None)

    async def _hold(self, until: datetime, stored: Applied | None, applied: Applied, now: datetime) -> Turn:
        self._notes.drop_edit(applied.key)
        held = as_held(applied, until, self._asked_by(applied))
        if applied.phase is not Phase.HELD:
            await self._writer.save(held, self._notes.event("suspended", held, cause=Reason.SUSPENDED))
            self._log.info("suspended", **named(held), until=until.isoformat())
        elif held != stored:
            await self._writer.save(held)
        return Turn(Phase.HELD, Again((until - now).total_seconds(), Priority.RESYNC))

    async def _in_sync(self, action: Action, before: Applied, seen: Applied, now: datetime) -> Turn:
        if seen.sent is not None and seen.sent_at is not None and seen.sent is not seen.desired:
            # An earlier PATCH to another status may still take effect, even one whose answer was lost or an error: what
            # is seen now is not yet the end of it.
            until = max(seen.sent_at + self._confirm, seen.confirm_by or seen.sent_at)
            if now < until:
                await self._writer.save(seen._replace(phase=Phase.CONFIRMING))
                return Turn(Phase.CONFIRMING, self._next_look(seen, now, until))
        confirmed = seen.sent is seen.desired
        record = as_in_sync(seen, before, now)
        if confirmed:
            await self._writer.save(
                record,
                self._notes.event(
                    "applied",
                    record,
                    cause="confirm",
                    from_status=before.live,
                    outcome=Outcome.APPLIED,
                    requested_at=before.sent_at,
                ),
            )
            self._log.info("applied", **named(record), status=record.desired.value)
            self._notes.patch_ended(record.key, Outcome.APPLIED)
        elif before.last_applied is not record.last_applied or before.phase is not Phase.APPLIED:
            await self._writer.save(record, self._notes.event("in_sync", record, cause=action.reason))
        else:
            await self._writer.save(record)
        self._notes.drop_edit(record.key)
        final = action.live is not None and action.live.final
        return Turn(Phase.APPLIED, outcome=Outcome.APPLIED if confirmed else None, final=final)

    async def _report(self, action: Action, before: Applied, seen: Applied) -> Turn:
        ended = action.reason in (Reason.ENDED, Reason.ENDED_BEFORE_EFFECT)
        detail = "" if action.live is None else action.live.detail
        record = as_reported(seen, detail, ended=ended)
        lost = ended and before.sent is before.desired
        self._notes.drop_edit(action.key)
        if before.phase is record.phase and before.live == record.live:
            await self._writer.save(record)
        else:
            event = "ended" if ended else "drift_detected"
            outcome = Outcome.UNCONFIRMED if lost else Outcome.SKIPPED
            await self._writer.save(
                record, self._notes.event(event, record, cause=action.reason, outcome=outcome, detail=detail)
            )
            self._log.warning(
                event,
                **named(record),
                reason=action.reason.value,
                desired=record.desired.value,
                live=record.live,
                detail=detail,
            )
        if lost:
            self._notes.patch_ended(record.key, Outcome.UNCONFIRMED)
        return Turn(record.phase, outcome=Outcome.UNCONFIRMED if lost else None, final=ended)

    async def _wait(self, action: Action, before: Applied, seen: Applied, now: datetime) -> Turn:
        until = seen.confirm_by
        if seen.sent is seen.desired and until is not None:
            # Whatever word stands there while our PATCH takes its effect, it is the effect that is waited for.
            if now < until:
                record = seen._replace(phase=Phase.SENDING if seen.accepted_at is None else Phase.CONFIRMING)
                if before.phase is not record.phase or before.live != record.live:
                    await self._writer.save(record)
                return Turn(record.phase, self._next_look(record, now, until))
            if seen.accepted_at is not None:
                return await self._failures.unconfirmed(seen)
        unknown = action.live is not None and action.live.status is LiveStatus.UNKNOWN
        record = seen._replace(phase=Phase.WAITING)
        if before.phase is not Phase.WAITING or before.live != seen.live:
            await self._writer.save(record, self._notes.event("waiting", record, cause=action.reason))
            log = self._log.warning if unknown else self._log.info
            log("waiting", **named(record), reason=action.reason.value, live=record.live)
        seconds = UNKNOWN_STATUS_SECONDS if unknown else NOT_STARTED_SECONDS
        return Turn(Phase.WAITING, Again(seconds, Priority.CONFIRM))

    def _next_look(self, record: Applied, now: datetime, until: datetime) -> Again:
        """Return when to look for the effect again; the last look comes just after the deadline."""
        since = record.accepted_at or record.sent_at or now
        seconds = confirm_seconds_after((now - since).total_seconds())
        return Again(min(seconds, (until - now).total_seconds() + 0.001), Priority.CONFIRM)
