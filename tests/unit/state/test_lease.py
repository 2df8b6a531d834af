"""The lease: one writer at a time, taken over when its holder is dead or out of time, and never while in doubt."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from reconciler.model.errors import LeaseLost, StateHeld, StoreError
from reconciler.model.keys import RecordingKey
from reconciler.model.records import Record
from reconciler.model.statuses import Status
from reconciler.state.opening import open_store, open_writer
from reconciler.state.sqlite import connection as files
from reconciler.state.sqlite import lease as lease_room
from reconciler.state.sqlite.lease import LeaseClock

KEY = RecordingKey.of(*(str(UUID(int=part)) for part in range(4)))
RECORD = Record(KEY, "card", "cards.yaml", 1, Status.PAUSED)
DAY = 86_400.0


class Time:
    """A clock that stands still until it is turned; waiting turns it."""

    def __init__(self) -> None:
        self.wall = 1_800_000_000.0
        self.elapsed = 5_000.0
        self.on_sleep: Callable[[], None] = lambda: None

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.elapsed += seconds

    def sleep(self, seconds: float) -> None:
        self.on_sleep()
        self.pass_by(seconds)

    def clock(self) -> LeaseClock:
        return LeaseClock(wall=lambda: self.wall, elapsed=lambda: self.elapsed, sleep=self.sleep)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def time() -> Time:
    return Time()


@contextmanager
def altered(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as other:
        yield other
        other.commit()


CHILD = """
import sys
from uuid import UUID
from reconciler.model.errors import StoreError
from reconciler.model import Record, RecordingKey, Status
from reconciler.state import open_writer
try:
    writer = open_writer(sys.argv[1], holder="reconciler run", lease_seconds=float(sys.argv[2]))
except StoreError as error:
    print(type(error).__name__, flush=True)
    sys.exit()
print("held", flush=True)
key = RecordingKey.of(*(str(UUID(int=part)) for part in range(4)))
for line in sys.stdin:
    valid = writer.lease_valid()
    try:
        writer.save(Record(key, line.strip(), "cards.yaml", 1, Status.PAUSED)).result()
        print(valid, "saved", flush=True)
    except StoreError as error:
        print(valid, type(error).__name__, flush=True)
