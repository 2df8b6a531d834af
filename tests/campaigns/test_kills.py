"""Kills: the daemon dies at every step of a turn, and at random moments, and the plain command after it sets all right.

Aspects: each named point between reading and recording, times what people do to the documents while nobody watches; a
PATCH that takes its effect after its sender has died; a short form of the campaign of random kills. In-process deaths
of single turns, for every fault of the API, are in `test_convergence_machine.py`.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from reconciler.model.statuses import Phase
from reconciler.state.opening import open_store
from tests.campaigns import dying
from tests.campaigns.kills import campaign
from tests.world.bench import Bench, Fault, Killed, statuses
from tests.world.nouns import document, key
from tests.world.scene import Scene, Subject, environment, subjects
from tests.world.started import Started, eventually

#: At these points the PATCH has reached the API.
AFTER_SENDING = dying.POINTS[dying.POINTS.index("sent") :]
#: So that a PATCH of unknown fate is waited for no longer than this.
CONFIRM = ("--confirm-seconds", "3")
NUMBERS = count(1, 10)


@pytest.fixture
def scene(scene: Scene) -> Scene:
    """The shared sandbox, in which an effect takes long enough for a daemon to die before it."""
    scene.sandbox.control("POST", "settings", {"settle_ms": 150})
    return scene


@pytest.fixture(scope="module")
def mortals() -> Iterator[subprocess.Popen[str]]:
    """Start what runs daemons that die at a point."""
    with subprocess.Popen(
        [sys.executable, dying.__file__], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process


def die(mortals: subprocess.Popen[str], scene: Scene, point: str, among: int) -> None:
    """Run the daemon until it has died at the point."""
    assert mortals.stdin is not None
    assert mortals.stdout is not None
    log = scene.folder / "dying.log"
    order = {
        "point": point,
        "count": among,
        "sandbox": scene.sandbox.url,
        "arguments": ["run", *scene.options(*CONFIRM, "--listen", "off"), str(scene.documents)],
        "folder": str(scene.folder),
        "log": str(log),
    }
    mortals.stdin.write(json.dumps(order) + "\n")
    mortals.stdin.flush()
    assert mortals.stdout.readline() == f"{-signal.SIGKILL}\n", log.read_text()


def settled(scene: Scene, wanted: dict[Subject, str]) -> bool:
    """Whether our own record says that each recording is as its document wants it, and knows no other."""
    with open_store(scene.state) as store:
        found = {
            record.key.recording_id: record.last_applied
            for record in store.all()
            if record.phase is Phase.APPLIED and record.sent is None
        }
    return found == {subject.recording: status for subject, status in wanted.items()}


def finish(scene: Scene, daemon: Started, wanted: dict[Subject, str]) -> None:
    """Wait until all is well, and end the daemon as an operator does."""
    eventually(lambda: settled(scene, wanted), daemon.log.read_text)
    daemon.process.terminate()
    assert daemon.ended() == 0


@pytest.mark.parametrize("point", dying.POINTS)
def test_whatever_step_the_daemon_dies_at_the_next_one_sends_what_is_missing_and_nothing_twice(
    mortals: subprocess.Popen[str], scene: Scene, point: str
) -> None:
    same, back, on, gone = subjects(4, first=next(NUMBERS))
    scene.sandbox.seed(subject.seed() for subject in (same, back, on, gone))
    for subject in (same, back, on, gone):
        scene.write(f"{subject.name}.yaml", subject.document("paused"))
    if point == "sent":
        scene.sandbox.control(
            "POST", "faults", {"rules": [{"match": {"method": "PATCH"}, "action": "delay_after", "delay_ms": 60_000}]}
        )
    die(mortals, scene, point, 4)
    scene.sandbox.control("DELETE", "faults")
    before = scene.sandbox.patches()
    scene.write(f"{back.name}.yaml", back.document("ongoing"))
    scene.write(f"{on.name}.yaml", on.document("completed"))
    (scene.documents / f"{gone.name}.yaml").unlink()
    with scene.daemon(*CONFIRM) as daemon:
        finish(scene, daemon, {same: "paused", back: "ongoing", on: "completed"})
    first = ["paused"] if point in AFTER_SENDING else []
    assert [before.get(subject.recording, []) for subject in (same, back, on, gone)] == [first] * 4
    after = scene.sandbox.patches()
    assert after[same.recording] == ["paused"]
    assert after[back.recording] == [*first, *(["ongoing"] if first else [])]
    assert after[on.recording] == [*first, "completed"]
    assert after[gone.recording] == first
    live = scene.sandbox.state()
    assert [live[subject.recording]["status"] for subject in (same, back)] == ["paused", "ongoing"]
    assert live[on.recording]["status"] in ("completed", "available")
    with open_store(scene.state) as store:
        told = [event.key.recording_id for event in store.history(limit=1000) if event.event == "patch_sent"]
    for subject in (same, back, on, gone):
        assert told.count(subject.recording) >= len(after[subject.recording])


def test_a_patch_that_takes_effect_after_its_sender_died_does_not_overrule_a_newer_edit(
    mortals: subprocess.Popen[str], scene: Scene
) -> None:
    same, back = subjects(2, first=next(NUMBERS))
    scene.sandbox.seed(subject.seed() for subject in (same, back))
    for subject in (same, back):
        scene.write(f"{subject.name}.yaml", subject.document("paused"))
    # The effect of these comes late: one and a half seconds after the request, with the sender long dead.
    scene.sandbox.control(
        "POST", "faults", {"rules": [{"match": {"method": "PATCH"}, "action": "delay", "delay_ms": 1500, "times": 2}]}
    )
    die(mortals, scene, "sent", 2)
    scene.write(f"{back.name}.yaml", back.document("ongoing"))
    with scene.daemon(*CONFIRM) as daemon:
        finish(scene, daemon, {same: "paused", back: "ongoing"})
    assert scene.sandbox.patches() == {same.recording: ["paused"], back.recording: ["paused", "ongoing"]}
    live = scene.sandbox.state()
    assert [live[subject.recording]["status"] for subject in (same, back)] == ["paused", "ongoing"]


@pytest.mark.parametrize("fault", [Fault.KILLED, Fault.TIMEOUT])
async def test_a_lost_patch_that_takes_our_own_pause_back_is_sent_again_and_not_held_for_an_agents(
    tmp_path: Path, fault: Fault
) -> None:
    bench = Bench(tmp_path)
    one = key(1)
    bench.world.add(one)
    bench.declare(document(1, "ongoing"))
    await bench.until_idle(one)
    bench.declare(document(1, "paused"))
    await bench.turn(one)
    bench.time.pass_by(1)  # the pause takes effect, and before anybody looks there is the next edit
    bench.declare(document(1, "ongoing"))
    bench.world.patch_faults.append(fault)
    try:
        await bench.turn(one)
    except Killed:
        bench.restart()
    await bench.until_idle(one)
    assert bench.world.word(one) == "ongoing"
    assert statuses(bench.world.patches) == ["paused", "ongoing", "ongoing"]
    bench.close()


def test_random_kills_amid_edits_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    counts = campaign(tmp_path, kills=10, recordings=60, seed=3)
    print(counts)
    assert counts.wrong == []
    assert counts.kills == 10
    # Else the kills met nothing.
    assert counts.caught_under_way > 0
    assert counts.patches > 20
