"""One turn of one recording: read the three states, decide, send at most one PATCH, record what came of it.

This room knows one key and no queue: it answers "done" or "again after t". It is level-triggered: whatever woke it, it
reads the world and corrects it. Intent is on disk before a PATCH leaves and the outcome before the turn ends, so a kill
at any moment leaves the truth behind; a PATCH whose fate is unknown is never repeated before a look.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from reconciler.alarm import Alarm
from reconciler.backoff import confirm_seconds_after, retry_seconds
from reconciler.bird import Accepted
from reconciler.decide import decide
from reconciler.errors import (
    BirdError,
    BirdRejected,
    BirdUnauthorized,
    BirdUnavailable,
    LeaseLost,
    ReconcilerError,
    StalePlan,
    StoreError,
)
from reconciler.limits import Refusal, Window
from reconciler.logs import Log
from reconciler.model import (
    Action,
    ActionKind,
    Applied,
    Desired,
    Event,
    Live,
    LiveStatus,
    Outcome,
    Phase,
    Priority,
    Reason,
    RecordingKey,
    Status,
)
from reconciler.observer import Observer
from reconciler.workqueue import Again

#: A PATCH whose fate is unknown (the answer was lost, or the process died) is given this long to show its effect before
#: it is sent again. Short, because a lost pause must not wait for the whole confirm deadline; long enough for most
#: effects.
UNKNOWN_FATE_SECONDS = 3.0
#: How long sending to a workspace stops after its key was refused.
UNAUTHORIZED_SECONDS = 60.0
#: When to look again at a recording that has not started (Bird's `accepted`), and at one in an unknown status.
NOT_STARTED_SECONDS = 1.0
UNKNOWN_STATUS_SECONDS = 30.0
#: How old a plan's look, or one that a resync shares, may be for a PATCH to be decided on it.
FRESH_SECONDS = 2.0
#: Turns of one call that begin this close together share a look: less than a person needs to notice, and more than a
#: batch of turns needs to begin.
SHARED_SECONDS = 0.1
#: Less than this and a clock was corrected; more and it was set.
_CLOCK_STEP = timedelta(seconds=1)
#: A limit frees itself as its ten minutes pass.
LIMIT_SECONDS = 60.0


class Sender(Protocol):
    """The one write of the API client."""

    async def set_status(self, key: RecordingKey, status: Status) -> Accepted: ...


class Reader(Protocol):
    """What a turn reads of the store."""

    def get(self, key: RecordingKey) -> Applied | None: ...


class Writer(Protocol):
    """What a turn writes to the store; what a call returns is awaited until the rows are on disk."""

    def save(self, record: Applied, *events: Event) -> Awaitable[None]: ...
    def release(self, key: RecordingKey, *events: Event) -> Awaitable[None]: ...
    def lease_valid(self) -> bool: ...


class Meters(Protocol):
    """What a turn measures. Seconds are since the edit was seen."""

    def patched(self, outcome: Outcome) -> None: ...
    def edit_step(self, step: str, seconds: float) -> None: ...


class NoMeters:
    """Measures nothing: for commands, which end before anybody could read a measure."""

    def patched(self, outcome: Outcome) -> None:
        """Do nothing."""

    def edit_step(self, step: str, seconds: float) -> None:
        """Do nothing."""


def check_lease(writer: Writer) -> None:
    """Ask once more whether this process holds the state: before a PATCH is handed over, and when it leaves.

    Raises:
        LeaseLost: it may not, so nothing may be sent.
    """
    if not writer.lease_valid():
        raise LeaseLost("the state's lease ran out before the PATCH could leave; nothing was sent")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn came to."""

    phase: Phase | None
    #: When to come back; None when only a change or the next resync can call for another turn.
    again: Again | None = None
    #: What became of a PATCH that was wanted; None when none was wanted, or nothing is known yet.
    outcome: Outcome | None = None
    error: ReconcilerError | None = None
    refusal: Refusal | None = None
    #: Whether the recording was seen in a status that nothing leads out of.
    final: bool = False


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time and chance come from: aware UTC now, monotonic seconds, and a float from 0 up to 1."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    random: Callable[[], float]


