"""What a limit refuses as a whole, and how it comes to pass: the installed command beside a running daemon.

Aspects: the direction that is never refused, one line for one refusal, approval by name, content that changed, restarts
and kills in between, the override of a start, and whom nobody can ask. What the limits compute is in `test_limits.py`,
what strangers write into the table of requests in `test_requests.py`.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from contextlib import closing
from typing import Any

import pytest

from tests.world.scene import Scene, Subject, subjects
from tests.world.started import Started, eventually


def declare(scene: Scene, statuses: dict[Subject, str]) -> None:
    scene.write("all.yaml", "---\n".join(subject.document(status) for subject, status in statuses.items()))


def live(scene: Scene, subjects: list[Subject], status: str) -> int:
    state = scene.sandbox.state()
    return sum(state[subject.recording]["status"] == status for subject in subjects)


def applied(scene: Scene, count: int, status: str) -> list[Subject]:
    """Have so many recordings brought to a status and known to be there."""
    everybody = subjects(count, per_call=20)
    scene.sandbox.seed(subject.seed() | {"status": status} for subject in everybody)
    declare(scene, dict.fromkeys(everybody, status))
    done = scene.run("apply", *scene.options("--yes"), str(scene.documents))
    assert done.returncode == 0, done.stderr
    return everybody


def flip(scene: Scene, everybody: list[Subject], count: int, *, before: str, after: str) -> list[Subject]:
    flipped = everybody[:count]
    declare(scene, dict.fromkeys(everybody, before) | dict.fromkeys(flipped, after))
    return flipped


def refused(daemon: Started, count: int = 1) -> dict[str, Any]:
    return daemon.wait_for("limit_refused", count)


def approve(scene: Scene, name: str, *, reason: str = "the shift has ended") -> tuple[int, str]:
    done = scene.run("approve", name, "--reason", reason, "--state", scene.state)
    return done.returncode, (done.stdout + done.stderr).strip()


def history(scene: Scene, event: str) -> list[dict[str, Any]]:
    done = scene.run("history", "--state", scene.state, "--format", "json", "--limit", "2000")
    return [each for each in json.loads(done.stdout)["events"] if each["event"] == event and not each["recordingId"]]


def test_pause_everything_now_is_never_refused(scene: Scene) -> None:
    everybody = applied(scene, 292, "ongoing")
    with scene.daemon() as daemon:
        daemon.wait_for("resync_done")
        flipped = flip(scene, everybody, 250, before="ongoing", after="paused")
        eventually(lambda: live(scene, flipped, "paused") == 250, daemon.said)
        assert daemon.events("limit_refused") == []


def test_250_resumes_are_refused_in_one_line_and_pass_once_they_are_approved_by_name(scene: Scene) -> None:
    everybody = applied(scene, 292, "paused")
    with scene.daemon() as daemon:
        daemon.wait_for("resync_done")
        flipped = flip(scene, everybody, 250, before="paused", after="ongoing")
        said = refused(daemon)
        assert (said["rule"], said["count"], said["allowed"], said["recordings"]) == ("changes", 250, 146, 250)
        assert said["approve"] == f"reconciler approve {said['refusal']} --reason TEXT"
        eventually(lambda: len(phases(scene, "refused")) == 250, daemon.said)
        assert live(scene, everybody, "paused") == 292

        listed = scene.run("approve", "--state", scene.state)
        assert listed.returncode == 0
        assert listed.stdout.startswith(f"{said['refusal']}: 250 recordings that already have an applied status would")
        assert "and 245 more" in listed.stdout

        shown = scene.run("status", "--state", scene.state)
        assert f"Limit: {said['refusal']}: 250 recordings" in " ".join(shown.stdout.split())
        data = json.loads(scene.run("status", "--state", scene.state, "--format", "json").stdout)
        assert [(each["name"], each["recordings"]) for each in data["refusals"]] == [(said["refusal"], 250)]

        code, text = approve(scene, said["refusal"])
        assert (code, text) == (0, f"approved {said['refusal']}: 250 recordings")
        eventually(lambda: live(scene, flipped, "ongoing") == 250, daemon.said)
        assert len(daemon.events("limit_refused")) == 1, "one refusal, one line"
        assert scene.run("approve", "--state", scene.state).stdout == "Nothing is refused.\n"

        code, text = approve(scene, said["refusal"])
        assert code == 1
        assert text.startswith("Error: nothing is refused under this name now")

    (approved,) = history(scene, "approved")
    assert (approved["cause"], approved["outcome"]) == (said["refusal"], "done")
    assert (approved["reason"], approved["by"]["kind"]) == ("the shift has ended", "command")
    assert approved["recordingId"] is None
    lines = scene.run("history", "--state", scene.state, "--limit", "0").stdout
    assert re.search(rf"approved .*\({said['refusal']}\).* by .+: the shift has ended", lines)
    (told,) = history(scene, "limit_refused")
    assert said["refusal"] in told["detail"]
    assert daemon.wait_for("approved")["reason"] == "the shift has ended"


def phases(scene: Scene, phase: str) -> list[str]:
    done = scene.run("status", "--state", scene.state, "--format", "json")
    return [each["name"] for each in json.loads(done.stdout)["recordings"] if each["phase"] == phase]


def test_what_changed_after_it_was_refused_is_refused_anew_under_another_name(scene: Scene) -> None:
    everybody = applied(scene, 40, "paused")
    with scene.daemon() as daemon:
        daemon.wait_for("resync_done")
        flip(scene, everybody, 30, before="paused", after="ongoing")
        first = refused(daemon)
        flip(scene, everybody, 31, before="paused", after="ongoing")
        declare(
            scene,
            dict.fromkeys(everybody, "paused") | dict.fromkeys(everybody[:30], "ongoing") | {everybody[0]: "completed"},
        )
        eventually(lambda: len({each["refusal"] for each in daemon.events("limit_refused")}) > 1, daemon.said)
        code, text = approve(scene, first["refusal"])
        assert code == 1, text
        newest = daemon.events("limit_refused")[-1]["refusal"]
        assert newest in text
        assert live(scene, everybody[1:30], "paused") == 29
        assert approve(scene, newest)[0] == 0
        eventually(lambda: live(scene, everybody[1:30], "ongoing") == 29, daemon.said)


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_a_restart_keeps_what_was_refused_under_its_name_and_does_not_count_again_what_was_accepted(
    scene: Scene, end: str
) -> None:
    everybody = applied(scene, 40, "paused")
    with scene.daemon() as first:
        first.wait_for("resync_done")
        # Nothing can be sent, so that what is accepted is still to be sent at the restart.
        scene.sandbox.control("POST", "settings", {"fault_rate": 1.0})
        flipped = flip(scene, everybody, 18, before="paused", after="ongoing")
        first.wait_for("retry_scheduled")
        others = everybody[18:]
        declare(scene, dict.fromkeys(flipped, "ongoing") | dict.fromkeys(others, "completed"))
        names = {each["refusal"] for each in [refused(first)]}
        getattr(first.process, end)()
        first.process.wait()
    scene.sandbox.control("POST", "settings", {"fault_rate": 0.0})
    with scene.daemon() as second:
        again = refused(second)
        assert {again["refusal"]} == names
        eventually(lambda: live(scene, flipped, "ongoing") == 18, second.said)
        assert live(scene, others, "paused") == 22
        assert approve(scene, again["refusal"])[0] == 0
        eventually(lambda: live(scene, others, "completed") + live(scene, others, "available") == 22, second.said)
    with scene.daemon() as third:
        third.wait_for("resync_done")
        assert third.events("limit_refused") == []


def test_a_kill_right_after_acceptance_refuses_nothing_at_the_restart(scene: Scene) -> None:
    everybody = applied(scene, 40, "paused")
    scene.sandbox.control("POST", "settings", {"fault_rate": 1.0})
    with scene.daemon() as first:
        first.wait_for("started")
        for count in (10, 20, 30, 40):
            flip(scene, everybody, count, before="paused", after="ongoing")
            eventually(lambda count=count: accepted(scene) == count, first.said)  # type: ignore[misc]
            pass_by()
        assert first.events("limit_refused") == []
        first.kill()
    scene.sandbox.control("POST", "settings", {"fault_rate": 0.0})
    with scene.daemon() as second:
        eventually(lambda: live(scene, everybody, "ongoing") == 40, second.said)
        eventually(lambda: accepted(scene) == 0, second.said)
        assert second.events("limit_refused") == []


def accepted(scene: Scene) -> int:
    with closing(sqlite3.connect(scene.state.removeprefix("sqlite:///"))) as connection:
        (count,) = connection.execute("SELECT count(*) FROM judged WHERE refusal IS NULL").fetchone()
        return int(count)


def pass_by() -> None:
    """Let the five seconds pass within which pieces of one change are seen as one."""
    time.sleep(5.1)  # the real thing: it is the daemon's clock that counts


def test_what_changed_while_no_daemon_ran_is_one_change_set(scene: Scene) -> None:
    everybody = applied(scene, 40, "paused")
    flip(scene, everybody, 15, before="paused", after="ongoing")
    declare(scene, dict.fromkeys(everybody, "paused") | dict.fromkeys(everybody[:25], "ongoing"))
    with scene.daemon() as daemon:
        assert refused(daemon)["count"] == 25


def test_an_override_covers_what_a_daemon_finds_at_its_start_and_no_more(scene: Scene) -> None:
    everybody = applied(scene, 40, "paused")
    flipped = flip(scene, everybody, 30, before="paused", after="ongoing")
    with scene.daemon("--override-limits") as daemon:
        assert daemon.wait_for("limits_overridden")["recordings"] == 40
        eventually(lambda: live(scene, flipped, "ongoing") == 30, daemon.said)
        daemon.wait_for("limits_in_force")
        declare(scene, dict.fromkeys(everybody, "completed"))
        said = [daemon.wait_for("limit_refused", 2), *daemon.events("limit_refused")]
        assert {each["rule"] for each in said} == {"changes", "irreversible"}
        assert live(scene, everybody, "completed") == 0


def test_a_set_past_two_limits_needs_both_names(scene: Scene) -> None:
    everybody = applied(scene, 30, "paused")
    with scene.daemon() as daemon:
        daemon.wait_for("resync_done")
        declare(scene, dict.fromkeys(everybody, "completed"))
        daemon.wait_for("limit_refused", 2)
        one, other = (each["refusal"] for each in daemon.events("limit_refused"))
        assert approve(scene, one)[0] == 0
        eventually(lambda: len(phases(scene, "refused")) == 30, daemon.said)
        assert live(scene, everybody, "paused") == 30
        assert approve(scene, other)[0] == 0
        eventually(lambda: live(scene, everybody, "paused") == 0, daemon.said)


def test_sync_has_everything_or_some_recordings_looked_at_now(scene: Scene) -> None:
    one, other = everybody = applied(scene, 2, "paused")
    with scene.daemon() as daemon:
        daemon.wait_for("resync_done")
        done = scene.run("sync", one.name, "--state", scene.state)
        assert (done.returncode, done.stdout) == (0, "looking at 1 recording now\n")
        scene.sandbox.control("POST", "set", {"recordingId": other.recording, "status": "ongoing"})
        done = scene.run("sync", "--state", scene.state)
        assert (done.returncode, done.stdout) == (0, "looking at all 2 recordings now\n")
        eventually(lambda: live(scene, everybody, "paused") == 2, daemon.said)
        done = scene.run("sync", one.name, "nobody", "--state", scene.state)
        assert (done.returncode, done.stderr) == (1, "Error: no document in force is named nobody\n")


def test_without_a_daemon_nothing_is_written_and_the_way_is_shown(scene: Scene) -> None:
    nowhere = scene.run("approve", "0" * 12, "--reason", "because", "--state", scene.state)
    assert nowhere.returncode == 1
    assert re.search(r"no daemon holds .*state\.db.*`reconciler run`", nowhere.stderr)
    listed = scene.run("approve", "--state", scene.state)
    assert (listed.returncode, listed.stdout) == (1, ""), "where there is no state, nobody knows what is refused"
    assert "there is no state at" in listed.stderr
    assert not (scene.folder / "state.db").exists()
    applied(scene, 1, "paused")
    assert scene.run("approve", "0" * 12, "--reason", "because", "--state", scene.state).returncode == 1
    listed = scene.run("approve", "--state", scene.state)
    assert (listed.returncode, listed.stdout) == (0, "Nothing is refused.\n")
    assert "No daemon is alive" in listed.stderr
    synced = scene.run("sync", "--state", scene.state)
    assert synced.returncode == 64
    assert "`reconciler apply`" in synced.stderr
    assert len(synced.stderr.strip().splitlines()) <= 4


@pytest.mark.parametrize(
    "words",
    [
        ("0" * 12,),
        ("0" * 12, "--reason", "  "),
        ("0" * 12, "--reason", "x" * 5000),
        ("../../etc/passwd", "--reason", "x"),
        ("--reason", "x"),
    ],
)
def test_what_cannot_be_asked_is_wrong_usage(scene: Scene, words: tuple[str, ...]) -> None:
    assert scene.run("approve", *words, "--state", scene.state).returncode == 64
