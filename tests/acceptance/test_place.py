"""The folder of the state: made by whichever command needs it first, out of Git's sight, and left alone where it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.settings.place import make_state_folder, mirrors_folder
from tests.world.documents import document
from tests.world.foreign_api import ForeignApi
from tests.world.git import git
from tests.world.ids import recording
from tests.world.shell import Shell
from tests.world.started import eventually


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


# The folder for caches.


def documents_enough_for_an_index(shell: Shell) -> None:
    shell.write("desired_state/many.yaml", document() + "#" * 70_000 + "\n")


def test_the_index_goes_to_the_folder_for_caches_and_the_state_stays_where_it_is(shell: Shell, api: ForeignApi) -> None:
    documents_enough_for_an_index(shell)
    api.seed([recording()])
    cache = shell.folder.parent / "cache" / "reconciler"
    for command in (("validate",), ("plan", "--no-refresh"), ("apply", "--yes"), ("run", "--once")):
        done = shell(*command, RECONCILER_CACHE_DIR=str(cache), RECONCILER_API_URL=api.url)
        assert done.code == 0, done.err
    assert [path.suffix for path in cache.iterdir() if path.name != ".gitignore"] == [".index"]
    assert cache.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in (shell.folder / ".reconciler").iterdir() if path.suffix == ".index") == []
    assert (shell.folder / ".reconciler" / "state.db").exists()


def test_an_index_of_the_folder_for_caches_is_read_again(shell: Shell) -> None:
    documents_enough_for_an_index(shell)
    assert shell("validate", "--cache-dir", "cache").code == 0
    (index,) = (shell.folder / "cache").glob("*.index")

    def is_left_as_it_is() -> bool:
        written = index.stat().st_mtime_ns
        assert shell("validate", "--cache-dir", "cache").code == 0
        return index.stat().st_mtime_ns == written

    # A file that was changed a moment before it was read proves nothing yet.
    eventually(is_left_as_it_is)


@pytest.mark.parametrize("command", [("validate",), ("plan", "--no-refresh"), ("apply", "--yes"), ("run", "--once")])
@pytest.mark.parametrize(("place", "word"), [("~/cache", "only a shell reads ~"), ("link/cache", "by a link")])
def test_a_folder_for_caches_that_is_elsewhere_than_it_says_is_refused(
    shell: Shell, api: ForeignApi, command: tuple[str, ...], place: str, word: str
) -> None:
    documents_enough_for_an_index(shell)
    (shell.folder / "link").symlink_to(shell.folder.parent)
    done = shell(*command, "--cache-dir", place, RECONCILER_API_URL=api.url)
    assert done.code == 1, done.out
    assert "cache_dir: " in done.err
    assert word in done.err
    assert not (shell.folder / "~").exists()
    assert not (shell.folder.parent / "cache").exists()


def test_a_found_file_names_no_folder_for_caches(shell: Shell) -> None:
    documents_enough_for_an_index(shell)
    shell.write("reconciler.yaml", "cache_dir: elsewhere\n")
    done = shell("validate")
    assert done.code == 1
    assert "`cache_dir` may not be set by a settings file that was found" in done.err
    assert not (shell.folder / "elsewhere").exists()


@pytest.mark.parametrize(("mode", "said"), [(0o700, False), (0o777, True), (0o500, os.geteuid() != 0)])
def test_a_folder_for_caches_that_others_may_write_or_nobody_is_said_by_doctor(
    shell: Shell, mode: int, said: bool
) -> None:
    cache = shell.folder / "cache"
    cache.mkdir()
    cache.chmod(mode)
    findings = shell("doctor", "--cache-dir", "cache", "--format", "json").json()["findings"]
    assert [finding["level"] for finding in findings if finding["check"] == "cache"] == ["warning"] * said


def test_a_file_in_the_place_of_the_folder_for_caches_is_said_by_doctor(shell: Shell) -> None:
    shell.write("cache", "")
    documents_enough_for_an_index(shell)
    findings = shell("doctor", "--cache-dir", "cache", "--format", "json").json()["findings"]
    assert [finding["level"] for finding in findings if finding["check"] == "cache"] == ["warning"]
    assert shell("validate", "--cache-dir", "cache").code == 0


def test_two_states_that_share_a_folder_for_caches_share_no_mirror(tmp_path: Path) -> None:
    places = {str(mirrors_folder(str(tmp_path), f"sqlite:///{tmp_path}/{name}.db")) for name in ("a", "b")}
    assert len(places) == 2
    assert mirrors_folder("", f"sqlite:///{tmp_path}/a.db") == tmp_path / "mirrors"
