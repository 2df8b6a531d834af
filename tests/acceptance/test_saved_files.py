"""Files as people and tools save them, before the installed daemon: each save acts, and none of them flaps.

What waits for a file to be quiet is proved with a clock that stands still in `test_follow.py`; here real tools save
real files, and what must not have happened is read from the log at the end.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.world.documents import document
from tests.world.foreign_api import ForeignApi
from tests.world.front import daemon_options, get
from tests.world.ids import RECORDING, numbered, recording
from tests.world.shell import COMMAND, Shell
from tests.world.started import Started, eventually


def in_place(file: Path, text: str) -> None:
    """As `cat >`, nano and most programs do."""
    file.write_text(text)


def in_pieces(file: Path, text: str) -> None:
    """As a copy over a network does: valid at each moment, since what is cut off is a comment."""
    with file.open("w") as out:
        for piece in (text, "# a comment that", " arrives in pieces\n"):
            out.write(piece)
            out.flush()


def renamed(file: Path, text: str) -> None:
    """As Git, `sed -i` and careful editors do."""
    other = file.with_name("sedXy12Z")
    other.write_text(text)
    other.replace(file)


def as_vim_does(file: Path, text: str) -> None:
    """With a swap file, a probe, and a backup that the old file is renamed to."""
    swap = file.with_name(f".{file.name}.swp")
    swap.write_bytes(b"b0VIM 9.0\0{[")
    probe = file.with_name("4913")
    probe.touch()
    probe.unlink()
    backup = file.with_name(f"{file.name}~")
    file.rename(backup)
    file.write_text(text)
    backup.unlink()
    swap.unlink()


def as_emacs_does(file: Path, text: str) -> None:
    """With a lock that is a link to nowhere, an auto-save file and a backup that stays."""
    lock = file.with_name(f".#{file.name}")
    lock.symlink_to("somebody@somewhere.1234:5678")
    autosave = file.with_name(f"#{file.name}#")
    autosave.write_text("kind: {")
    shutil.copy(file, file.with_name(f"{file.name}~"))
    file.write_text(text)
    autosave.unlink()
    lock.unlink()


def as_an_ide_does(file: Path, text: str) -> None:
    """With a temporary and an old file beside it, both renamed."""
    written = file.with_name(f"{file.name}___jb_tmp___")
    old = file.with_name(f"{file.name}___jb_old___")
    written.write_text(text)
    file.rename(old)
    written.rename(file)
    old.unlink()


def as_a_checkout_does(file: Path, text: str) -> None:
    """Taken away and made anew."""
    file.unlink()
    file.write_text(text)


SAVES: tuple[Callable[[Path, str], None], ...] = (
    in_place,
    in_pieces,
    renamed,
    as_vim_does,
    as_emacs_does,
    as_an_ide_does,
    as_a_checkout_does,
)


def test_every_way_of_saving_acts_and_none_flaps(shell: Shell, api: ForeignApi) -> None:
    file = shell.write("desired_state/team/one.yaml", document("ongoing"))
    api.seed([recording()])
    with shell.start("run", *daemon_options(api), "--listen", "off") as daemon:
        daemon.wait_for("resync_done")
        for number, save in enumerate((*SAVES, *SAVES), start=1):
            save(file, document("paused" if number % 2 else "ongoing"))
            daemon.wait_for("applied", count=number)
        # An error that is saved last is told last, so all that was saved before has been judged by then.
        shell.write("desired_state/team/last.yaml", "kind: {")
        assert daemon.wait_for("document_invalid")["file"] == "desired_state/team/last.yaml"
        assert len(daemon.events("document_invalid", "document_valid_again", "released", "source_vanished")) == 1
    assert len(api.patches()) == 2 * len(SAVES)


def test_a_branch_switch_of_five_thousand_files_is_one_change(shell: Shell, api: ForeignApi) -> None:
    count, edited = 5_000, 12
    shell.write("desired_state/one.yaml", document("ongoing"))
    api.seed([recording()])
    branch = shell.folder / "branch"
    for number in range(count):
        text = document(
            "paused" if number < edited else "ongoing",
            name=f"r-{number}",
            call=numbered(number % 10),
            recording=numbered(10_000 + number),
        )
        path = branch / f"{number % 40}" / f"{number}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    seeds = [recording(call=numbered(number % 10), recording_id=numbered(10_000 + number)) for number in range(count)]
    api.seed(seeds)
    with shell.start("run", *daemon_options(api), "--listen", "127.0.0.1:0") as daemon:
        daemon.wait_for("resync_done")
        shutil.copytree(branch, shell.folder / "desired_state/branch")
        daemon.wait_for("applied", count=edited)
        eventually(lambda: f"\nreconciler_managed_recordings {count + 1}.0\n" in get(daemon, "/metrics")[1])
        assert sorted(api.patches()) == sorted((numbered(10_000 + number), "paused") for number in range(edited))
        assert len([each for each in api.requests() if each["method"] == "GET"]) < count / 2
        # And back again: what went away is released, and nothing is sent for it.
        shutil.rmtree(shell.folder / "desired_state/branch")
        daemon.wait_for("released", count=count)
        assert len(api.patches()) == edited
        assert daemon.events("document_invalid") == []


def test_a_config_map_is_swapped_as_one_change(shell: Shell, api: ForeignApi) -> None:
    mounted = shell.folder / "desired_state"

    def publish(version: str, status: str) -> None:
        (mounted / version).mkdir(parents=True)
        (mounted / version / "one.yaml").write_text(document(status))
        link = mounted / "..data_tmp"
        link.symlink_to(version)
        link.replace(mounted / "..data")

    publish("..2026_11_22_1", "ongoing")
    (mounted / "one.yaml").symlink_to("..data/one.yaml")
    api.seed([recording()])
    with shell.start("run", *daemon_options(api), "--listen", "off") as daemon:
        daemon.wait_for("resync_done")
        for number, status in enumerate(("paused", "ongoing", "paused"), start=2):
            publish(f"..2026_11_22_{number}", status)
            shutil.rmtree(mounted / f"..2026_11_22_{number - 1}")
            assert daemon.wait_for("applied", count=number - 1)["status"] == status
        assert daemon.events("document_invalid", "released", "source_vanished") == []


@pytest.mark.parametrize("also", ["deleted", "renamed"])
def test_a_folder_that_vanishes_keeps_everything_and_the_log_says_so(shell: Shell, api: ForeignApi, also: str) -> None:
    shell.write("desired_state/one.yaml", document("paused"))
    api.seed([recording()])
    folder = shell.folder / "desired_state"
    with shell.start("run", *daemon_options(api), "--listen", "127.0.0.1:0") as daemon:
        daemon.wait_for("applied")
        daemon.wait_for("resync_done")
        if also == "deleted":
            shutil.rmtree(folder)
        else:
            folder.rename(shell.folder / "elsewhere")
        told = daemon.wait_for("source_vanished")
        assert (told["path"], told["level"]) == ("desired_state", "error")
        assert "stays in force" in told["detail"]
        api.set_status(**{RECORDING: "ongoing"})
        daemon.signal(signal.SIGHUP)
        # In force to the last: drift is still healed.
        daemon.wait_for("drift_detected")
        daemon.wait_for("applied", count=2)
        eventually(lambda: "\nreconciler_vanished_paths 1.0\n" in get(daemon, "/metrics")[1])
        shell.write("desired_state/one.yaml", document("ongoing"))
        daemon.wait_for("source_back")
        daemon.wait_for("applied", count=3)
        assert daemon.events("released", "document_invalid") == []
        assert "\nreconciler_managed_recordings 1.0\n" in get(daemon, "/metrics")[1]


#: Without inotify: a user namespace whose own limit is none or, where that is not allowed, a library that says so.
UNSHARED = (
    "unshare",
    "--user",
    "--map-root-user",
    "sh",
    "-c",
    'echo 0 >/proc/sys/user/max_inotify_instances; exec "$@"',
)
REFUSING = """
import sys
import watchfiles
from reconciler.cli.program import main
def refuse(*_arguments, **_more):
    raise OSError(24, "Too many open files (os error 24)")
