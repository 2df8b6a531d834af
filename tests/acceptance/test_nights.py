"""Nights on call, on the installed daemon: each question is answered by one command and by one metric.

Aspects: a refused key while a pause waits, an API that is away, one pause without effect among many calls that have
ended, and whether the alerts that `docs/how-to/alerts.md` names fire in each of them, and in the other things that wake
somebody: an invalid file, a refusal by a limit, a state that cannot be written, a standby without a leader. And that
all of them are silent in health, before and after.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import urllib.request
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.compose import reading_rate
from reconciler.model.keys import RecordingKey
from reconciler.model.records import Record
from reconciler.model.statuses import Phase, Status
from reconciler.state.opening import open_writer
from tests.world.alert_rules import firing
from tests.world.documents import document
from tests.world.foreign_api import ForeignApi
from tests.world.front import get, reach
from tests.world.ids import RECORDING, WORKSPACE, numbered, recording
from tests.world.ports import free_port
from tests.world.shell import KEY, Shell
from tests.world.started import Started, eventually

LISTEN = ("--listen", "127.0.0.1:0", "--log-format", "json")
#: Short, so that two periods of it pass in a test as two of the default pass in ten minutes.
OFTEN = ("--resync-seconds", "2", "--poll-seconds", "3600")


def page(daemon: Started) -> str:
    return get(daemon, "/metrics")[1]


def fires(daemon: Started, *metrics: str) -> None:
    """Wait until these alerts fire, and say which did where they never do."""
    eventually(lambda: set(metrics) <= firing(page(daemon)), lambda: f"only {firing(page(daemon))}\n{page(daemon)}")


def is_silent(daemon: Started) -> None:
    eventually(lambda: firing(page(daemon)) == set(), lambda: f"{firing(page(daemon))}\n{page(daemon)}")


def value(daemon: Started, metric: str) -> float:
    return float(next(line for line in page(daemon).splitlines() if line.startswith(f"{metric} ")).split()[1])


def status_of(daemon: Started) -> Any:
    return json.loads(get(daemon, "/status")[1])


def three(shell: Shell, api: ForeignApi) -> None:
    """Declare the recording of a card payment, and two more that nobody touches."""
    shell.write("desired_state/card.yaml", document("ongoing", name="card-payment-7781"))
    api.seed([recording()])
    for number in (1, 2):
        shell.write(f"desired_state/{number}.yaml", document("ongoing", name=f"r-{number}", recording=numbered(number)))
        api.seed([recording(recording_id=numbered(number))])


def pause(shell: Shell) -> None:
    shell.write("desired_state/card.yaml", document("paused", name="card-payment-7781"))


def asked(shell: Shell, *names: str) -> list[dict[str, Any]]:
    """Ask `status`, the one command."""
    return list(shell("status", *names, "--format", "json").json()["recordings"])


def test_a_refused_key_while_a_pause_waits(shell: Shell, api: ForeignApi) -> None:
    three(shell, api)
    key_file = shell.folder.parent / "key"
    key_file.write_text(KEY)
    with shell.start(
        "run", *reach(api, *LISTEN, *OFTEN), BIRD_ACCESS_KEY="", BIRD_ACCESS_KEY_FILE=str(key_file)
    ) as daemon:
        daemon.wait_for("resync_done", count=2)
        is_silent(daemon)
        key_file.write_text("revoked-key-0001")
        pause(shell)
        daemon.wait_for("unauthorized")
        # The one command.
        eventually(lambda: asked(shell, "card-payment-7781")[0]["phase"] == "blind")
        (card,) = asked(shell, "card-payment-7781")
        assert (card["desired"], card["lastApplied"], card["live"]) == ("paused", "ongoing", "ongoing")
        assert card["reason"] == "key_refused"
        assert [each["phase"] for each in asked(shell)] == ["blind"] * 3, "nobody sees the others either"
        shown = status_of(daemon)
        assert shown["phases"]["applied"] == 0
        assert shown["notInSync"][0]["name"] == "card-payment-7781"
        assert [(each["cause"], each["blind"]) for each in shown["resting"]] == [("key_refused", True)]
        last = shown["lastResync"]
        # The one metric, and the alerts.
        fires(
            daemon,
            "reconciler_oldest_unmet_seconds",
            "reconciler_unauthorized_workspaces",
            "reconciler_resting_workspaces",
            "reconciler_recordings",
            "reconciler_resync_age_seconds",
        )
        assert status_of(daemon)["lastResync"] == last, "nothing was answered since"
        assert value(daemon, "reconciler_oldest_unmet_seconds") >= 1
        told = shell("history", "card-payment-7781", "--format", "json").json()["events"]
        assert [each["event"] for each in told].count("blind") == 1
        assert api.patches() == []
        assert len(daemon.events("unauthorized")) == 1
        key_file.write_text(KEY)
        daemon.wait_for("applied", name="card-payment-7781")
        assert api.patches() == [(RECORDING, "paused")]
        is_silent(daemon)
        assert asked(shell)[0]["phase"] == "applied"


class Sandbox:
    """The sandbox on a port of its own, which can be killed and started again; then its recordings begin anew."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> ExitStack:
        """Start it; closing what is returned kills it."""
        stack = ExitStack()
        self._shell.written.append("")  # so that it has a log of its own
        stack.enter_context(self._shell.start("sandbox", "--port", str(self.port), "--settle-ms", "0"))
        eventually(self._answers)
        seeds = [recording(recording_id=numbered(number)) for number in range(6)] + [recording()]
        content = json.dumps({"recordings": seeds}).encode()
        asked = urllib.request.Request(
            f"{self.url}/_sandbox/seed", content, {"Content-Type": "application/json"}, method="POST"
        )
        urllib.request.urlopen(asked, timeout=30).close()
        return stack

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True


