"""One turn, from the document to the decision, and all that is done without a PATCH.

What must never happen here: a decision on a look that is older than what it is to find, or on one from before a person
asked for a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from reconciler.model import (
    Action,
    ActionKind,
    Clock,
    CredentialRefused,
    Desired,
    LeaseLost,
    Live,
    LiveStatus,
    Outcome,
    Phase,
    Postponed,
    Priority,
    ProviderError,
    Reason,
    ReconcilerError,
    Record,
    RecordingKey,
    StoreError,
    Unavailable,
)
from reconciler.plan import CALL_SECONDS, Window, decide
from reconciler.reconcile.accounts import RefusedKeys
from reconciler.reconcile.failures import Failures
from reconciler.reconcile.gaps import Gaps
from reconciler.reconcile.notes import Notes, named
from reconciler.reconcile.observer import Observer
from reconciler.reconcile.patch import Patcher
from reconciler.reconcile.record import (
    EARLIER_REQUEST,
    SEEN_ONCE,
    as_confirming,
    as_declared,
    as_drifted,
    as_edited,
    as_held,
    as_in_sync,
    as_reported,
    as_seen_again,
    as_waiting,
    standing,
    with_document,
    with_look,
    with_overtaken,
    within_reach,
)
from reconciler.reconcile.surroundings import Meters, NoMeters, Reader, Sender, Turn, Writer
from reconciler.telemetry import Alarm, Log, Sparing
from reconciler.work import Again, confirm_seconds_after, missing_seconds, retry_seconds

#: When to look again at a recording that has not started (Bird's `accepted`), and at one in an unknown status.
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
#: How far looks lie apart at most where nobody says how often everything is looked at: two periods of the default, for
#: a look may be early in one period and late in the next.
APART_SECONDS = 600.0
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
        call_seconds: float = CALL_SECONDS,
        apart_seconds: float = APART_SECONDS,
        command: str = "reconciler",
        meters: Meters | None = None,
        first_looks: Mapping[RecordingKey, Live] | None = None,
        expected: Mapping[RecordingKey, Action] | None = None,
        revision_of: Callable[[RecordingKey], str | None] = lambda _key: None,
        newest_revision: Callable[[], str | None] = lambda: None,
        authorized_again: Callable[[str], None] = lambda _workspace_id: None,
        fingerprint: Callable[[str], int | None] = lambda _workspace_id: None,
        postponed: Callable[[str], Postponed | None] = lambda _workspace_id: None,
        sparing: Sparing | None = None,
        watches: bool = True,
    ) -> None:
        """Put the parts together.

        Args:
            desired: answers what a recording's document asks for; None when there is none.
            base: what the files of the documents are relative to; see `Record.base`.
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
            call_seconds: how long a call may live, and so how long a recording that is not found is waited for.
            apart_seconds: how far looks may lie apart and still prove what a recording was between them.
            command: stands in the history as the author of what no commit asked for.
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
            postponed: answers why a PATCH to a workspace could not leave now; None when it could.
            sparing: through which is said what may meet very many at once; by default one of its own for `log`.
            watches: whether this process goes on looking, so that its looks prove what lies between them.
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
        #: Whoever runs turns for long looks at it now and then, and ends it.
        self.sparing = sparing or Sparing(log, clock.monotonic)
        self._confirm = timedelta(seconds=confirm_seconds)
        self._call_seconds = call_seconds
        #: Recordings that the last look did not find, without a proof of their end.
        self._missing: set[RecordingKey] = set()
        #: Records as they were before a look that contradicts them, until another look settles it: moments.
        self._doubted: dict[RecordingKey, Record] = {}
        self._first_looks = dict(first_looks or {})
        self._revision_of = revision_of
        self._newest_revision = newest_revision
        self._not_before = datetime.min.replace(tzinfo=UTC)
        self._notes = Notes(clock, meters or NoMeters(), run_id, command)
        self._refused_keys = RefusedKeys(clock, self.sparing, fingerprint, authorized_again)
        self._gaps = Gaps(timedelta(seconds=apart_seconds), clock.now())
        self._watches = watches
        self._failures = Failures(reader, writer, clock, log, self.sparing, self._notes, self._confirm)
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
            postponed=postponed,
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

    def key_refused(self, error: CredentialRefused) -> None:
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
                blocked = self._refused_keys.blocked(key.workspace_id, rest)
                return await self._refused(applied, blocked)
            return await self._look_and_act(key, desired, applied, priority)
        except LeaseLost:
            raise
        except StoreError as error:
            # Nothing was sent without its intent on disk; what was sent will be looked at again.
            self.state_alarm.met(error)
            again = Again(retry_seconds(3, self._clock.random), Priority.RETRY)
            return Turn(None, again, Outcome.FAILED, error, looked=False)

    def _declared(self, key: RecordingKey, stored: Record | None, desired: Desired) -> Record:
        """Return the record with what the document says now."""
        if stored is None:
            return as_declared(key, desired, self._base, self._clock.now())
        if stored.desired is not desired.status:
            revision = self._revision_of(key) or self._newest_revision()
            stored = as_edited(stored, desired.status, revision, self._clock.now())
        return with_document(stored, desired, self._base)

    async def _look_and_act(self, key: RecordingKey, desired: Desired, applied: Record, priority: Priority) -> Turn:
        try:
            live = self._first_look(key, desired, applied)
            if live is None:
                since = self._since(applied, priority)
                live = await self._observer.observe(key, since=since, priority=priority)
        except CredentialRefused as error:
            return await self._refused(applied, self._refused_keys.refuse(error, reads=False))
        except ProviderError as error:
            if isinstance(error, Postponed):
                turn = await self._failures.not_tried(applied, error, priority)
            else:
                turn = await self._failures.blind(applied, error)
            return turn._replace(looked=not isinstance(error, Unavailable))
        self._refused_keys.look_answered(key.workspace_id)
        gap = self._gaps.ends(applied, live, failed=self._failures.answered(key))
        now = self._clock.now()
        reached = within_reach(applied, now, self._confirm)
        if reached is not applied:
            await self._writer.save(reached)
        if reached.phase is Phase.BLIND:
            reached = await self._seen_again(reached, live, now)
        elif gap or (self._watches and self._gaps.first_look(applied, live)):
            await self._note_gap(reached, live, gap=gap)
        applied = with_overtaken(reached, live, now)
        action = decide(key, desired, applied, live, now, call_seconds=self._call_seconds)
        # What was sent keeps the commit that asked for it.
        revision = self._asked_by(applied) if applied.sent is None else applied.revision
        before = self._before_doubt(action, applied)
        seen = with_look(before, live)
        if seen.revision != revision:
            seen = seen._replace(revision=revision)
        if seen.missing_since is None:
            self._missing.discard(key)
        else:
            self._missing.add(key)
        turn = await self._act(action, before, seen, live, now, priority)
        return turn._replace(reason=action.reason, detail=live.detail)

    def _before_doubt(self, action: Action, applied: Record) -> Record:
        """Return the record as it was before a look that was doubted, once another look has said which was right.

        What is told of the two is told against what had been seen before them.
        """
        if action.reason is Reason.CONTRADICTED:
            self._doubted.setdefault(action.key, applied)
            return applied
        first = self._doubted.pop(action.key, None)
        if first is None:
            return applied
        return applied._replace(
            phase=first.phase,
            reason=first.reason,
            phase_since=first.phase_since,
            unmet_since=first.unmet_since,
            live=first.live,
            observed_at=first.observed_at,
        )

    async def _act(
        self, action: Action, before: Record, seen: Record, live: Live, now: datetime, priority: Priority
    ) -> Turn:
        match action.kind:
            case ActionKind.NOOP:
                return await self._in_sync(action, before, seen, now)
            case ActionKind.REPORT:
                return await self._report(action, before, seen, now)
            case ActionKind.WAIT:
                return await self._wait(action, before, seen, now)
            case _:
                if action.drifted:
                    seen = await self._drifted(action, before, seen, now)
                return await self._patcher.patch(action, seen, live, now, priority)

    async def _refused(self, applied: Record, turn: Turn) -> Turn:
        """Return the turn that the key of the workspace held up, once the record says so."""
        if not isinstance(turn.error, ProviderError):
            return turn
        return turn._replace(phase=await self._failures.note_blind(applied, turn.error), looked=False)

    async def _seen_again(self, blind: Record, live: Live, now: datetime) -> Record:
        """Say since when nobody saw the recording, now that somebody does."""
        record = as_seen_again(blind, now)
        await self._writer.save(record, self._notes.seen_again(blind, with_look(record, live), detail=blind.error))
        return record

    async def _note_gap(self, before: Record, live: Live, *, gap: bool) -> None:
        """Say that nobody looked for a while, unless the last event of the recording says so of all that follows it."""
        seen_once = self._reader.last_event(before.key) == SEEN_ONCE
        # Who looks on says that it does; who does not adds nothing to what the last of its kind has said.
        if (gap or seen_once) if self._watches else not seen_once:
            record = with_look(before, live)
            await self._writer.save(record, self._notes.seen_again(before, record, once=not self._watches))

    def _first_look(self, key: RecordingKey, desired: Desired, applied: Record) -> Live | None:
        """Return what the plan saw, if this turn may still decide on it."""
        live = self._first_looks.pop(key, None)
        if live is None:
            return None
        now = self._clock.now()
        fresh = timedelta(0) <= now - live.observed_at <= timedelta(seconds=FRESH_SECONDS)
        kind = decide(key, desired, applied, live, now, call_seconds=self._call_seconds).kind
        return live if fresh or kind is not ActionKind.PATCH else None

    def _since(self, applied: Record, priority: Priority) -> datetime:
        """Return when the look must have begun at the earliest."""
        now = self._clock.now()
        if applied.sent is None:
            shared = FRESH_SECONDS if priority is Priority.RESYNC else SHARED_SECONDS
            since = max(self._not_before, now - timedelta(seconds=shared))
            if applied.reason == Reason.CONTRADICTED and applied.observed_at is not None and applied.observed_at < now:
                # One that began before it is no second opinion.
                since = max(since, applied.observed_at + timedelta(microseconds=1))
            return since
        if applied.accepted_at is None:
            # The fate of the PATCH is unknown: only a look that began after its failure was known says anything.
            return now
        shared = SHARED_SECONDS
        if applied.confirm_by is not None and now < applied.confirm_by:
            # One look serves every recording of the call that waits for its effect; half the wait since the last look
            # keeps one that is a moment too old from costing a turn.
            shared = max(shared, confirm_seconds_after((now - applied.accepted_at).total_seconds()) / 2)
        return max(applied.accepted_at, now - timedelta(seconds=shared))

    def _asked_by(self, record: Record) -> str | None:
        """Return the commit that asked for what is decided now: its document's own, or the last one known of it."""
        return self._revision_of(record.key) or record.revision or self._newest_revision()

    # What a decision that sends nothing leads to, one method each.

    async def _release(self, key: RecordingKey, applied: Record | None) -> Turn:
        self._notes.drop_edit(key)
        self._failures.answered(key)
        self._missing.discard(key)
        self._doubted.pop(key, None)
        if applied is not None:
            revision = self._revision_of(key) or self._newest_revision()
            released = applied._replace(revision=revision, reason=Reason.REMOVED.value)
            event = self._notes.done("released", released, cause=Reason.REMOVED)
            event = event._replace(to_status=None, last_seen=applied.live, last_seen_at=applied.observed_at)
            await self._writer.release(key, event)
            self._log.info("released", name=applied.name, recording_id=key.recording_id)
        return Turn(None)

    async def _hold(self, until: datetime, stored: Record | None, applied: Record, now: datetime) -> Turn:
        self._notes.drop_edit(applied.key)
        held = as_held(applied, until, self._asked_by(applied), now)
        if applied.phase is not Phase.HELD:
            event = self._notes.done("suspended", held, cause=Reason.SUSPENDED)
            event = event._replace(to_status=held.live, last_seen=held.live, last_seen_at=held.observed_at)
            await self._writer.save(held, event)
            self._log.info("suspended", **named(held), until=until.isoformat())
        elif held != stored:
            await self._writer.save(held)
        return Turn(Phase.HELD, Again((until - now).total_seconds(), Priority.RESYNC))

    async def _in_sync(self, action: Action, before: Record, seen: Record, now: datetime) -> Turn:
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

    async def _drifted(self, action: Action, before: Record, seen: Record, now: datetime) -> Record:
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

    async def _report(self, action: Action, before: Record, seen: Record, now: datetime) -> Turn:
        ended = action.reason in (Reason.ENDED, Reason.ENDED_BEFORE_EFFECT)
        away = action.reason in (Reason.MOVED, Reason.NOT_FOUND)
        detail = "" if action.live is None else action.live.detail
        record = as_reported(seen, action.reason, detail, now)
        lost = ended and before.sent is before.desired
        self._notes.drop_edit(action.key)
        if before.phase is record.phase and before.live == record.live and before.reason == record.reason:
            await self._writer.save(record)
        else:
            word = (
                "ended"
                if ended
                else "moved"
                if action.reason is Reason.MOVED
                else "not_found"
                if away
                else "drift_detected"
            )
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

    async def _wait(self, action: Action, before: Record, seen: Record, now: datetime) -> Turn:
        until = seen.confirm_by
        if seen.sent is seen.desired and until is not None:
            # Whatever word stands there while our PATCH takes its effect, it is the effect that is waited for.
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
        seconds = max(missing_seconds(elapsed.total_seconds()), len(self._missing) / MISSING_PER_SECOND)
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
