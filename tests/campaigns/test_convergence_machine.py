"""Turns under every mix of edits, agents, ended calls, faults of the API and the store, and kills; the clock jumps.

Aspects: what may never happen at any step (the checks in `_World`), and where everything stands once the faults have
ended. The store is real; the API is the world in memory, where effects come late. Left out: the watching of files and
the daemon's own timing, which have tests of their own; effects later than the confirm deadline, or after a refusal.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reconciler.model.actions import Rule
from reconciler.model.documents import Suspend
from reconciler.model.errors import ProviderError, StoreError, Unanswered
from reconciler.model.keys import CallKey, RecordingKey
from reconciler.model.records import Event
from reconciler.model.statuses import SATISFIES, Drift, Live, LiveStatus, Phase, Status
from reconciler.model.work import Priority
from reconciler.plan.limits import Limits
from reconciler.plan.window import ChangeSet, Window
from reconciler.providers.bird import Accepted
from reconciler.reconcile.patch import UNKNOWN_FATE_SECONDS
from reconciler.work.queue import KeyedQueue
from tests.world.bench import Bench, Fault, Killed, Time, World
from tests.world.nouns import document, key

#: Two calls of two recordings each, and two of one.
KEYS = [key(number, call=call) for number, call in ((1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 4))]
CALLS = sorted({each.call for each in KEYS})
LIMITS = Limits(max_irreversible=2, max_resumes=1, max_change_percent=50.0, min_managed=3)
#: Past this nothing of an earlier change is under way, and the limits have freed themselves.
LONG = 700.0

PATCH_FAULTS = [
    Fault.SERVER_ERROR,
    Fault.SERVER_ERROR_WITH_EFFECT,
    Fault.TIMEOUT,
    Fault.TIMEOUT_WITH_EFFECT,
    Fault.KILLED,
    Fault.KILLED_WITH_EFFECT,
    Fault.NOT_FOUND,
    Fault.CONFLICT,
    Fault.THROTTLED,
    Fault.REFUSED,
    Fault.FORBIDDEN,
]
LOOK_FAULTS = [
    Fault.SERVER_ERROR,
    Fault.TIMEOUT,
    Fault.THROTTLED,
    Fault.REFUSED,
    Fault.UNAUTHORIZED,
    Fault.INVALID,
    Fault.KILLED,
]

T = TypeVar("T")

keys = st.sampled_from(KEYS)
patch_faults = st.sampled_from([None] * len(PATCH_FAULTS) + PATCH_FAULTS)


def each_of(values: st.SearchStrategy[T]) -> st.SearchStrategy[list[T]]:
    """Return one value for each recording."""
    return st.lists(values, min_size=len(KEYS), max_size=len(KEYS))


class _World(World):
    """Checks each PATCH, at the moment at which it arrives, against what was known and what is on disk."""

    def __init__(self, time: Time) -> None:
        super().__init__(time)
        self.bench: Bench
        #: What the newest look showed of each recording, and the number of that look.
        self.shown: dict[RecordingKey, tuple[int, Live]] = {}
        #: How many looks had begun when the fate of a PATCH became unknown.
        self.unknown: dict[RecordingKey, int] = {}
        #: What was sent when the answer to a PATCH was lost, and when that was.
        self.lost: dict[RecordingKey, tuple[Status, float]] = {}
        #: Recordings whose `ongoing` was confirmed, with nothing under way: a pause from now on is somebody else's.
        self.settled_ongoing: set[RecordingKey] = set()
        #: Recordings whose document never asked for a pause: each pause of theirs is somebody else's.
        self.never_paused: set[RecordingKey] = set(KEYS)
        #: Edits that were refused as too much at once.
        self.refused: set[RecordingKey] = set()
        #: Drift that was corrected since the last resync began.
        self.drifted: set[RecordingKey] = set()
        self.managed_before = 0

    async def observe_call(self, call: CallKey, wanted: Collection[str], *, priority: Priority) -> dict[str, Live]:
        number = len(self.looks)
        answers = await super().observe_call(call, wanted, priority=priority)
        for recording_id, live in answers.items():
            self.shown[RecordingKey(*call, recording_id)] = (number, live)
        return answers

    async def set_status(self, key: RecordingKey, status: Status) -> Accepted:
        self._check(key, status)
        sent_at = self.bench.time.elapsed
        try:
            return await super().set_status(key, status)
        except ProviderError as error:
            if isinstance(error, Unanswered):
                self.unknown[key] = len(self.looks)
                if error.code == "timeout":
                    self.lost[key] = (status, sent_at)
            raise
        except BaseException:  # it dies, by itself or with another turn
            self.unknown[key] = len(self.looks)
            self.lost[key] = (status, sent_at)
            raise

    def _check(self, key: RecordingKey, status: Status) -> None:
        record = self.bench.row(key)
        assert (record.sent, record.accepted_at) == (status, None), "the intent must be on disk"
        assert record.phase in (Phase.SENDING, Phase.UNCONFIRMED), "the intent must be on disk"
        assert self.bench.documents[key].status is status, "only what the newest document asks for"
        number, live = self.shown[key]
        assert not live.satisfies(status), "a look showed it in sync"
        assert not live.final, "a look showed it final"
        assert live.status in (LiveStatus.ONGOING, LiveStatus.PAUSED), "a look showed it to be not controllable"
        assert number >= self.unknown.get(key, 0), "of unknown fate, and sent again before a look"
        refused = record.rejected is status and record.rejected_live == live.word
        assert not refused, "the API has refused exactly this"
        lost, at = self.lost.pop(key, (None, 0.0))
        assert lost is not status or self.bench.time.elapsed - at >= UNKNOWN_FATE_SECONDS, "sent again without grace"
        assert key not in self.refused, "an edit that was refused as too much at once"
        sent = [event for event in self.bench.history() if event.event == "patch_sent"]
        newest = next(event for event in reversed(sent) if event.key == key)
        self._check_limits(sent, newest)
        if (status, live.status) == (Status.ONGOING, LiveStatus.PAUSED):
            self._check_resume(key, newest)

    def _check_resume(self, key: RecordingKey, newest: Event) -> None:
        foreign = self.recordings[key].by == "agent"
        safe = self.bench.documents[key].drift is Drift.SAFE
        assert not (foreign and safe and key in self.settled_ongoing), "a foreign pause must not be resumed under safe"
        if key in self.never_paused:
            assert newest.resumes_foreign, "a pause that nobody here asked for must count as foreign"

    def _check_limits(self, sent: list[Event], newest: Event) -> None:
        recent = [event for event in sent if self.bench.time.now() - event.at <= Window.SPAN]
        assert len({event.key for event in recent if event.irreversible}) <= 2
        assert len({event.key for event in recent if event.resumes_foreign}) <= 1
        if newest.cause == "drift" and newest.to_status != "paused":
            self.drifted.add(newest.key)
            managed = max(self.managed_before, self.bench.store.count_last_applied())
            allowance = LIMITS.allowance(Rule.CHANGES, managed)
            assert allowance is None or len(self.drifted) <= allowance[0]


class Convergence(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        # In memory where that is possible: what counts here is the file, not how long the disk takes to flush it.
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.runner = asyncio.Runner()
        self.bench = Bench(Path(self.folder.name), limits=LIMITS, blocking=True)
        self.world = _World(self.bench.time)
        self.world.bench = self.bench
        self.bench.world = self.world
        #: The process dies at this many steps from now; a write or the arrival of a request is a step.
        self.dies_in: int | None = None
        self.writes_to_refuse = 0
        self.turns = 0
        #: Whether a check has failed, so that what follows from it does not hide it.
        self.broken = False
        #: Recordings that were released while a change was under way: what it does then is nobody's any more.
        self.leftovers: set[RecordingKey] = set()
        self.world.on_patch = lambda _key, _status: self._step()
        self.world.on_look = lambda _call: self._step()
        self.bench.restart()
        self._begin()

    def teardown(self) -> None:
        try:
            if not self.broken:
                self._end_faults()
                self._converges()
                self._history_is_complete()
        finally:
            self.runner.close()
            self.bench.close()
            self.folder.cleanup()

    # The process.

    def _begin(self) -> None:
        """Do what the daemon does as it starts: count what changed meanwhile as one change set, look at everything."""
        bench = self.bench
        bench.pen.before = self._before_write
        bench.pen.after = lambda _events: self._step()
        self.queue: KeyedQueue[RecordingKey] = KeyedQueue(lambda _key: None)
        self.world.drifted.clear()
        self.world.refused.clear()
        self._announce(bench.documents)
        for each in {*bench.documents, *(record.key for record in bench.store.all())}:
            self.queue.add(each, Priority.RESYNC, bench.time.elapsed)

    def _announce(self, changed: Collection[RecordingKey]) -> None:
        """Tell the limits of one change set."""
        documents, store = self.bench.documents, self.bench.store
        states = []
        for each in changed:
            record, desired = store.get(each), documents.get(each)
            if desired is not None:
                states.append((each, desired.status, None if record is None else record.last_applied))
        change = ChangeSet.of(changed, states)
        self.world.refused -= set(changed)
        for refused in self.bench.window.announce(change, store.count_last_applied(), self.bench.time.now()).refused:
            self.world.refused |= refused.items.keys()

    def _step(self) -> None:
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in < 0:
                raise Killed

    def _before_write(self, _events: tuple[Event, ...]) -> None:
        self._step()
        if self.writes_to_refuse:
            self.writes_to_refuse -= 1
            raise StoreError("the disk is full")

    def _run_due(self) -> None:
        """Run turns, all that are due side by side, until none is due; start again after a kill."""
        now = self.bench.time.elapsed
        while (first := self.queue.pop(now)) is not None:
            batch = [first]
            while (following := self.queue.pop(now)) is not None:
                batch.append(following)
            self.world.managed_before = self.bench.store.count_last_applied()
            try:
                self.runner.run(self._side_by_side(batch))
            except Killed:
                self.dies_in = None
                self.bench.restart()
                self._begin()
            except BaseException:
                self.broken = True
                raise

    async def _side_by_side(self, batch: list[tuple[RecordingKey, Priority]]) -> None:
        tasks = [asyncio.create_task(self._turn(each, priority)) for each, priority in batch]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        failures = [task.exception() for task in tasks if task.done()]
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for failure in failures:
            if failure is not None:
                raise failure

    async def _turn(self, each: RecordingKey, priority: Priority) -> None:
        sent = self._patches_of(each)
        turn = await self.bench.turn(each, priority)
        self.bench.window.turned(each, turn.phase)
        self.turns += 1
        if self._patches_of(each) > sent and not isinstance(turn.error, StoreError):
            told = [event for event in self.bench.history() if event.key == each]
            last = max(number for number, event in enumerate(told) if event.event == "patch_sent")
            assert any(event.answer for event in told[last:]), "its answer must be in the history"
        if turn.again is not None:
            assert turn.again.after_seconds > 0, "a turn that comes back at once never lets go"
        self.queue.done(each, turn.again, self.bench.time.elapsed)
        record = self.bench.store.get(each)
        desired = self.bench.documents.get(each)
        if record is not None and desired is not None and turn.phase is Phase.APPLIED:
            assert self.world.shown[each][1].satisfies(desired.status), "applied is what a look has shown"
            if desired.status is Status.ONGOING:
                self.world.settled_ongoing.add(each)

    def _patches_of(self, each: RecordingKey) -> int:
        return sum(key == each for key, _ in self.world.patches)

    # What happens.

    @initialize(
        words=each_of(st.sampled_from(["ongoing", "ongoing", "ongoing", "paused", "accepted"])),
        asked=each_of(st.sampled_from([None, Status.PAUSED, Status.PAUSED, Status.ONGOING, Status.COMPLETED])),
        faults=each_of(patch_faults),
    )
    def world_begins(self, words: list[str], asked: list[Status | None], faults: list[Fault | None]) -> None:
        for each, word in zip(KEYS, words, strict=True):
            self.world.add(each, word)
            self.world.recordings[each].by = "agent" if word == "paused" else "bird"
        self.patches_will_meet(faults)
        for each, status in zip(KEYS, asked, strict=True):
            if status is not None:
                self._declare(each, status, Drift.SAFE)
        self._run_due()

    @rule(
        each=keys,
        status=st.sampled_from([Status.PAUSED, Status.ONGOING, Status.PAUSED, Status.ONGOING, Status.COMPLETED]),
        drift=st.sampled_from([Drift.SAFE, Drift.SAFE, Drift.HEAL, Drift.REPORT]),
        suspended=st.sampled_from([0.0, 0.0, 0.0, 20.0]),
        fault=patch_faults,
        acts_at_once=st.booleans(),
    )
    def edit(
        self,
        each: RecordingKey,
        status: Status,
        drift: Drift,
        suspended: float,
        fault: Fault | None,
        acts_at_once: bool,
    ) -> None:
        suspend = Suspend("a while", self.bench.time.now() + timedelta(seconds=suspended)) if suspended else None
        self._declare(each, status, drift, suspend)
        if acts_at_once:
            if fault is not None:
                self.patches_will_meet([fault])
            self._run_due()

    def _declare(self, each: RecordingKey, status: Status, drift: Drift, suspend: Suspend | None = None) -> None:
        number = KEYS.index(each) + 1
        before = self.bench.documents.get(each)
        self.bench.declare(document(number, status)._replace(key=each, drift=drift, suspend=suspend))
        if before is None or before.status is not status:
            self.world.settled_ongoing.discard(each)
        if status is Status.PAUSED:
            self.world.never_paused.discard(each)
        self._announce((each,))
        self.queue.add(each, Priority.EDIT, self.bench.time.elapsed)

    @rule(
        each=keys,
        status=st.sampled_from([Status.PAUSED, Status.ONGOING]),
        fault=st.sampled_from([None, Fault.TIMEOUT_WITH_EFFECT, Fault.SERVER_ERROR_WITH_EFFECT]),
        seconds=st.sampled_from([0.0, 0.3, 3.5]),
    )
    def edit_and_edit_back_before_it_takes(
        self, each: RecordingKey, status: Status, fault: Fault | None, seconds: float
    ) -> None:
        self.world.settle_seconds = 8.0
        self.patches_will_meet([fault])
        for asked in (status, Status.ONGOING if status is Status.PAUSED else Status.PAUSED):
            self._declare(each, asked, Drift.SAFE)
            self._run_due()
            self.bench.time.pass_by(seconds)

    @rule(each=keys)
    def remove(self, each: RecordingKey) -> None:
        if self.bench.documents.pop(each, None) is not None:
            self._announce((each,))
            self.world.lost.pop(each, None)
            if self.world.recordings[each].coming:
                self.leftovers.add(each)
            self.world.settled_ongoing.discard(each)
            self.queue.add(each, Priority.EDIT, self.bench.time.elapsed)

    @rule(each=keys, word=st.sampled_from(["ongoing", "paused"]))
    def an_agent_acts(self, each: RecordingKey, word: str) -> None:
        recording = self.world.recordings[each]
        recording.settle(self.bench.time.now())
        if not recording.final and recording.word != word:
            self.world.set(each, word)

    @rule(each=keys, word=st.sampled_from(["ongoing", "accepted", "on-hold"]))
    def bird_acts(self, each: RecordingKey, word: str) -> None:
        recording = self.world.recordings[each]
        recording.settle(self.bench.time.now())
        if not recording.final:
            self.world.set(each, word, by="bird")

    @precondition(lambda self: sum(recording.active for recording in self.world.recordings.values()) > 2)
    @rule(call=st.sampled_from(CALLS))
    def a_call_ends(self, call: CallKey) -> None:
        self.world.end_call(call)

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.0, 3.5, 10.0, 31.0, 61.0, LONG]))
    def time_passes(self, seconds: float) -> None:
        self.bench.time.pass_by(seconds)
        self._run_due()

    @rule(steps=st.integers(1, 5))
    def time_passes_from_turn_to_turn(self, steps: int) -> None:
        for _ in range(steps):
            self._run_due()
            due = self.queue.next_due(self.bench.time.elapsed)
            if due is not None and due - self.bench.time.elapsed < 60:
                self.bench.time.pass_by(due - self.bench.time.elapsed)
        self._run_due()

    @rule()
    def a_resync_begins(self) -> None:
        self._resync()
        self._run_due()

    @rule(seconds=st.sampled_from([0.0, 0.05, 2.0, 8.0, 25.0]), shows_accepted=st.booleans())
    def effects_take(self, seconds: float, shows_accepted: bool) -> None:
        self.world.settle_seconds = seconds
        self.world.shows_accepted = shows_accepted

    @rule(faults=st.lists(st.sampled_from([None, *PATCH_FAULTS]), min_size=1, max_size=3))
    def patches_will_meet(self, faults: list[Fault | None]) -> None:
        self.world.patch_faults.clear()
        self.world.patch_faults.extend(faults)

    @rule(faults=st.lists(st.sampled_from([None, *LOOK_FAULTS]), min_size=1, max_size=3))
    def looks_will_meet(self, faults: list[Fault | None]) -> None:
        self.world.look_faults.clear()
        self.world.look_faults.extend(faults)

    @rule(steps=st.integers(0, 12))
    def the_process_will_die(self, steps: int) -> None:
        self.dies_in = steps

    @rule(count=st.integers(1, 4))
    def the_store_will_refuse(self, count: int) -> None:
        self.writes_to_refuse = count

    @rule(fault=st.sampled_from([None, Fault.UNAUTHORIZED]))
    def the_key_is(self, fault: Fault | None) -> None:
        self.world.key_refused = fault

    @invariant()
    def only_documents_have_records_once_their_turn_is_over(self) -> None:
        for record in self.bench.store.all():
            assert record.key in self.bench.documents or record.key in self.queue

    # How it ends.

    def _resync(self) -> None:
        self.bench.window.begin_resync()
        self.world.drifted.clear()
        for each in {*self.bench.documents, *(record.key for record in self.bench.store.all())}:
            self.queue.add(each, Priority.RESYNC, self.bench.time.elapsed)

    def _end_faults(self) -> None:
        self.world.patch_faults.clear()
        self.world.look_faults.clear()
        self.world.key_refused = None
        self.world.settle_seconds = 0.05
        self.world.shows_accepted = False
        self.dies_in = None
        self.writes_to_refuse = 0
        for recording in self.world.recordings.values():
            recording.settle(self.bench.time.now())
            if not recording.final and recording.word not in ("ongoing", "paused"):
                recording.word = "ongoing"

    def _round(self) -> None:
        """Let the limits free themselves, announce what they had refused one by one, and look at everything."""
        self.bench.time.pass_by(LONG)
        for each in sorted(self.world.refused):
            self._announce((each,))
            self.bench.time.pass_by(6)
        self._resync()
        for _ in range(15):
            self._run_due()
            due = self.queue.next_due(self.bench.time.elapsed)
            if due is None or due - self.bench.time.elapsed > 61:
                return
            self.bench.time.pass_by(due - self.bench.time.elapsed)

    def _converges(self) -> None:
        self.turns = 0
        for _ in range(5):
            self._round()
        sent = len(self.world.patches)
        for each, desired in self.bench.documents.items():
            recording, record = self.world.recordings[each], self.bench.row(each)
            live = LiveStatus(recording.word)
            if live in SATISFIES[desired.status]:
                assert record.phase is Phase.APPLIED
                assert record.last_applied is desired.status
            elif recording.final:
                assert record.phase is Phase.ENDED
            elif record.phase is Phase.REJECTED:
                assert (record.rejected, record.rejected_live) == (desired.status, recording.word)
            else:
                assert record.phase is Phase.DRIFTED, f"{each} did not converge: {record}"
                assert record.last_applied is desired.status
                if desired.drift is not Drift.REPORT:
                    assert (desired.drift, desired.status, live) == (Drift.SAFE, Status.ONGOING, LiveStatus.PAUSED)
                    assert recording.by == "agent" or each in self.leftovers, (
                        "our own pause was taken for a foreign one"
                    )
        assert {record.key for record in self.bench.store.all()} == set(self.bench.documents)
        assert self.turns < 5 * 12 * len(KEYS)
        self._round()
        assert len(self.world.patches) == sent, "all is well, and yet something was sent"

    def _history_is_complete(self) -> None:
        history = self.bench.history()
        for each in KEYS:
            told = [event.to_status for event in history if event.key == each and event.event == "patch_sent"]
            sent = [status for key, status in self.world.patches if key == each]
            # An intent may stand there although the process died before it sent anything.
            remaining = iter(told)
            assert all(status in remaining for status in sent), f"sent {sent}, told {told}"


TestConvergence = Convergence.TestCase
TestConvergence.settings = settings(
    max_examples=150, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
