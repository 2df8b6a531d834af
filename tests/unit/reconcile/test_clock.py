"""The time of day is set while the daemon runs: no look is taken for newer than it is, and no deadline goes away.

The monotonic clock runs on; only what a person sees on the wall jumps.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from reconciler.controller.clock_steps import ClockSteps
from reconciler.model.statuses import Phase, Status
from tests.world.bench import Bench, Fault
from tests.world.nouns import document, key

HOUR = 3600.0


def set_clock(bench: Bench, seconds: float) -> None:
    """Set the time of day, for the daemon's side and the world's alike, as of the next look at it."""
    before = bench.time.now

    def now() -> datetime:
        return before() + timedelta(seconds=seconds)

    bench.time.now = now  # type: ignore[method-assign]
    for recording in bench.world.recordings.values():
        recording.coming = [(at + timedelta(seconds=seconds), word) for at, word in recording.coming]


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
async def test_a_look_from_before_a_jump_is_not_taken_for_a_new_one(bench: Bench, jump: float) -> None:
    bench.world.add(key(), "paused")
    bench.declare(document(status="paused"))
    await bench.turn(key())
    set_clock(bench, jump)
    bench.world.set(key(), "ongoing")
    looks = len(bench.world.looks)
    turn = await bench.turn(key())
    assert len(bench.world.looks) > looks
    assert turn.phase is Phase.CONFIRMING
    # And what is seen from now on is kept, as it was before.
    await bench.until_idle(key())
    assert bench.world.word(key()) == "paused"
    assert bench.world.patches == [(key(), "paused")]


@pytest.mark.parametrize("jump", [-HOUR, -10.0, 10.0, HOUR])
async def test_an_effect_is_found_whatever_the_clock_did_meanwhile(bench: Bench, jump: float) -> None:
    bench.world.add(key())
    bench.declare(document(status="paused"))
    await bench.turn(key())
    set_clock(bench, jump)
    await bench.until_idle(key())
    row = bench.row(key())
    assert (row.phase, row.last_applied) == (Phase.APPLIED, Status.PAUSED)
    assert bench.world.patches == [(key(), "paused")]


async def test_a_deadline_comes_although_the_clock_was_set_back(bench: Bench) -> None:
    bench.world.settle_seconds = 10 * HOUR
    bench.world.add(key())
    bench.declare(document(status="paused"))
    await bench.turn(key())
    set_clock(bench, -HOUR)
    began = bench.time.elapsed
    turns = 0
    while bench.row(key()).phase is not Phase.UNCONFIRMED:
        turn = await bench.turn(key())
        assert turn.again is not None
        bench.time.pass_by(turn.again.after_seconds)
        turns += 1
    assert bench.time.elapsed - began < 2 * bench.confirm_seconds
    assert turns < 40
    assert len(bench.world.patches) == 1


async def test_a_patch_of_unknown_fate_is_not_held_back_for_the_length_of_a_jump(bench: Bench) -> None:
    bench.world.add(key())
    bench.world.patch_faults.append(Fault.TIMEOUT)
    bench.declare(document(status="paused"))
    await bench.turn(key())
    set_clock(bench, -HOUR)
    began = bench.time.elapsed
    await bench.until_idle(key())
    assert bench.world.word(key()) == "paused"
    assert len(bench.world.patches) == 2
    assert bench.time.elapsed - began < 2 * bench.confirm_seconds


async def test_a_workspace_that_rests_is_asked_again_in_a_minute_of_the_new_time(bench: Bench) -> None:
    bench.world.add(key())
    bench.world.key_refused = Fault.UNAUTHORIZED
    bench.declare(document(status="paused"))
    await bench.turn(key())
    set_clock(bench, -HOUR)
    bench.world.key_refused = None
    await bench.until_idle(key())
    assert bench.world.word(key()) == "paused"
    assert bench.time.elapsed < 2 * 60


async def test_a_suspension_ends_when_the_clock_on_the_wall_says_so(bench: Bench) -> None:
    """It is a time of day that a person wrote: here the jump is the truth."""
    from reconciler.model.documents import Suspend

    bench.world.add(key())
    until = bench.time.now() + timedelta(seconds=HOUR)
    bench.declare(document(status="paused", suspend=Suspend("r", until)))
    assert (await bench.turn(key())).phase is Phase.HELD
    set_clock(bench, HOUR)
    await bench.until_idle(key())
    assert bench.world.word(key()) == "paused"


@pytest.mark.parametrize("jump", [-HOUR, -6.0, 6.0, HOUR])
def test_a_clock_that_was_set_is_noticed_once_and_a_slow_correction_is_not(bench: Bench, jump: float) -> None:
    steps = ClockSteps(bench.time.clock)
    for _ in range(10):
        set_clock(bench, 1.0)  # ten seconds in all, a second at each look
        assert steps.look() is None
    set_clock(bench, jump)
    step = steps.look()
    assert step is not None
    assert abs((step[1] - step[0]).total_seconds() - jump) < 1
    assert steps.look() is None
