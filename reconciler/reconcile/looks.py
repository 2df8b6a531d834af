"""Which look a turn may decide on, and what that look proves of the time before it.

What must never happen here: a decision on a look that is older than what it is to find, or on one from before a person
asked for a new one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from reconciler.model import Action, ActionKind, Desired, Live, Phase, Priority, Reason, Record, RecordingKey
from reconciler.plan import decide
from reconciler.reconcile.gaps import Gaps
from reconciler.reconcile.notes import Notes
from reconciler.reconcile.parts import LiveState, State, TurnSettings
from reconciler.reconcile.record import SEEN_ONCE, as_seen_again, with_look
from reconciler.work import confirm_seconds_after

#: How old a plan's look, or one that a resync shares, may be for a PATCH to be decided on it.
FRESH_SECONDS = 2.0
#: Turns of one call that begin this close together share a look: less than a person needs to notice, and more than a
#: batch of turns needs to begin.
SHARED_SECONDS = 0.1


class Looks:
    """Gets looks for turns, and remembers of them what a later one must know."""

    def __init__(self, live_state: LiveState, state: State, notes: Notes, settings: TurnSettings) -> None:
        self._observer = live_state.observer
        self._state = state
        self._notes = notes
        self._clock = notes.run.clock
        self._settings = settings
        self._first_looks = dict(live_state.first_looks)
        self._gaps = Gaps(timedelta(seconds=settings.apart_seconds), self._clock.now())
        #: No look that began before this moment is decided on.
        self._not_before = datetime.min.replace(tzinfo=UTC)
        #: Recordings that the last look did not find, without a proof of their end.
        self._missing: set[RecordingKey] = set()
        #: Records as they were before a look that contradicts them. The next look settles it, a moment later.
        self._doubted: dict[RecordingKey, Record] = {}

    @property
    def missing(self) -> int:
        """How many recordings the last look did not find, without a proof of their end."""
        return len(self._missing)

    def look_afresh(self) -> None:
        """From now on decide on no look that began before this moment: somebody asked for one."""
        self._not_before = self._clock.now()

    def forget(self, key: RecordingKey) -> None:
        """Drop what is remembered of a recording that no document names any more."""
        self._missing.discard(key)
        self._doubted.pop(key, None)

    async def take(self, key: RecordingKey, desired: Desired, record: Record, priority: Priority) -> Live:
        """Return what is live: as the plan saw it, where this turn may still decide on that, or as a look shows it.

        Raises:
            ProviderError: the look failed.
        """
        live = self._first_look(key, desired, record)
        if live is not None:
            return live
        return await self._observer.observe(key, since=self._since(record, priority), priority=priority)

    def _first_look(self, key: RecordingKey, desired: Desired, record: Record) -> Live | None:
        """Return what the plan saw, if this turn may still decide on it."""
        live = self._first_looks.pop(key, None)
        if live is None:
            return None
        now = self._clock.now()
        fresh = timedelta(0) <= now - live.observed_at <= timedelta(seconds=FRESH_SECONDS)
        kind = decide(key, desired, record, live, now, call_seconds=self._settings.call_seconds).kind
        return live if fresh or kind is not ActionKind.PATCH else None

    def _since(self, record: Record, priority: Priority) -> datetime:
        """Return when the look must have begun at the earliest."""
        now = self._clock.now()
        if record.sent is None:
            shared = FRESH_SECONDS if priority is Priority.RESYNC else SHARED_SECONDS
            since = max(self._not_before, now - timedelta(seconds=shared))
            if record.reason == Reason.CONTRADICTED and record.observed_at is not None and record.observed_at < now:
                # A look that began before the doubted one is no second opinion.
                since = max(since, record.observed_at + timedelta(microseconds=1))
            return since
        if record.accepted_at is None:
            # The fate of the PATCH is unknown: only a look that began after its failure was known says anything.
            return now
        shared = SHARED_SECONDS
        if record.confirm_by is not None and now < record.confirm_by:
            # One look serves every recording of the call that waits for its effect; half the wait since the last look
            # keeps one that is a moment too old from costing a turn.
            shared = max(shared, confirm_seconds_after((now - record.accepted_at).total_seconds()) / 2)
        return max(record.accepted_at, now - timedelta(seconds=shared))

    def ends_gap(self, record: Record, live: Live, *, failed: bool) -> bool:
        """Return whether a look is the first after a time in which nobody looked; each look is to be shown once.

        Args:
            record: the record with the look before.
            live: the look.
            failed: whether looks at this recording were asked for and not answered since.
        """
        return self._gaps.ends(record, live, failed=failed)

    async def note_gap(self, record: Record, live: Live, now: datetime, *, gap: bool) -> Record:
        """Say in the history that nobody saw the recording for a while; return the record that holds now.

        Nothing is said where the last event of the recording says so of all that follows it.
        """
        if record.phase is Phase.BLIND:
            seen = as_seen_again(record, now)
            event = self._notes.seen_again(record, with_look(seen, live), detail=record.error)
            await self._state.writer.save(seen, event)
            return seen
        watches = self._settings.watches
        if gap or (watches and self._gaps.first_look(record, live)):
            seen_once = await self._state.reader.last_event(record.key) == SEEN_ONCE
            # A process that looks on says that it does; one that does not adds nothing to what the last of its kind
            # has said.
            if (gap or seen_once) if watches else not seen_once:
                seen = with_look(record, live)
                await self._state.writer.save(seen, self._notes.seen_again(record, seen, once=not watches))
        return record

    def before_doubt(self, action: Action, record: Record) -> Record:
        """Return the record as it was before a look that was doubted, once another look has said which was right.

        What is told of the two looks is told against what had been seen before them.
        """
        if action.reason is Reason.CONTRADICTED:
            self._doubted.setdefault(action.key, record)
            return record
        first = self._doubted.pop(action.key, None)
        if first is None:
            return record
        return record._replace(
            phase=first.phase,
            reason=first.reason,
            phase_since=first.phase_since,
            unmet_since=first.unmet_since,
            live=first.live,
            observed_at=first.observed_at,
        )

    def count_missing(self, seen: Record) -> None:
        """Count a recording among those that are not found, or no more, as its last look has it."""
        if seen.missing_since is None:
            self._missing.discard(seen.key)
        else:
            self._missing.add(seen.key)
