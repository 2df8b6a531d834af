"""The source against a real file system and the real watcher.

Aspects: what a walk finds and refuses; what reading refuses; stamps; what changes are told. Left out: folders without read
permission and exhausted watches, which the test's user may not be able to bring about, are injected where they are met.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import watchfiles
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler import source as source_module
from reconciler.documents import DocumentLimits
from reconciler.model import Problem
from reconciler.source import SETTLED_NS, FileStamp, Source, Tree, load_documents

LIMIT = 1024 * 1024
#: Longer than anything here takes on a busy machine; only a failure waits for it.
PATIENCE = 20.0


def source_of(*paths: Path | str, max_file_bytes: int = LIMIT) -> Source:
    return Source(paths, max_file_bytes=max_file_bytes)


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(tree: Tree, root: Path) -> list[str]:
    return [os.path.relpath(file, root) for file in tree.files]


def document(number: int, *, name: str | None = None, status: str = "paused") -> str:
    return f"""\
apiVersion: reconciler/v1
kind: CallRecording
metadata:
  name: {name or f"recording-{number}"}
spec:
  workspaceId: 5f4f2f2e-6c0e-4c57-9f65-2f6cf0a1d7a1
  channelId: 0b6b0f5e-7d5a-4c55-8f0e-6f2a4cf5b9b7
  callId: 9a0a4c3c-58a1-4a5e-b7de-3f1ab0a3d1c2
  recordingId: 3fa85f64-5717-4562-b3fc-{number:012d}
  status: {status}
