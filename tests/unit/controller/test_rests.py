"""Workspaces that rest: who asks about them, how often, what it costs, and who comes back first.

Aspects: the number of turns and questions whatever the number of keys, how soon the return is found while an edit waits
and while none does, an API that hangs, several causes at once, PATCHes that fail alone, and workspaces that are apart.
The queue, the workers and the job that asks are the real ones, in virtual time; the API is a switch. What the daemon
makes of it is in `test_daemon`, and the outage of a whole process in `test_outage`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from reconciler.controller.rests import (
    HURRY_SECONDS,
    LONGEST_SECONDS,
    PATIENT_QUESTIONS,
    SHORT_QUESTIONS,
    Cause,
    Questions,
    Rests,
)
from reconciler.model.errors import CredentialRefused, Unreached
from reconciler.model.keys import CallKey, RecordingKey
from reconciler.model.moments import Clock
from reconciler.model.records import Resting
from reconciler.model.work import Priority
from reconciler.reconcile.accounts import UNAUTHORIZED_SECONDS
from reconciler.work.queue import Again
from reconciler.work.workers import Workers
from tests.world.nouns import NOW, key
from tests.world.virtual_loop import run_virtually

ONE = key(1).workspace_id
OTHER = "99999999-0000-4000-8000-000000000000"


class Scene:
    """Workers whose turns are answered or not, and the job that asks."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        clock = Clock(lambda: NOW + timedelta(seconds=self.loop.time()), self.loop.time, lambda: 0.5)
        self.away: set[str] = set()
        self.refused: set[str] = set()
        #: Questions that are never answered, as those to a host that is gone.
        self.hangs = False
        self.in_flight = 0
        self.most_in_flight = 0
        self.patch_seconds = 0.0
        self.turns: list[tuple[float, RecordingKey, Priority]] = []
        self.probes: list[tuple[float, str]] = []
        self.changes: list[tuple[str, Resting | None]] = []
        self.stop = asyncio.Event()
        self.workers = Workers(
            self._turn,
            concurrency=8,
            now=self.loop.time,
            failed=self._failed,
            group_of=lambda key: key.workspace_id,
        )
        questions = Questions(self._probe, self._answered, self._key_refused, lambda _workspace_id: self.patch_seconds)
        self.rests = Rests(self.workers, questions, clock, lambda _workspace_id: key(1).call, self._changed)

    async def _turn(self, key: RecordingKey, priority: Priority) -> Again | None:
        self.turns.append((self.loop.time(), key, priority))
        if self.rests.patches_rest(key.workspace_id):
            return Again(0.0, priority, rests=True)
        return None

    def _failed(self, key: RecordingKey, error: Exception) -> Again | None:
        raise AssertionError(key) from error

    async def _probe(self, call: CallKey) -> None:
        self.probes.append((self.loop.time(), call.workspace_id))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.hangs:
                await asyncio.sleep(30.0)
            await asyncio.sleep(0.01)
            if call.workspace_id in self.away:
                raise Unreached("away")
            if call.workspace_id in self.refused:
                raise CredentialRefused("refused", status=401, workspace_id=call.workspace_id)
        finally:
            self.in_flight -= 1

    def _answered(self, workspace_id: str) -> None:
        for cause in Cause:
            self.rests.end(workspace_id, cause)

    def _key_refused(self, error: CredentialRefused) -> None:
        assert error.workspace_id in self.refused

    def _changed(self, workspace_id: str, resting: Resting | None) -> None:
        self.changes.append((workspace_id, resting))

    def begin(self, workspace_id: str = ONE, cause: Cause = Cause.API, *, looks: bool = True) -> None:
        if cause is Cause.KEY:
            self.refused.add(workspace_id)
        else:
            self.away.add(workspace_id)
        seconds = UNAUTHORIZED_SECONDS if cause is Cause.KEY else 1.0
        self.rests.begin(workspace_id, cause, "why", looks=looks, seconds=seconds)

    def edit(self, key: RecordingKey, priority: Priority = Priority.EDIT) -> None:
        self.workers.add(key, priority, passes=True)
        self.rests.edit_came(key.workspace_id)

    async def until(self, second: float) -> None:
        await asyncio.sleep(second - self.loop.time())


def scene(play: Callable[[Scene], Coroutine[Any, Any, None]]) -> Scene:
    """Play a scene in virtual time, with the workers and the job that asks beside it."""

    async def main() -> Scene:
        made = Scene()
        jobs = [asyncio.create_task(made.workers.work(made.stop)), asyncio.create_task(made.rests.ask())]
        await play(made)
        made.stop.set()
        jobs[1].cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        return made

    return run_virtually(main())


@pytest.mark.parametrize("edits", [0, 1])
def test_an_hour_away_costs_the_same_for_ten_recordings_and_for_ten_thousand(edits: int) -> None:
    def outage(recordings: int) -> Scene:
        async def play(scene: Scene) -> None:
            for number in range(recordings):
                scene.workers.add(key(number), Priority.RETRY, 10.0 + number / recordings)
            await scene.until(5.0)
            scene.begin()
            for number in range(edits):
                scene.edit(key(number))
            await scene.until(3605.0)

        return scene(play)

    few, many = outage(10), outage(10_000)
    assert len(few.turns) == len(many.turns) == edits, "an edit is written down, and nothing else has a turn"
    assert len(few.probes) == len(many.probes)
    assert len(few.probes) <= 3600 / (HURRY_SECONDS if edits else LONGEST_SECONDS) + 10


