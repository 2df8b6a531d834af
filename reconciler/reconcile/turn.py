"""One turn, from the document to the decision; what comes of the decision is done by the other modules.

What must never happen here: a PATCH that is decided on without a look, or a failure of one recording that ends the
turns of the others.
"""

from __future__ import annotations

from datetime import datetime

from reconciler.model import (
    Action,
    ActionKind,
    CredentialRefused,
    Desired,
    LeaseLost,
    Live,
    Outcome,
    Postponed,
    Priority,
    ProviderError,
    Record,
    RecordingKey,
    StoreError,
    Unavailable,
)
from reconciler.plan import decide
from reconciler.reconcile.failures import Failures
from reconciler.reconcile.looks import Looks
from reconciler.reconcile.notes import Notes
from reconciler.reconcile.parts import Desires, Guards, LiveState, Run, State, TurnSettings
from reconciler.reconcile.patch import Patcher
from reconciler.reconcile.permits import Permits
from reconciler.reconcile.record import as_declared, as_edited, with_document, with_look, with_overtaken, within_reach
from reconciler.reconcile.surroundings import Turn
from reconciler.reconcile.unsent import Unsent
from reconciler.telemetry import Alarm
from reconciler.work import Again, retry_seconds


class Reconciler:
    """Does turns. Holds no recording's state: that is in the store."""

    def __init__(
        self, desires: Desires, state: State, live_state: LiveState, guards: Guards, settings: TurnSettings, run: Run
    ) -> None:
        """Put the parts together.

        Args:
            desires: what the documents ask for.
            state: the state store.
            live_state: how live state is read and changed.
            guards: what may keep a PATCH back.
            settings: how long what is waited for.
            run: time, chance, and where it is said what is done.
        """
        self._desires = desires
        self._state = state
        self._settings = settings
        self._clock = run.clock
        #: Told by each turn that could not use the state; whoever runs turns for long looks at it now and then.
        self.state_alarm = Alarm(run.log, "state_unwritable", "state_writable_again", run.clock.monotonic)
        self.sparing = run.sparing
        self.refused_keys = guards.refused_keys
        self._notes = Notes(run)
        self._failures = Failures(state, self._notes, settings.confirm)
        self._looks = Looks(live_state, state, self._notes, settings)
        self._unsent = Unsent(desires, state.writer, self._notes, self._failures, self._looks, settings.confirm)
        permits = Permits(guards, state.writer, self._notes, self._failures)
        self._patcher = Patcher(
            desires, state.writer, live_state, permits, self._failures, self._notes, settings.confirm
        )

    def look_afresh(self) -> None:
        """From now on decide on no look that began before this moment: somebody asked for one."""
        self._looks.look_afresh()

    def saw_edit(self, key: RecordingKey) -> None:
        """Note that a document changed, to measure how long its PATCH takes."""
        self._notes.saw_edit(key)

    async def reconcile(self, key: RecordingKey, priority: Priority) -> Turn:
        """Do one turn of one recording.

        Raises:
            LeaseLost: another process holds the state now; this one must end.
        """
        desired = self._desires.document_of(key)
        try:
            stored = self._state.reader.get(key)
            if desired is None:
                return await self._unsent.release(key, stored)
            now = self._clock.now()
            record = self._declared(key, stored, desired)
            if desired.suspend is not None and now < desired.suspend.until:
                return await self._unsent.hold(desired.suspend.until, stored, record, now)
            rest = self.refused_keys.rest_before_look(key.workspace_id, now)
            if rest is not None:
                return await self._refused(record, self.refused_keys.blocked(key.workspace_id, rest))
            return await self._look_and_act(key, desired, record, priority)
        except LeaseLost:
            raise
        except StoreError as error:
            # Nothing was sent without its intent on disk; what was sent will be looked at again.
            self.state_alarm.met(error)
            again = Again(retry_seconds(3, self._clock.random), Priority.RETRY)
            return Turn(None, again, Outcome.FAILED, error, looked=False)

    def _declared(self, key: RecordingKey, stored: Record | None, desired: Desired) -> Record:
        """Return the record with what the document says now."""
        base = self._desires.base
        if stored is None:
            return as_declared(key, desired, base, self._clock.now())
        if stored.desired is not desired.status:
            stored = as_edited(stored, desired.status, self._desires.changed_by(key), self._clock.now())
        return with_document(stored, desired, base)

    async def _look_and_act(self, key: RecordingKey, desired: Desired, record: Record, priority: Priority) -> Turn:
        try:
            live = await self._looks.take(key, desired, record, priority)
        except CredentialRefused as error:
            return await self._refused(record, self.refused_keys.refuse(error, reads=False))
        except ProviderError as error:
            if isinstance(error, Postponed):
                turn = await self._failures.not_tried(record, error, priority)
            else:
                turn = await self._failures.blind(record, error)
            return turn._replace(looked=not isinstance(error, Unavailable))
        self.refused_keys.look_answered(key.workspace_id)
        gap = self._looks.ends_gap(record, live, failed=self._failures.answered(key))
        now = self._clock.now()
        reached = within_reach(record, now, self._settings.confirm)
        if reached is not record:
            await self._state.writer.save(reached)
        record = with_overtaken(await self._looks.note_gap(reached, live, now, gap=gap), live, now)
        action = decide(key, desired, record, live, now, call_seconds=self._settings.call_seconds)
        # What was sent keeps the commit that asked for it.
        revision = self._desires.asked_by(record) if record.sent is None else record.revision
        before = self._looks.before_doubt(action, record)
        seen = with_look(before, live)
        if seen.revision != revision:
            seen = seen._replace(revision=revision)
        self._looks.count_missing(seen)
        turn = await self._act(action, before, seen, live, now, priority)
        return turn._replace(reason=action.reason, detail=live.detail)

    async def _act(
        self, action: Action, before: Record, seen: Record, live: Live, now: datetime, priority: Priority
    ) -> Turn:
        match action.kind:
            case ActionKind.NOOP:
                return await self._unsent.in_sync(action, before, seen, now)
            case ActionKind.REPORT:
                return await self._unsent.report(action, before, seen, now)
            case ActionKind.WAIT:
                return await self._unsent.wait(action, before, seen, now)
            case _:
                if action.drifted:
                    seen = await self._unsent.drifted(action, before, seen, now)
                return await self._patcher.patch(action, seen, live, now, priority)

    async def _refused(self, record: Record, turn: Turn) -> Turn:
        """Return the turn that ended because the access key was refused, once the record says so."""
        if not isinstance(turn.error, ProviderError):
            return turn
        return turn._replace(phase=await self._failures.note_blind(record, turn.error), looked=False)
