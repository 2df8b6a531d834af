"""What stands still beside the daemon, and the daemon that is not there yet: neither holds anything up.

A reader of the log, a service manager, the state in another's hands, and documents that take long to load.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.world.ports import free_port
from tests.world.scene import COMMAND, Scene, environment, set_of, subjects
from tests.world.started import Started, eventually


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def answers(port: int) -> bool:
    try:
        return get(port, "/healthz")[0] == 200
    except OSError:
        return False


def port_of(daemon: Started) -> int:
    return int(str(daemon.wait_for("listening")["address"]).rpartition(":")[2])


# The log


def test_a_log_that_nobody_reads_delays_no_patch_and_no_stop(scene: Scene) -> None:
    some = subjects(1500)
    scene.sandbox.seed(each.seed() for each in some)
    scene.write("some.yaml", set_of("some", (each.item("paused") for each in some)))
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [COMMAND, "run", *scene.options("--listen", "off", "--override-limits"), str(scene.documents)],
        cwd=scene.folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=writing,
    )
    os.close(writing)
    try:
        # Some 4,500 lines: a pipe holds 200 of them.
        eventually(lambda: len(scene.sandbox.patches()) == len(some))
        scene.write("some.yaml", set_of("some", (each.item("ongoing") for each in some[:20])))
        eventually(lambda: sum("ongoing" in asked for asked in scene.sandbox.patches().values()) == 20)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reading)


# The service manager


@contextmanager
def manager(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.bind(f"\0reconciler-standstill-{os.getpid()}-{folder.name[-20:]}")
        opened.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + opened.getsockname()[1:].decode())
        yield opened


def fill(address: str | bytes) -> None:
    """Send to somebody who does not read, until there is no room."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        other.connect(address)
        for _ in range(100_000):
            try:
                other.send(b"WATCHDOG=1")
            except BlockingIOError:
                return
    raise AssertionError("somebody reads")


def test_a_service_manager_that_does_not_listen_holds_nothing_up(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = subjects(1)
    scene.sandbox.seed([one.seed()])
    scene.write("one.yaml", one.document("ongoing"))
    with manager(tmp_path, monkeypatch) as silent:
        monkeypatch.setenv("WATCHDOG_USEC", "20000")
        with scene.daemon("--listen", "127.0.0.1:0") as daemon:
            port = port_of(daemon)
            daemon.wait_for("resync_done")
            fill(silent.getsockname())
            time.sleep(0.2)  # ten of its datagrams find no room
            scene.write("one.yaml", one.document("paused"))
            daemon.wait_for("applied", status="paused")
            assert get(port, "/healthz")[0] == 200
            daemon.process.send_signal(signal.SIGTERM)
            assert daemon.ended() == 0


# Not there yet


def test_a_standby_answers_says_whom_it_waits_for_and_takes_over(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = subjects(1)
    scene.sandbox.seed([one.seed()])
    scene.write("one.yaml", one.document("ongoing"))
    with scene.daemon() as first:
        first.wait_for("resync_done")
        with (
            manager(tmp_path, monkeypatch) as listening,
            scene.daemon("--listen", "127.0.0.1:0", "--wait-seconds", "3600") as second,
        ):
            port = port_of(second)
            holder = str(second.wait_for("standby")["holder"])
            assert str(first.process.pid) in holder
            told = listening.recv(1000).decode()
            assert told.startswith(f"STATUS=standby, the state is held by {holder}\nEXTEND_TIMEOUT_USEC=")
            assert [get(port, path)[0] for path in ("/healthz", "/readyz", "/metrics", "/status")] == [
                200,
                503,
                200,
                503,
            ]
            assert "standby" in get(port, "/status")[1]
            second.process.send_signal(signal.SIGHUP)
            first.process.send_signal(signal.SIGTERM)
            assert first.ended() == 0
            second.wait_for("taken_over")
            eventually(lambda: get(port, "/readyz")[0] == 200)
            while listening.recv(1000) != b"READY=1":
                pass
            scene.write("one.yaml", one.document("paused"))
            second.wait_for("applied", status="paused")
            assert len(second.events("standby")) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_standby_ends_when_it_is_asked_to(scene: Scene, number: signal.Signals, code: int) -> None:
    scene.write("one.yaml", subjects(1)[0].document("ongoing"))
    with scene.daemon() as first:
        first.wait_for("started")
        with scene.daemon("--wait-seconds", "3600") as second:
            second.wait_for("standby")
            second.process.send_signal(number)
            assert second.ended() == code, second.said()


def test_a_standby_takes_the_address_of_the_one_that_it_waits_for(scene: Scene) -> None:
    scene.write("one.yaml", subjects(1)[0].document("ongoing"))
    port = free_port()
    here = ("--listen", f"127.0.0.1:{port}")
    with scene.daemon(*here) as first:
        first.wait_for("started")
        refused = scene.run("run", *scene.options(*here), str(scene.documents))
        assert refused.returncode == 1
        assert "in use" in refused.stderr
        with scene.daemon(*here, "--wait-seconds", "3600") as second:
            second.wait_for("listen_waiting")
            second.wait_for("standby")
            first.process.send_signal(signal.SIGTERM)
            assert first.ended() == 0
            second.wait_for("listening", address=f"127.0.0.1:{port}")
            eventually(lambda: get(port, "/readyz")[0] == 200)


def test_the_page_answers_while_documents_are_loaded(scene: Scene) -> None:
    many = subjects(15_000)
    for start in range(0, len(many), 100):
        part = many[start : start + 100]
        (scene.documents / f"{start:06}.yaml").write_text(set_of(f"s-{start}", (each.item("ongoing") for each in part)))
    port = free_port()
    with scene.daemon("--listen", f"127.0.0.1:{port}", "--poll-seconds", "3600") as daemon:
        eventually(lambda: answers(port))
        assert daemon.events("started") == [], "there was nothing to load"
        asked = 0
        # It is ready only after the first turn of each, so that the log is ahead of the page by thousands of turns.
        while not daemon.events("started"):
            began = time.monotonic()
            assert get(port, "/healthz")[0] == 200
            assert get(port, "/readyz")[0] == 503
            assert time.monotonic() - began < 5
            asked += 1
        assert asked > 1
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.ended() == 0


def test_an_address_of_ipv6_is_logged_as_it_stands_in_a_url(scene: Scene) -> None:
    scene.write("one.yaml", subjects(1)[0].document("ongoing"))
    with scene.daemon("--listen", "[::1]:0") as daemon:
        address = str(daemon.wait_for("listening")["address"])
        assert address.startswith("[::1]:")