@pytest.mark.parametrize("returns_at", [20.0, 20.3, 47.9, 3600.0])
def test_while_an_edit_waits_the_return_is_found_within_a_second_and_the_most_urgent_goes(
    returns_at: float,
) -> None:
    wanted = [Priority.RESYNC, Priority.RETRY, Priority.CONFIRM, Priority.EDIT, Priority.PAUSE]

    async def play(scene: Scene) -> None:
        scene.begin()
        for number, priority in enumerate(wanted):
            scene.workers.add(key(number), priority)
        scene.edit(key(10), Priority.EDIT)
        scene.edit(key(11), Priority.PAUSE)
        await scene.until(returns_at)
        assert {turn[1] for turn in scene.turns} == {key(10), key(11)}, "what was asked for is written down, once"
        scene.turns.clear()
        scene.away.clear()
        await scene.until(returns_at + 10)

    played = scene(play)
    assert [priority for _, _, priority in played.turns] == sorted([*wanted, Priority.EDIT, Priority.PAUSE])
    assert played.turns[0][0] - returns_at < 1.0
    assert played.turns[-1][0] - returns_at < 1.0
    assert [resting is None for _, resting in played.changes] == [False, True]


def test_an_edit_that_comes_late_hurries_the_next_question() -> None:
    async def play(scene: Scene) -> None:
        scene.begin()
        await scene.until(600.0)
        scene.away.clear()
        scene.edit(key(1))
        await scene.until(602.0)
        assert not len(scene.rests)

    assert scene(play).turns[-1][0] < 601.0


def test_an_edit_whose_own_turn_is_still_under_way_when_the_question_leaves_hurries_those_after_it() -> None:
    async def play(scene: Scene) -> None:
        scene.begin()
        await scene.until(600.0)
        # As the daemon does it, whose edit lies aside only once its turn has written it down.
        scene.rests.edit_came(ONE)
        await asyncio.sleep(0.05)
        scene.workers.add(key(1), Priority.PAUSE, passes=True)
        await scene.until(602.0)
        scene.away.clear()
        await scene.until(603.0)
        assert not len(scene.rests)

    scene(play)


def test_a_host_that_swallows_everything_costs_few_places_and_its_return_is_found_within_a_second() -> None:
    async def play(scene: Scene) -> None:
        scene.hangs = True
        for workspace_id in (ONE, *(f"{number:08}-0000-4000-8000-000000000000" for number in range(2, 30))):
            scene.begin(workspace_id)
        scene.edit(key(1))
        await scene.until(100.2)
        scene.hangs = False
        scene.away.clear()
        await scene.until(101.2)
        assert not scene.rests.looks_rest(ONE)

    played = scene(play)
    assert played.most_in_flight <= SHORT_QUESTIONS + PATIENT_QUESTIONS


def test_when_one_workspace_is_answered_the_others_are_asked_about_at_once() -> None:
    async def play(scene: Scene) -> None:
        scene.rests._some_call = lambda workspace_id: CallKey(workspace_id, "channel", "call")
        for workspace_id in (ONE, OTHER):
            scene.begin(workspace_id)
        scene.edit(key(1))
        await scene.until(1000.0)
        scene.away.clear()
        await scene.until(1002.0)
        assert not len(scene.rests)

    scene(play)


def test_a_refused_key_is_tried_after_a_minute_and_at_once_when_it_changes() -> None:
    async def play(scene: Scene) -> None:
        scene.begin(cause=Cause.KEY)
        scene.edit(key(1))
        await scene.until(190.0)
        assert [round(at) for at, _ in scene.probes] == [60, 120, 180]
        scene.rests.ask_now(ONE)
        await scene.until(191.0)
        assert len(scene.probes) == 4
        scene.refused.clear()
        scene.rests.ask_now(ONE)
        await scene.until(192.0)
        assert not len(scene.rests)

    assert scene(play).turns[-1][0] < 192.0


def test_where_only_patches_fail_looks_go_on_and_one_finds_out_for_all() -> None:
    async def play(scene: Scene) -> None:
        scene.patch_seconds = 15.0
        scene.begin(cause=Cause.PATCHES, looks=False)
        for number in range(100):
            scene.edit(key(number))
        await scene.until(1.0)
        assert len(scene.turns) == 100
        scene.workers.add(key(200), Priority.RESYNC)
        await scene.until(1.5)
        assert len(scene.turns) == 101, "a look goes on"
        scene.turns.clear()
        await scene.until(30.5)
        assert scene.turns == [], "none may find out yet"
        scene.patch_seconds = 0.0
        await scene.until(61.5)
        assert 1 <= len(scene.turns) <= 31, "one by one, until one has sent its PATCH"
        scene.rests.end(ONE, Cause.PATCHES)
        await scene.until(62.0)

    played = scene(play)
    assert len({key for at, key, _ in played.turns if at >= 61.5}) == 101
    assert played.probes == []


def test_a_workspace_that_rests_for_two_causes_comes_back_with_the_last() -> None:
    async def play(scene: Scene) -> None:
        scene.begin(cause=Cause.API)
        scene.begin(cause=Cause.KEY)
        scene.edit(key(1))
        await scene.until(2.0)
        scene.turns.clear()
        scene.rests.end(ONE, Cause.API)
        await scene.until(3.0)
        assert scene.turns == []
        (resting,) = scene.rests
        assert (resting.cause, resting.blind) == ("key_refused", True)
        scene.rests.end(ONE, Cause.KEY)
        await scene.until(4.0)

    assert len(scene(play).turns) == 1


def test_another_workspace_works_on() -> None:
    async def play(scene: Scene) -> None:
        scene.begin(OTHER)
        scene.workers.add(key(1), Priority.RESYNC)
        await scene.until(1.0)

    assert [key for _, key, _ in scene(play).turns] == [key(1)]
