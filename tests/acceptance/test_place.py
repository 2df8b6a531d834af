"""The folder of the state: made by whichever command needs it first, out of Git's sight, and left alone where it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.settings.place import make_state_folder
from tests.world.documents import document
from tests.world.foreign_api import ForeignApi
from tests.world.git import git
from tests.world.ids import recording
from tests.world.shell import Shell


@pytest.mark.parametrize(
    "command", [("plan", "--sandbox"), ("apply", "--sandbox", "--yes"), ("apply", "--yes"), ("run", "--once")]
)
def test_whatever_makes_the_folder_of_the_state_git_sees_nothing_of_it(
    shell: Shell, api: ForeignApi, command: tuple[str, ...]
) -> None:
    shell.write("desired_state/one.yaml", document())
    api.seed([recording()])
    git(shell.folder, "init", "--quiet")
    done = shell(*command, RECONCILER_API_URL=api.url)
    assert done.code == 0, done.err
    assert (shell.folder / ".reconciler").is_dir()
    assert git(shell.folder, "status", "--porcelain") == "?? desired_state/"


def test_a_folder_that_is_there_already_gets_nothing_besides_the_state(shell: Shell, api: ForeignApi) -> None:
    shell.write("desired_state/one.yaml", document())
    api.seed([recording()])
    elsewhere = shell.folder.parent / "var"
    elsewhere.mkdir(mode=0o755)
    done = shell("apply", "--yes", "--state", f"sqlite:///{elsewhere}/state.db", RECONCILER_API_URL=api.url)
    assert done.code == 0, done.err
    assert {path.suffix for path in elsewhere.iterdir()} <= {".db", ".db-wal", ".db-shm"}
    assert elsewhere.stat().st_mode & 0o777 == 0o755


def test_one_that_somebody_wants_in_git_stays_so(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    make_state_folder(folder)
    (folder / ".gitignore").write_text("*.index\n")
    make_state_folder(folder)
    assert (folder / ".gitignore").read_text() == "*.index\n"


@pytest.mark.parametrize(
    ("mode", "said"), [(0o700, False), (0o755, False), (0o777, True), (0o770, True), (0o1777, False)]
)
def test_a_state_folder_that_others_may_write_is_said_by_doctor(shell: Shell, mode: int, said: bool) -> None:
    folder = shell.folder / ".reconciler"
    folder.mkdir()
    folder.chmod(mode)
    findings = shell("doctor", "--format", "json").json()["findings"]
    exposed = [finding for finding in findings if "may replace the state" in finding["message"]]
    assert bool(exposed) == said
    assert all(finding["level"] == "warning" and "chmod 700" in finding["remedy"] for finding in exposed)


@pytest.mark.parametrize("command", [("status",), ("plan", "--no-refresh"), ("apply", "--yes"), ("doctor",)])
def test_a_state_that_is_no_regular_file_is_called_so(shell: Shell, command: tuple[str, ...]) -> None:
    shell.write("desired_state/one.yaml", document())
    (shell.folder / ".reconciler").mkdir()
    os.mkfifo(shell.folder / ".reconciler/state.db")
    done = shell(*command)
    assert done.code == 1
    assert "state.db is not a regular file" in done.out + done.err
    assert "system's log" not in done.out + done.err
