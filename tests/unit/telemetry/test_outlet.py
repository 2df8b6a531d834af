"""The outlet: its writers wait for nobody, what is dropped is counted, and nothing is torn."""

from __future__ import annotations

import fcntl
import os
import pty
import sys
import termios
import threading
import time
from collections.abc import Iterator

import pytest

from reconciler.telemetry.outlet import Outlet
from tests.world.started import eventually

#: What a pipe of Linux holds, in bytes.
HOLDS = 65_536


@pytest.fixture
def pipe() -> Iterator[tuple[int, Outlet]]:
    """The end that reads, and an outlet for the other."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        yield reading, Outlet(stream, most_waiting=100_000)
        os.close(reading)


def held_by(pipe: int) -> int:
    """How many bytes wait in a pipe for its reader."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def read_now(descriptor: int) -> bytes:
    """Read what is there from a pipe that is not waited for; empty where nothing is."""
    try:
        return os.read(descriptor, HOLDS)
    except BlockingIOError:
        return b""


def read_until(descriptor: int, end: bytes) -> bytes:
    found = b""
    while end not in found:
        part = os.read(descriptor, 65_536)
        assert part, found[-200:]
        found += part
    return found


def test_text_comes_out_whole_and_in_order(pipe: tuple[int, Outlet]) -> None:
    reading, outlet = pipe
    for number in range(2000):
        outlet.write(f"line {number}\n")
    assert read_until(reading, b"line 1999\n").decode().splitlines() == [f"line {number}" for number in range(2000)]
    assert outlet.drain()


def test_a_reader_that_stands_still_holds_up_no_writer_and_what_was_dropped_is_counted(
    pipe: tuple[int, Outlet],
) -> None:
    reading, outlet = pipe
    told: list[int] = []
    outlet.on_dropped = told.append
    line = "x" * 99 + "\n"
    full = 700
    outlet.write(line * full)  # more than the pipe holds, and less than may wait
    eventually(lambda: held_by(reading) == HOLDS)
    began = time.monotonic()
    for _ in range(10_000):
        outlet.write(line)
    assert time.monotonic() - began < 30, "a pipe holds 64 KiB: waiting for its reader would have no end"
    assert not outlet.drain(0.1)
    assert told == []
    found = b""
    while not told:
        found += os.read(reading, 65_536)
    os.set_blocking(reading, False)
    deadline = time.monotonic() + 60
    while not outlet.drain(0.01):
        assert time.monotonic() < deadline
        found += read_now(reading)
    while part := read_now(reading):
        found += part
    assert found.count(b"\n") + sum(told) == full + 10_000
    assert set(found.splitlines()) == {line.strip().encode()}


def test_a_reader_that_is_gone_stops_nobody(pipe: tuple[int, Outlet]) -> None:
    reading, outlet = pipe
    os.dup2(os.open(os.devnull, os.O_RDONLY), reading)
    outlet.write("nobody reads this\n")
    assert outlet.drain()


def test_a_descriptor_that_somebody_made_non_blocking_loses_nothing(pipe: tuple[int, Outlet]) -> None:
    reading, outlet = pipe
    os.set_blocking(outlet.stream.fileno(), False)
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(read_until(reading, b"end\n")))
    outlet.write("x" * 99_000 + "end\n")
    thread.start()
    thread.join(60)
    assert len(found[0]) == 99_004


def test_on_a_terminal_text_goes_above_the_line_below() -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream:
        outlet = Outlet(stream)
        assert outlet.isatty()
        outlet.show_below("half done")
        assert outlet.drain()
        outlet.write("a line\n")
        assert outlet.drain()
        outlet.show_below("")
        assert outlet.drain()
        outlet.write("end\n")
        assert read_until(master, b"end\r\n") == b"half done\r\x1b[Ka line\r\nhalf done\r\x1b[Kend\r\n"
    os.close(master)


def test_an_encoding_without_a_character_shows_it_escaped(pipe: tuple[int, Outlet]) -> None:
    reading, outlet = pipe
    with os.fdopen(os.dup(outlet.stream.fileno()), "w", encoding="ascii") as stream:
        Outlet(stream).write("zahlungen-ü\n")
        assert read_until(reading, b"\n") == b"zahlungen-\\xfc\n"