"""


@contextmanager
def holder(url: str, lease_seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the state, and tries to save at each line it is given."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, url, str(lease_seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert said_by(child) == "held"
            yield child
        finally:
            child.kill()


def said_by(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def ask(child: subprocess.Popen[str], name: str) -> str:
    assert child.stdin is not None
    child.stdin.write(f"{name}\n")
    child.stdin.flush()
    return said_by(child)


# Held, and given back


def test_a_second_writer_is_told_who_holds_the_state(url: str, path: Path) -> None:
    with holder(url, 15.0) as child:
        with pytest.raises(StateHeld) as caught:
            open_writer(url, holder="reconciler apply")
        assert str(caught.value).startswith(
            f"{path} is held by `reconciler run` (process {child.pid} on {os.uname().nodename}, since 20"
        )
        assert ask(child, "still-mine") == "True saved"


def test_closing_frees_the_state_at_once(url: str) -> None:
    open_writer(url, holder="first").close()
    open_writer(url, holder="second").close()


def test_of_many_that_begin_together_one_holds_the_state(url: str) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, url, "15"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(5)
    ]
    said = sorted(said_by(child) for child in children)
    for child in children:
        child.communicate()
    assert said == ["StateHeld"] * 4 + ["held"]


def test_waiting_ends_when_the_holder_ends(url: str, time: Time) -> None:
    first = open_writer(url, holder="first", clock=time.clock())
    time.on_sleep = first.close
    with open_writer(url, holder="second", wait_seconds=60, clock=time.clock()) as second:
        assert second.lease_valid()


def test_waiting_ends_in_time(url: str, time: Time) -> None:
    with open_writer(url, holder="first", lease_seconds=600, clock=time.clock()):
        before = time.elapsed
        with pytest.raises(StateHeld):
            open_writer(url, holder="second", wait_seconds=60, clock=time.clock())
        assert time.elapsed - before == pytest.approx(60)


# Taken over


@pytest.mark.parametrize("reaped", [True, False])
def test_a_kill_frees_the_state_at_once_where_it_can_be_proved(url: str, *, reaped: bool) -> None:
    with holder(url, 3600.0) as child:
        assert ask(child, "before") == "True saved"
        child.kill()
        if reaped:
            child.wait()
        else:
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        with open_writer(url, holder="second") as second, open_store(url) as store:
            second.append().result()
            assert [record.name for record in store.all()] == ["before"]


def test_a_stopped_process_loses_the_state_and_sends_nothing_more(url: str) -> None:
    with holder(url, 1.0) as child:
        assert ask(child, "before") == "True saved"
        child.send_signal(signal.SIGSTOP)
        with open_writer(url, holder="second", wait_seconds=20, lease_seconds=60) as second:
            child.send_signal(signal.SIGCONT)
            assert ask(child, "after") == "False LeaseLost"
            second.close()
            assert ask(child, "for-ever") == "False LeaseLost"
        with open_store(url) as store:
            assert [record.name for record in store.all()] == ["before"]


def test_a_lease_runs_out_and_its_holder_writes_nothing_more(url: str, time: Time) -> None:
    first = open_writer(url, holder="first", clock=time.clock())
    first.save(RECORD).result()
    time.pass_by(14.9)
    with pytest.raises(StateHeld):
        open_writer(url, holder="second", clock=time.clock())
    time.pass_by(0.1)
    with open_writer(url, holder="second", clock=time.clock()) as second:
        with pytest.raises(LeaseLost, match="from this process by `second`"):
            first.release(KEY).result()
        assert isinstance(first.error, LeaseLost)
        assert (first.lease_valid(), second.lease_valid()) == (False, True)
    with pytest.raises(LeaseLost):
        first.release(KEY).result()
    first.close()
    with open_store(url) as store:
        assert store.get(KEY) == RECORD


def test_who_was_away_while_another_came_and_went_has_lost_the_lease(url: str, time: Time) -> None:
    with open_writer(url, holder="first", clock=time.clock()) as first:
        time.pass_by(20)
        open_writer(url, holder="second", clock=time.clock()).close()
        with pytest.raises(LeaseLost, match="by another writer, which has ended since"):
            first.save(RECORD).result()


@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["forward", "back"])
def test_setting_the_time_of_day_neither_frees_nor_holds_the_state(url: str, time: Time, jump: float) -> None:
    with open_writer(url, holder="first", clock=time.clock()) as first:
        time.wall += jump
        assert first.lease_valid()
        with pytest.raises(StateHeld):
            open_writer(url, holder="second", clock=time.clock())
        time.elapsed += 15
        open_writer(url, holder="second", clock=time.clock()).close()


def test_of_a_holder_elsewhere_only_the_time_of_day_is_known(
    url: str, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(lease_room, "_machine", lambda: "")
        elsewhere.setattr(os, "getpid", lambda: 2**22 + 1)
        first = open_writer(url, holder="first", clock=time.clock())
    time.elapsed += DAY
    with pytest.raises(StateHeld):
        open_writer(url, holder="second", clock=time.clock())
    time.wall += 15
    open_writer(url, holder="second", clock=time.clock()).close()
    first.close()


def test_a_row_that_never_changes_has_no_living_holder(url: str, path: Path, time: Time) -> None:
    first = open_writer(url, holder="first", clock=time.clock())
    with altered(path) as other:
        other.execute("UPDATE lease SET machine = 'another', expires_at = expires_at + 86400000000")
    before = time.elapsed
    with open_writer(url, holder="second", wait_seconds=60, clock=time.clock()):
        assert 15 < time.elapsed - before < 16
    first.close()


@pytest.mark.parametrize(
    ("pid", "started", "free"),
    [(2**22 + 1, "1", True), (os.getpid(), "1", True), (os.getpid(), "", False), (1, "", False)],
    ids=["no such process", "another of that number", "start not known", "another user's"],
)
def test_a_holder_is_dead_only_when_that_is_certain(
    url: str, path: Path, time: Time, pid: int, started: str, *, free: bool
) -> None:
    first = open_writer(url, holder="first", clock=time.clock())
    with altered(path) as other:
        other.execute("UPDATE lease SET pid = ?, pid_started = ?", (pid, started))
    if free:
        open_writer(url, holder="second", clock=time.clock()).close()
    else:
        with pytest.raises(StateHeld):
            open_writer(url, holder="second", clock=time.clock())
    first.close()


def test_a_process_that_may_not_be_signalled_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    started = lease_room._process_start(os.getpid())
    assert started
    assert not lease_room._dead(os.getpid(), started)
    assert not lease_room._dead(2**22 + 1, "1")  # Not to be seen, as under a restricted /proc.


def test_without_proc_nothing_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lease_room, "Path", lambda _: tmp_path / "absent")
    assert (lease_room._machine(), lease_room._process_start(1)) == ("", None)


def test_a_process_whose_state_cannot_be_read_is_not_taken_for_dead(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "stat").write_text("7 (odd")
    monkeypatch.setattr(lease_room, "Path", lambda _: tmp_path / "stat")
    assert lease_room._process_start(7) is None


def test_a_holder_stopped_in_the_middle_of_a_write_is_named(
    url: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BUSY_SECONDS", 0.05)
    with open_writer(url, holder="first"), closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateHeld, match="`first`"):
            open_writer(url, holder="second")


def test_a_file_locked_by_a_stranger_is_not_blamed_on_a_writer(
    url: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BUSY_SECONDS", 0.05)
    open_writer(url, holder="first").close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another program"):
            open_writer(url, holder="second")


# Kept


def test_the_lease_is_relied_on_for_less_time_than_it_runs(url: str, time: Time) -> None:
    with open_writer(url, holder="first", clock=time.clock()) as writer:
        time.pass_by(11.9)
        assert writer.lease_valid()
        time.pass_by(0.2)
        assert not writer.lease_valid()


def test_a_lease_that_ran_out_is_renewed_when_nobody_took_it(url: str, time: Time) -> None:
    with open_writer(url, holder="first", clock=time.clock()) as writer:
        time.pass_by(DAY)
        assert not writer.lease_valid()
        writer.save(RECORD).result()
        assert writer.lease_valid()


def test_a_commit_between_heartbeats_does_not_rewrite_the_lease(url: str, path: Path, time: Time) -> None:
    with open_writer(url, holder="first", clock=time.clock()) as writer:
        expiries = set()
        for _ in range(4):
            writer.save(RECORD).result()
            with altered(path) as other:
                expiries.add(other.execute("SELECT expires_at FROM lease").fetchone())
            time.pass_by(2)
        assert len(expiries) == 2


def wait_for(condition: Callable[[], bool]) -> None:
    """Return once the condition holds; the test's own time-out ends what never does."""
    pause = threading.Event()
    while not condition():
        pause.wait(0.01)


