"""The daemon on real files, the real watcher, queue, store and turns; the API is the world in memory.

Aspects: what wakes a recording, what one recording's trouble does to the others, how it starts, stops and ends, what
its probes say. Nothing is concluded from how long something takes: a test waits for what must happen, and what must not
happen is proved by what comes after it. Left out: HTTP (`test_web`) and the process around it (`test_cli`).
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from reconciler.controller import daemon as daemon_module
from reconciler.controller import resync as resync_module
from reconciler.desired.documents.schema import schema_text
from reconciler.model.errors import LeaseLost
from reconciler.model.keys import CallKey
from reconciler.model.statuses import Phase, Status
from reconciler.plan.evidence import step_of
from reconciler.providers.bird import CircuitChange
from reconciler.state.base import EventQuery
from reconciler.state.sqlite.reading import Reading
from tests.world.bench import Fault, statuses
from tests.world.nouns import key
from tests.world.running import HEALTH_SECONDS, PATIENCE, Running, at_work, key_of, text


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.bench.close()


# What wakes a recording.


async def test_the_loop_of_a_daemon_at_work_reads_no_state_by_itself(running: Running, monkeypatch: pytest.MonkeyPatch):
    """A disk that hangs, or a database in another town, would hold up every pause."""
    running.save(1, 2)
    loop = threading.get_ident()
    read: list[str] = []

    def watched(name: str) -> Callable[..., Any]:
        real = getattr(Reading, name)

        def reads(reading: Reading, *given: Any) -> Any:
            if threading.get_ident() == loop:
                read.append("".join(traceback.format_stack(limit=6)))
            return real(reading, *given)

        return reads

    async with at_work(running):
        await running.until(lambda: running.applied(1, 2))
        for name in ("read", "stream"):
            monkeypatch.setattr(Reading, name, watched(name))
        running.save(1, 2, 3, status="completed")
        running.wakes.look_at_everything()
        await running.until(lambda: statuses(running.world.patches).count("completed") == 3)
        running.daemon.status()
        await running.until(lambda: not running.daemon._waiting.workers.queue.working)
    monkeypatch.undo()
    assert not read, read[0]


async def test_an_edit_is_patched_and_confirmed(running: Running):
    running.save(1)
    async with at_work(running):
        await running.until(lambda: running.applied(1))
        running.save(1, status="completed")
        await running.until(lambda: running.applied(1, status=Status.COMPLETED))
        assert running.world.patches == [(key_of(1), "paused"), (key_of(1), "completed")]


async def test_a_new_document_is_looked_after_and_a_removed_one_released(running: Running):
    running.save(1, 2)
    async with at_work(running):
        await running.resynced()
        running.save(3, file="b.yaml")
        await running.until(lambda: running.applied(3))
        running.save(1)
        await running.until(lambda: running.log.of("released"))
        assert running.phase(2) is None
        assert [line.values["name"] for line in running.log.of("released")] == ["card-002"]
        assert (key_of(2), "ongoing") not in running.world.patches


async def test_a_start_looks_at_everything_once_and_releases_what_lost_its_document(running: Running):
    running.save(1, 2, 3)
    async with at_work(running):
        await running.resynced()
        await running.until(lambda: running.applied(1, 2, 3))
    running.save(1, 2)
    running.restart()
    async with at_work(running):
        await running.resynced()
        assert sorted(running.world.looks) == [key_of(1).call, key_of(2).call]
        assert running.world.patches == []
        assert running.phase(3) is None


async def test_recordings_of_one_call_are_looked_at_together(running: Running):
    for number in range(1, 7):
        running.world.add(key(number, call=1), "paused")
    (running.root / "a.yaml").write_text(text(*range(1, 7), call=1))
    async with at_work(running):
        await running.resynced()
        assert running.world.looks == [key_of(1).call]


async def test_a_hangup_looks_at_everything_again(running: Running):
    running.save(1, 2, 3)
    async with at_work(running):
        await running.resynced()
        await running.until(lambda: running.applied(1, 2, 3))
        running.world.looks.clear()
        running.world.set(key_of(2), "ongoing")
        running.wakes.look_at_everything()
        await running.resynced(2)
        assert set(running.world.looks) == {key_of(number).call for number in (1, 2, 3)}
        await running.until(lambda: running.world.word(key_of(2)) == "paused" and running.applied(2))
        assert len(running.log.of("drift_detected")) == 1


async def test_a_resync_is_spread_over_its_period(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resync_module, "TICK_SECONDS", 10.0)
    running = Running(tmp_path, resync_seconds=50.0)
    numbers = range(1, 12)
    running.save(*numbers, live="paused")
    looked: list[int] = []
    done = asyncio.Event()

    async def at_the_pause(_now: asyncio.Event, seconds: float) -> bool:
        await running.until(
            lambda: not running.daemon._waiting.workers.queue.working and not running.daemon._waiting.resync.unseen
        )
        looked.append(len(running.world.looks))
        if len(looked) == 8:
            done.set()
            await asyncio.Event().wait()
        running.bench.time.pass_by(seconds)
        return False

    monkeypatch.setattr(running.daemon._waiting.resync, "_pause", at_the_pause)
    async with at_work(running):
        async with asyncio.timeout(PATIENCE):
            await done.wait()
        # Nine tenths of fifty seconds are four ticks and a half: three recordings a tick, the last with what is left.
        assert looked[:1] == [11], "at the start all at once"
        assert looked[1:6] == [14, 17, 20, 22, 22]
        assert sorted(running.world.looks[11:22]) == sorted(key_of(number).call for number in numbers)
    running.bench.close()


async def test_what_waited_for_a_refused_key_comes_back_together(running: Running):
    running.save(1, 2, 3)
    running.world.key_refused = Fault.UNAUTHORIZED
    async with at_work(running):
        await running.until(lambda: running.daemon.status()["queueAtRest"] == 3)
        status = running.daemon.status()
        assert len(running.log.of("unauthorized")) == 1
        assert status["unauthorizedWorkspaces"] == [key_of(1).workspace_id]
        assert [(each["cause"], each["blind"]) for each in status["resting"]] == [("key_refused", True)]
        assert running.log.of("resync_done") == [], "nothing was answered"
        running.world.key_refused = None
        running.bench.time.pass_by(61)
        running.daemon._waiting.rests.ask_now(key_of(1).workspace_id)
        await running.until(lambda: running.applied(1, 2, 3))
        await running.resynced()
        assert running.daemon.status()["unauthorizedWorkspaces"] == running.daemon.status()["resting"] == []
        assert len(running.world.probes) == 1, "one asked for all"


async def test_while_a_workspace_rests_a_resync_takes_no_turn_and_what_it_owed_is_looked_at_with_the_return(
    running: Running,
):
    running.save(1, 2, 3)
    workspace_id = key_of(1).workspace_id
    async with at_work(running):
        await running.until(lambda: running.applied(1, 2, 3))
        await running.resynced()
        running.world.key_refused = Fault.REFUSED
        running.wakes.circuit_changed(CircuitChange(workspace_id, "all", opened=True, code="connect"))
        running.world.looks.clear()
        running.wakes.look_at_everything()
        await running.until(lambda: len(running.world.probes) >= 3)
        assert running.world.looks == []
        phases = running.daemon.status()["phases"]
        assert (phases["applied"], phases["blind"]) == (0, 3)
        assert [(each.cause, each.blind) for each in running.bench.store.resting()] == [("api_away", True)]
        assert len(running.log.of("resync_done")) == 1
        running.world.key_refused = None
        running.wakes.circuit_changed(CircuitChange(workspace_id, "all", opened=False))
        await running.resynced(2)
        assert len(running.world.looks) == 3
        await running.until(lambda: running.bench.store.resting() == [])


async def test_a_clock_that_was_set_is_marked_in_the_history(running: Running):
    async with at_work(running):
        now = running.bench.time.now
        running.bench.time.now = lambda: now() - timedelta(hours=3)  # type: ignore[method-assign]
        await running.until(lambda: running.log.of("clock_stepped"))
        await running.until(lambda: any(running.bench.store.events(EventQuery(("",)))))
    (line,) = running.bench.store.events(EventQuery(("",)))
    step = step_of(line.event)
    assert step is not None
    assert abs(timedelta(hours=3) - (step[1] - step[0])) < timedelta(seconds=10)
    assert step[0] < line.event.at < step[1], "it has the time of the new clock"
    assert "set back by 10800 s" in line.event.detail


async def test_a_failed_turn_comes_back_by_itself(running: Running):
    running.save(1)
    running.world.patch_faults.extend([Fault.THROTTLED, Fault.SERVER_ERROR])
    async with at_work(running):
        await running.until(lambda: running.applied(1))
        assert statuses(running.world.patches) == ["paused"] * 3


# One recording's trouble is not the others'.


async def test_a_turn_that_raises_is_counted_backs_off_and_leaves_the_others_alone(running: Running):
    running.save(1, 2, 3)

    def poison(call: CallKey) -> None:
        if call == key_of(2).call:
            raise RuntimeError("a fault of our own, about +1 500 555 0006")

    running.world.on_look = poison
    async with at_work(running):
        await running.until(lambda: running.applied(1, 3) and len(running.log.of("turn_failed")) >= 2)
        waits = [line.values["after_seconds"] for line in running.log.of("turn_failed")]
        assert waits == sorted(waits)
        assert "555" not in str(running.log.of("turn_failed")[0].values["error"])
        page = running.bench.metrics.render().decode()
        assert f"reconciler_turn_errors_total {len(waits)}.0" in page
        running.world.on_look = lambda _call: None
        await running.until(lambda: running.applied(2))
        assert len(running.log.of("resync_done")) == 1, "the poison does not hold the resync up"


async def test_an_invalid_file_leaves_the_others_alone_and_is_shown(running: Running):
    running.save(1, file="a.yaml")
    running.save(2, file="b.yaml")
    async with at_work(running):
        await running.until(lambda: running.applied(1, 2))
        (running.root / "a.yaml").write_text(text(1, status="pausd"))
        await running.until(lambda: running.daemon.status()["invalidFiles"])
        running.save(2, status="completed", file="b.yaml")
        await running.until(lambda: running.applied(2, status=Status.COMPLETED))
        assert running.applied(1)
        (problem,) = running.daemon.status()["invalidFiles"][str(running.root / "a.yaml")]
        assert "pausd" in problem
        running.save(1, status="ongoing")
        await running.until(lambda: running.applied(1, status=Status.ONGOING))
        assert running.daemon.status()["invalidFiles"] == {}


async def test_a_stalled_patch_does_not_hold_up_another_recordings_edit(running: Running):
    running.save(1, live="paused")
    async with at_work(running):
        await running.until(lambda: running.applied(1))
        running.world.patch_gate = asyncio.Event()
        running.save(2, file="b.yaml")
        await running.until(lambda: running.world.patches)
        gate, running.world.patch_gate = running.world.patch_gate, None
        running.save(1, status="completed")
        await running.until(lambda: running.applied(1, status=Status.COMPLETED))
        assert running.phase(2) is Phase.SENDING
        gate.set()
        await running.until(lambda: running.applied(2))


# Safety limits.


async def test_a_change_set_of_more_than_half_is_refused_as_a_whole_and_said_once(running: Running):
    numbers = range(1, 25)
    running.save(*numbers, live="paused")
    async with at_work(running):
        await running.until(lambda: running.applied(*numbers))
        half = [*range(1, 14)]
        (running.root / "a.yaml").write_text(text(*half, status="ongoing") + text(*range(14, 25)))
        await running.until(lambda: all(running.phase(number) is Phase.REFUSED for number in half))
        refused = [line.values for line in running.log.of("limit_refused") if "name" not in line.values]
        assert [(values["rule"], values["count"], values["allowed"]) for values in refused] == [("changes", 13, 12)]
        assert running.world.patches == []
        running.bench.time.pass_by(6)
        (running.root / "a.yaml").write_text(text(*numbers))
        await running.until(lambda: running.applied(*numbers))
        running.bench.time.pass_by(6)
        (running.root / "a.yaml").write_text(text(*range(1, 13), status="ongoing") + text(*range(13, 25)))
        await running.until(lambda: running.applied(*range(1, 13), status=Status.ONGOING))
        assert len(running.world.patches) == 12, "half of them is not more than half"


async def test_what_changed_while_nobody_watched_counts_as_one_change_set(running: Running):
    numbers = range(1, 25)
    running.save(*numbers, live="paused")
    async with at_work(running):
        await running.until(lambda: running.applied(*numbers))
    running.save(*numbers, status="ongoing")
    running.restart()
    async with at_work(running):
        await running.until(lambda: all(running.phase(number) is Phase.REFUSED for number in numbers))
        assert running.world.patches == []
        await running.until(running.daemon.ready)  # a refusal is a person's to answer, not a restart's


# How it ends.


async def test_a_stop_lets_the_request_in_flight_end_and_records_it(running: Running):
    running.save(1)
    running.world.patch_gate = asyncio.Event()
    async with at_work(running) as task:
        await running.until(lambda: running.world.patches)
        running.stop.set()
        await running.until(lambda: "stopping" in running.log.words)
        assert not task.done()
        running.world.patch_gate.set()
        async with asyncio.timeout(PATIENCE):
            await task
        assert running.phase(1) is Phase.CONFIRMING
        assert running.bench.words()[-1] == "patch_accepted"


async def test_a_stop_does_not_wait_for_ever(running: Running, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(daemon_module, "DRAIN_SECONDS", 0.05)
    running.save(1)
    running.world.patch_gate = asyncio.Event()
    async with at_work(running) as task:
        await running.until(lambda: running.world.patches)
        running.stop.set()
        async with asyncio.timeout(PATIENCE):
            await task
        assert running.phase(1) is Phase.SENDING, "the intent stays, for the next start to look into"


async def test_a_stop_takes_no_new_work(running: Running):
    running.save(1)
    running.world.look_gate = asyncio.Event()
    running.save(*range(2, 30), file="b.yaml")
    async with at_work(running) as task:
        await running.until(lambda: len(running.world.looks) >= 6)
        running.stop.set()
        await running.until(lambda: "stopping" in running.log.words)
        running.world.look_gate.set()
        async with asyncio.timeout(PATIENCE):
            await task
        assert len(running.world.looks) <= 8, "those that were running, of thirty"


async def test_a_lost_lease_ends_the_daemon_and_sends_nothing(running: Running):
    running.save(1)
    running.bench.pen.leased = False
    async with at_work(running) as task:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(LeaseLost):
                await task
        assert running.world.patches == []
        assert running.stop.is_set()


async def test_a_fault_of_the_watching_ends_the_daemon_and_is_not_hidden(
    running: Running, monkeypatch: pytest.MonkeyPatch
):
    running.save(1)

    def broken(*_arguments: object, **_keywords: object) -> None:
        raise RuntimeError("a fault of its own")

    monkeypatch.setattr(running.follower, "changes", broken)
    async with at_work(running) as task:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(RuntimeError, match="a fault of its own"):
                await task


# What its probes say.


async def test_it_is_ready_from_its_first_pass_until_it_stops(running: Running):
    running.save(1, 2)
    running.world.look_gate = asyncio.Event()
    assert not running.daemon.ready()
    async with at_work(running) as task:
        await running.until(lambda: len(running.world.looks) == 2)
        assert not running.daemon.ready(), "what the documents ask for had no turn yet"
        running.world.look_gate.set()
        await running.until(lambda: running.applied(1, 2))
        assert running.daemon.ready()
        running.stop.set()
        assert not running.daemon.ready()
        async with asyncio.timeout(PATIENCE):
            await task


async def test_it_is_not_ready_without_its_lease(running: Running):
    running.save(1)
    async with at_work(running):
        await running.until(lambda: running.applied(1))
        running.bench.pen.writer.close()
        assert not running.daemon.ready()


async def test_a_blocked_turn_makes_it_unhealthy_and_a_quiet_hour_does_not(running: Running):
    running.save(1)
    async with at_work(running):
        await running.until(lambda: running.applied(1))
        await running.until(lambda: not running.daemon._waiting.workers.queue.working)
        running.bench.time.pass_by(HEALTH_SECONDS * 30)
        assert running.daemon.healthy(), "nothing was due"
        running.world.patch_gate = asyncio.Event()
        running.save(1, status="completed")
        await running.until(lambda: len(running.world.patches) == 2)
        assert running.daemon.healthy(), "the clock of progress starts with the turn"
        running.bench.time.pass_by(HEALTH_SECONDS)
        assert not running.daemon.healthy()
        running.world.patch_gate.set()
        await running.until(lambda: running.applied(1, status=Status.COMPLETED))
        assert running.daemon.healthy()


async def test_the_status_is_plain_data_and_names_what_is_not_in_sync(running: Running):
    running.save(1, live="paused")
    running.save(2, file="b.yaml")
    running.world.patch_faults.append(Fault.CONFLICT)
    async with at_work(running):
        await running.until(lambda: running.applied(1) and running.phase(2) is Phase.REJECTED)
        await running.resynced()
        status = json.loads(json.dumps(running.daemon.status()))
        jsonschema.validate(status, json.loads(schema_text("Daemon")), jsonschema.Draft202012Validator)
        assert status["format"] == "reconciler.daemon/v1"
        assert (status["managed"], status["notInSyncTotal"], status["ready"], status["healthy"]) == (2, 1, True, True)
        assert {phase: count for phase, count in status["phases"].items() if count} == {"applied": 1, "rejected": 1}
        (apart,) = status["notInSync"]
        assert apart["name"] == "card-002"
        assert apart["recordingId"] == key_of(2).recording_id
        assert (apart["desired"], apart["lastApplied"], apart["live"]) == ("paused", None, "ongoing")
        assert (apart["phase"], apart["file"], apart["line"]) == ("rejected", str(running.root / "b.yaml"), 11)
        assert "Fault409" in apart["error"]
        assert set(status["queue"]) == {"write", "pause", "edit", "confirm", "retry", "resync"}
        assert status["lastResync"].endswith("Z")
        assert (status["stateError"], status["invalidFiles"], status["vanished"]) == (None, {}, [])


async def test_a_patch_that_was_not_processed_shows_as_not_in_sync(running: Running):
    running.save(1)
    async with at_work(running):
        await running.until(lambda: running.applied(1))
        running.world.writes_refused = Fault.FORBIDDEN
        running.save(1, status="completed")
        await running.until(lambda: running.log.of("unauthorized"))
        await running.until(lambda: running.daemon.status()["notInSync"])
        assert running.daemon.status()["notInSync"][0]["phase"] == "failed"


async def test_a_released_recording_is_in_no_count(running: Running):
    running.save(1, 2)
    async with at_work(running):
        await running.until(lambda: running.applied(1, 2))
        running.save(1)
        await running.until(lambda: running.phase(2) is None and not running.daemon._waiting.workers.queue.working)
        assert running.daemon.status()["phases"]["applied"] == 1
        assert running.daemon.status()["managed"] == 1


async def test_systemd_is_told_of_the_start_the_life_and_the_end(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "20000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        told: list[bytes] = []

        def heard(word: bytes) -> bool:
            try:
                while True:
                    told.append(listener.recv(100))
            except BlockingIOError:
                return word in told

        running.save(1)
        async with at_work(running):
            await running.until(lambda: heard(b"WATCHDOG=1"))
            assert told[0] == b"READY=1"
        assert heard(b"STOPPING=1")
        assert told[-1] == b"STOPPING=1"