"""


# What a walk finds.


def test_walk_finds_yaml_at_any_depth_sorted_and_skips_hidden_and_other_names(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "deep/er/c.yaml", ".hidden.yaml", ".git/d.yaml", "notes.txt", "e.yaml~", "f.YAML"):
        write(tmp_path / name)
    tree = source_of(tmp_path).walk()
    assert names(tree, tmp_path) == ["a.yml", "b.yaml", "deep/er/c.yaml"]
    assert tree.problems == ()
    assert tree.warnings == ()


def test_files_are_shown_as_the_path_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "state/team/a.yaml")
    monkeypatch.chdir(tmp_path)
    assert list(source_of("state").walk().files) == ["state/team/a.yaml"]
    assert list(source_of("./state/").walk().files) == ["state/team/a.yaml"]
    assert list(source_of(".").walk().files) == ["state/team/a.yaml"]
    assert list(source_of(tmp_path / "state").walk().files) == [f"{tmp_path}/state/team/a.yaml"]
    monkeypatch.chdir(tmp_path / "state")
    assert list(source_of("../state").walk().files) == ["../state/team/a.yaml"]


def test_hidden_path_that_is_given_is_looked_into(tmp_path: Path) -> None:
    write(tmp_path / ".github/a.yaml")
    assert names(source_of(tmp_path / ".github").walk(), tmp_path) == [".github/a.yaml"]


def test_given_file_may_have_any_name(tmp_path: Path) -> None:
    file = write(tmp_path / "recordings.txt")
    assert list(source_of(file).walk().files) == [str(file)]


def test_overlapping_paths_count_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "state/a.yaml")
    write(tmp_path / "state/team/b.yaml")
    monkeypatch.chdir(tmp_path)
    paths = ["state/a.yaml", "state", "state/team", tmp_path / "state", "state/team/b.yaml", "state"]
    assert list(source_of(*paths).walk().files) == ["state/a.yaml", "state/team/b.yaml"]


def test_given_link_to_a_folder_is_a_root_like_any_other(tmp_path: Path) -> None:
    write(tmp_path / "revisions/one/a.yaml", "one")
    (tmp_path / "current").symlink_to("revisions/one")
    source = source_of(tmp_path / "current")
    file = str(tmp_path / "current/a.yaml")
    assert list(source.walk().files) == [file]
    (tmp_path / "revisions/two").mkdir()
    write(tmp_path / "revisions/two/a.yaml", "two")
    (tmp_path / "next").symlink_to("revisions/two")
    (tmp_path / "next").rename(tmp_path / "current")
    assert source.read(file) == b"two", "a root that was turned since the walk is still a root"


@pytest.mark.parametrize("kind", ["fifo", "socket"])
def test_what_is_no_regular_file_is_skipped_with_a_warning(tmp_path: Path, kind: str) -> None:
    odd = tmp_path / "odd.yaml"
    write(tmp_path / "good.yaml")
    with contextlib.ExitStack() as stack:
        if kind == "fifo":
            os.mkfifo(odd)
        else:
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind(str(odd))
        (tmp_path / "link.yaml").symlink_to("odd.yaml")
        tree = source_of(tmp_path).walk()
        assert names(tree, tmp_path) == ["good.yaml"]
        assert tree.warnings == (
            f"{tmp_path}/link.yaml: skipped, it is not a regular file",
            f"{odd}: skipped, it is not a regular file",
        )
        assert tree.problems == ()
        assert source_of(tmp_path).read(str(odd)) == Problem(str(odd), 1, 1, "not a regular file")
        # Named by hand it would be checked by nobody and yet look well.
        assert [str(problem) for problem in source_of(odd).walk().problems] == [f"{odd}:1:1: not a regular file"]


def test_missing_path_has_vanished_and_hides_what_was_below_it(tmp_path: Path) -> None:
    write(tmp_path / "there/a.yaml")
    gone = tmp_path / "gone"
    tree = source_of(gone, tmp_path / "there").walk()
    assert tree.vanished_roots == (str(gone),)
    assert names(tree, tmp_path) == ["there/a.yaml"]
    assert tree.hides(f"{gone}/deep/a.yaml")
    assert tree.hides(str(gone))
    assert not tree.hides(f"{gone}-not/a.yaml")
    assert not tree.hides(f"{tmp_path}/there/b.yaml")


def test_missing_working_folder_hides_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    monkeypatch.setattr(os, "stat", _raising(os.stat, ".", errno.ENOENT))
    assert source_of(".").walk().hides("team/a.yaml")


def test_folder_that_cannot_be_listed_is_a_problem_and_hides_what_was_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.yaml")
    write(tmp_path / "shut/b.yaml")
    monkeypatch.setattr(os, "scandir", _raising(os.scandir, str(tmp_path / "shut"), errno.EACCES))
    tree = source_of(tmp_path).walk()
    assert names(tree, tmp_path) == ["a.yaml"]
    assert [str(problem) for problem in tree.problems] == [f"{tmp_path}/shut:1:1: cannot be read: Permission denied"]
    assert tree.hides(f"{tmp_path}/shut/b.yaml")


def test_root_that_goes_away_during_the_walk_has_vanished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.yaml")
    monkeypatch.setattr(os, "scandir", _raising(os.scandir, str(tmp_path), errno.ENOENT))
    tree = source_of(tmp_path).walk()
    assert tree.vanished_roots == (str(tmp_path),)
    assert tree.hides(f"{tmp_path}/a.yaml")


def _raising[**P, T](function: Callable[P, T], path: str, number: int) -> Callable[P, T]:
    raise NotImplementedError


@pytest.mark.parametrize("name", [b"line\nbreak.yaml", b"\xff.yaml", b"escape\x1b[2J.yaml"])
def test_name_that_cannot_stand_in_a_line_is_refused(tmp_path: Path, name: bytes) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))).write_text("x")
    tree = source_of(tmp_path).walk()
    assert tree.files == {}
    [problem] = tree.problems
    assert str(problem).isprintable()
    assert "the name holds control characters or is not UTF-8" in problem.message


def test_names_in_any_script_are_accepted(tmp_path: Path) -> None:
    write(tmp_path / "équipe/録音 一.yaml")
    write(tmp_path / "no\N{NO-BREAK SPACE}break.yaml")
    tree = source_of(tmp_path).walk()
    assert len(tree.files) == 2
    assert tree.problems == ()
