"""Log lines: what stands on them, in which order, and what never does."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

import reconciler.telemetry.logs
from reconciler.model.statuses import Status
from reconciler.telemetry.logs import Log, adopt_libraries, make_log
from reconciler.telemetry.outlet import Outlet
from tests.world.nouns import NOW

CANARY = "canaryCANARY0123456789"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def json_log(level: str = "debug") -> tuple[Log, io.StringIO]:
    out = io.StringIO()
    return make_log("json", level, run_id="run-1", secrets=tuple, stream=out), out


def test_a_line_is_one_object_with_what_readers_look_for_in_front() -> None:
    log, out = json_log()
    log.info("patch_sent", name="card-1", recording_id="3fa8", desired=Status.PAUSED, took_ms=1.5)
    log.error("state_unwritable", error="the disk is full\nquite full")
    first, second = [json.loads(line) for line in out.getvalue().splitlines()]
    assert list(first) == ["timestamp", "level", "event", "run_id", "name", "recording_id", "desired", "took_ms"]
    assert (first["level"], first["event"], first["run_id"]) == ("info", "patch_sent", "run-1")
    assert (first["desired"], first["took_ms"]) == ("paused", 1.5)
    assert (second["level"], second["event"]) == ("error", "state_unwritable")


def test_a_timestamp_is_utc_with_its_zone() -> None:
    log, out = json_log()
    log.info("started")
    moment = datetime.fromisoformat(json.loads(out.getvalue())["timestamp"])
    assert moment.utcoffset() == NOW.utcoffset()


def test_a_value_that_json_does_not_know_becomes_its_text() -> None:
    log, out = json_log()
    log.info("started", until=NOW, error=ValueError("no"))
    line = json.loads(out.getvalue())
    assert (line["until"], line["error"]) == (str(NOW), "no")


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_what_is_below_the_level_is_dropped(level: str, shown: list[str]) -> None:
    log, out = json_log(level)
    for word in ("debug", "info", "warning", "error"):
        getattr(log, word)("started")
    assert [json.loads(line)["level"] for line in out.getvalue().splitlines()] == shown


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("name", ["access_key", "authorization", "key", "password", "phone", "secret", "token", "url"])
def test_what_names_a_credential_is_masked_whatever_its_value(log_format: str, name: str) -> None:
    out = io.StringIO()
    log = make_log(log_format, "info", run_id="run-1", secrets=tuple, stream=out)
    log.warning("unauthorized", **{name: CANARY, "workspace_id": "w-1"})
    assert CANARY not in out.getvalue()
    assert "****" in out.getvalue()
    assert "w-1" in out.getvalue()


@pytest.mark.parametrize(
    ("log_format", "stream", "is_json"),
    [
        ("auto", io.StringIO, True),
        ("auto", Terminal, False),
        ("json", Terminal, True),
        ("text", io.StringIO, False),
    ],
)
def test_auto_is_text_on_a_terminal_and_json_elsewhere(
    log_format: str, stream: type[io.StringIO], is_json: bool
) -> None:
    out = stream()
    make_log(log_format, "info", run_id="run-1", secrets=tuple, stream=out).info("applied", name="card-1")
    assert out.getvalue().startswith("{") == is_json
    for part in ("applied", "card-1", "run-1"):
        assert part in out.getvalue()


@pytest.mark.parametrize(
    ("stream", "color", "painted"), [(Terminal, True, True), (Terminal, False, False), (io.StringIO, True, False)]
)
def test_text_is_coloured_only_on_a_terminal_that_may_be(stream: type[io.StringIO], color: bool, painted: bool) -> None:
    out = stream()
    make_log("text", "info", run_id="run-1", secrets=tuple, stream=out, color=color).info("applied", name="card-1")
    assert ("\x1b[" in out.getvalue()) == painted


def test_a_value_cannot_begin_a_line_of_its_own() -> None:
    for log_format in ("json", "text"):
        out = io.StringIO()
        log = make_log(log_format, "info", run_id="run-1", secrets=tuple, stream=out)
        log.info("applied", detail='x"}\n{"event": "forged"')
        assert len(out.getvalue().splitlines()) == 1


def test_without_a_stream_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    make_log("json", "info", run_id="run-1", secrets=tuple).info("started")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "started"


class FullDisk(io.StringIO):
    """A file on a disk that is full until it is well again."""

    full = True

    def flush(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_that_cannot_be_written_does_not_stop_the_work() -> None:
    disk = FullDisk()
    log = make_log("json", "info", run_id="run-1", secrets=tuple, stream=disk)
    log.error("state_unwritable")
    disk.full = False
    log.info("applied")
    assert json.loads(disk.getvalue().splitlines()[-1])["event"] == "applied"


def test_a_closed_stream_does_not_stop_the_work() -> None:
    log, out = json_log()
    out.close()
    log.info("stopping")


class Counted(io.StringIO):
    """Counts how often something is written to it."""

    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


async def test_the_lines_of_one_step_of_the_loop_leave_together_at_its_end():
    out = Counted()
    log = make_log("json", "info", run_id="run-1", secrets=tuple, stream=out)
    for number in range(100):
        log.info("applied", name=str(number))
    await asyncio.sleep(0)
    assert [json.loads(line)["name"] for line in out.getvalue().splitlines()] == [str(number) for number in range(100)]
    assert out.writes == 1


async def test_a_warning_or_an_error_leaves_at_once_with_what_came_before_it():
    for level in ("warning", "error"):
        log, out = json_log()
        log.info("patch_sent")
        getattr(log, level)("unconfirmed")
        assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["patch_sent", "unconfirmed"]


def test_what_was_logged_last_is_written_though_its_loop_has_ended():
    log, out = json_log()

    async def work() -> None:
        log.info("stopping")

    asyncio.run(work())
    asyncio.run(work())
    log.info("ended")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["stopping", "stopping", "ended"]


def test_no_line_is_lost_or_torn_between_threads():
    log, out = json_log()

    def write(thread: int) -> None:
        for number in range(200):
            log.info("applied", name=f"{thread}-{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    names = [json.loads(line)["name"] for line in out.getvalue().splitlines()]
    assert sorted(names) == sorted(f"{thread}-{number}" for thread in range(8) for number in range(200))


def test_lines_that_nobody_read_are_counted_when_somebody_reads_again():
    reading, writing = os.pipe()
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as stream:
        outlet = Outlet(stream, most_waiting=1000)
        log = make_log("json", "info", run_id="run-1", secrets=tuple, stream=outlet)
        for number in range(5000):
            log.info("applied", name=str(number))
        read: list[dict[str, str]] = []
        while not read or read[-1]["event"] != "log_dropped":
            read.append(json.loads(reader.readline()))
        assert read[-1]["level"] == "warning"
        # What is dropped comes before what is said of it, in one stretch or in several: the queue is emptied meanwhile.
        names = [int(line["name"]) for line in read[:-1]]
        assert names == sorted(set(names))
        assert 0 < int(read[-1]["lines"]) <= 5000 - len(names)


@pytest.fixture
def adopted(monkeypatch: pytest.MonkeyPatch):
    """A log that has adopted the libraries, and what it says."""
    monkeypatch.setattr(reconciler.telemetry.logs, "_REPEAT_SECONDS", 0.5)
    root = logging.getLogger()
    before = root.handlers[:]
    log, out = json_log()
    adopt_libraries(log)
    yield out
    logging.captureWarnings(capture=False)
    root.handlers[:] = before


def test_what_a_library_says_again_and_again_is_said_once_and_then_counted(adopted: io.StringIO):
    library = logging.getLogger("library")
    for _ in range(300):
        library.warning("Invalid HTTP request received.")
    for number in range(100):
        library.warning("from %s", number)

    def lines() -> list[dict[str, object]]:
        return [json.loads(line) for line in adopted.getvalue().splitlines()]

    def told() -> int:
        return sum(int(str(line.get("again", 1))) for line in lines())

    deadline = time.monotonic() + 60
    while told() < 400:
        assert time.monotonic() < deadline
        time.sleep(0.01)  # a look in between, until it is said
    assert told() == 400
    assert len(lines()) < 100
    assert [line["detail"] for line in lines()][:2] == ["Invalid HTTP request received.", "from 0"]
    assert [line["library"] for line in lines() if "again" in line][-1] == "others"
