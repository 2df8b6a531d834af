"""The daemon on a disk that fails: nothing is sent without its intent on disk, it says so once, and goes on by itself.

The installed command as a process, against an API in another one. Faults are real where a test can cause them from
outside (a full file system, a limit on the size of files, a removed, damaged or locked file) and injected where not.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.model.records import Event
from reconciler.state.opening import open_writer
from tests.world import faulty_store
from tests.world.documents import document
from tests.world.foreign_api import ForeignApi
from tests.world.front import daemon_options, get
from tests.world.ids import RECORDING, numbered, recording
from tests.world.nouns import NOW, key, record
from tests.world.shell import COMMAND, Shell
from tests.world.started import Started, eventually

FAULTY = (sys.executable, faulty_store.__file__)
#: Below the number from which the share of recordings that change at once is limited.
COUNT = 12


@dataclass
class Disk:
    """Where the state is, and a process that uses it."""

    folder: Path
    control: Path
    daemon: Started | None = None

    @property
    def state(self) -> Path:
        return self.folder / "state.db"

    def remove_state(self) -> None:
        for name in ("state.db", "state.db-wal", "state.db-shm"):
            (self.folder / name).unlink(missing_ok=True)

    @contextmanager
    def failing(self, code: str, words: str, statement: str, value: str | None = None) -> Iterator[None]:
        """Let statements fail in a process that was started to be able to."""
        fault = {"code": code, "words": words, "statement": statement, "value": value}
        written = self.control.with_suffix(".new")
        written.write_text(json.dumps(fault))
        written.replace(self.control)
        yield
        self.control.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A folder for the state: a file system of its own, small enough to be filled, where the machine allows that."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    yield Disk(folder, tmp_path / "control.json")
    if mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def daemon_on(shell: Shell, api: ForeignApi, disk: Disk) -> Iterator[Started]:
    """Run the daemon on that disk, in a process that can be told to fail."""
    state = ("--state", f"sqlite:///{disk.state}")
    arguments = ("run", *daemon_options(api), *state, "--listen", "127.0.0.1:0")
    with shell.start_other((*FAULTY, str(disk.control), *arguments)) as disk.daemon:
        yield disk.daemon


@contextmanager
def full(disk: Disk) -> Iterator[None]:
    if disk.folder.is_mount():
        junk = disk.folder / "junk"
        with junk.open("wb", buffering=0) as file:
            while os.statvfs(disk.folder).f_bavail:
                file.write(bytes(4096))
        yield
        junk.unlink()
    else:
        with disk.failing("SQLITE_FULL", "database or disk is full", "COMMIT"):
            yield


@contextmanager
def unwritable_past_its_size(disk: Disk) -> Iterator[None]:
    """Let the process write no file beyond the size that the state's log has now: such a write fails, as on a disk."""
    assert disk.daemon is not None
    pid = disk.daemon.process.pid
    size = disk.state.with_name("state.db-wal").stat().st_size
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def read_only(disk: Disk) -> Iterator[None]:
    with disk.failing("SQLITE_READONLY", "attempt to write a readonly database", "INSERT"):
        yield


@contextmanager
def locked(disk: Disk) -> Iterator[None]:
    connection = sqlite3.connect(disk.state, isolation_level=None, timeout=30)
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("ROLLBACK")
    connection.close()


@contextmanager
def damaged(disk: Disk) -> Iterator[None]:
    disk.state.with_name("state.db-wal").write_bytes(b"")
    disk.state.write_bytes(b"status: paused\n" * 5_000)
    yield
    # What the message asks for.
    disk.remove_state()


@contextmanager
def folder_away(disk: Disk) -> Iterator[None]:
    disk.remove_state()
    if disk.folder.is_mount():
        disk.state.mkdir()  # in place of the file, since a mount cannot be moved
        yield
        disk.state.rmdir()
    else:
        disk.folder.rmdir()
        yield
        disk.folder.mkdir()


LASTING: dict[str, tuple[Callable[[Disk], AbstractContextManager[None]], str, str]] = {
    "full": (full, "state_unwritable", "is full: make room"),
    "failing": (unwritable_past_its_size, "state_unwritable", "the disk failed on"),
    "read-only": (read_only, "state_unwritable", "cannot be written"),
    "locked": (locked, "state_unwritable", "is locked by another program"),
    # A cut log looks like a failing disk.
    "damaged": (damaged, "state_unwritable", "state.db"),
    # On a mount a folder stands in the place of the file, elsewhere nothing.
    "away": (folder_away, "state_unwritable", "state.db"),
}