def test_an_api_that_is_away(shell: Shell) -> None:
    for number in range(6):
        shell.write(f"desired_state/{number}.yaml", document("ongoing", name=f"r-{number}", recording=numbered(number)))
    shell.write("desired_state/card.yaml", document("ongoing", name="card-payment-7781"))
    sandbox = Sandbox(shell)
    options = ("--api-url", sandbox.url, "--rate-limit", "0", *LISTEN, *OFTEN)
    away = sandbox.start()
    shell.written.append("")
    with away, shell.start("run", *options) as daemon:
        daemon.wait_for("resync_done", count=2)
        is_silent(daemon)
        away.close()
        began = time.monotonic()
        pause(shell)
        fires(
            daemon,
            "reconciler_oldest_unmet_seconds",
            "reconciler_resting_workspaces",
            "reconciler_recordings",
            "reconciler_resync_age_seconds",
        )
        (card,) = asked(shell, "card-payment-7781")
        assert (card["phase"], card["reason"], card["desired"]) == ("blind", "api_away", "paused")
        assert get(daemon, "/readyz")[0] == 200, "a restart would not bring the API back"
        assert status_of(daemon)["phases"]["applied"] == 0
        said = [event for event in daemon.events() if event["level"] in ("warning", "error")]
        assert len(said) <= 30 * max(1.0, (time.monotonic() - began) / 60)
        with sandbox.start():
            daemon.wait_for("applied", name="card-payment-7781")
            is_silent(daemon)
        told = shell("history", "card-payment-7781", "--format", "json").json()["events"]
        assert [each["event"] for each in told].count("blind") == 1


@pytest.mark.parametrize("how", ["refused", "503"])
def test_the_first_minute_of_an_outage_of_many_workspaces_is_told_in_few_lines(
    shell: Shell, api: ForeignApi, how: str
) -> None:
    count = 60
    for workspace in range(count):
        text = "---\n".join(
            document(name=f"w{workspace}-r{number}", recording=numbered(1000 * workspace + number)).replace(
                WORKSPACE, numbered(workspace)
            )
            for number in range(10)
        )
        shell.write(f"desired_state/{workspace}.yaml", text)
    # Bound and not listening, so that nobody else takes the port and listens there.
    nobody = socket.socket()
    nobody.bind(("127.0.0.1", 0))
    away = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    api.fault("answer", status=503, times=-1)
    options = ("--api-url", away if how == "refused" else api.url, "--rate-limit", "0", *LISTEN)
    with nobody, shell.start("run", *options) as daemon:
        eventually(lambda: value(daemon, "reconciler_resting_workspaces") == count, lambda: page(daemon))
        daemon.signal(signal.SIGTERM)
        assert daemon.ended() == 0
        said = daemon.events()
    assert len(said) <= 30, [event["event"] for event in said]
    opened = [event for event in said if event["event"] == "circuit_opened"]
    assert sum(event.get("more", 1) for event in opened) == count
    assert [event.get("more", 0) > 0 for event in opened] == [False] * 4 + [True]


def test_one_pause_without_effect_among_fifteen_hundred_calls_that_have_ended(shell: Shell, api: ForeignApi) -> None:
    count = 1500
    text = "".join(
        f"---\n{document('ongoing', name=f'ended-{number:04}', call=numbered(number % 15), recording=numbered(number))}"
        for number in range(100, 100 + count)
    )
    shell.write("desired_state/ended.yaml", text)
    now = datetime.now(UTC) - timedelta(minutes=5)
    with open_writer(f"sqlite:///{shell.folder}/.reconciler/state.db", holder="an earlier day") as writer:
        for number in range(100, 100 + count):
            key = RecordingKey(WORKSPACE, recording()["channelId"], numbered(number % 15), numbered(number))
            writer.save(
                Record(
                    key,
                    f"ended-{number:04}",
                    "desired_state/ended.yaml",
                    1,
                    Status.ONGOING,
                    phase=Phase.APPLIED,
                    last_applied=Status.ONGOING,
                    applied_at=now,
                    live="ongoing",
                    observed_at=now,
                    base=str(shell.folder),
                )
            )
    api.seed(
        [
            recording("ongoing", call=numbered(number % 15), recording_id=numbered(number))
            for number in range(100, 100 + count)
        ]
    )
    for call in range(15):
        api.end_call(numbered(call), "available")
    shell.write("desired_state/card.yaml", document("paused", name="card-payment-7781"))
    api.seed([recording()])
    api.fault("answer", method="PATCH", path=RECORDING, status=202, times=-1)
    with shell.start("run", *reach(api, *LISTEN, "--resync-seconds", "3600", "--confirm-seconds", "1")) as daemon:
        daemon.wait_for("unconfirmed")
        eventually(lambda: status_of(daemon)["phases"]["ended"] == count)
        fires(daemon, "reconciler_recordings", "reconciler_oldest_unmet_seconds")
        shown = status_of(daemon)
        assert [each["name"] for each in shown["notInSync"]] == ["card-payment-7781"]
        assert (shown["notInSyncTotal"], shown["endedTotal"], len(shown["ended"])) == (1, count, 500)
        assert shown["truncated"] is True
        first, *_ = asked(shell)
        assert (first["name"], first["phase"], first["desired"]) == ("card-payment-7781", "unconfirmed", "paused")
        assert 'reconciler_recordings{phase="unconfirmed"} 1.0' in page(daemon)


