"""Health that means something: the probes of the installed daemon while it is stuck, beginning, ending, or poisoned.

Why the state cannot be written, and what readiness says of it, is in `test_storage_faults.py`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import urllib.error
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from reconciler.telemetry.logs import adopt_libraries, make_log
from tests.world.documents import document
from tests.world.foreign_api import ForeignApi
from tests.world.front import daemon_options, get
from tests.world.ids import RECORDING, numbered, recording
from tests.world.shell import Shell
from tests.world.started import Started, eventually


def one(shell: Shell, api: ForeignApi) -> None:
    shell.write("desired_state/one.yaml", document())
    api.seed([recording()])


def healthy(daemon: Started) -> bool:
    return get(daemon, "/healthz")[0] == 200


def ready(daemon: Started) -> bool:
    return get(daemon, "/readyz")[0] == 200


LISTEN = ("--listen", "127.0.0.1:0")


def test_a_blocked_worker_makes_the_daemon_unhealthy_until_it_goes_on(shell: Shell, api: ForeignApi) -> None:
    one(shell, api)
    api.fault("stall", method="GET", seconds=4, times=1)
    with shell.start("run", *daemon_options(api, *LISTEN, "--concurrency", "1", "--health-seconds", "1")) as daemon:
        eventually(lambda: not healthy(daemon))
        assert not ready(daemon)
        daemon.wait_for("applied")
        assert healthy(daemon)


def test_idle_is_healthy_however_long_it_lasts(shell: Shell, api: ForeignApi) -> None:
    one(shell, api)
    with shell.start("run", *daemon_options(api, *LISTEN, "--health-seconds", "1")) as daemon:
        daemon.wait_for("applied")
        # Two beats pass without work, by the daemon's own account.
        ages = [age(daemon)]
        while ages[-1] < ages[0] + 2:
            assert healthy(daemon)
            ages.append(age(daemon))


def age(daemon: Started) -> float:
    lines = get(daemon, "/metrics")[1].splitlines()
    return float(next(line for line in lines if line.startswith("reconciler_resync_age_seconds ")).split()[1])


def test_not_ready_before_everything_that_is_new_had_its_first_turn(shell: Shell, api: ForeignApi) -> None:
    one(shell, api)
    api.fault("stall", method="GET", seconds=2, times=1)
    with shell.start("run", *daemon_options(api, *LISTEN)) as daemon:
        daemon.wait_for("started")
        assert not ready(daemon)
        assert healthy(daemon)
        eventually(lambda: ready(daemon))
        assert daemon.events("retry_scheduled")  # its first turn has ended, if not well
        daemon.wait_for("applied")


def test_ready_at_once_where_everything_is_as_it_was_left(shell: Shell, api: ForeignApi) -> None:
    one(shell, api)
    assert shell("run", "--once", "--listen", "off", "--api-url", api.url).code == 0
    api.fault("stall", method="GET", seconds=30, times=-1)
    with shell.start("run", *daemon_options(api, *LISTEN)) as daemon:
        daemon.wait_for("started")
        assert ready(daemon)
        # An edit made meanwhile is something new again.
    shell.write("desired_state/one.yaml", document("ongoing"))
    with shell.start("run", *daemon_options(api, *LISTEN)) as daemon:
        daemon.wait_for("started")
        assert not ready(daemon)


def test_an_api_that_fails_does_not_keep_the_daemon_from_being_ready(shell: Shell, api: ForeignApi) -> None:
    """A turn that found out that it must come back is a turn: waiting is all that can be done about it."""
    one(shell, api)
    api.fault("answer", status=503, times=-1)
    with shell.start("run", *daemon_options(api, *LISTEN)) as daemon:
        eventually(lambda: ready(daemon))


def test_shutting_down_it_still_answers_but_is_not_ready(shell: Shell, api: ForeignApi) -> None:
    one(shell, api)
    with shell.start("run", *daemon_options(api, *LISTEN)) as daemon:
        daemon.wait_for("applied")
        api.fault("stall", method="PATCH", seconds=3, times=1)
        shell.write("desired_state/one.yaml", document("ongoing"))
        daemon.wait_for("patch_sent", count=2)
        daemon.signal(signal.SIGTERM)
        daemon.wait_for("stopping")
        assert not ready(daemon)
        assert daemon.ended() == 0
        with pytest.raises(urllib.error.URLError):
            get(daemon, "/readyz")


POISON = """
import sys
import reconciler.reconcile.turn as room
from reconciler.cli.program import main

