"""Telling systemd, over real datagram sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.controller.systemd import notify, watchdog_seconds


@pytest.fixture(params=["path", "abstract"])
def listener(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """A service manager that listens; either on a path or, written with an `@`, on an abstract name."""
    name = str(tmp_path / "notify")[-100:]
    if request.param == "abstract":
        address, shown = "\0" + name, "@" + name
    else:
        address = shown = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.bind(address)
        opened.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", shown)
        yield opened


def test_each_state_is_one_datagram(listener: socket.socket) -> None:
    for state in ("READY=1", "WATCHDOG=1", "STOPPING=1"):
        notify(state)
        assert listener.recv(4096) == state.encode()


def test_without_a_service_manager_nothing_is_sent(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("READY=1")
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.recv(4096)


def test_a_service_manager_that_does_not_read_holds_nobody_up(listener: socket.socket) -> None:
    told = 0
    while notify("WATCHDOG=1"):
        told += 1
        assert told < 100_000
    listener.recv(4096)
    assert notify("READY=1"), "it reads again"


@pytest.mark.parametrize("address", ["/nowhere/notify", "relative", "/" + "x" * 200, "@" + "x" * 200])
def test_a_service_manager_that_does_not_listen_disturbs_nobody(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("30000000", None, 15.0),
        ("30000000", "ours", 15.0),
        ("30000000", "another", None),
        ("1000000", None, 0.5),
        ("0", None, None),
        ("", None, None),
        ("-1", None, None),
        ("often", None, None),
        ("²", None, None),
        (None, None, None),
    ],
)
def test_the_watchdog_is_told_twice_as_often_as_it_asks(
    usec: str | None, pid: str | None, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not among the parameters: the name of a test must be the same in every process that runs it.
    pids = {"ours": str(os.getpid()), "another": str(os.getpid() + 1), None: None}
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pids[pid])):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert watchdog_seconds() == seconds