def event(number: int) -> Event:
    return Event(NOW, "patch_sent", key(number), f"card-{number}")


def declare(shell: Shell, status: str, count: int = COUNT) -> None:
    for number in range(count):
        text = document(status, name=f"r-{number}", call=numbered(number % 3), recording=numbered(100 + number))
        shell.write(f"desired_state/{number % 4}/{number}.yaml", text)


def seed(api: ForeignApi, count: int = COUNT) -> None:
    api.seed([recording(call=numbered(number % 3), recording_id=numbered(100 + number)) for number in range(count)])


@pytest.mark.parametrize("fault", LASTING)
def test_nothing_is_sent_while_the_state_cannot_be_written_and_all_of_it_once_it_can(
    shell: Shell, api: ForeignApi, disk: Disk, fault: str
) -> None:
    break_it, event, words = LASTING[fault]
    declare(shell, "ongoing")
    seed(api)
    with daemon_on(shell, api, disk) as daemon:
        daemon.wait_for("resync_done")
        eventually(lambda: get(daemon, "/readyz")[0] == 200)
        with break_it(disk):
            declare(shell, "paused")
            assert words in daemon.wait_for(event)["error"]
            assert get(daemon, "/readyz")[0] == 503
            assert get(daemon, "/healthz")[0] == 200
            status, text = get(daemon, "/status")
            assert (status, json.loads(text)["ready"]) == (200, False)
            eventually(lambda: "\nreconciler_ready 0.0\n" in get(daemon, "/metrics")[1])
            assert api.patches() == []
            assert daemon.process.poll() is None
        daemon.wait_for("applied", count=COUNT)
        eventually(lambda: get(daemon, "/readyz")[0] == 200)
        # Not a line for each recording and each attempt, and for each that it is over.
        for word in ("writable", "readable"):
            said = len(daemon.events(f"state_un{word}"))
            if said:
                daemon.wait_for(f"state_{word}_again", count=said)
            assert len(daemon.events(f"state_un{word}")) <= 1
        daemon.signal(signal.SIGTERM)
        assert daemon.ended() == 0
    assert sorted(api.patches()) == sorted((numbered(100 + number), "paused") for number in range(COUNT))
    history = shell("history", "--state", f"sqlite:///{disk.state}", "--format", "json", "--limit", "1000").json()
    sent = [event["name"] for event in history["events"] if event["event"] == "patch_sent"]
    assert sorted(sent) == sorted(f"r-{number}" for number in range(COUNT))


def test_a_state_file_removed_under_the_daemon_is_begun_anew_and_nothing_is_repeated(
    shell: Shell, api: ForeignApi, disk: Disk
) -> None:
    declare(shell, "paused")
    seed(api)
    with daemon_on(shell, api, disk) as daemon:
        daemon.wait_for("applied", count=COUNT)
        daemon.wait_for("resync_done")
        disk.remove_state()
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("resync_done", count=2)
        daemon.wait_for("state_writable_again")
        eventually(lambda: get(daemon, "/readyz")[0] == 200)
        assert len(api.patches()) == COUNT
        daemon.signal(signal.SIGTERM)
        assert daemon.ended() == 0
    known = shell("status", "--state", f"sqlite:///{disk.state}", "--format", "json").json()["recordings"]
    assert [each["phase"] for each in known] == ["applied"] * COUNT


def test_a_state_folder_that_is_cleaned_away_under_the_daemon_is_made_again_and_a_pause_is_sent(
    shell: Shell, api: ForeignApi
) -> None:
    shell.write("desired_state/one.yaml", document("ongoing"))
    api.seed([recording()])
    with shell.start("run", *daemon_options(api, "--listen", "127.0.0.1:0")) as daemon:
        daemon.wait_for("resync_done")
        shutil.rmtree(shell.folder / ".reconciler")
        # By a heartbeat or by a turn, whichever comes first; and the page says what the log does.
        daemon.wait_for("state_unwritable")
        assert "\nreconciler_state_writable 0.0\n" in get(daemon, "/metrics")[1]
        shell.write("desired_state/one.yaml", document("paused"))
        daemon.wait_for("applied")
        daemon.wait_for("state_writable_again")
        eventually(lambda: "\nreconciler_state_writable 1.0\n" in get(daemon, "/metrics")[1])
        assert api.patches() == [(RECORDING, "paused")]
        assert (shell.folder / ".reconciler" / ".gitignore").read_text() == "*\n"
        assert (shell.folder / ".reconciler").stat().st_mode & 0o777 == 0o700


