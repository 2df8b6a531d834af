"""What is not found: recordings that the API shows late, that are on another call, or that a wrong ID hides.

On the installed command, with the sandbox as a process of its own. Left out: the decision itself (`test_decide`) and
how long a command looks (`test_converge`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.world.documents import document
from tests.world.ids import CALL, CHANNEL, RECORDING, WORKSPACE, numbered
from tests.world.shell import KEY, Shell
from tests.world.started import eventually

ANOTHER_CALL = numbered(0xCA11)


class Sandbox:
    """The simulated API, and its switchboard."""

    def __init__(self, url: str) -> None:
        self.url = url

    def tell(self, path: str, content: object) -> Any:
        return httpx.post(f"{self.url}/_sandbox/{path}", json=content).raise_for_status().json()

    def ask(self, path: str) -> Any:
        return httpx.get(f"{self.url}/_sandbox/{path}").raise_for_status().json()

    def seed(self, **more: object) -> None:
        ids = {"workspaceId": WORKSPACE, "channelId": CHANNEL, "callId": CALL, "recordingId": RECORDING}
        assert self.tell("seed", {"recordings": [{**ids, **more}]}) == {"added": 1}

    def patches(self) -> list[dict[str, Any]]:
        return list(self.ask("requests?method=PATCH")["requests"])


@pytest.fixture
def sandbox(shell: Shell) -> Iterator[Sandbox]:
    with shell.start("sandbox", "--port", "0", "--settle-ms", "10", BIRD_ACCESS_KEY=KEY) as started:
        eventually(lambda: "http://127.0.0.1:" in started.text, lambda: started.text)
        found = re.search(r"http://127\.0\.0\.1:\d+", started.text)
        assert found is not None
        yield Sandbox(found[0])


def options(sandbox: Sandbox, *more: str) -> tuple[str, ...]:
    return ("--api-url", sandbox.url, "--log-format", "json", *more)


@pytest.mark.parametrize("late_ms", [1000, 5000])
@pytest.mark.parametrize("call_is_known", [False, True], ids=["its call is new too", "its call is known"])
def test_a_document_that_is_there_before_its_recording_is_applied_as_soon_as_that_appears(
    shell: Shell, sandbox: Sandbox, late_ms: int, *, call_is_known: bool
) -> None:
    if call_is_known:
        sandbox.seed(recordingId=numbered(0x0E))
    shell.write("desired_state/other.yaml", document(name="other", call=numbered(1), recording=numbered(2)))
    with shell.start("run", *options(sandbox, "--listen", "off")) as daemon:
        daemon.wait_for("resync_done")
        shell.write("desired_state/one.yaml", document())
        daemon.wait_for("waiting", name="one", reason="not_found")
        sandbox.seed(appears_ms=late_ms)
        applied = daemon.wait_for("applied", name="one")
        sent = datetime.fromisoformat(sandbox.patches()[0]["at"])
    waited = datetime.fromisoformat(daemon.wait_for("waiting", name="one")["timestamp"])
    # Found late by no more than a third of the wait, or the first second; the rest is room for a busy machine.
    assert (sent - waited).total_seconds() < late_ms / 1000 * 4 / 3 + 1 + 2
    assert applied["status"] == "paused"
    assert len(sandbox.patches()) == 1


def test_apply_waits_for_a_recording_that_appears_late_and_ends_with_0(shell: Shell, sandbox: Sandbox) -> None:
    shell.write("desired_state/one.yaml", document())
    sandbox.seed(appears_ms=6000)
    done = shell("apply", "--yes", *options(sandbox))
    assert (done.code, "1 applied" in done.out) == (0, True), done.err
    assert "1 lost" in done.out, "as the plan saw it"


@pytest.mark.parametrize("command", [("apply", "--yes"), ("run", "--once", "--listen", "off")], ids=["apply", "run"])
def test_what_stays_unfound_is_counted(shell: Shell, sandbox: Sandbox, command: tuple[str, ...]) -> None:
    shell.write("desired_state/one.yaml", document())
    done = shell(*command, *options(sandbox, "--confirm-seconds", "2"))
    assert done.code == 3, done.err
    assert "0 applied" in done.out
    assert "1 failed" in done.out
    assert "one: not found: Bird does not know the call" in done.err
    shown = shell("status", "--format", "json").out
    assert '"waiting"' in shown
    assert '"not_found"' in shown
    assert sandbox.patches() == []


def test_a_plan_with_something_unfound_is_no_plan_of_nothing(shell: Shell, sandbox: Sandbox) -> None:
    shell.write("desired_state/one.yaml", document())
    done = shell("plan", "--detailed-exitcode", "--api-url", sandbox.url)
    assert done.code == 2
    assert "1 waiting" in done.out
    assert "1 lost" in done.out


def test_longer_than_a_call_lives_nobody_is_waited_for(shell: Shell, sandbox: Sandbox) -> None:
    shell.write("desired_state/one.yaml", document())
    with shell.start("run", *options(sandbox, "--listen", "off", "--call-seconds", "2")) as daemon:
        given_up = daemon.wait_for("not_found", name="one")
        assert given_up["level"] == "warning"
    assert '"failed"' in shell("status", "--format", "json").out


def test_a_recording_on_another_call_is_named_with_it_and_not_followed(shell: Shell, sandbox: Sandbox) -> None:
    shell.write("desired_state/one.yaml", document())
    sandbox.seed()
    assert shell("apply", "--yes", *options(sandbox)).code == 0
    assert len(sandbox.patches()) == 1
    sandbox.tell("move", {"recordingId": RECORDING, "callId": ANOTHER_CALL})
    sandbox.tell("set", {"recordingId": RECORDING, "status": "ongoing"})
    words = f"recording {RECORDING} is on call {ANOTHER_CALL} now, ongoing: change callId"
    planned = shell("plan", "--detailed-exitcode", "--api-url", sandbox.url)
    assert (planned.code, words in planned.out) == (2, True), planned.out
    done = shell("apply", "--yes", *options(sandbox, "--confirm-seconds", "2"))
    assert (done.code, words in done.err) == (3, True), done.err
    assert len(sandbox.patches()) == 1
    shell.write("desired_state/one.yaml", document(call=ANOTHER_CALL))
    assert shell("apply", "--yes", *options(sandbox)).code == 0
    assert len(sandbox.patches()) == 2


def test_a_call_that_is_over_is_proof_of_the_end(shell: Shell, sandbox: Sandbox) -> None:
    shell.write("desired_state/one.yaml", document())
    sandbox.seed(recordingId=numbered(0x0E))
    sandbox.tell("end_call", {"callId": CALL})
    planned = shell("plan", "--detailed-exitcode", "--api-url", sandbox.url)
    assert planned.code == 2
    assert "ended before it took effect: the call has ended" in planned.out
    done = shell("apply", "--yes", *options(sandbox))
    assert done.code == 3
    assert "one: ended before it took effect" in done.err


def test_an_agent_who_resumes_a_moment_after_our_pause_is_found_by_the_second_look(
    shell: Shell, sandbox: Sandbox
) -> None:
    shell.write("desired_state/one.yaml", document())
    sandbox.seed()
    with shell.start("run", *options(sandbox, "--listen", "off", "--resync-seconds", "1")) as daemon:
        daemon.wait_for("applied", name="one")
        sandbox.tell("set", {"recordingId": RECORDING, "status": "ongoing"})
        daemon.wait_for("drift_detected", name="one")
        daemon.wait_for("applied", 2, name="one")
    assert [patch["body"] for patch in sandbox.patches()] == ["paused", "paused"]
    told = shell("history", "one").out
    assert told.index("patch_sent") < told.index("drift_detected") < told.rindex("patch_sent")