decide = room.decide

def poisoned(key, *rest, **more):
    if key.recording_id == sys.argv[1]:
        raise ZeroDivisionError("canary-key-4f1b9c27 +31612345678")
    return decide(key, *rest, **more)

room.decide = poisoned
main(sys.argv[2:])
"""


def poisoned(shell: Shell, recording_id: str, *arguments: str) -> AbstractContextManager[Started]:
    return shell.start_other((sys.executable, "-c", POISON, recording_id, *arguments))


def test_a_poison_recording_backs_off_is_counted_and_disturbs_no_other(shell: Shell, api: ForeignApi) -> None:
    one(shell, api)
    others = [numbered(number) for number in range(5)]
    for number, item in enumerate(others):
        shell.write(f"desired_state/{number}.yaml", document(name=f"r-{number}", recording=item))
        api.seed([recording(recording_id=item)])
    with poisoned(shell, RECORDING, "run", *daemon_options(api, *LISTEN)) as daemon:
        daemon.wait_for("applied", count=len(others))
        daemon.wait_for("turn_failed", count=3)
        failures = daemon.events("turn_failed")
        assert {each["recording_id"] for each in failures} == {RECORDING}
        assert failures[0]["error"] == "ZeroDivisionError: <key> <number>"
        assert "reconcile/turn.py" in failures[0]["where"]
        assert (healthy(daemon), ready(daemon), daemon.process.poll()) == (True, True, None)
        lines = get(daemon, "/metrics")[1].splitlines()
        assert float(next(line for line in lines if line.startswith("reconciler_turn_errors_total ")).split()[1]) >= 3
        daemon.wait_for("resync_done")
    # And a restart meets it again, and goes on all the same.
    with poisoned(shell, RECORDING, "run", *daemon_options(api, *LISTEN)) as daemon:
        daemon.wait_for("turn_failed")
        shell.write("desired_state/0.yaml", document("ongoing", name="r-0", recording=others[0]))
        daemon.wait_for("applied", name="r-0")
        daemon.signal(signal.SIGTERM)
        assert daemon.ended() == 0


def test_systemd_hears_of_the_watchdog_only_while_work_gets_done(shell: Shell, api: ForeignApi, tmp_path: Path) -> None:
    one(shell, api)
    api.fault("stall", method="GET", seconds=4, times=1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        # A short name: that of a socket may have 107 characters.
        place = f"\0reconciler-test-{os.getpid()}-{tmp_path.name[-20:]}"
        manager.bind(place)
        manager.settimeout(60)
        systemd = {"NOTIFY_SOCKET": f"@{place[1:]}", "WATCHDOG_USEC": "200000", "WATCHDOG_PID": ""}
        options = daemon_options(api, *LISTEN, "--concurrency", "1", "--health-seconds", "1")
        with shell.start("run", *options, **systemd) as daemon:
            assert manager.recv(100) == b"READY=1"
            eventually(lambda: not healthy(daemon))
            waiting(manager)
            began = age(daemon)
            while age(daemon) < began + 1:
                assert not healthy(daemon)
            assert waiting(manager) == []
            daemon.wait_for("applied")
            assert manager.recv(100) == b"WATCHDOG=1"


def waiting(manager: socket.socket) -> list[bytes]:
    """Take what has come so far."""
    taken = []
    manager.setblocking(False)
    try:
        while True:
            taken.append(manager.recv(100))
    except BlockingIOError:
        manager.settimeout(60)
        return taken


def test_what_libraries_have_to_say_is_one_line_of_ours_without_a_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    import logging

    root = logging.getLogger()
    handlers = root.handlers[:]
    try:
        adopt_libraries(make_log("json", "info", run_id="run-1", secrets=tuple))

        async def forgotten() -> None:
            asyncio.get_running_loop().create_future().set_exception(ValueError("AccessKey canary-key-4f1b9c27"))

        asyncio.run(forgotten())
    finally:
        logging.captureWarnings(capture=False)
        root.handlers[:] = handlers
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert '"library_warning"' in lines[0]
    assert '"library": "asyncio"' in lines[0]
    assert '"error": "ValueError"' in lines[0]
    assert "canary" not in lines[0]