def test_an_invalid_file_fires_and_is_silent_when_it_is_mended(shell: Shell, api: ForeignApi) -> None:
    three(shell, api)
    with shell.start("run", *reach(api, *LISTEN, *OFTEN)) as daemon:
        daemon.wait_for("resync_done", count=2)
        is_silent(daemon)
        shell.write("desired_state/card.yaml", "kind: {")
        daemon.wait_for("document_invalid")
        fires(daemon, "reconciler_invalid_files")
        shell.write("desired_state/card.yaml", document("ongoing", name="card-payment-7781"))
        is_silent(daemon)


def test_what_a_limit_refuses_fires(shell: Shell, api: ForeignApi) -> None:
    three(shell, api)
    with shell.start("run", *reach(api, *LISTEN, *OFTEN, "--max-irreversible", "0")) as daemon:
        daemon.wait_for("resync_done", count=2)
        is_silent(daemon)
        shell.write("desired_state/card.yaml", document("completed", name="card-payment-7781"))
        daemon.wait_for("limit_refused")
        fires(daemon, "reconciler_recordings", "reconciler_oldest_unmet_seconds")
        assert [each["phase"] for each in asked(shell, "card-payment-7781")] == ["refused"]


def test_an_edit_that_is_not_sent_fires_whatever_the_reason(shell: Shell, api: ForeignApi) -> None:
    three(shell, api)
    with shell.start("run", *reach(api, *LISTEN, *OFTEN)) as daemon:
        daemon.wait_for("resync_done", count=2)
        api.fault("answer", method="PATCH", status=503, times=-1)
        pause(shell)
        fires(daemon, "reconciler_oldest_unmet_seconds", "reconciler_resting_workspaces")
        assert "reconciler_resync_age_seconds" not in firing(page(daemon)), "looks go on"
        api.mend()
        daemon.wait_for("applied", name="card-payment-7781")
        is_silent(daemon)


def test_a_state_that_cannot_be_written_fires(shell: Shell, api: ForeignApi) -> None:
    three(shell, api)
    with shell.start("run", *reach(api, *LISTEN, *OFTEN)) as daemon:
        daemon.wait_for("resync_done", count=2)
        is_silent(daemon)
        state = shell.folder / ".reconciler" / "state.db"
        for name in ("state.db-wal", "state.db-shm", "state.db"):
            state.with_name(name).unlink(missing_ok=True)
        state.mkdir()
        daemon.wait_for("state_unwritable")
        assert {"reconciler_state_writable", "reconciler_ready"} <= firing(page(daemon)), "at once"
        state.rmdir()
        is_silent(daemon)


def test_a_standby_without_a_leader_fires_and_one_with_a_leader_does_not(shell: Shell, api: ForeignApi) -> None:
    three(shell, api)
    options = reach(api, *LISTEN, *OFTEN)
    with shell.start("run", *options) as leader:
        leader.wait_for("resync_done", count=2)
        shell.written.append("")  # so that the second one has a log of its own
        with shell.start("run", *options, "--wait-seconds", "100") as standby:
            eventually(lambda: "reconciler_leader 0.0" in page(standby))
            assert "reconciler_leader" not in firing(page(leader), page(standby))
            # A leader that is stopped answers nobody.
            os.kill(leader.process.pid, signal.SIGSTOP)
            assert "reconciler_leader" in firing(page(standby))
            leader.process.kill()
            leader.process.wait()
            standby.wait_for("started")
            is_silent(standby)


def test_a_command_that_reads_takes_a_tenth_of_the_rate_beside_a_writer_or_where_there_may_be_one(
    tmp_path: Path,
) -> None:
    state = f"sqlite:///{tmp_path}/state.db"
    assert reading_rate(45.0, state) == 45.0, "nobody has ever written"
    with open_writer(state, holder="reconciler run"):
        assert reading_rate(45.0, state) == 4.5
    assert reading_rate(45.0, state) == 45.0
    (tmp_path / "other.db").write_bytes(b"no state at all" * 100)
    assert reading_rate(45.0, f"sqlite:///{tmp_path}/other.db") == 4.5
