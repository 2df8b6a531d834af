"""What a turn says of a recording, and when: doubt before drift, unconfirmed until seen, blind until seen again.

On the bench: the real store and the real turns, a world and a clock in memory.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from reconciler.model.documents import Suspend
from reconciler.model.keys import RecordingKey
from reconciler.model.records import Record
from reconciler.model.statuses import Phase, Status
from reconciler.model.work import Priority
from reconciler.plan.evidence import Look, looks_of, stretches
from reconciler.work.queue import KeyedQueue
from tests.world.bench import Bench, Fault, Killed, statuses
from tests.world.nouns import NOW, document, key, look

KEY = key(1)


async def paused(bench: Bench) -> None:
    """Bring a recording to `paused`, by a PATCH of ours that a look has confirmed."""
    bench.world.add(KEY)
    bench.declare(document(1, "paused"))
    await bench.until_idle(KEY)
    assert bench.row(KEY).phase is Phase.APPLIED
    bench.world.patches.clear()
    bench.log.clear()


async def seconds_of_turns(bench: Bench, keys: list[RecordingKey], seconds: float) -> None:
    """Give recordings the turns that they ask for, for so long."""
    queue: KeyedQueue[RecordingKey] = KeyedQueue(lambda _key: None)
    for each in keys:
        queue.add(each, Priority.EDIT, bench.time.elapsed)
    until = bench.time.elapsed + seconds
    while bench.time.elapsed < until:
        while (due := queue.pop(bench.time.elapsed)) is not None:
            each, priority = due
            turn = await bench.turn(each, priority)
            queue.done(each, turn.again, bench.time.elapsed)
        following = queue.next_due(bench.time.elapsed)
        if following is None:
            return
        bench.time.pass_by(max(0.001, following - bench.time.elapsed))


# Doubt.


async def test_every_second_look_from_a_copy_that_is_behind_makes_neither_patch_nor_history(bench: Bench):
    await paused(bench)
    told, since = bench.words(), bench.row(KEY).phase_since
    for _ in range(20):
        bench.time.pass_by(2.5)
        bench.world.set(KEY, "ongoing")
        turn = await bench.turn(KEY, Priority.RESYNC)
        assert (turn.phase, bench.row(KEY).reason) == (Phase.WAITING, "contradicted")
        assert turn.again is not None
        bench.time.pass_by(turn.again.after_seconds)
        bench.world.set(KEY, "paused")
        assert (await bench.turn(KEY, turn.again.priority)).phase is Phase.APPLIED
    assert bench.world.patches == []
    assert (bench.words(), bench.row(KEY).phase_since) == (told, since)
    assert bench.log.words == []


async def test_two_looks_that_agree_are_drift_and_the_history_says_so_before_the_patch(bench: Bench):
    await paused(bench)
    bench.time.pass_by(2.0)
    bench.world.set(KEY, "ongoing")
    await bench.until_idle(KEY)
    assert statuses(bench.world.patches) == ["paused"]
    assert bench.words()[-4:] == ["drift_detected", "patch_sent", "patch_accepted", "applied"]
    drift, sent, _, applied = bench.history()[-4:]
    assert (drift.from_status, drift.to_status) == ("paused", "ongoing")
    assert (drift.reason, drift.by_kind, drift.last_seen) == ("drift", "somebody", "paused")
    assert (sent.from_status, sent.to_status, sent.by_kind) == ("ongoing", "paused", "command")
    assert (applied.from_status, applied.to_status) == ("ongoing", "paused")


async def test_the_second_look_is_one_that_began_after_the_first(bench: Bench):
    await paused(bench)
    bench.time.pass_by(2.0)
    bench.world.set(KEY, "ongoing")
    await bench.turn(KEY, Priority.RESYNC)
    looks = len(bench.world.looks)
    bench.time.pass_by(0.05)
    await bench.turn(KEY, Priority.RESYNC)
    assert len(bench.world.looks) == looks + 1


# Events.


async def test_what_ends_a_run_of_looks_says_when_it_was_last_otherwise(bench: Bench):
    await paused(bench)
    bench.time.pass_by(300)
    await bench.turn(KEY, Priority.RESYNC)
    seen_at = bench.row(KEY).observed_at
    bench.time.pass_by(300)
    bench.world.set(KEY, "ongoing")
    await bench.turn(KEY, Priority.RESYNC)
    drift = next(event for event in bench.history() if event.event == "drift_detected")
    assert (drift.from_status, drift.to_status) == ("paused", "ongoing")
    assert (drift.last_seen, drift.last_seen_at) == ("paused", seen_at)


# Unconfirmed.


async def test_five_hundred_that_show_no_effect_are_not_sent_again_by_the_thousand(bench: Bench):
    bench.confirm_seconds = 0.5
    bench.restart()
    bench.world.settle_seconds = 10_000.0
    keys = [key(number, call=number) for number in range(1, 501)]
    for number, each in enumerate(keys, 1):
        bench.world.add(each)
        bench.declare(document(number, "paused")._replace(key=each))
    await seconds_of_turns(bench, keys, 50.0)
    counts = Counter(each for each, _ in bench.world.patches)
    assert set(counts) == set(keys)
    assert len(bench.world.patches) < 1000, "the first of each, and five a second beyond"
    assert {bench.row(each).phase for each in keys} == {Phase.UNCONFIRMED}


async def test_one_that_shows_no_effect_is_sent_again_after_1_2_4_and_at_most_60_seconds(bench: Bench):
    bench.world.add(KEY)
    bench.world.settle_seconds = 10_000.0
    bench.declare(document(1, "paused"))
    sent: list[float] = []
    bench.world.on_patch = lambda _key, _status: sent.append(bench.time.elapsed)
    phases: list[Phase] = []

    def noted(record: Record) -> None:
        phases.append(record.phase)

    while len(sent) < 9:
        turn = await bench.turn(KEY, Priority.RETRY)
        noted(bench.row(KEY))
        assert turn.again is not None
        bench.time.pass_by(turn.again.after_seconds)
    gaps = [round(after - before) for before, after in pairwise(sent)]
    assert gaps == [31, 32, 34, 38, 46, 62, 90, 90]
    first = phases.index(Phase.UNCONFIRMED)
    assert set(phases[first:]) == {Phase.UNCONFIRMED}, "also while it is sent again"
    row = bench.row(KEY)
    assert (row.first_sent_at, row.unmet_since) == (NOW + timedelta(seconds=sent[0]), NOW)
    bench.world.set(KEY, "paused")
    assert (await bench.turn(KEY)).phase is Phase.APPLIED
    assert (bench.row(KEY).first_sent_at, bench.row(KEY).unmet_since) == (None, None)


async def test_a_resync_does_not_send_it_again_before_its_time(bench: Bench):
    bench.world.add(KEY)
    bench.world.settle_seconds = 10_000.0
    bench.declare(document(1, "paused"))
    await bench.turn(KEY)
    bench.time.pass_by(30.1)
    await bench.turn(KEY)
    bench.restart()
    await bench.turn(KEY, Priority.RESYNC)
    assert len(bench.world.patches) == 1
    bench.time.pass_by(1.0)
    await bench.turn(KEY, Priority.RESYNC)
    assert len(bench.world.patches) == 2


# Blind.


@pytest.mark.parametrize("fault", [Fault.UNAUTHORIZED, Fault.TIMEOUT])
async def test_an_edit_that_nobody_can_look_at_leaves_applied_at_once(bench: Bench, fault: Fault):
    await paused(bench)
    bench.declare(document(1, "ongoing"))
    bench.time.pass_by(300)
    bench.world.look_faults.append(fault)
    turn = await bench.turn(KEY)
    row = bench.row(KEY)
    assert (turn.phase, row.phase, row.desired) == (Phase.BLIND, Phase.BLIND, Status.ONGOING)
    assert row.reason == ("key_refused" if fault is Fault.UNAUTHORIZED else "api_away")
    assert row.unmet_since == bench.time.now()
    bench.world.look_faults.append(fault)
    bench.time.pass_by(61)
    await bench.turn(KEY)
    assert bench.words().count("blind") == 1, "once, when it begins"
    bench.time.pass_by(61)
    await bench.until_idle(KEY)
    again = next(event for event in bench.history() if event.event == "seen_again")
    assert again.last_seen == "paused"
    assert row.phase_since is not None
    assert f"not seen since {row.phase_since:%Y-%m-%dT%H:%M:%SZ}" in again.detail
    assert bench.row(KEY).phase is Phase.APPLIED


async def test_what_was_in_sync_costs_no_row_while_nobody_sees_it(bench: Bench):
    await paused(bench)
    before, told = bench.row(KEY), bench.words()
    bench.time.pass_by(300)
    for _ in range(3):
        bench.world.look_faults.append(Fault.TIMEOUT)
        assert (await bench.turn(KEY, Priority.RESYNC)).phase is Phase.BLIND
        bench.time.pass_by(60)
    assert (bench.row(KEY), bench.words()) == (before, told)


def prove(bench: Bench) -> list[tuple[str | None, float]]:
    """Return what the looks prove from the first one to now: a status, and for how many seconds."""
    row = bench.row(KEY)
    looks = [look for event in bench.history() if event.key == KEY for look in looks_of(event)]
    if row.live is not None and row.observed_at is not None:
        looks.append(Look(row.observed_at, row.live))
    first = min(look.at for look in looks)
    return [
        (each.status, (each.end - each.start).total_seconds()) for each in stretches(looks, first, bench.time.now())
    ]


@pytest.mark.parametrize("gap", ["nobody asks", "restart", "api away", "one call unanswered"])
async def test_a_time_in_which_nobody_looked_is_proven_by_no_looks_around_it(bench: Bench, gap: str):
    await paused(bench)
    other = key(2)
    bench.world.add(other)
    bench.declare(document(2, "ongoing"))
    for _ in range(4):
        bench.time.pass_by(300)
        await bench.turn(KEY, Priority.RESYNC)
        await bench.turn(other, Priority.RESYNC)
    if gap == "restart":
        bench.restart()
    for _ in range(9):
        if gap == "api away":
            bench.world.look_faults.append(Fault.TIMEOUT)
            await bench.turn(other, Priority.RESYNC)
        bench.time.pass_by(400)
        if gap == "one call unanswered":
            bench.world.look_faults.append(Fault.TIMEOUT)
            await bench.turn(KEY, Priority.RESYNC)
            await bench.turn(other, Priority.RESYNC)
    bench.world.look_faults.clear()
    await bench.turn(KEY, Priority.RESYNC)
    bench.time.pass_by(300)
    await bench.turn(KEY, Priority.RESYNC)
    assert prove(bench)[-3:] == [("paused", 1200.0), (None, 3600.0), ("paused", 300.0)]
    again = [event for event in bench.history() if event.event == "seen_again" and event.key == KEY]
    assert [(event.from_status, event.to_status, event.last_seen) for event in again] == [
        ("paused", "paused", "paused")
    ]


async def test_a_command_that_looked_for_its_plan_before_proves_nothing_of_the_time_before_that_look(bench: Bench):
    await paused(bench)
    bench.time.pass_by(3600)
    bench.first_looks[KEY] = replace(look("paused"), observed_at=bench.time.now())
    bench.restart()
    bench.time.pass_by(1)
    await bench.turn(KEY)
    assert prove(bench)[-3:] == [(None, 3600.0), ("paused", 0.0), (None, 1.0)]


async def test_looks_that_are_late_while_others_are_answered_write_nothing(bench: Bench):
    await paused(bench)
    other = key(2)
    bench.world.add(other)
    bench.declare(document(2, "ongoing"))
    await bench.turn(other)
    told = bench.words()
    for _ in range(3):
        for _ in range(5):
            bench.time.pass_by(300)
            await bench.turn(other, Priority.RESYNC)
        await bench.turn(KEY, Priority.RESYNC)
    assert bench.words() == told


@pytest.mark.parametrize("gap", ["suspended", "released"])
async def test_a_recording_that_is_left_alone_is_proven_to_the_last_look_before(bench: Bench, gap: str):
    await paused(bench)
    bench.time.pass_by(100)
    await bench.turn(KEY, Priority.RESYNC)
    bench.time.pass_by(10)
    if gap == "suspended":
        bench.declare(
            document(1, "paused", suspend=Suspend("a call for training", bench.time.now() + timedelta(seconds=60)))
        )
    else:
        del bench.documents[KEY]
    await bench.turn(KEY)
    bench.time.pass_by(100)
    bench.declare(document(1, "paused"))
    await bench.turn(KEY)
    assert prove(bench)[-3:] == [("paused", 100.0), (None, 110.0), ("paused", 0.0)]


async def test_what_is_accepted_and_then_not_seen_in_time_is_unconfirmed_although_nobody_can_look(bench: Bench):
    bench.world.add(KEY)
    bench.world.settle_seconds = 10_000.0
    bench.declare(document(1, "paused"))
    await bench.turn(KEY)
    bench.time.pass_by(30.1)
    bench.world.look_faults.append(Fault.TIMEOUT)
    assert (await bench.turn(KEY)).phase is Phase.UNCONFIRMED
    assert bench.row(KEY).phase is Phase.UNCONFIRMED
    assert bench.words()[-1] == "unconfirmed"


# An earlier process.


async def test_another_status_waits_for_a_patch_that_an_earlier_process_may_still_have_under_way(bench: Bench):
    bench.world.add(KEY)
    bench.declare(document(1, "completed"))
    bench.world.patch_faults.append(Fault.KILLED)
    with pytest.raises(Killed):
        await bench.turn(KEY)
    bench.time.pass_by(1.0)
    bench.restart()
    bench.declare(document(1, "paused"))
    turn = await bench.turn(KEY)
    assert (turn.phase, bench.row(KEY).reason) == (Phase.WAITING, "earlier_request")
    assert statuses(bench.world.patches) == ["completed"]
    await bench.until_idle(KEY, turns=60)
    assert statuses(bench.world.patches) == ["completed", "paused"]
    assert bench.time.elapsed >= 30


async def test_commands_that_a_timer_starts_seldom_prove_nothing_and_fill_no_history(bench: Bench):
    await paused(bench)
    bench.time.pass_by(300)
    await bench.turn(KEY)
    told = len(bench.history())
    bench.watches = False
    for _ in range(24):
        bench.time.pass_by(3600)
        bench.restart()
        await bench.turn(KEY)
    assert [event.event for event in bench.history()[told:]] == ["seen_once"], "one event, and not one a run"
    assert prove(bench)[-5:] == [
        *[("paused", 300.0), (None, 3600.0)],
        *[("paused", 0.0), (None, 23 * 3600.0), ("paused", 0.0)],
    ]
    # Even soon after one another they prove nothing of it; a daemon that takes over does, from its first look on.
    bench.time.pass_by(60)
    bench.restart()
    await bench.turn(KEY)
    assert prove(bench)[-1:] == [("paused", 0.0)]
    bench.watches = True
    bench.time.pass_by(60)
    bench.restart()
    for _ in range(4):
        await bench.turn(KEY, Priority.RESYNC)
        bench.time.pass_by(300)
    assert [event.event for event in bench.history()[told:]] == ["seen_once", "seen_again"]
    assert prove(bench)[-2:] == [("paused", 900.0), (None, 300.0)]


async def test_a_change_between_two_seldom_looks_is_dated_between_them(bench: Bench):
    await paused(bench)
    bench.watches = False
    for _ in range(3):
        bench.time.pass_by(3600)
        bench.restart()
        await bench.turn(KEY)
    bench.time.pass_by(3600)
    bench.world.set(KEY, "ongoing")
    bench.restart()
    await bench.until_idle(KEY)
    drift = next(event for event in bench.history() if event.event == "drift_detected")
    assert drift.last_seen_at is not None
    assert (drift.last_seen, (drift.at - drift.last_seen_at).total_seconds()) == ("paused", 3600)
    assert all(seconds < 60 for status, seconds in prove(bench)[-8:] if status is not None)
