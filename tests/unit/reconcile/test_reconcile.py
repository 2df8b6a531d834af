"""One turn, on the real store and the real observer: the world afterwards, the record, the history, what was sent.

Aspects: each row of the decision's table, each failure of a request or a write, what is remembered over a restart, and
edits that overtake a PATCH under way. Left out: the combinations of these, which `test_convergence_machine` makes.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.model.actions import Rule
from reconciler.model.documents import Suspend
from reconciler.model.errors import LeaseLost, StoreError, Unavailable
from reconciler.model.keys import RecordingKey
from reconciler.model.statuses import Drift, Outcome, Phase, Status
from reconciler.model.work import Priority
from reconciler.plan.limits import Limits
from reconciler.plan.window import ChangeSet
from reconciler.reconcile.accounts import UNAUTHORIZED_SECONDS
from reconciler.reconcile.looks import FRESH_SECONDS
from reconciler.reconcile.patch import UNKNOWN_FATE_SECONDS
from reconciler.reconcile.permits import LIMIT_SECONDS
from reconciler.reconcile.unsent import NOT_STARTED_SECONDS, UNKNOWN_STATUS_SECONDS
from reconciler.state.opening import open_store
from reconciler.work.queue import Again
from tests.world.bench import Bench, Fault, Killed, statuses
from tests.world.nouns import NOW, document, key, look

KEY = key(1)


async def applied(bench: Bench, status: str, key: RecordingKey = KEY, **changes: object) -> None:
    """Bring a recording to a status by a PATCH that is confirmed, and forget what was sent for it."""
    bench.world.add(key, "ongoing" if status != "ongoing" else "paused")
    bench.declare(document(1, status, **changes)._replace(key=key))
    await bench.until_idle(key)
    assert bench.row(key).phase is Phase.APPLIED
    bench.world.patches.clear()
    bench.log.clear()


# The table, row by row.


async def test_taking_a_document_away_releases_and_sends_nothing(bench: Bench):
    await applied(bench, "paused")
    bench.documents.clear()
    turn = await bench.turn(KEY)
    assert turn.again is None
    assert bench.store.get(KEY) is None
    assert bench.world.patches == []
    assert bench.history()[-1].event == "released"
    assert bench.log.of("released")[0].values == {"name": "card-001", "recording_id": KEY.recording_id}


async def test_a_key_with_neither_document_nor_record_is_nothing(bench: Bench):
    turn = await bench.turn(KEY)
    assert (turn.phase, turn.again) == (None, None)
    assert bench.history() == []


async def test_a_suspended_document_is_left_alone_and_comes_back_at_the_end(bench: Bench):
    until = NOW + timedelta(hours=1)
    bench.world.add(KEY, "ongoing")
    bench.declare(document(1, "paused", suspend=Suspend("incident 4411", until)))
    turn = await bench.turn(KEY)
    assert turn.again == Again(3600.0, Priority.RESYNC)
    assert bench.row(KEY).phase is Phase.HELD
    assert bench.world.looks == []
    bench.time.pass_by(3600.0)
    await bench.until_idle(KEY)
    assert statuses(bench.world.patches) == ["paused"]
    assert bench.row(KEY).phase is Phase.APPLIED


async def test_a_hold_is_written_down_once(bench: Bench):
    bench.world.add(KEY)
    bench.declare(document(1, suspend=Suspend("incident", NOW + timedelta(hours=1))))
    for _ in range(3):
        await bench.turn(KEY)
    assert bench.words() == ["suspended"]
    assert bench.log.words == ["suspended"]


async def test_an_edit_of_a_suspended_document_is_recorded_although_nothing_is_sent(bench: Bench):
    bench.world.add(KEY)
    until = NOW + timedelta(hours=1)
    bench.declare(document(1, "paused", suspend=Suspend("incident", until)))
    await bench.turn(KEY)
    later = Suspend("incident, longer", until + timedelta(hours=1))
    bench.declare(document(1, "completed", suspend=later, drift=Drift.HEAL, line=7))
    await bench.turn(KEY)
    row = bench.row(KEY)
    assert (row.desired, row.suspend, row.drift, row.line) == (Status.COMPLETED, later, Drift.HEAL, 7)
    assert row.due_at == later.until


async def test_a_recording_that_is_as_desired_costs_no_patch_and_is_recorded_once(bench: Bench):
    bench.world.add(KEY, "paused")
    bench.declare(document(1, "paused"))
    for _ in range(3):
        turn = await bench.turn(KEY, Priority.RESYNC)
        bench.time.pass_by(300)
    assert turn.again is None
    assert bench.world.patches == []
    row = bench.row(KEY)
    assert (row.phase, row.last_applied, row.live) == (Phase.APPLIED, Status.PAUSED, "paused")
    assert row.observed_at == NOW + timedelta(seconds=600)
    assert bench.words() == ["in_sync"]


@pytest.mark.parametrize("word", ["completed", "available"])
async def test_completed_is_met_by_both_words_for_it(bench: Bench, word: str):
    bench.world.add(KEY, word)
    bench.declare(document(1, "completed"))
    await bench.turn(KEY)
    assert bench.row(KEY).phase is Phase.APPLIED
    assert bench.world.patches == []


@pytest.mark.parametrize("confirmed", [True, False], ids=["confirmed before", "never confirmed"])
@pytest.mark.parametrize("word", ["completed", "available", "absent", "failed", "ongoing but inactive", "gone"])
async def test_a_recording_that_has_ended_is_reported_once_and_nothing_is_sent(
    bench: Bench, word: str, *, confirmed: bool
):
    if confirmed:
        await applied(bench, "paused")
    bench.declare(document(1, "paused"))
    if word == "gone":
        bench.world.recordings.clear()
    else:
        bench.world.add(KEY, word.split()[0], active="inactive" not in word)
    if word in ("gone", "ongoing but inactive"):
        bench.world.ended_calls.add(KEY.call)
    bench.time.pass_by(300)
    for _ in range(3):
        turn = await bench.turn(KEY, Priority.RESYNC)
        bench.time.pass_by(300)
    assert turn.again is None
    assert bench.world.patches == []
    assert bench.row(KEY).phase is Phase.ENDED
    ended = [event for event in bench.history() if event.event == "ended"]
    assert [event.cause for event in ended] == ["ended" if confirmed else "ended_before_effect"]
    assert [(event.from_status, event.to_status) for event in ended] == [
        ("paused" if confirmed else None, bench.row(KEY).live)
    ]
    lines = [(line.level, line.values["reason"]) for line in bench.log.of("ended")]
    assert lines == [("info" if confirmed else "warning", ended[0].cause)]


async def test_a_recording_that_ends_before_its_patch_took_effect_is_unconfirmed(bench: Bench):
    bench.world.add(KEY)
    bench.world.settle_seconds = 60.0
    bench.declare(document(1, "paused"))
    await bench.turn(KEY)
    bench.world.end_call(KEY.call)
    bench.time.pass_by(0.1)
    turn = await bench.turn(KEY)
    assert (turn.phase, turn.outcome) == (Phase.ENDED, Outcome.UNCONFIRMED)
    assert bench.row(KEY).sent is None
    assert bench.history()[-1].outcome == "unconfirmed"


async def test_a_recording_that_has_not_started_is_waited_for(bench: Bench):
    bench.world.add(KEY, "accepted")
    bench.declare(document(1, "paused"))
    turn = await bench.turn(KEY)
    await bench.turn(KEY)
    assert turn.again == Again(NOT_STARTED_SECONDS, Priority.CONFIRM)
    assert bench.row(KEY).phase is Phase.WAITING
    assert bench.world.patches == []
    assert bench.words() == ["waiting"]
    bench.world.set(KEY, "ongoing", by="bird")
    bench.time.pass_by(1)
    await bench.until_idle(KEY)
    assert statuses(bench.world.patches) == ["paused"]


async def test_a_status_nobody_knows_is_waited_for_and_said(bench: Bench):
    bench.world.add(KEY, "on-hold")
    bench.declare(document(1, "paused"))
    turn = await bench.turn(KEY)
    assert turn.again == Again(UNKNOWN_STATUS_SECONDS, Priority.CONFIRM)
    assert bench.world.patches == []
    assert bench.row(KEY).live == "on-hold"
    assert [(line.level, line.values["live"]) for line in bench.log.of("waiting")] == [("warning", "on-hold")]


async def test_drift_is_only_reported_where_the_document_says_so(bench: Bench):
    await applied(bench, "paused", drift=Drift.REPORT)
    bench.world.set(KEY, "ongoing")
    bench.time.pass_by(300)
    for _ in range(3):
        turn = await bench.turn(KEY, Priority.RESYNC)
        bench.time.pass_by(300)
    assert (turn.phase, turn.again) == (Phase.DRIFTED, None)
    assert bench.world.patches == []
    assert bench.words().count("drift_detected") == 1
    assert bench.log.words == ["drift_detected"]


@pytest.mark.parametrize("drift", Drift)
async def test_a_pause_made_by_hand_is_overruled_under_heal_alone(bench: Bench, drift: Drift):
    await applied(bench, "ongoing", drift=drift)
    bench.world.set(KEY, "paused")
    bench.time.pass_by(300)
    for _ in range(3):
        await bench.until_idle(KEY)
        bench.time.pass_by(300)
    assert statuses(bench.world.patches) == (["ongoing"] if drift is Drift.HEAL else [])
    assert bench.world.word(KEY) == ("ongoing" if drift is Drift.HEAL else "paused")
    assert bench.row(KEY).phase is (Phase.APPLIED if drift is Drift.HEAL else Phase.DRIFTED)
    causes = [event.cause for event in bench.history() if event.event == "drift_detected"]
    assert causes == {Drift.HEAL: ["drift"], Drift.SAFE: ["foreign_pause"], Drift.REPORT: ["drift"]}[drift]
    flagged = [event.resumes_foreign for event in bench.history() if event.event == "patch_sent"]
    assert flagged == [True, True] if drift is Drift.HEAL else [True]


async def test_a_lost_pause_is_drift_and_is_put_back(bench: Bench):
    await applied(bench, "paused")
    bench.world.set(KEY, "ongoing")
    bench.time.pass_by(300)
    await bench.until_idle(KEY)
    assert bench.world.word(KEY) == "paused"
    assert statuses(bench.world.patches) == ["paused"]
    assert bench.log.words == ["drift_detected", "patch_sent", "patch_accepted", "applied"]
    assert [event.cause for event in bench.history() if event.event == "patch_sent"] == ["edit", "drift"]


async def test_an_edit_is_sent_confirmed_and_recorded(bench: Bench):
    bench.world.add(KEY)
    bench.declare(document(1, "paused"))
    first = await bench.turn(KEY)
    assert first.phase is Phase.CONFIRMING
    assert bench.row(KEY).last_applied is None, "202 is not effect"
    bench.time.pass_by(0.1)
    second = await bench.turn(KEY, Priority.CONFIRM)
    assert (second.phase, second.outcome, second.again) == (Phase.APPLIED, Outcome.APPLIED, None)
    row = bench.row(KEY)
    assert (row.last_applied, row.sent, row.confirm_by, row.attempts, row.error) == (Status.PAUSED, None, None, 0, "")
    assert row.applied_at == NOW + timedelta(seconds=0.1)
    assert bench.words() == ["patch_sent", "patch_accepted", "applied"]
    sent, accepted, confirmed = bench.history()
    assert (sent.cause, sent.from_status, sent.to_status, sent.requested_at) == ("edit", "ongoing", "paused", NOW)
    assert (accepted.answer, accepted.request_ms) == ("202", 1.0)
    assert (confirmed.cause, confirmed.outcome, confirmed.requested_at) == ("confirm", "applied", NOW)
    assert {event.run_id for event in bench.history()} == {"run"}
    assert all(line.values["recording_id"] == KEY.recording_id for line in bench.log)


async def test_an_irreversible_patch_is_marked_in_the_history(bench: Bench):
    bench.world.add(KEY)
    bench.declare(document(1, "completed"))
    await bench.until_idle(KEY)
    assert [event.irreversible for event in bench.history() if event.event == "patch_sent"] == [True]


# The order of things.


async def test_the_intent_is_on_disk_before_the_patch_leaves(bench: Bench):
    bench.world.add(KEY)
    bench.declare(document(1, "paused"))
    seen = []

    def read_by_another_connection(sent: RecordingKey, status: Status) -> None:
        with open_store(bench.url) as other:
            record = other.get(sent)
            assert record is not None
            seen.append((record.phase, record.sent, record.sent_at, other.history()[0].event))

    bench.world.on_patch = read_by_another_connection
    await bench.turn(KEY)
    assert seen == [(Phase.SENDING, Status.PAUSED, NOW, "patch_sent")]


async def test_nothing_is_sent_when_the_intent_cannot_be_kept(bench: Bench):
    bench.world.add(KEY)
    bench.declare(document(1, "paused"))
    bench.pen.refuse()
    turn = await bench.turn(KEY)
    assert isinstance(turn.error, StoreError)
    assert turn.again is not None
    assert bench.world.patches == []
    assert bench.log.words == ["state_unwritable"]
    await bench.until_idle(KEY)
    assert statuses(bench.world.patches) == ["paused"]


async def test_an_acceptance_that_cannot_be_kept_is_found_by_a_look(bench: Bench):
    bench.world.add(KEY)
    bench.declare(document(1, "paused"))
    bench.pen.refuse(event="patch_accepted")
    assert isinstance((await bench.turn(KEY)).error, StoreError)
    assert bench.row(KEY).phase is Phase.SENDING
    bench.time.pass_by(1)
    await bench.until_idle(KEY)
    assert bench.row(KEY).phase is Phase.APPLIED
    assert statuses(bench.world.patches) == ["paused"]


async def test_nothing_is_sent_once_the_lease_is_lost(bench: Bench):
    bench.world.add(KEY)
    bench.declare(document(1, "paused"))
    bench.pen.leased = False
    with pytest.raises(LeaseLost):
        await bench.turn(KEY)
    assert bench.world.patches == []


async def test_a_write_that_meets_a_lost_lease_ends_the_process(bench: Bench):
    bench.world.add(KEY)
    bench.declare(document(1, "paused"))

    def lost(_events: object) -> None:
        raise LeaseLost("taken over")

    bench.pen.before = lost
    with pytest.raises(LeaseLost):
        await bench.turn(KEY)
    assert bench.world.patches == []


@pytest.mark.parametrize("effect", [True, False], ids=["after it left", "before it arrived"])
async def test_after_a_kill_around_the_patch_a_look_decides_whether_it_is_sent_again(bench: Bench, *, effect: bool):
    bench.world.add(KEY)
    bench.declare(document(1, "paused"))
    bench.world.patch_faults.append(Fault.KILLED_WITH_EFFECT if effect else Fault.KILLED)
    with pytest.raises(Killed):
        await bench.turn(KEY)
    bench.restart()
    assert bench.row(KEY).phase is Phase.SENDING
    looks = len(bench.world.looks)
    bench.time.pass_by(0.2)
    await bench.until_idle(KEY)
    assert bench.world.word(KEY) == "paused"
    assert statuses(bench.world.patches) == ["paused"] * (1 if effect else 2)
    assert len(bench.world.looks) > looks
    assert bench.row(KEY).phase is Phase.APPLIED


async def test_a_kill_after_the_acceptance_repeats_nothing(bench: Bench):
    bench.world.add(KEY)
    bench.world.settle_seconds = 10.0
    bench.declare(document(1, "paused"))
    await bench.turn(KEY)
    bench.restart()
    await bench.until_idle(KEY)
    assert statuses(bench.world.patches) == ["paused"]
    assert bench.time.elapsed > 10


# Confirmation.


async def test_looks_for_the_effect_come_soon_at_first_and_end_just_after_the_deadline(bench: Bench):
    bench.world.add(KEY)
    bench.world.settle_seconds = 1000.0
    bench.declare(document(1, "paused"))
    started = bench.time.elapsed
    turn = await bench.turn(KEY)
    waits = []
    while turn.phase is Phase.CONFIRMING:
        assert turn.again is not None
        assert turn.again.priority is Priority.CONFIRM
        waits.append(turn.again.after_seconds)
        bench.time.pass_by(turn.again.after_seconds)
        turn = await bench.turn(KEY, turn.again.priority)
    assert waits[0] == pytest.approx(0.1)
    assert max(waits) <= 3.0
    assert len(waits) < 20
    assert 30.0 < bench.time.elapsed - started < 30.1
    assert (turn.phase, turn.outcome) == (Phase.UNCONFIRMED, Outcome.UNCONFIRMED)


async def test_unconfirmed_is_said_at_the_deadline_and_sent_again_after_a_backoff(bench: Bench):
    bench.world.add(KEY)
    bench.world.settle_seconds = 1000.0
    bench.declare(document(1, "paused"))
    await bench.turn(KEY)
    bench.time.pass_by(30.001)
    turn = await bench.turn(KEY)
    row = bench.row(KEY)
    assert (row.phase, row.last_applied, row.attempts) == (Phase.UNCONFIRMED, None, 1)
    assert "not paused within 30 s" in row.error
    assert statuses(bench.world.patches) == ["paused"]
    assert turn.again is not None
    assert turn.again.priority is Priority.RETRY
    bench.world.recordings[KEY].coming.clear()
    bench.world.settle_seconds = 0.05
    bench.time.pass_by(turn.again.after_seconds)
    await bench.until_idle(KEY)
    assert statuses(bench.world.patches) == ["paused", "paused"]
    assert bench.row(KEY).phase is Phase.APPLIED
    assert bench.words() == [
        "patch_sent",
        "patch_accepted",
        "unconfirmed",
        "patch_sent",
        "patch_accepted",
        "applied",
    ]


async def test_an_effect_after_the_deadline_is_still_the_effect(bench: Bench):
    bench.world.add(KEY)
    bench.world.settle_seconds = 30.5
    bench.declare(document(1, "paused"))
    await bench.turn(KEY)
    bench.time.pass_by(30.001)
    await bench.turn(KEY)
    bench.time.pass_by(1)
    turn = await bench.turn(KEY)
    assert (turn.phase, turn.outcome) == (Phase.APPLIED, Outcome.APPLIED)
    assert statuses(bench.world.patches) == ["paused"]


async def test_a_look_that_shows_accepted_while_our_patch_settles_belongs_to_the_confirmation(bench: Bench):
    bench.world.add(KEY)
    bench.world.settle_seconds = 0.8
    bench.world.shows_accepted = True
    bench.declare(document(1, "paused"))
    await bench.turn(KEY)
    bench.time.pass_by(0.1)
    turn = await bench.turn(KEY)
    assert turn.phase is Phase.CONFIRMING, "a command would end here without an answer if this were a wait"
    assert bench.row(KEY).phase is Phase.CONFIRMING
    assert (await bench.until_idle(KEY)).outcome is Outcome.APPLIED
    assert bench.time.elapsed < 2.0


async def test_accepted_past_the_deadline_is_unconfirmed_once_and_then_waited_for(bench: Bench):
    bench.world.add(KEY)
    bench.world.settle_seconds = 1000.0
    bench.world.shows_accepted = True
    bench.declare(document(1, "paused"))
    await bench.turn(KEY)
    bench.time.pass_by(30.001)
    assert (await bench.turn(KEY)).outcome is Outcome.UNCONFIRMED
    bench.time.pass_by(1)
    turn = await bench.turn(KEY)
    assert (turn.phase, turn.outcome) == (Phase.UNCONFIRMED, None)
    assert bench.row(KEY).phase is Phase.UNCONFIRMED
    assert bench.words().count("unconfirmed") == 1
    assert statuses(bench.world.patches) == ["paused"], "nothing can be sent to a recording that is not controllable"


@pytest.mark.parametrize("between", ["a failed look", "a suspension", "a wait"])
async def test_the_deadline_is_kept_whatever_came_between(bench: Bench, between: str):
    bench.world.add(KEY)
    bench.world.settle_seconds = 1000.0
    bench.declare(document(1, "paused"))
    await bench.turn(KEY)
    bench.time.pass_by(1)
    if between == "a failed look":
        bench.world.look_faults.append(Fault.SERVER_ERROR)
    elif between == "a suspension":
        bench.declare(document(1, "paused", suspend=Suspend("a while", NOW + timedelta(seconds=2))))
    else:
        bench.world.set(KEY, "on-hold", by="bird")
    await bench.turn(KEY)
    bench.time.pass_by(1)
    bench.declare(document(1, "paused"))
    bench.world.set(KEY, "ongoing", by="bird")
    assert (await bench.turn(KEY)).again is not None
    bench.time.pass_by(29)
    assert (await bench.turn(KEY)).outcome is Outcome.UNCONFIRMED
    assert statuses(bench.world.patches) == ["paused"]


# Edits that overtake a PATCH under way.


async def test_an_edit_back_is_not_overtaken_by_the_earlier_patch(bench: Bench):
    await applied(bench, "ongoing")
    bench.world.settle_seconds = 5.0
    bench.declare(document(1, "paused"))
    await bench.turn(KEY)
    bench.time.pass_by(1)
    bench.declare(document(1, "ongoing"))
    turn = await bench.turn(KEY)
    assert turn.again is not None, "live is as desired now, but the pause is still to come"
    assert bench.row(KEY).phase is Phase.CONFIRMING
    await bench.until_idle(KEY)
    assert bench.world.word(KEY) == "ongoing"
    assert statuses(bench.world.patches) == ["paused", "ongoing"]
    assert [line.event for line in bench.log if line.event == "drift_detected"] == [], "our own pause is not foreign"
    assert [event.resumes_foreign for event in bench.history() if event.event == "patch_sent"][-1] is False


async def test_an_edit_back_and_forth_while_the_first_patch_settles_sends_it_once(bench: Bench):
    await applied(bench, "ongoing")
    bench.world.settle_seconds = 5.0
    for status in ("paused", "ongoing", "paused"):
        bench.declare(document(1, status))
        await bench.turn(KEY)
        bench.time.pass_by(1)
    await bench.until_idle(KEY)
    assert statuses(bench.world.patches) == ["paused"]
    assert bench.row(KEY).last_applied is Status.PAUSED


@pytest.mark.parametrize("fault", [Fault.TIMEOUT_WITH_EFFECT, Fault.SERVER_ERROR_WITH_EFFECT])
async def test_an_edit_back_waits_out_a_patch_of_unknown_fate(bench: Bench, fault: Fault):
    await applied(bench, "ongoing")
    bench.world.settle_seconds = 8.0
    bench.world.patch_faults.append(fault)
    bench.declare(document(1, "paused"))
    await bench.turn(KEY)
    bench.time.pass_by(0.5)
    bench.declare(document(1, "ongoing"))
    turns = 0
    while (turn := await bench.turn(KEY)).again is not None:
        turns += 1
        bench.time.pass_by(turn.again.after_seconds)
    assert turns < 40
    assert bench.world.word(KEY) == "ongoing", "the pause took effect late and must not stay"
    assert statuses(bench.world.patches) == ["paused", "ongoing"]
    assert bench.log.of("drift_detected") == []


async def test_an_overtaken_patch_that_never_takes_effect_is_waited_out(bench: Bench):
    await applied(bench, "ongoing")
    bench.world.settle_seconds = 1000.0
    bench.declare(document(1, "paused"))
    await bench.turn(KEY)
    bench.declare(document(1, "ongoing"))
    await bench.until_idle(KEY)
    assert bench.time.elapsed > 30
    assert (bench.row(KEY).phase, bench.row(KEY).sent) == (Phase.APPLIED, None)
    assert statuses(bench.world.patches) == ["paused"]


# Failures of a PATCH.


@pytest.mark.parametrize(
    ("fault", "word"), [(Fault.THROTTLED, "throttled"), (Fault.REFUSED, "retry_scheduled")], ids=["429", "refused"]
)
async def test_what_certainly_was_not_processed_changes_nothing_and_is_sent_later(
    bench: Bench, fault: Fault, word: str
):
    await applied(bench, "ongoing")
    before = bench.row(KEY)
    bench.declare(document(1, "paused"))
    bench.world.patch_faults.append(fault)
    bench.world.retry_after = 7.0
    turn = await bench.turn(KEY)
    row = bench.row(KEY)
    assert (row.phase, row.sent, row.last_applied, row.attempts) == (Phase.FAILED, None, before.last_applied, 1)
    assert (turn.phase, turn.outcome) == (row.phase, Outcome.FAILED)
    assert isinstance(turn.error, Unavailable)
    assert turn.again is not None
    assert turn.again.after_seconds > (7.0 if fault is Fault.THROTTLED else 0.0)
    assert bench.log.words == ["patch_sent", word]
    assert bench.history()[-1].event == "patch_failed"
    bench.time.pass_by(turn.again.after_seconds)
    await bench.until_idle(KEY)
    assert bench.world.word(KEY) == "paused"
    assert statuses(bench.world.patches) == ["paused", "paused"]


async def test_an_earlier_patch_stays_under_way_when_the_next_was_not_processed(bench: Bench):
    bench.world.add(KEY)
    bench.world.settle_seconds = 10.0
    bench.declare(document(1, "paused"))
    await bench.turn(KEY)
    bench.declare(document(1, "completed"))
    bench.world.patch_faults.append(Fault.THROTTLED)
    await bench.turn(KEY)
    row = bench.row(KEY)
    assert (row.sent, row.accepted_at, row.confirm_by) == (Status.PAUSED, NOW, NOW + timedelta(seconds=30))


async def test_failures_back_off_ever_longer(bench: Bench):
    bench.world.add(KEY)
    bench.declare(document(1, "paused"))
    bench.world.patch_faults.extend([Fault.REFUSED] * 9)
    waits = []
    for _ in range(9):
        turn = await bench.turn(KEY)
        assert turn.again is not None
        waits.append(turn.again.after_seconds)
        bench.time.pass_by(waits[-1])
    assert waits == sorted(waits)
    assert waits[0] < 0.5
    assert 20 < waits[-1] <= 60
    assert bench.row(KEY).attempts == 9
    bench.declare(document(1, "completed"))
    bench.world.patch_faults.append(Fault.REFUSED)
    turn = await bench.turn(KEY)
    assert turn.again is not None
    assert turn.again.after_seconds < 0.5, "a new desired status starts with a clean slate"


@pytest.mark.parametrize("effect", [True, False], ids=["with effect", "without"])
async def test_a_server_error_is_followed_by_a_look_and_then_sent_again_if_need_be(bench: Bench, *, effect: bool):
    bench.world.add(KEY)
    bench.declare(document(1, "paused"))
    bench.world.patch_faults.append(Fault.SERVER_ERROR_WITH_EFFECT if effect else Fault.SERVER_ERROR)
    turn = await bench.turn(KEY)
    assert turn.again is not None
    looks = len(bench.world.looks)
    bench.world.on_patch = lambda _key, _status: order.append("patch")
    bench.world.on_look = lambda _call: order.append("look")
    order: list[str] = []
    bench.time.pass_by(turn.again.after_seconds)
    await bench.until_idle(KEY)
    assert order[0] == "look"
    assert len(bench.world.looks) > looks
    assert statuses(bench.world.patches) == ["paused"] * (1 if effect else 2)
    assert bench.time.elapsed < 1.0, "an answer, so there is no grace to wait for"
    assert bench.row(KEY).phase is Phase.APPLIED


@pytest.mark.parametrize("effect", [True, False], ids=["with effect", "without"])
async def test_a_lost_answer_is_given_the_grace_and_a_look_before_it_is_sent_again(bench: Bench, *, effect: bool):
    bench.world.add(KEY)
    bench.declare(document(1, "paused"))
    bench.world.patch_faults.append(Fault.TIMEOUT_WITH_EFFECT if effect else Fault.TIMEOUT)
    at: list[tuple[str, float]] = []
    bench.world.on_patch = lambda _key, _status: at.append(("patch", bench.time.elapsed))
    bench.world.on_look = lambda _call: at.append(("look", bench.time.elapsed))
    await bench.until_idle(KEY)
    assert bench.row(KEY).phase is Phase.APPLIED
    patches = [elapsed for what, elapsed in at if what == "patch"]
    if effect:
        assert len(patches) == 1
        assert bench.time.elapsed < 1.0
    else:
        assert len(patches) == 2
        assert UNKNOWN_FATE_SECONDS <= patches[1] < UNKNOWN_FATE_SECONDS + 3.0
        assert at[at.index(("patch", patches[1])) - 1] == ("look", patches[1])


async def test_a_look_that_began_before_a_patch_failed_does_not_excuse_sending_it_again(bench: Bench):
    other = key(2)
    bench.world.add(KEY)
    bench.world.add(other)
    bench.declare(document(1, "paused"), document(2, "ongoing"))
    bench.world.patch_faults.append(Fault.SERVER_ERROR_WITH_EFFECT)
    bench.world.settle_seconds = 0.0
    await bench.observer.observe(KEY, since=NOW, priority=Priority.EDIT)
    bench.world.patch_gate, left = asyncio.Event(), asyncio.Event()
    bench.world.on_patch = lambda _key, _status: left.set()
    sending = asyncio.create_task(bench.turn(KEY))
    await left.wait()
    # While the PATCH is under way, a look at another recording of the call begins; its answer is older than the effect.
    bench.time.pass_by(0.4)
    began = bench.time.now()
    stale = {each: replace(look("ongoing"), observed_at=began) for each in (KEY.recording_id, other.recording_id)}
    bench.time.pass_by(0.1)
    bench.world.patch_gate.set()
    failed = await sending
    bench.observer.put(KEY.call, began, stale)
    assert failed.again is not None
    bench.time.pass_by(0.05)
    await bench.turn(KEY)
    assert statuses(bench.world.patches) == ["paused"]
    assert bench.row(KEY).phase is Phase.APPLIED


@pytest.mark.parametrize("fault", [Fault.NOT_FOUND, Fault.CONFLICT, Fault.INVALID])
async def test_a_refusal_is_kept_until_the_desired_status_changes(bench: Bench, fault: Fault):
    bench.world.add(KEY)
    bench.declare(document(1, "paused"))
    bench.world.patch_faults.append(fault)
    turn = await bench.turn(KEY)
    assert (turn.phase, turn.outcome, turn.again) == (Phase.REJECTED, Outcome.REJECTED, None)
    row = bench.row(KEY)
    assert (row.phase, row.rejected, row.rejected_live, row.sent) == (Phase.REJECTED, Status.PAUSED, "ongoing", None)
    line = bench.log.of("rejected")[0]
    assert (line.values["code"], line.values["live"]) == (f"Fault{fault}", "ongoing")
    assert bench.history()[-1].answer == f"{fault} Fault{fault}"
    bench.restart()
    for _ in range(3):
        bench.time.pass_by(300)
        again = await bench.turn(KEY, Priority.RESYNC)
        assert (again.outcome, again.again) == (Outcome.REJECTED, None)
    assert statuses(bench.world.patches) == ["paused"]
    assert len(bench.log.of("rejected")) == 1
    bench.declare(document(1, "completed"))
    await bench.until_idle(KEY)
    assert statuses(bench.world.patches) == ["paused", "completed"]


async def test_a_refusal_is_kept_until_the_live_status_changes(bench: Bench):
    bench.world.add(KEY)
    bench.declare(document(1, "completed"))
    bench.world.patch_faults.append(Fault.CONFLICT)
    await bench.turn(KEY)
    bench.time.pass_by(300)
    bench.world.set(KEY, "paused")
    await bench.until_idle(KEY)
    assert statuses(bench.world.patches) == ["completed", "completed"]
    assert bench.row(KEY).phase is Phase.APPLIED


async def test_a_refusal_outlives_a_failed_look(bench: Bench):
    bench.world.add(KEY)
    bench.declare(document(1, "paused"))
    bench.world.patch_faults.append(Fault.CONFLICT)
    await bench.turn(KEY)
    bench.time.pass_by(300)
    bench.world.look_faults.append(Fault.SERVER_ERROR)
    assert (await bench.turn(KEY)).again is not None
    bench.time.pass_by(1)
    turn = await bench.turn(KEY)
    assert turn.outcome is Outcome.REJECTED
    assert "Fault409" in str(turn.error)
    row = bench.row(KEY)
    assert row.phase is Phase.REJECTED
    assert "Fault409" in row.error
    assert len(bench.world.patches) == 1


async def test_a_refusal_although_the_wanted_status_is_there_is_success(bench: Bench):
    bench.world.add(KEY)
    bench.world.settle_seconds = 0.0
    bench.declare(document(1, "paused"))
    bench.world.patch_faults.append(Fault.INVALID_WITH_EFFECT)
    turn = await bench.turn(KEY)
    assert (turn.phase, turn.outcome, turn.error) == (Phase.APPLIED, Outcome.APPLIED, None)
    row = bench.row(KEY)
    assert (row.last_applied, row.sent, row.error) == (Status.PAUSED, None, "")
    assert bench.history()[-1].answer == "422 Fault422"


async def test_a_call_that_ends_under_the_patch_is_rejected_with_its_code(bench: Bench):
    bench.world.add(KEY)
    bench.declare(document(1, "paused"))
    bench.world.on_patch = lambda _key, _status: bench.world.end_call(KEY.call)
    turn = await bench.turn(KEY)
    assert (turn.phase, turn.outcome) == (Phase.ENDED, Outcome.REJECTED)
    bench.time.pass_by(300)
    assert (await bench.turn(KEY)).again is None
    assert len(bench.world.patches) == 1


async def test_a_refusal_that_cannot_be_looked_into_is_tried_again(bench: Bench):
    bench.world.add(KEY)
    bench.declare(document(1, "paused"))
    bench.world.patch_faults.append(Fault.CONFLICT)
    bench.world.look_faults.extend([None, Fault.SERVER_ERROR])
    turn = await bench.turn(KEY)
    assert turn.again is not None
    assert bench.row(KEY).phase is Phase.BLIND
    bench.time.pass_by(turn.again.after_seconds)
    await bench.until_idle(KEY)
    assert bench.world.word(KEY) == "paused"


# Failures of a look.


@pytest.mark.parametrize(
    "fault", [Fault.TIMEOUT, Fault.SERVER_ERROR, Fault.REFUSED, Fault.THROTTLED, Fault.INVALID], ids=str
)
async def test_a_look_that_fails_is_tried_again_and_nothing_is_concluded(bench: Bench, fault: Fault):
    bench.world.add(KEY)
    bench.declare(document(1, "paused"))
    bench.world.look_faults.append(fault)
    bench.world.retry_after = 2.0
    turn = await bench.turn(KEY)
    blind = fault is not Fault.THROTTLED
    assert (turn.phase, turn.outcome) == (Phase.BLIND if blind else Phase.PENDING, Outcome.FAILED)
    assert turn.again is not None
    assert turn.again.priority is Priority.RETRY
    assert bench.world.patches == []
    assert (bench.row(KEY).phase, bench.words()) == (turn.phase, ["blind"] if blind else [])
    assert bench.log.words == ["throttled" if fault is Fault.THROTTLED else "retry_scheduled"]
    bench.time.pass_by(turn.again.after_seconds)
    await bench.until_idle(KEY)
    assert bench.row(KEY).phase is Phase.APPLIED
    assert bench.row(KEY).error == ""


async def test_a_failed_look_does_not_forget_a_patch_under_way(bench: Bench):
    bench.world.add(KEY)
    bench.declare(document(1, "paused"))
    await bench.turn(KEY)
    bench.world.look_faults.append(Fault.SERVER_ERROR)
    bench.time.pass_by(0.1)
    await bench.turn(KEY)
    assert (bench.row(KEY).phase, bench.row(KEY).sent) == (Phase.CONFIRMING, Status.PAUSED)
    await bench.until_idle(KEY)
    assert statuses(bench.world.patches) == ["paused"]


# A key that is refused.


async def test_a_refused_key_stops_the_workspace_says_so_once_and_probes_once_a_minute(bench: Bench):
    keys = [key(number, call=number) for number in range(1, 6)]
    for number, each in enumerate(keys, 1):
        bench.world.add(each)
        bench.declare(document(number, "paused")._replace(key=each))
    bench.world.key_refused = Fault.UNAUTHORIZED
    due = dict.fromkeys(keys, 0.0)
    while bench.time.elapsed < 10 * UNAUTHORIZED_SECONDS:
        each = min(due, key=lambda key: due[key])
        bench.time.elapsed = max(bench.time.elapsed, due[each])
        turn = await bench.turn(each)
        assert turn.again is not None
        due[each] = bench.time.elapsed + turn.again.after_seconds
    assert 9 <= len(bench.world.looks) <= 11
    assert bench.world.patches == []
    assert len(bench.log.of("unauthorized")) == 1
    assert bench.reconciler.refused_keys.workspaces == {KEY.workspace_id}
    bench.world.key_refused = None
    bench.time.pass_by(UNAUTHORIZED_SECONDS + 1)
    for each in keys:
        await bench.until_idle(each)
    assert bench.authorized == [KEY.workspace_id]
    assert bench.reconciler.refused_keys.workspaces == frozenset()
    assert len(bench.log.of("authorized_again")) == 1
    assert {bench.row(each).phase for each in keys} == {Phase.APPLIED}


async def test_a_refused_key_leaves_other_workspaces_alone(bench: Bench):
    other = key(9, workspace=9)
    bench.world.add(KEY)
    bench.world.add(other)
    bench.declare(document(1, "paused"), document(9, "paused")._replace(key=other))
    bench.world.look_faults.append(Fault.UNAUTHORIZED)
    await bench.turn(KEY)
    await bench.until_idle(other)
    assert bench.world.patches == [(other, "paused")]


async def test_a_patch_with_a_refused_key_was_not_sent(bench: Bench):
    bench.world.add(KEY)
    bench.declare(document(1, "paused"))
    bench.world.patch_faults.append(Fault.FORBIDDEN)
    turn = await bench.turn(KEY)
    assert turn.again == Again(UNAUTHORIZED_SECONDS, Priority.RETRY)
    assert (bench.row(KEY).phase, bench.row(KEY).sent) == (Phase.FAILED, None)
    assert bench.history()[-1].answer == "403"
    bench.time.pass_by(UNAUTHORIZED_SECONDS)
    await bench.until_idle(KEY)
    assert bench.world.word(KEY) == "paused"


async def test_a_key_that_may_read_but_not_write_is_reported_once_and_probed_with_one_patch_a_minute(bench: Bench):
    keys = [key(number, call=number) for number in range(1, 7)]
    for number, each in enumerate(keys, 1):
        bench.world.add(each, "paused" if number % 2 else "ongoing")
        bench.declare(document(number, "paused")._replace(key=each))
    bench.world.writes_refused = Fault.FORBIDDEN
    due = dict.fromkeys(keys, 0.0)
    while bench.time.elapsed < 10 * UNAUTHORIZED_SECONDS:
        each = min(due, key=lambda key: due[key])
        bench.time.elapsed = max(bench.time.elapsed, due[each])
        turn = await bench.turn(each)
        after = 300.0 if turn.again is None else turn.again.after_seconds
        due[each] = bench.time.elapsed + after
        if bench.authorized:
            break
    assert bench.authorized == [], "that it may read proves nothing about writing"
    assert 9 <= len(bench.world.patches) <= 11
    assert len(bench.log.of("unauthorized")) == 1
    assert bench.log.of("authorized_again") == []
    assert {bench.row(each).phase for each in keys if bench.world.word(each) == "paused"} == {Phase.APPLIED}
    bench.world.writes_refused = None
    bench.time.pass_by(2 * UNAUTHORIZED_SECONDS)
    for each in keys:
        await bench.until_idle(each)
    assert bench.authorized == [KEY.workspace_id]
    assert {bench.row(each).phase for each in keys} == {Phase.APPLIED}


# Safety limits.


async def test_a_patch_past_a_limit_is_not_sent_and_the_refusal_names_rule_numbers_and_setting(tmp_path: Path):
    bench = Bench(tmp_path, limits=Limits(max_irreversible=2))
    keys = [key(number) for number in range(1, 4)]
    for number, each in enumerate(keys, 1):
        bench.world.add(each)
        bench.declare(document(number, "completed"))
    turns = [await bench.until_idle(each) for each in keys[:2]]
    refused = await bench.turn(keys[2])
    await bench.turn(keys[2])
    assert [turn.phase for turn in turns] == [Phase.APPLIED, Phase.APPLIED]
    assert (refused.phase, refused.outcome) == (Phase.REFUSED, Outcome.SKIPPED)
    assert refused.refusal is not None
    assert refused.refusal.rule is Rule.IRREVERSIBLE
    assert refused.again == Again(LIMIT_SECONDS, Priority.RESYNC)
    assert [key for key, _ in bench.world.patches] == keys[:2]
    assert len(bench.log.of("limit_refused")) == 1
    values = bench.log.of("limit_refused")[0].values
    assert (values["rule"], values["count"], values["allowed"]) == ("irreversible", 3, 2)
    assert (values["setting"], values["override"]) == ("max_irreversible: 2", "--override-limits")
    assert bench.row(keys[2]).phase is Phase.REFUSED
    bench.restart()
    assert (await bench.turn(keys[2])).phase is Phase.REFUSED, "the limit counts what an earlier process sent"
    bench.time.pass_by(601)
    assert (await bench.until_idle(keys[2])).phase is Phase.APPLIED
    bench.close()


async def test_with_the_state_lost_agents_pauses_are_resumed_only_up_to_the_limit(tmp_path: Path):
    bench = Bench(tmp_path, limits=Limits(max_resumes=2))
    keys = [key(number) for number in range(1, 6)]
    for number, each in enumerate(keys, 1):
        bench.world.add(each, "paused")
        bench.declare(document(number, "ongoing"))
    for each in keys:
        await bench.turn(each)
    assert len(bench.world.patches) == 2
    assert [bench.row(each).phase for each in keys[2:]] == [Phase.REFUSED] * 3
    bench.close()


async def test_an_edit_that_was_refused_as_too_much_at_once_stays_refused_until_its_document_changes(bench: Bench):
    await applied(bench, "paused")
    bench.declare(document(1, "ongoing"))

    def announce(*keys: RecordingKey):
        change = ChangeSet.of(keys, [(each, Status.ONGOING, Status.PAUSED) for each in keys])
        return bench.window.announce(change, 20, bench.time.now()).refused

    assert not announce(KEY), "one of twenty is not too much"
    others = [key(number) for number in range(2, 13)]
    assert announce(*others, KEY)
    assert (await bench.turn(KEY)).phase is Phase.REFUSED
    bench.time.pass_by(3600)
    assert (await bench.turn(KEY)).phase is Phase.REFUSED
    assert bench.world.patches == []
    announce(KEY)
    await bench.until_idle(KEY)
    assert statuses(bench.world.patches) == ["ongoing"]


# Looks.


async def test_turns_of_one_call_that_begin_together_share_one_look(bench: Bench):
    bench.time.tick = 20e-6
    keys = [key(number) for number in range(1, 9)]
    for number, each in enumerate(keys, 1):
        bench.world.add(each, "paused")
        bench.declare(document(number, "paused"))
    await asyncio.gather(*(bench.turn(each, Priority.RESYNC) for each in keys))
    assert len(bench.world.looks) == 1
    assert {bench.row(each).phase for each in keys} == {Phase.APPLIED}


async def test_confirming_many_recordings_of_a_call_takes_one_look(bench: Bench):
    keys = [key(number) for number in range(1, 9)]
    for number, each in enumerate(keys, 1):
        bench.world.add(each)
        bench.declare(document(number, "paused"))
    for each in keys:
        await bench.turn(each)
    bench.world.looks.clear()
    bench.time.pass_by(0.1)
    await asyncio.gather(*(bench.turn(each, Priority.CONFIRM) for each in keys))
    assert len(bench.world.looks) == 1
    assert {bench.row(each).phase for each in keys} == {Phase.APPLIED}


async def test_a_plans_look_serves_the_first_turn_while_it_is_fresh(bench: Bench):
    bench.world.add(KEY)
    bench.declare(document(1, "paused"))
    bench.first_looks[KEY] = look("ongoing")
    bench.restart()
    bench.time.pass_by(FRESH_SECONDS)
    await bench.turn(KEY)
    assert bench.world.looks == []
    assert statuses(bench.world.patches) == ["paused"]


async def test_no_patch_is_decided_on_a_plans_look_that_has_grown_old(bench: Bench):
    bench.world.add(KEY, "paused")
    bench.declare(document(1, "paused"))
    bench.first_looks[KEY] = look("ongoing")
    bench.restart()
    bench.time.pass_by(FRESH_SECONDS + 0.1)
    await bench.turn(KEY)
    assert len(bench.world.looks) == 1
    assert bench.world.patches == []


async def test_an_old_look_is_good_enough_to_do_nothing(bench: Bench):
    bench.declare(document(1, "paused"))
    bench.first_looks[KEY] = look("paused")
    bench.restart()
    bench.time.pass_by(60)
    assert (await bench.turn(KEY)).phase is Phase.APPLIED
    assert bench.world.looks == []


# Measures.


def measured(bench: Bench, name: str) -> float:
    """Read one line of the metrics page."""
    lines = [line for line in bench.metrics.render().decode().splitlines() if line.startswith(name + " ")]
    return float(lines[0].rsplit(" ", 1)[1]) if lines else 0.0


async def test_an_edit_is_measured_from_when_it_was_seen(bench: Bench):
    bench.world.add(KEY)
    bench.declare(document(1, "paused"))
    bench.reconciler.saw_edit(KEY)
    bench.time.pass_by(0.02)
    await bench.until_idle(KEY)
    for step in ("sent", "accepted", "confirmed"):
        assert measured(bench, f'reconciler_edit_seconds_count{{step="{step}"}}') == 1
    assert measured(bench, 'reconciler_edit_seconds_sum{step="sent"}') == pytest.approx(0.02)
    assert measured(bench, 'reconciler_patches_total{outcome="applied"}') == 1


async def test_drift_is_not_measured_as_the_edit_of_long_ago_that_changed_nothing(bench: Bench):
    await applied(bench, "paused")
    bench.declare(document(1, "paused", drift=Drift.HEAL))
    bench.reconciler.saw_edit(KEY)
    await bench.turn(KEY)
    bench.time.pass_by(3600)
    bench.world.set(KEY, "ongoing")
    await bench.until_idle(KEY)
    assert measured(bench, 'reconciler_edit_seconds_count{step="sent"}') == 0


async def test_a_look_is_as_urgent_as_its_turn(bench: Bench):
    bench.world.add(KEY)
    bench.declare(document(1, "paused"))
    for priority in (Priority.EDIT, Priority.CONFIRM, Priority.RESYNC):
        await bench.turn(KEY, priority)
        assert bench.world.urgency is priority
        bench.time.pass_by(60)