def test_losing_the_state_altogether_repeats_nothing_that_is_already_so(shell: Shell, api: ForeignApi) -> None:
    declare(shell, "paused")
    seed(api)
    api.set_status(**{numbered(100): "completed"})  # ended while nobody looked
    options = ("--api-url", api.url, "--rate-limit", "0", "--listen", "off")
    assert shell("run", "--once", *options).code == 3  # for the one that ended before it could be paused
    sent = api.patches()
    assert len(sent) == COUNT - 1
    for _ in range(2):
        shutil.rmtree(shell.folder / ".reconciler")
        assert shell("plan", *options[:4], "--detailed-exitcode").code == 2
        assert shell("run", "--once", *options).code == 3
    assert api.patches() == sent


def test_an_acceptance_that_cannot_be_recorded_is_found_by_a_look_and_not_sent_again(
    shell: Shell, api: ForeignApi, disk: Disk
) -> None:
    shell.write("desired_state/one.yaml", document("ongoing"))
    api.seed([recording()])
    with daemon_on(shell, api, disk) as daemon:
        daemon.wait_for("resync_done")
        with disk.failing("SQLITE_IOERR", "disk I/O error", "INSERT INTO history", "patch_accepted"):
            shell.write("desired_state/one.yaml", document("paused"))
            daemon.wait_for("state_unwritable")
        daemon.wait_for("applied")
        assert api.patches() == [(RECORDING, "paused")]
        history = shell("history", "--state", f"sqlite:///{disk.state}", "--format", "json").json()["events"]
        assert [event["event"] for event in history] == ["applied", "patch_sent", "in_sync"]


def test_on_a_small_disk_the_log_is_folded_into_the_file_before_it_fills_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = os.statvfs(tmp_path)
    small = os.statvfs_result((disk.f_bsize, 4096, 256, 0, 0, *disk[5:]))  # one megabyte
    monkeypatch.setattr(os, "statvfs", lambda _path: small)
    path = tmp_path / "state.db"
    with open_writer(f"sqlite:///{path}", holder="test") as writer:
        for number in range(300):
            writer.save(record(number % 5), event(number)).result()
        assert path.with_name("state.db-wal").stat().st_size < 256 * 1024


def test_a_stop_while_the_disk_is_full_is_prompt_and_clean(shell: Shell, api: ForeignApi, disk: Disk) -> None:
    declare(shell, "ongoing")
    seed(api)
    with daemon_on(shell, api, disk) as daemon:
        daemon.wait_for("resync_done")
        with full(disk):
            declare(shell, "paused")
            daemon.wait_for("state_unwritable")
            daemon.signal(signal.SIGTERM)
            assert daemon.ended() == 0
    assert api.patches() == []
    # What was left undone is found by whoever comes next.
    done = shell("run", "--once", "--listen", "off", "--api-url", api.url, "--state", f"sqlite:///{disk.state}")
    assert (done.code, len(api.patches())) == (0, COUNT)


@pytest.mark.parametrize("command", [("run", "--listen", "off"), ("apply", "--yes"), ("status",), ("history",)])
def test_a_damaged_state_is_one_line_with_a_remedy_and_nothing_is_sent(
    shell: Shell, api: ForeignApi, command: tuple[str, ...]
) -> None:
    shell.write("desired_state/one.yaml", document())
    api.seed([recording()])
    shell.write("state.db", b"status: paused\n" * 1000)
    reach = ("--api-url", api.url) if command[0] in ("run", "apply") else ()
    done = shell(*command, *reach, "--state", "sqlite:///state.db")
    assert (done.code, done.out) == (1, "")
    assert len(done.err.splitlines()) == 1
    assert "state.db is damaged" in done.err
    assert "move it aside" in done.err
    assert api.requests() == []


def test_what_the_daemon_makes_belongs_to_its_owner_alone(shell: Shell, api: ForeignApi) -> None:
    shell.write("desired_state/one.yaml", document())
    api.seed([recording()])
    command = ["sh", "-c", 'umask 0; exec "$@"', "sh", COMMAND, "run", *daemon_options(api), "--listen", "off"]
    with shell.start_other(command) as daemon:
        daemon.wait_for("applied")
        made = {path.name: path.stat().st_mode & 0o777 for path in (shell.folder / ".reconciler").iterdir()}
        assert made == dict.fromkeys((".gitignore", "state.db", "state.db-wal", "state.db-shm"), 0o600)
        assert (shell.folder / ".reconciler").stat().st_mode & 0o777 == 0o700
