"""Two daemons on one state: one writes and sends, the other is told who does, or stands by and takes over.

Aspects: a second one that does not wait, one that waits for a kill, and one that takes over from a process that was
stopped for longer than its lease and then goes on. The lease itself, on a clock that a test turns, is in
`test_lease.py`.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world.scene import COMMAND, Scene, Subject, subjects
from tests.world.started import Started

#: Longer than any of this takes.
STANDBY = ("--wait-seconds", "100")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path) as scene:
        yield scene


def holder(scene: Scene) -> str:
    """Return what a second writer is told of the one that holds the state."""
    done = scene.run("run", *scene.options("--listen", "off"), str(scene.documents))
    assert done.returncode == 6, done.stderr
    return done.stderr


def test_a_second_daemon_exits_6_and_names_the_first_one_and_sends_nothing(scene: Scene) -> None:
    first, second = subjects(2)
    scene.sandbox.seed(subject.seed() for subject in (first, second))
    scene.write("first.yaml", first.document("paused"))
    with scene.daemon() as daemon:
        daemon.wait_for("applied")
        asked = len(scene.sandbox.requests())
        assert f"`reconciler run` (process {daemon.process.pid} on " in holder(scene)
        assert len(scene.sandbox.requests()) == asked
        scene.write("second.yaml", second.document("paused"))
        daemon.wait_for("applied", name=second.name)
        daemon.process.terminate()
        assert daemon.ended() == 0
    assert scene.sandbox.patches() == {first.recording: ["paused"], second.recording: ["paused"]}


def test_a_standby_takes_over_within_20_seconds_of_a_kill_and_finishes_what_was_begun(scene: Scene) -> None:
    one, other = subjects(2)
    scene.sandbox.seed(subject.seed() for subject in (one, other))
    scene.write("one.yaml", one.document("paused"))
    with scene.daemon() as first:
        first.wait_for("applied")
        with scene.daemon(*STANDBY) as second:
            # What is saved now is under way when the first one dies.
            scene.sandbox.control("POST", "settings", {"settle_ms": 3000})
            scene.write("other.yaml", other.document("paused"))
            first.wait_for("patch_accepted", name=other.name)
            assert second.events("started") == []
            killed_at = time.monotonic()
            first.kill()
            second.wait_for("started")
            # The promise is 20 s; where the death can be proved, as here, it is a fraction of a second.
            assert time.monotonic() - killed_at < 20
            second.wait_for("applied", name=other.name)
            second.process.terminate()
            assert second.ended() == 0
    assert scene.sandbox.patches() == {one.recording: ["paused"], other.recording: ["paused"]}


def test_a_daemon_stopped_past_its_lease_sends_nothing_more_and_exits_6(scene: Scene) -> None:
    one, *others = subjects(9)
    scene.sandbox.seed(subject.seed() for subject in (one, *others))
    scene.write("one.yaml", one.document("paused"))
    # The second daemon follows documents of its own, so that every PATCH tells who sent it.
    theirs = scene.folder / "theirs"
    theirs.mkdir()
    (theirs / "one.yaml").write_text(one.document("ongoing"))
    with scene.daemon("--rate-limit", "1.2") as first:
        first.wait_for("applied")
        caught = stop_before_a_patch_leaves(scene, first, others)
        stopped_at = time.monotonic()
        sent = scene.sandbox.patches()
        command = (COMMAND, "run", *scene.options("--listen", "off", *STANDBY), str(theirs))
        with scene.start(*command) as second:
            second.wait_for("started")
            # Not before the lease has run out: who is only stopped may go on at any moment.
            assert time.monotonic() - stopped_at > 9
            second.wait_for("applied")
            # More work for the first one, which it finds as soon as it goes on.
            scene.write("one.yaml", one.document("completed"))
            first.process.send_signal(signal.SIGCONT)
            assert first.ended() == 6, first.said()
            assert second.process.poll() is None
            second.process.terminate()
            assert second.ended() == 0
    assert caught.recording not in sent
    assert scene.sandbox.patches() == {**sent, one.recording: ["paused", "ongoing"]}


def stop_before_a_patch_leaves(scene: Scene, daemon: Started, candidates: list[Subject]) -> Subject:
    """Stop the daemon while a PATCH, whose intent is on disk, waits for its share of the budget; return whose it is."""
    for subject in candidates:
        scene.write(f"{subject.name}.yaml", subject.document("paused"))
        daemon.wait_for("patch_sent", name=subject.name)
        daemon.process.send_signal(signal.SIGSTOP)
        if subject.recording not in scene.sandbox.patches():
            return subject
        # Too late, on a busy machine; the next one then.
        daemon.process.send_signal(signal.SIGCONT)
    raise AssertionError("every PATCH left before the daemon could be stopped")