watchfiles._rust_notify.RustNotify = refuse
import watchfiles.main
watchfiles.main.RustNotify = refuse
main(sys.argv[1:])
"""


def without_inotify(shell: Shell, *arguments: str) -> AbstractContextManager[Started]:
    probe = [*UNSHARED, "sh", sys.executable, "-c", "import ctypes; exit(ctypes.CDLL(None).inotify_init1(0) != -1)"]
    allowed = shutil.which("unshare") and subprocess.run(probe, capture_output=True, check=False).returncode == 0
    command = [*UNSHARED, "sh", COMMAND] if allowed else [sys.executable, "-c", REFUSING]
    return shell.start_other((*command, *arguments))


def test_where_the_system_refuses_to_watch_it_polls_and_says_what_helps(shell: Shell, api: ForeignApi) -> None:
    shell.write("desired_state/one.yaml", document("ongoing"))
    api.seed([recording()])
    with without_inotify(shell, "run", *daemon_options(api), "--listen", "off") as daemon:
        told = daemon.wait_for("source_warning")
        assert "inotify" in told["detail"]
        assert "sysctl" in told["detail"]
        # Though a poll is not due for an hour.
        shell.write("desired_state/one.yaml", document("paused"))
        daemon.wait_for("applied")
        shell.write("desired_state/new/two.yaml", document("paused", name="two", recording=numbered(2)))
        api.seed([recording(recording_id=numbered(2))])
        daemon.wait_for("applied", name="two")
        assert len(daemon.events("source_warning")) == 1
        daemon.signal(signal.SIGTERM)
        assert daemon.ended() == 0