@dataclass(slots=True)
class _Refused:
    """A workspace whose key was refused."""

    #: The `hash` of that key; None when there was none.
    fingerprint: int | None
    #: Until when it is left alone.
    until: datetime
    #: Whether only a PATCH was refused. Then reads go on, and nothing but the answer to a PATCH shows an improvement.
    reads: bool


class Reconciler:
    """Does turns. Holds no recording's state: that is in the store."""

    def __init__(
        self,
        *,
        desired: Callable[[RecordingKey], Desired | None],
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
            revision_of: answers which Git commit gave a recording its document; None where that is not known.
            newest_revision: answers which Git commit all documents are of; None outside Git.
            authorized_again: told the workspace whose key is taken again, so that what waited for it comes back.
            fingerprint: answers the `hash` of a workspace's present key; None when there is none.
            held_back: answers why a PATCH to a workspace could not leave now; None when it could.
        """
        self._desired = desired
        self._reader = reader
        self._writer = writer
        self._observer = observer
        self._sender = sender
        self._window = window
        self._managed = managed
        self._clock = clock
        self._log = log
        self._run_id = run_id
        #: Met by each turn that the state held up; who runs turns for long looks at it now and then.
        self.state_alarm = Alarm(log, "state_unwritable", "state_writable_again", clock.monotonic)
        self._confirm = timedelta(seconds=confirm_seconds)
        self._meters: Meters = meters or NoMeters()
        self._first_looks = dict(first_looks or {})
        self._expected = expected
        self._revision_of = revision_of
        self._newest_revision = newest_revision
        self._authorized_again = authorized_again
        self._fingerprint = fingerprint
        self._held_back = held_back
        self._refused: dict[str, _Refused] = {}
        self._not_before = datetime.min.replace(tzinfo=UTC)
        self._edits_seen: dict[RecordingKey, float] = {}

    def look_afresh(self) -> None:
        """From now on decide on no look that began before this moment: somebody asked for one."""
        self._not_before = self._clock.now()

    def saw_edit(self, key: RecordingKey) -> None:
        """Note that a document changed, to measure how long its PATCH takes."""
        self._edits_seen[key] = self._clock.monotonic()

    @property
    def unauthorized(self) -> frozenset[str]:
        """Workspaces that refused the key and have not taken it since."""
        return frozenset(self._refused)

    def try_new_keys(self) -> list[str]:
        """Let the next turn of each refused workspace try its key, if that has changed; return those workspaces."""
        changed = []
        for workspace_id, refused in self._refused.items():
            fingerprint = self._fingerprint(workspace_id)
            if fingerprint != refused.fingerprint:
                refused.fingerprint = fingerprint
                refused.until = self._clock.now()
                changed.append(workspace_id)
        return changed

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
            applied = self._with_document(key, stored, desired)
            if desired.suspend is not None and now < desired.suspend.until:
                return await self._hold(desired.suspend.until, stored, applied, now)
            refused = self._refused.get(key.workspace_id)
            if refused is not None and not refused.reads:
                if _is_ahead(refused.until, now):
                    if applied != stored:
                        await self._writer.save(applied)
                    return self._blocked(key.workspace_id, refused.until - now)
                # This turn finds out for all the others; they go on waiting while it looks.
                refused.until = now + timedelta(seconds=UNAUTHORIZED_SECONDS)
            return await self._look_and_act(key, desired, applied, priority)
        except LeaseLost:
            raise
        except StoreError as error:
            # Nothing was sent without its intent on disk; what was sent will be looked at again.
            self.state_alarm.met(error)
            return Turn(None, Again(retry_seconds(3, self._clock.random), Priority.RETRY), Outcome.FAILED, error)

    async def _look_and_act(self, key: RecordingKey, desired: Desired, applied: Applied, priority: Priority) -> Turn:
        try:
            live = self._first_look(key, desired, applied)
            if live is None:
                since = self._since(applied, priority)
                live = await self._observer.observe(key, since=since, priority=priority)
        except BirdUnauthorized as error:
            await self._save_if_new(applied, error)
            return self._refuse_key(error, reads=False)
        except BirdError as error:
            if isinstance(error, BirdUnavailable) and error.held:
                return await self._not_tried(applied, error, priority)
            return await self._failed(applied, error)
        refused = self._refused.get(key.workspace_id)
        if refused is not None and not refused.reads:
            self._take_key(key.workspace_id)
        now = self._clock.now()
        applied = await self._within_reach(applied, now)
        applied = _with_overtaken(applied, live, now)
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
                return await self._patch(action, seen, live, now, priority)

    async def _within_reach(self, applied: Applied, now: datetime) -> Applied:
        """Bring a deadline back that the clock, having been set back, would reach only after the length of its jump."""
        until = now + self._confirm
        if applied.confirm_by is None or applied.confirm_by <= until + _CLOCK_STEP:
            return applied
        sent_at, accepted_at = (None if at is None else min(at, now) for at in (applied.sent_at, applied.accepted_at))
        applied = applied._replace(sent_at=sent_at, accepted_at=accepted_at, confirm_by=until)
        await self._writer.save(applied)
        return applied

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

    def _with_document(self, key: RecordingKey, applied: Applied | None, desired: Desired) -> Applied:
        """Return the record with what the document says now; a new desired status starts with a clean slate."""
        if applied is None:
            return Applied(
                key, desired.name, desired.file, desired.line, desired.status, desired.drift, desired.suspend
            )
        if applied.desired is not desired.status:
            applied = applied._replace(
                desired=desired.status,
                attempts=0,
                error="",
                rejected=None,
                rejected_live=None,
                revision=self._revision_of(key) or self._newest_revision(),
            )
        if (applied.name, applied.file, applied.line, applied.drift, applied.suspend) == (
            desired.name,
            desired.file,
            desired.line,
            desired.drift,
            desired.suspend,
        ):
            return applied
        return applied._replace(
            name=desired.name,
            file=desired.file,
            line=desired.line,
            drift=desired.drift,
            suspend=desired.suspend,
        )

    def _asked_by(self, record: Applied) -> str | None:
        """Return the commit that asked for what is decided now: its document's own, or the last one known of it."""
        return self._revision_of(record.key) or record.revision or self._newest_revision()

    # What a decision leads to, one method each.

    async def _release(self, key: RecordingKey, applied: Applied | None) -> Turn:
        self._edits_seen.pop(key, None)
        if applied is not None:
            released = applied._replace(revision=self._newest_revision() or applied.revision)
            await self._writer.release(key, self._event("released", released, cause=Reason.REMOVED))
            self._log.info("released", name=applied.name, recording_id=key.recording_id)
        return Turn(None)

    async def _hold(self, until: datetime, stored: Applied | None, applied: Applied, now: datetime) -> Turn:
        self._edits_seen.pop(applied.key, None)
        held = applied._replace(phase=Phase.HELD, due_at=until, revision=self._asked_by(applied))
        if applied.phase is not Phase.HELD:
            await self._writer.save(held, self._event("suspended", held, cause=Reason.SUSPENDED))
            self._log.info("suspended", **_of(held), until=until.isoformat())
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
        record = seen._replace(
            phase=Phase.APPLIED,
            last_applied=seen.desired,
            applied_at=now if confirmed or before.last_applied is not seen.desired else before.applied_at,
            sent=None,
            sent_at=None,
            accepted_at=None,
            confirm_by=None,
            rejected=None,
            rejected_live=None,
            attempts=0,
            due_at=None,
            error="",
        )
        if confirmed:
            await self._writer.save(
                record,
                self._event(
                    "applied",
                    record,
                    cause="confirm",
                    from_status=before.live,
                    outcome=Outcome.APPLIED,
                    requested_at=before.sent_at,
                ),
            )
            self._log.info("applied", **_of(record), status=record.desired.value)
            self._measured(record.key, Outcome.APPLIED)
        elif before.last_applied is not record.last_applied or before.phase is not Phase.APPLIED:
            await self._writer.save(record, self._event("in_sync", record, cause=action.reason))
        else:
            await self._writer.save(record)
        self._edits_seen.pop(record.key, None)
        final = action.live is not None and action.live.final
        return Turn(Phase.APPLIED, outcome=Outcome.APPLIED if confirmed else None, final=final)

    async def _report(self, action: Action, before: Applied, seen: Applied) -> Turn:
        ended = action.reason in (Reason.ENDED, Reason.ENDED_BEFORE_EFFECT)
        detail = "" if action.live is None else action.live.detail
        record = seen._replace(
            phase=Phase.ENDED if ended else Phase.DRIFTED,
            sent=None if ended else seen.sent,
            due_at=None,
            attempts=0,
            error=detail,
        )
        lost = ended and before.sent is before.desired
        self._edits_seen.pop(action.key, None)
        if before.phase is record.phase and before.live == record.live:
            await self._writer.save(record)
        else:
            event = "ended" if ended else "drift_detected"
            outcome = Outcome.UNCONFIRMED if lost else Outcome.SKIPPED
            await self._writer.save(
                record, self._event(event, record, cause=action.reason, outcome=outcome, detail=detail)
            )
            self._log.warning(
                event,
                **_of(record),
                reason=action.reason.value,
                desired=record.desired.value,
                live=record.live,
                detail=detail,
            )
        if lost:
            self._measured(record.key, Outcome.UNCONFIRMED)
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
                return await self._unconfirmed(seen)
        unknown = action.live is not None and action.live.status is LiveStatus.UNKNOWN
        record = seen._replace(phase=Phase.WAITING)
        if before.phase is not Phase.WAITING or before.live != seen.live:
            await self._writer.save(record, self._event("waiting", record, cause=action.reason))
            log = self._log.warning if unknown else self._log.info
            log("waiting", **_of(record), reason=action.reason.value, live=record.live)
        seconds = UNKNOWN_STATUS_SECONDS if unknown else NOT_STARTED_SECONDS
        return Turn(Phase.WAITING, Again(seconds, Priority.CONFIRM))

    def _next_look(self, record: Applied, now: datetime, until: datetime) -> Again:
        """Return when to look for the effect again; the last look comes just after the deadline."""
        since = record.accepted_at or record.sent_at or now
        seconds = confirm_seconds_after((now - since).total_seconds())
        return Again(min(seconds, (until - now).total_seconds() + 0.001), Priority.CONFIRM)

    async def _patch(self, action: Action, seen: Applied, live: Live, now: datetime, priority: Priority) -> Turn:
        if seen.rejected is seen.desired and seen.rejected_live == seen.live:
            # The API has refused exactly this, and neither side has changed since.
            self._edits_seen.pop(seen.key, None)
            await self._writer.save(seen._replace(phase=Phase.REJECTED, attempts=0))
            return Turn(Phase.REJECTED, outcome=Outcome.REJECTED, error=ReconcilerError(seen.error))
        if seen.sent is seen.desired and seen.accepted_at is not None and seen.confirm_by is not None:
            return await self._unconfirmed(seen)
        if action.drifted and seen.phase in (Phase.APPLIED, Phase.DRIFTED):
            self._log.warning(
                "drift_detected",
                **_of(seen),
                desired=seen.desired.value,
                live=live.word,
                reason=action.reason.value,
            )
        refused = self._refused.get(seen.key.workspace_id)
        if refused is not None and _is_ahead(refused.until, now):
            blocked = self._blocked(seen.key.workspace_id, refused.until - now)
            await self._writer.save(seen._replace(phase=Phase.FAILED, error=str(blocked.error)))
            return replace(blocked, phase=Phase.FAILED)
        held = self._held_back(seen.key.workspace_id)
        if held is not None:
            # Asked before the intent is recorded: what cannot leave is no PATCH, neither in the history nor to the
            # limits. That the budget has no room is no failure; a circuit that is open for PATCHes alone is one, so
            # that the looks, which cost a request each time, become fewer.
            return await (self._not_tried(seen, held, priority) if held.throttled else self._failed(seen, held))
        if self._expected is not None and not _same(action, self._expected.get(action.key)):
            return await self._stale(action, seen, live)
        # Of how many it is a part is asked of drift alone: edits were counted when they came in.
        managed = self._managed() if action.reason is Reason.DRIFT else 0
        refusal = self._window.admit(action, managed, now)
        if refusal is not None:
            return await self._limit_refused(seen, refusal)
        if refused is not None:
            # This PATCH finds out for all the others; they go on waiting for its answer.
            refused.until = now + timedelta(seconds=UNAUTHORIZED_SECONDS)
        return await self._send(action, seen, live, now)

    async def _unconfirmed(self, seen: Applied) -> Turn:
        attempts = seen.attempts + 1
        record = seen._replace(
            phase=Phase.UNCONFIRMED,
            confirm_by=None,
            attempts=attempts,
            error=f"accepted, but not {seen.desired} within {self._confirm.total_seconds():g} s",
        )
        event = self._event(
            "unconfirmed", record, cause="confirm", outcome=Outcome.UNCONFIRMED, requested_at=seen.sent_at
        )
        await self._writer.save(record, event)
        self._log.warning("unconfirmed", **_of(record), desired=record.desired.value, live=record.live)
        self._measured(record.key, Outcome.UNCONFIRMED)
        again = Again(retry_seconds(attempts, self._clock.random), Priority.RETRY)
        return Turn(Phase.UNCONFIRMED, again, Outcome.UNCONFIRMED)

    async def _stale(self, action: Action, seen: Applied, live: Live) -> Turn:
        """Send nothing, because the saved plan says something else than what is decided now."""
        await self._writer.save(seen)
        error = StalePlan(
            f"the saved plan no longer fits: last-applied is {action.last_applied or 'none'}, live is {live.word} now"
        )
        return Turn(seen.phase, outcome=Outcome.SKIPPED, error=error)

    async def _limit_refused(self, seen: Applied, refusal: Refusal) -> Turn:
        if seen.phase is not Phase.REFUSED or seen.error != str(refusal):
            record = seen._replace(phase=Phase.REFUSED, error=str(refusal))
            event = self._event("limit_refused", record, cause=refusal.rule, outcome=Outcome.SKIPPED)
            await self._writer.save(record, event)
            self._log.error(
                "limit_refused",
                **_of(record),
                **refusal.as_log(),
            )
        else:
            await self._writer.save(seen)
        return Turn(Phase.REFUSED, Again(LIMIT_SECONDS, Priority.RESYNC), Outcome.SKIPPED, refusal=refusal)

    async def _send(self, action: Action, seen: Applied, live: Live, now: datetime) -> Turn:
        grace = timedelta(seconds=min(UNKNOWN_FATE_SECONDS, self._confirm.total_seconds()))
        intent = seen._replace(
            phase=Phase.SENDING,
            sent=seen.desired,
            sent_at=now,
            accepted_at=None,
            confirm_by=now + grace,
            revision=self._asked_by(seen),
        )
        sent_event = self._event(
            "patch_sent",
            intent,
            cause=action.reason,
            from_status=live.word,
            requested_at=now,
            irreversible=action.irreversible,
            resumes_foreign=action.foreign,
        )
        await self._writer.save(intent, sent_event)
        check_lease(self._writer)
        self._log.info(
            "patch_sent",
            **_of(intent),
            reason=action.reason.value,
            live=live.word,
            desired=intent.desired.value,
        )
        self._step(intent.key, "sent")
        started = self._clock.monotonic()
        try:
            try:
                accepted = await self._sender.set_status(intent.key, intent.desired)
            finally:
                self._observer.forget(intent.key.call)
        except BirdUnauthorized as error:
            self._meters.patched(Outcome.FAILED)
            await self._not_sent(seen, error, started, answer=str(error.status))
            return replace(self._refuse_key(error, reads=True), phase=Phase.FAILED)
        except BirdRejected as error:
            self._take_key(intent.key.workspace_id)
            return await self._rejected(seen, error, started)
        except BirdUnavailable as error:
            return await self._send_failed(seen, intent, error, started)
        self._take_key(intent.key.workspace_id)
        now = self._clock.now()
        record = intent._replace(
            phase=Phase.CONFIRMING,
            accepted_at=now,
            confirm_by=now + self._confirm,
            error="",
            due_at=None,
        )
        event = self._event(
            "patch_accepted",
            record,
            cause=action.reason,
            requested_at=intent.sent_at,
            request_ms=accepted.took_ms,
            answer=str(accepted.status_code),
        )
        await self._writer.save(record, event)
        self._log.info("patch_accepted", **_of(record), took_ms=round(accepted.took_ms, 1))
        self._step(record.key, "accepted")
        return Turn(Phase.CONFIRMING, Again(confirm_seconds_after(0.0), Priority.CONFIRM))

    # What can go wrong, one method each.

    async def _send_failed(self, seen: Applied, intent: Applied, error: BirdUnavailable, started: float) -> Turn:
        """Record a PATCH that got no answer to rely on; the next turn looks before it sends again."""
        if error.sent or error.throttled:  # else none left
            self._meters.patched(Outcome.FAILED)
        if not error.sent:
            return self._retry(await self._not_sent(seen, error, started, answer=error.code), error)
        attempts = seen.attempts + 1
        answered = error.code.startswith("http_")
        # A server error is an answer, and the API calls it safe to send again; a lost answer may be an effect under
        # way.
        confirm_by = self._clock.now() if answered else intent.confirm_by
        record = intent._replace(attempts=attempts, error=str(error), confirm_by=confirm_by)
        await self._writer.save(record, self._failure(record, error.code, started))
        return self._retry(record, error)

    async def _not_sent(self, seen: Applied, error: BirdError, started: float, *, answer: str) -> Applied:
        """Record that a PATCH was not processed: what was under way before it is under way still."""
        record = seen._replace(phase=Phase.FAILED, attempts=seen.attempts + 1, error=str(error))
        await self._writer.save(record, self._failure(record, answer, started))
        return record

    def _failure(self, record: Applied, answer: str, started: float) -> Event:
        return self._event(
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
        log = self._log.debug if error.held else self._log.warning
        log(event, **_of(record), after_seconds=round(seconds, 3), attempts=record.attempts, error=str(error))
        return Turn(record.phase, Again(seconds, Priority.RETRY), Outcome.FAILED, error)

    async def _failed(self, applied: Applied, error: BirdError) -> Turn:
        """Record that live state could not be read."""
        record = _with_failure(applied, error)._replace(attempts=applied.attempts + 1)
        await self._writer.save(record)
        if isinstance(error, BirdUnavailable):
            return self._retry(record, error)
        seconds = retry_seconds(record.attempts, self._clock.random)
        self._log.warning("retry_scheduled", **_of(record), after_seconds=round(seconds, 3), error=str(error))
        return Turn(record.phase, Again(seconds, Priority.RETRY), Outcome.FAILED, error)

    async def _not_tried(self, applied: Applied, error: BirdUnavailable, priority: Priority) -> Turn:
        """Come back, as urgent as before, when a look may leave: the API has not been asked, so nothing is known anew.

        Written down only where somebody should see it, and once: all recordings of a workspace may come by here again
        and again while the API is down.
        """
        phase = applied.phase
        if not error.throttled:
            record = _with_failure(applied, error)
            phase = record.phase
            if record != self._reader.get(applied.key):
                await self._writer.save(record)
        return Turn(phase, Again(error.retry_after or 0.0, priority), Outcome.FAILED, error)

    async def _save_if_new(self, applied: Applied, error: BirdError) -> None:
        if applied.error != str(error):
            await self._writer.save(applied._replace(error=str(error)))

    async def _rejected(self, seen: Applied, error: BirdRejected, started: float) -> Turn:
        """Look again after a refusal: the wanted status there is success, anything else a rejection that is kept."""
        now = self._clock.now()
        try:
            live = await self._observer.observe(seen.key, since=now, priority=Priority.CONFIRM)
        except BirdError as look_error:
            self._meters.patched(Outcome.FAILED)
            return await self._failed(await self._not_sent(seen, error, started, answer=str(error.status)), look_error)
        record = seen._replace(live=live.word, observed_at=live.observed_at)
        took_ms = (self._clock.monotonic() - started) * 1000
        answer = f"{error.status} {error.code}"
        if live.satisfies(seen.desired):
            record = record._replace(
                phase=Phase.APPLIED,
                last_applied=seen.desired,
                applied_at=self._clock.now(),
                sent=None,
                sent_at=None,
                accepted_at=None,
                confirm_by=None,
                attempts=0,
                error="",
            )
            event = self._event(
                "applied", record, cause="confirm", answer=answer, request_ms=took_ms, outcome=Outcome.APPLIED
            )
            await self._writer.save(record, event)
            self._log.info("applied", **_of(record), status=record.desired.value, answer=answer)
            self._measured(record.key, Outcome.APPLIED)
            return Turn(Phase.APPLIED, outcome=Outcome.APPLIED)
        record = record._replace(
            phase=Phase.ENDED if live.final else Phase.REJECTED,
            rejected=seen.desired,
            rejected_live=live.word,
            attempts=0,
            error=str(error),
        )
        event = self._event(
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
            **_of(record),
            desired=record.desired.value,
            live=live.word,
            code=error.code,
            status=error.status,
            error=str(error),
        )
        self._measured(record.key, Outcome.REJECTED)
        return Turn(record.phase, outcome=Outcome.REJECTED, error=error)

    def _refuse_key(self, error: BirdUnauthorized, *, reads: bool) -> Turn:
        """Leave the workspace alone for a while, and say so once."""
        until = self._clock.now() + timedelta(seconds=UNAUTHORIZED_SECONDS)
        before = self._refused.get(error.workspace_id)
        if before is None:
            self._log.error(
                "unauthorized",
                workspace_id=error.workspace_id,
                status=error.status,
                again_seconds=UNAUTHORIZED_SECONDS,
                error=str(error),
            )
        still_reads = reads and (before is None or before.reads)
        self._refused[error.workspace_id] = _Refused(error.fingerprint, until, still_reads)
        return Turn(None, Again(UNAUTHORIZED_SECONDS, Priority.RETRY), Outcome.FAILED, error)

    def _take_key(self, workspace_id: str) -> None:
        """Go on with a workspace that takes its key again."""
        if self._refused.pop(workspace_id, None) is not None:
            self._log.info("authorized_again", workspace_id=workspace_id)
            self._authorized_again(workspace_id)

    def _blocked(self, workspace_id: str, left: timedelta) -> Turn:
        error = BirdUnauthorized(
            f"the key of workspace {workspace_id} was refused; nothing is sent to it for now",
            status=401,
            workspace_id=workspace_id,
        )
        again = Again(left.total_seconds() + self._clock.random(), Priority.RETRY)
        return Turn(None, again, Outcome.FAILED, error)

    # What is written down.

    def _event(
        self,
        event: str,
        record: Applied,
        *,
        cause: str = "",
        from_status: str | None = None,
        requested_at: datetime | None = None,
        request_ms: float | None = None,
        answer: str | None = None,
        outcome: Outcome | None = None,
        irreversible: bool = False,
        resumes_foreign: bool = False,
        detail: str = "",
    ) -> Event:
        return Event(
            at=self._clock.now(),
            event=event,
            key=record.key,
            name=record.name,
            cause=str(cause),
            revision=record.revision,
            from_status=from_status if from_status is not None else record.live,
            to_status=record.desired.value,
            requested_at=requested_at,
            request_ms=request_ms,
            answer=answer,
            outcome=None if outcome is None else outcome.value,
            irreversible=irreversible,
            resumes_foreign=resumes_foreign,
            run_id=self._run_id,
            detail=detail,
        )

    def _step(self, key: RecordingKey, step: str) -> None:
        seen_at = self._edits_seen.get(key)
        if seen_at is not None:
            self._meters.edit_step(step, self._clock.monotonic() - seen_at)

    def _measured(self, key: RecordingKey, outcome: Outcome) -> None:
        self._meters.patched(outcome)
        if outcome is Outcome.APPLIED:
            self._step(key, "confirmed")
        self._edits_seen.pop(key, None)


def _with_overtaken(record: Applied, live: Live, now: datetime) -> Applied:
    """Take a PATCH for applied that a newer desired status has overtaken, once a look shows its effect.

    Were it forgotten when the next PATCH goes out, and that one lost, our own pause would look like an agent's.
    """
    if record.sent is None or record.sent is record.desired or not live.satisfies(record.sent):
        return record
    return record._replace(
        last_applied=record.sent,
        applied_at=now,
        sent=None,
        sent_at=None,
        accepted_at=None,
        confirm_by=None,
    )


def _with_failure(record: Applied, error: BirdError) -> Applied:
    # A refusal by the API is still the last that is known, and its words are what a person needs.
    if record.phase is Phase.REJECTED:
        return record
    if record.phase in (Phase.SENDING, Phase.CONFIRMING, Phase.UNCONFIRMED):
        return record._replace(error=str(error))
    return record._replace(phase=Phase.FAILED, error=str(error))


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


def _is_ahead(until: datetime, now: datetime) -> bool:
    """Return whether a workspace's rest is not over; one that is longer than any was begun before a clock's jump."""
    return now < until <= now + timedelta(seconds=UNAUTHORIZED_SECONDS) + _CLOCK_STEP


def _of(record: Applied) -> dict[str, str]:
    return {"name": record.name, "recording_id": record.key.recording_id}