def test_an_idle_writer_keeps_its_lease_by_itself(url: str, path: Path) -> None:
    with open_writer(url, holder="first", lease_seconds=0.6) as writer:
        before = writer.commits
        wait_for(lambda: writer.commits >= before + 3)
        with altered(path) as other:
            acquired, expires = other.execute("SELECT acquired_at, expires_at FROM lease").fetchone()
        assert expires - acquired > 600_000


@contextmanager
def broken_disk() -> Iterator[None]:
    """Let every write of a page fail."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_disk_that_takes_nothing_ends_the_lease_and_one_that_does_renews_it(url: str, time: Time) -> None:
    with open_writer(url, holder="first", clock=time.clock()) as writer:
        with broken_disk():
            time.pass_by(12)
            with pytest.raises(StoreError, match="the disk failed"):
                writer.append().result()
            assert not writer.lease_valid()
        writer.append().result()
        assert writer.lease_valid()


def test_a_lease_that_cannot_be_written_is_not_held(url: str) -> None:
    open_writer(url, holder="first").close()
    with broken_disk(), pytest.raises(StoreError, match="the disk failed"):
        open_writer(url, holder="second")
    open_writer(url, holder="third").close()


def test_a_disk_is_found_well_again_without_a_write(url: str) -> None:
    with open_writer(url, holder="first", lease_seconds=0.3) as writer:
        with broken_disk():
            wait_for(lambda: writer.error is not None)
            wait_for(lambda: not writer.lease_valid())
        wait_for(lambda: writer.lease_valid() and writer.error is None)


def test_a_lease_row_deleted_by_hand_is_a_lease_lost(url: str, path: Path) -> None:
    with open_writer(url, holder="first") as writer:
        with altered(path) as other:
            other.execute("DELETE FROM lease")
        with pytest.raises(LeaseLost):
            writer.save(RECORD).result()
        assert not writer.lease_valid()


def test_a_file_removed_in_use_and_taken_by_another_is_a_lease_lost(url: str, path: Path) -> None:
    first = open_writer(url, holder="first", lease_seconds=3600)
    for each in list(path.parent.iterdir()):
        each.unlink()
    with open_writer(url, holder="second"):
        with pytest.raises(StoreError, match="was removed or replaced"):
            first.save(RECORD).result()
        assert not first.lease_valid()
        with pytest.raises(LeaseLost, match="held by `second`"):
            first.save(RECORD).result()
    with pytest.raises(LeaseLost):
        first.save(RECORD).result()
    first.close()


def test_the_clock_of_the_lease_is_the_machines() -> None:
    clock = LeaseClock()
    assert clock.elapsed() <= clock.elapsed()
    assert clock.wall() > 1_700_000_000
