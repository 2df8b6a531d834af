"""What is written at a place that somebody named, or that a stranger prepared: whole, there, and nowhere else."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.settings.files import append_regular, check_inside, write_named, write_new
from tests.world.documents import document
from tests.world.shell import Shell, by_shell


@pytest.fixture
def shell(shell: Shell, tmp_path: Path) -> Iterator[Shell]:
    shell.write("desired_state/one.yaml", document())
    yield shell
    assert [path for path in tmp_path.rglob("*.new") if not path.is_symlink()] == []


WRITES = {
    "--report": ("plan", "--no-refresh", "--report", "json={}"),
    "--out": ("plan", "--no-refresh", "--out", "{}"),
}


def write(shell: Shell, way: str, place: str) -> tuple[int, str]:
    done = shell(*(word.format(place) for word in WRITES[way]))
    return done.code, done.err


@pytest.mark.parametrize("way", WRITES)
def test_a_link_that_a_stranger_prepared_is_replaced_and_not_followed(shell: Shell, way: str) -> None:
    outside = shell.folder.parent / "bashrc"
    outside.write_text("mine")
    for name in (".plan.json.new", "plan.json"):
        (shell.folder / name).symlink_to(outside)
    assert write(shell, way, "plan.json")[0] == 0
    assert outside.read_text() == "mine"
    assert (shell.folder / "plan.json").is_file()
    assert not (shell.folder / "plan.json").is_symlink()
    assert (shell.folder / ".plan.json.new").is_symlink(), "left as it was"


@pytest.mark.parametrize("way", WRITES)
def test_a_linked_folder_of_the_checkout_leads_nowhere(shell: Shell, way: str) -> None:
    outside = shell.folder.parent / "home"
    outside.mkdir()
    (shell.folder / "reports").symlink_to(outside)
    for place in ("reports/plan.json", str(shell.folder / "reports/plan.json"), "./desired_state/../reports/plan.json"):
        code, err = write(shell, way, place)
        assert (code, "leads out of the working directory by a link" in err) == (1, True), err
    assert list(outside.iterdir()) == []
    assert write(shell, way, "../home/plan.json")[0] == 0, "said so, and so meant"


@pytest.mark.parametrize("way", WRITES)
def test_a_folder_that_is_not_there_is_not_made(shell: Shell, way: str) -> None:
    before = sorted(shell.folder.rglob("*"))
    code, err = write(shell, way, "reprots/today/plan.json")
    assert (code, "there is no folder reprots/today" in err) == (1, True), err
    assert [path for path in sorted(shell.folder.rglob("*")) if ".reconciler" not in str(path)] == before


@pytest.mark.parametrize("kind", ["fifo", "linked fifo", "folder"])
def test_what_is_no_file_is_replaced_or_refused_at_once(shell: Shell, kind: str) -> None:
    place = shell.folder / "plan.json"
    if kind == "folder":
        place.mkdir()
        assert write(shell, "--report", "plan.json")[0] == 1
        return
    os.mkfifo(shell.folder / "fifo" if kind == "linked fifo" else place)
    if kind == "linked fifo":
        place.symlink_to("fifo")
    assert write(shell, "--report", "plan.json")[0] == 0
    assert stat.S_ISREG(place.lstat().st_mode)


def test_streams_and_devices_are_written_where_they_are_named(shell: Shell) -> None:
    code, out, err = by_shell(shell, "$R plan --no-refresh --report json=/dev/stdout --report json=/dev/stderr")
    assert (code, '"reconciler.plan/' in out, '"reconciler.plan/' in err) == (0, True, True)
    assert write(shell, "--report", "/dev/null")[0] == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    code, out, err = by_shell(shell, "$R plan --no-refresh --report json=>(cat >piped); sleep 0.1; wait; cat piped")
    assert (code, '"reconciler.plan/' in out) == (0, True), err
    by_shell(shell, "{ echo before; $R plan --no-refresh --report json=/dev/stdout; } >whole")
    assert (shell.folder / "whole").read_text().startswith("before\n{")


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File name too long"):
        write_named(str(tmp_path / ("x" * 300)), b"content")
    with pytest.raises(FileExistsError):
        write_new(tmp_path, b"content")
    assert list(tmp_path.iterdir()) == []


def test_a_new_file_overwrites_nothing_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "link", b"content")
    assert not (tmp_path / "elsewhere").exists()


def test_a_summary_is_added_to_a_regular_file_only(tmp_path: Path) -> None:
    summary = tmp_path / "summary"
    append_regular(str(summary), b"one\n")
    append_regular(str(summary), b"two\n")
    assert summary.read_bytes() == b"one\ntwo\n"
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(summary)
    for name in ("fifo", "link"):
        with pytest.raises(OSError, match=r"No such device|not a regular file|symbolic links"):
            append_regular(str(tmp_path / name), b"three\n")
    assert summary.read_bytes() == b"one\ntwo\n"


def test_only_a_link_on_the_way_leads_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    (here / "inner").mkdir(parents=True)
    (here / "kept").symlink_to("inner")
    (here / "out").symlink_to(tmp_path)
    monkeypatch.chdir(here)
    for fine in (".", "inner", "kept", "..", str(tmp_path), "../here/inner", "missing"):
        check_inside(fine)
    for led in ("out", "out/here", "kept/../out", str(here / "out")):
        if led == "out/here":
            check_inside(led)  # leads out and back
            continue
        with pytest.raises(OSError, match="leads out"):
            check_inside(led)


def test_a_linked_state_folder_of_a_checkout_leads_nowhere(shell: Shell) -> None:
    outside = shell.folder.parent / "home"
    outside.mkdir()
    (shell.folder / ".reconciler").symlink_to(outside)
    for command in (("plan", "--no-refresh"), ("status",), ("plan", "--sandbox")):
        done = shell(*command)
        assert (done.code, "leads out of the working directory by a link" in done.err) == (1, True), done.err
    assert list(outside.iterdir()) == []
    assert shell("plan", "--no-refresh", "--state", f"sqlite:///{outside}/state.db").code == 0


def test_a_linked_state_file_of_a_checkout_leads_nowhere(shell: Shell) -> None:
    other = shell.folder.parent / "other.db"
    with closing(sqlite3.connect(other)) as made:
        made.execute("CREATE TABLE theirs (a)")
    before = other.read_bytes()
    (shell.folder / ".reconciler").mkdir()
    for name in ("state.db", "sandbox-state.db"):
        (shell.folder / ".reconciler" / name).symlink_to(other)
    for command in (("plan", "--no-refresh"), ("status",), ("run", "--once"), ("apply", "--yes", "--sandbox")):
        done = shell(*command)
        assert (done.code, "leads out of the working directory by a link" in done.err) == (1, True), done.err
    assert other.read_bytes() == before


def test_the_database_of_another_program_is_not_written_to(shell: Shell) -> None:
    other = shell.folder / "other.db"
    with closing(sqlite3.connect(other)) as made:
        made.execute("CREATE TABLE theirs (a)")
    before = other.read_bytes()
    for command in (("run", "--once"), ("apply", "--yes"), ("sync",), ("suspend", "one", "--reason", "because")):
        assert shell(*command, "--state", "sqlite:///other.db").code != 0
    done = shell("run", "--once", "--state", "sqlite:///other.db")
    assert (done.code, "the database of another program" in done.err) == (1, True), done.err
    assert other.read_bytes() == before
    assert sorted(path.name for path in shell.folder.glob("other.db*")) == ["other.db"]


@pytest.mark.parametrize("way", WRITES)
def test_a_link_elsewhere_in_the_checkout_leads_nowhere(shell: Shell, way: str) -> None:
    outside = shell.folder.parent / "home"
    (shell.folder / ".git").mkdir()
    (shell.folder / "service/desired_state").mkdir(parents=True)
    outside.mkdir()
    (shell.folder / "reports").symlink_to(outside)
    inner = Shell(shell.folder / "service")
    code, err = write(inner, way, "../reports/plan.json")
    assert (code, "leads out of the checkout by a link" in err) == (1, True), err
    assert list(outside.iterdir()) == []
    assert write(inner, way, "../plan.json")[0] == 0


def test_a_backup_is_not_led_out_of_the_checkout(shell: Shell) -> None:
    outside = shell.folder.parent / "home"
    outside.mkdir()
    (shell.folder / "backups").symlink_to(outside)
    assert shell("apply", "--yes", "--sandbox").code == 0
    done = shell("state", "backup", "--sandbox", "backups/state.db")
    assert (done.code, "leads out of the working directory by a link" in done.err) == (1, True), done.err
    assert list(outside.iterdir()) == []
