"""The source against a real file system and the real watcher.

Aspects: what a walk finds and refuses; what reading refuses; stamps; what changes are told. Folders without read
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
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import watchfiles
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.desired.documents.limits import DocumentLimits
from reconciler.desired.load import load_documents
from reconciler.desired.sources import watch
from reconciler.desired.sources.folder import Source
from reconciler.desired.sources.stamps import CONCLUSIVE_NS, FileStamp
from reconciler.desired.sources.tree import Tree
from reconciler.desired.sources.walk import Walks
from reconciler.model.documents import Problem
from reconciler.model.errors import ResourceFault

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
    return sorted(os.path.relpath(file, root) for file in tree.files)


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


def raising(function: Callable[..., Any], path: str, number: int) -> Callable[..., Any]:
    """Wrap a function of `os` so that it fails for one path as the system would."""

    def wrapped(given: Any, *args: Any, **kwargs: Any) -> Any:
        if given == path:
            raise OSError(number, os.strerror(number), path)
        return function(given, *args, **kwargs)

    return wrapped


# What a walk finds.


def test_walk_finds_yaml_at_any_depth_sorted_and_skips_hidden_and_other_names(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "deep/er/c.yaml", ".hidden.yaml", ".git/d.yaml", "notes.txt", "e.yaml~", "f.YAML"):
        write(tmp_path / name)
    tree = source_of(tmp_path).walk()
    assert names(tree, tmp_path) == ["a.yml", "b.yaml", "deep/er/c.yaml"]
    assert tree.problems == ()
    assert [warning.partition(": ")[0] for warning in tree.warnings] == [str(tmp_path / "f.YAML")]


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
    paths: list[Path | str] = ["state/a.yaml", "state", "state/team", tmp_path / "state", "state/team/b.yaml", "state"]
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
    monkeypatch.setattr(os, "stat", raising(os.stat, ".", errno.ENOENT))
    assert source_of(".").walk().hides("team/a.yaml")


def test_folder_that_cannot_be_listed_is_a_problem_and_hides_what_was_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.yaml")
    write(tmp_path / "shut/b.yaml")
    monkeypatch.setattr(os, "open", raising(os.open, str(tmp_path / "shut"), errno.EACCES))
    tree = source_of(tmp_path).walk()
    assert names(tree, tmp_path) == ["a.yaml"]
    assert [str(problem) for problem in tree.problems] == [f"{tmp_path}/shut:1:1: cannot be read: Permission denied"]
    assert tree.hides(f"{tmp_path}/shut/b.yaml")


def test_root_that_goes_away_during_the_walk_has_vanished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.yaml")
    monkeypatch.setattr(os, "open", raising(os.open, str(tmp_path), errno.ENOENT))
    tree = source_of(tmp_path).walk()
    assert tree.vanished_roots == (str(tmp_path),)
    assert tree.hides(f"{tmp_path}/a.yaml")


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


@settings(max_examples=40)
@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b.yaml", ".c", "d-e", "f.yml", "g.txt"]), min_size=1, max_size=4).map("/".join),
        max_size=12,
    )
)
def test_walk_agrees_with_a_plain_search(paths: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path in paths:
            with contextlib.suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
                write(root / path)
        expected = sorted(
            str(path)
            for path in root.rglob("*")
            if path.is_file()
            and path.suffix in (".yaml", ".yml")
            and not any(part.startswith(".") for part in path.relative_to(root).parts)
        )
        assert sorted(source_of(root).walk().files) == expected


# Links.


def test_link_that_leaves_the_root_is_refused_and_never_read(tmp_path: Path) -> None:
    write(tmp_path / "secret/outside.yaml", "secret")
    root = tmp_path / "root"
    write(root / "good.yaml", "good")
    (root / "file.yaml").symlink_to("../secret/outside.yaml")
    (root / "folder").symlink_to(tmp_path / "secret")
    (root / "through.yaml").symlink_to("folder/outside.yaml")
    source = source_of(root)
    tree = source.walk()
    assert names(tree, root) == ["good.yaml"]
    assert [str(problem) for problem in tree.problems] == [
        f"{root}/file.yaml:1:1: symbolic link leaves {root}: it leads to '{tmp_path}/secret/outside.yaml'",
        f"{root}/folder:1:1: symbolic link leaves {root}: it leads to '{tmp_path}/secret'",
        f"{root}/through.yaml:1:1: symbolic link leaves {root}: it leads to '{tmp_path}/secret/outside.yaml'",
    ]
    assert tree.hides(f"{root}/folder/outside.yaml")
    for name in ("file.yaml", "folder/outside.yaml", "through.yaml"):
        refusal = source.read(f"{root}/{name}")
        assert isinstance(refusal, Problem)
        assert "leaves" in refusal.message


def test_file_that_is_turned_into_a_link_after_the_walk_is_not_read(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret.yaml", "secret")
    file = write(tmp_path / "root/team/a.yaml")
    source = source_of(tmp_path / "root")
    source.walk()
    shutil.rmtree(tmp_path / "root/team")
    (tmp_path / "root/team").symlink_to(tmp_path)
    refusal = source.read(f"{file.parent}/{secret.name}")
    assert isinstance(refusal, Problem)
    assert refusal.rule == "link-outside"


def test_link_outside_that_names_no_document_is_of_no_concern(tmp_path: Path) -> None:
    write(tmp_path / "README.md")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/README.md").symlink_to("../README.md")
    tree = source_of(tmp_path / "root").walk()
    assert (tree.files, tree.problems, tree.warnings) == ({}, (), ())


def test_config_map_is_read_through_its_links(tmp_path: Path) -> None:
    write(tmp_path / "..2024_11_22/a.yaml", "a")
    (tmp_path / "..data").symlink_to("..2024_11_22")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    source = source_of(tmp_path)
    assert names(source.walk(), tmp_path) == ["a.yaml"]
    assert source.read(f"{tmp_path}/a.yaml") == b"a"
    single = source_of(tmp_path / "a.yaml")
    assert names(single.walk(), tmp_path) == ["a.yaml"]
    assert single.read(f"{tmp_path}/a.yaml") == b"a"


def test_file_that_links_lead_to_counts_once_and_under_its_own_name(tmp_path: Path) -> None:
    write(tmp_path / "z/real.yaml")
    (tmp_path / "alias.yaml").symlink_to("z/real.yaml")
    (tmp_path / "again").symlink_to("z")
    write(tmp_path / ".store/hidden.yaml")
    write(tmp_path / ".store/deep/er.yaml")
    (tmp_path / "first.yaml").symlink_to(".store/hidden.yaml")
    (tmp_path / "second.yaml").symlink_to(".store/hidden.yaml")
    (tmp_path / "deep").symlink_to(".store/deep")
    (tmp_path / "er.yaml").symlink_to(".store/deep/er.yaml")
    tree = source_of(tmp_path).walk()
    assert names(tree, tmp_path) == ["deep/er.yaml", "first.yaml", "z/real.yaml"]
    assert tree.problems == ()


@pytest.mark.parametrize(
    ("links", "refused"),
    [
        pytest.param({"a.yaml": "a.yaml"}, ["a.yaml"], id="to-itself"),
        pytest.param({"loop": "loop"}, ["loop"], id="to-itself-without-suffix"),
        pytest.param({"a.yaml": "b.yaml", "b.yaml": "a.yaml"}, ["a.yaml", "b.yaml"], id="to-each-other"),
        pytest.param({"team/up": ".."}, ["team/up"], id="to-a-folder-above"),
        pytest.param({"team/here": "."}, ["team/here"], id="to-its-own-folder"),
        pytest.param({"here": "."}, ["here"], id="root-to-itself"),
        pytest.param({"team/x": "../other", "other/y": "../team"}, ["team/x"], id="folders-to-each-other"),
        pytest.param({"x": ".hidden/a", ".hidden/a/up": ".."}, ["x/up"], id="above-a-hidden-folder"),
    ],
)
def test_link_cycle_is_refused_and_the_rest_is_found(
    tmp_path: Path, links: Mapping[str, str], refused: list[str]
) -> None:
    for name in ("good.yaml", "team/t.yaml", "other/o.yaml", ".hidden/a/h.yaml"):
        write(tmp_path / name)
    for link, target in links.items():
        (tmp_path / link).symlink_to(target)
    tree = source_of(tmp_path).walk()
    assert [(problem.file, problem.message) for problem in tree.problems] == [
        (f"{tmp_path}/{name}", "symbolic link that leads back to itself") for name in refused
    ]
    assert {"good.yaml", "team/t.yaml", "other/o.yaml"} <= set(names(tree, tmp_path))


def test_given_link_that_leads_back_to_itself_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    [problem] = source_of(tmp_path / "loop").walk().problems
    assert problem.rule == "link-cycle"


def test_folders_linked_every_way_cost_no_more_than_their_number(tmp_path: Path) -> None:
    # Followed name by name, ten folders that each link to all others would be ten million ways.
    folders = [tmp_path / f".{letter}" for letter in "abcdefghij"]
    for folder in folders:
        write(folder / "x.yaml")
        for other in folders:
            (folder / f"to-{other.name[1:]}").symlink_to(other)
    (tmp_path / "in").symlink_to(".a")
    tree = source_of(tmp_path).walk()
    assert len(tree.files) == len(folders)
    assert {problem.rule for problem in tree.problems} == {"link-cycle"}


def test_link_to_nothing_is_a_problem_only_where_it_is_called_a_document(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("gone.yaml")
    (tmp_path / "folder").symlink_to("gone")
    source = source_of(tmp_path)
    tree = source.walk()
    assert [str(problem) for problem in tree.problems] == [f"{tmp_path}/a.yaml:1:1: symbolic link to nothing"]
    assert tree.hides(f"{tmp_path}/folder/b.yaml"), "it may have led to documents before"
    assert source.read(f"{tmp_path}/a.yaml") == tree.problems[0]
    assert source.stamp(f"{tmp_path}/a.yaml") is not None, "it is there, only not to be read"


# Reading and stamps.


def test_file_past_the_limit_is_refused_by_its_size_alone(tmp_path: Path) -> None:
    file = tmp_path / "big.yaml"
    with file.open("wb") as opened:
        opened.truncate(50 * 2**30)  # takes no space, and would take all memory if it were read
    assert str(source_of(tmp_path).read(str(file))) == (
        f"{file}:1:1: the file has 53,687,091,200 bytes, more than max_file_bytes allows (1,048,576)"
    )
    write(file, "x" * LIMIT)
    assert source_of(tmp_path).read(str(file)) == b"x" * LIMIT


def test_file_that_is_longer_than_it_said_is_read_to_its_end_or_the_limit() -> None:
    # What the kernel makes up has no size beforehand, as a file that grows has the wrong one.
    file = "/proc/self/status"
    data = source_of(file).read(file)
    assert isinstance(data, bytes)
    assert data.endswith(b"\n")
    assert b"VmPeak" in data
    refusal = source_of(file, max_file_bytes=100).read(file)
    assert isinstance(refusal, Problem)
    assert refusal.rule == "too-large"


def test_reading_a_file_that_is_gone_is_a_problem(tmp_path: Path) -> None:
    file = f"{tmp_path}/gone.yaml"
    assert str(source_of(tmp_path).read(file)) == f"{file}:1:1: cannot be read: No such file or directory"
    assert source_of(tmp_path).stamp(file) is None


def test_fifo_that_takes_the_place_of_a_file_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "a.yaml")
    real = os.open

    def swapping(path: str, flags: int) -> int:
        file.unlink()
        os.mkfifo(file)
        return real(path, flags)

    monkeypatch.setattr(os, "open", swapping)
    assert source_of(tmp_path).read(str(file)) == Problem(str(file), 1, 1, "not a regular file")


def test_read_error_of_the_disk_says_nothing_of_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "a.yaml")

    def failing(_descriptor: int, _size: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "read", failing)
    with pytest.raises(ResourceFault, match="cannot be read now: Input/output error") as caught:
        source_of(tmp_path).read(str(file))
    assert str(file) in str(caught.value)


def test_links_out_of_the_root_are_refused_where_there_is_no_proc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "outside.yaml")
    file = write(tmp_path / "root/a.yaml", "a")
    (tmp_path / "root/b.yaml").symlink_to("../outside.yaml")
    real = os.readlink

    def without_proc(path: str) -> str:
        if path.startswith("/proc"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return real(path)

    monkeypatch.setattr(os, "readlink", without_proc)
    source = source_of(tmp_path / "root")
    assert source.read(str(file)) == b"a"
    refusal = source.read(str(tmp_path / "root" / "b.yaml"))
    assert isinstance(refusal, Problem)
    assert refusal.rule == "link-outside"


def test_reading_leaves_no_file_open(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml")
    source = source_of(tmp_path, max_file_bytes=2)
    before = len(os.listdir("/proc/self/fd"))
    for text in ("ok", "too large"):
        file.write_text(text)
        source.read(str(file))
    assert len(os.listdir("/proc/self/fd")) == before


def test_stamp_of_a_file_is_that_of_the_walk(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml")
    source = source_of(tmp_path)
    stamp = source.stamp(str(file))
    assert stamp is not None
    assert stamp[:5] == source.walk().files[str(file)][:5]
    assert source.stamp(str(tmp_path)) is None


def test_old_file_with_an_equal_stamp_is_proven_unchanged(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml")
    status = file.stat()
    later = max(status.st_mtime_ns, status.st_ctime_ns) + CONCLUSIVE_NS + 1
    earlier = FileStamp.of(status, later)
    assert earlier.is_conclusive
    assert FileStamp.of(status, later + 10**12).proves_unchanged_since(earlier)
    # The same length, the same time of modification, as a careful forger would leave them.
    file.write_text("y")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not FileStamp.of(file.stat(), later + 10**12).proves_unchanged_since(earlier)


def test_stamp_taken_right_after_a_save_proves_nothing(tmp_path: Path) -> None:
    status = write(tmp_path / "a.yaml").stat()
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    for read_at in (changed, changed + CONCLUSIVE_NS, changed - 10**12):
        racy = FileStamp.of(status, read_at)
        assert not racy.is_conclusive
        assert not FileStamp.of(status, changed + 10**12).proves_unchanged_since(racy)


# All documents, for a command.


def test_documents_of_all_files_are_sorted_by_name(tmp_path: Path) -> None:
    write(tmp_path / "b.yaml", document(1, name="b") + "---\n" + document(3, name="a"))
    write(tmp_path / "a.yaml", document(2, name="c"))
    write(tmp_path / "empty.yaml", "# nothing yet\n")
    loaded = load_documents(source_of(tmp_path), DocumentLimits())
    assert [each.name for each in loaded.desired] == ["a", "b", "c"]
    assert loaded.problems == ()
    assert loaded.files == 3


def test_all_problems_of_all_kinds_come_at_once_and_no_document_with_them(tmp_path: Path) -> None:
    write(tmp_path / "root/a.yaml", document(1))
    write(tmp_path / "root/b.yaml", document(1, name="other"))
    write(tmp_path / "root/c.yaml", document(3, status="puased"))
    (tmp_path / "root/d.yaml").symlink_to("../outside.yaml")
    write(tmp_path / "root/e.yaml", "x" * (LIMIT + 1))
    loaded = load_documents(source_of(tmp_path / "root", tmp_path / "gone"), DocumentLimits())
    assert loaded.desired == ()
    assert [os.path.relpath(problem.file, tmp_path) for problem in loaded.problems] == [
        "gone",
        "root/b.yaml",
        "root/c.yaml",
        "root/d.yaml",
        "root/e.yaml",
    ]
    assert str(loaded.problems[0]) == f"{tmp_path}/gone:1:1: no such file or folder"
    assert loaded.files == 4


# What changed.


class Follower:
    """A reader of changes: keeps the contents of all files as a daemon would, and each batch that it was told."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.contents: dict[str, bytes] = {}
        self.batches: asyncio.Queue[frozenset[str] | None] = asyncio.Queue()
        self.warnings: list[str] = []

    async def follow(self, stop: asyncio.Event, poll_seconds: float) -> None:
        async for batch in self.source.changes(stop, poll_seconds=poll_seconds, warn=self.warnings.append):
            if batch is None:
                tree = await asyncio.to_thread(self.source.walk)
                hidden = {file: data for file, data in self.contents.items() if tree.hides(file)}
                self.contents = hidden | {file: self._read(file) for file in tree.files}
            else:
                for file in batch:
                    if self.source.stamp(file) is None:
                        self.contents.pop(file, None)
                    else:
                        self.contents[file] = self._read(file)
            self.batches.put_nowait(batch)

    def _read(self, file: str) -> bytes:
        data = self.source.read(file)
        return data if isinstance(data, bytes) else str(data).encode()

    async def until(self, expected: Mapping[Path, str]) -> list[frozenset[str] | None]:
        """Wait until the contents are these, and return the batches that led there."""
        wanted = {str(path): text.encode() for path, text in expected.items()}
        batches: list[frozenset[str] | None] = []
        async with asyncio.timeout(PATIENCE):
            while self.contents != wanted or not self.batches.empty():
                batches.append(await self.batches.get())
        return batches

    async def until_watched(self, file: Path, others: Mapping[Path, str] | None = None) -> None:
        """Edit a file until an edit names just that file: a change of folders asks for walks before and after it."""
        for number in range(1000):
            write(file, f"edit {number}")
            if set(await self.until({**(others or {}), file: f"edit {number}"})) == {frozenset({str(file)})}:
                return
        raise AssertionError(f"{file} is not watched")


@contextlib.asynccontextmanager
async def following(*paths: Path, poll_seconds: float = 3600.0) -> AsyncIterator[Follower]:
    """Follow paths until the end of the block; by default without a poll, so that only events can tell of a change."""
    follower = Follower(source_of(*paths))
    stop = asyncio.Event()
    task = asyncio.create_task(follower.follow(stop, poll_seconds))
    try:
        async with asyncio.timeout(PATIENCE):
            first = asyncio.ensure_future(follower.batches.get())
            await asyncio.wait({first, task}, return_when=asyncio.FIRST_COMPLETED)
            assert first.done(), task.exception()
            assert first.result() is None, "all has to be looked at once the watch stands"
        yield follower
        assert not task.done()
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE):
            await task
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("source-watch")]


async def test_edit_in_place_names_just_that_file(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.yaml", "1"), write(tmp_path / "deep/b.yaml", "1")
    async with following(tmp_path) as follower:
        b.write_text("2")
        assert set(await follower.until({a: "1", b: "2"})) == {frozenset({str(b)})}
        a.write_text("2")
        assert set(await follower.until({a: "2", b: "2"})) == {frozenset({str(a)})}


async def test_saving_as_editors_do_names_just_that_file(tmp_path: Path) -> None:
    a = write(tmp_path / "a.yaml", "1")
    b = write(tmp_path / "b.yaml", "1")
    async with following(tmp_path) as follower:
        # Write and rename, with a swap file, a probe and a backup, a lock that is a dangling link.
        write(tmp_path / ".a.yaml.swp")
        (tmp_path / ".#a.yaml").symlink_to("user@host.4711:1700000000")
        write(tmp_path / "4913").unlink()
        a.rename(tmp_path / "a.yaml~")
        write(tmp_path / "a.yaml", "2")
        (tmp_path / "a.yaml~").unlink()
        (tmp_path / ".#a.yaml").unlink()
        (tmp_path / ".a.yaml.swp").unlink()
        write(tmp_path / "b.yaml.tmp", "2").rename(b)
        batches = await follower.until({a: "2", b: "2"})
        assert None not in batches
        assert frozenset().union(*(batch for batch in batches if batch)) == {str(a), str(b)}


async def test_added_and_removed_files_are_named(tmp_path: Path) -> None:
    a = write(tmp_path / "a.yaml", "1")
    async with following(tmp_path) as follower:
        b = write(tmp_path / "b.yml", "2")
        assert None not in await follower.until({a: "1", b: "2"})
        a.unlink()
        assert None not in await follower.until({b: "2"})
        b.rename(tmp_path / "c.yaml")
        assert None not in await follower.until({tmp_path / "c.yaml": "2"})


async def test_new_folders_are_found_and_then_watched(tmp_path: Path) -> None:
    a = write(tmp_path / "a.yaml", "1")
    async with following(tmp_path) as follower:
        b = write(tmp_path / "new/deep/b.yaml", "1")
        await follower.until({a: "1", b: "1"})
        b.write_text("2")
        await follower.until({a: "1", b: "2"})
        await follower.until_watched(b, {a: "1"})


async def test_folder_that_is_deleted_and_made_again_is_watched_again(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.yaml", "1"), write(tmp_path / "team/b.yaml", "1")
    async with following(tmp_path) as follower:
        shutil.rmtree(tmp_path / "team")
        write(b, "2")
        await follower.until({a: "1", b: "2"})
        await follower.until_watched(b, {a: "1"})
        shutil.rmtree(tmp_path / "team")
        await follower.until({a: "1"})
        (tmp_path / "other").mkdir()
        write(tmp_path / "other/b.yaml", "4")
        (tmp_path / "other").rename(tmp_path / "team")
        await follower.until({a: "1", b: "4"})


async def test_swapped_config_map_is_noticed(tmp_path: Path) -> None:
    root, a = tmp_path / "mount", tmp_path / "mount/a.yaml"
    write(root / "..v1/a.yaml", "1")
    (root / "..data").symlink_to("..v1")
    a.symlink_to("..data/a.yaml")
    async with following(root) as follower:
        assert follower.contents == {str(a): b"1"}
        for version in (2, 3):
            write(root / f"..v{version}/a.yaml", str(version))
            (root / "..data_tmp").symlink_to(f"..v{version}")
            (root / "..data_tmp").rename(root / "..data")
            shutil.rmtree(root / f"..v{version - 1}")
            await follower.until({a: str(version)})
        (root / "..v3/a.yaml").write_text("4")
        await follower.until({a: "4"})


async def test_swapped_config_map_is_noticed_by_whom_was_given_its_file(tmp_path: Path) -> None:
    a = tmp_path / "a.yaml"
    write(tmp_path / "..v1/a.yaml", "1")
    (tmp_path / "..data").symlink_to("..v1")
    a.symlink_to("..data/a.yaml")
    async with following(a) as follower:
        write(tmp_path / "..v2/a.yaml", "2")
        (tmp_path / "..data_tmp").symlink_to("..v2")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        await follower.until({a: "2"})


async def test_given_link_that_is_turned_to_another_folder_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "one/a.yaml", "1")
    write(tmp_path / "two/b.yaml", "2")
    current = tmp_path / "current"
    current.symlink_to("one")
    async with following(current) as follower:
        assert follower.contents == {f"{current}/a.yaml": b"1"}
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").rename(current)
        await follower.until({current / "b.yaml": "2"})
        await follower.until_watched(current / "b.yaml")


async def test_files_below_a_linked_folder_are_named_as_the_walk_shows_them(tmp_path: Path) -> None:
    own, linked = write(tmp_path / "real/a.yaml", "1"), tmp_path / "link/deep/b.yaml"
    write(tmp_path / ".store/deep/b.yaml", "1")
    (tmp_path / "link").symlink_to(".store")
    (tmp_path / "alias").symlink_to("real")
    async with following(tmp_path) as follower:
        write(tmp_path / ".store/deep/b.yaml", "2")
        assert None not in await follower.until({own: "1", linked: "2"})
        write(tmp_path / "alias/a.yaml", "2")
        assert None not in await follower.until({own: "2", linked: "2"})


async def test_link_that_appears_is_followed(tmp_path: Path) -> None:
    a = write(tmp_path / "a.yaml", "1")
    write(tmp_path / ".store/b.yaml", "1")
    async with following(tmp_path) as follower:
        (tmp_path / "b.yaml").symlink_to(".store/b.yaml")
        await follower.until({a: "1", tmp_path / "b.yaml": "1"})
        write(tmp_path / ".store/b.yaml", "2")
        await follower.until({a: "1", tmp_path / "b.yaml": "2"})


async def test_root_that_vanishes_keeps_its_files_until_it_is_back(tmp_path: Path) -> None:
    root, a = tmp_path / "root", write(tmp_path / "root/a.yaml", "1")
    async with following(root) as follower:
        root.rename(tmp_path / "away")
        async with asyncio.timeout(PATIENCE):
            while not follower.source.walk().vanished_roots:
                await follower.batches.get()
        assert follower.contents == {str(a): b"1"}
        write(root / "a.yaml", "2")
        await follower.until({a: "2"})
        await follower.until_watched(a)


async def test_root_that_does_not_exist_yet_is_watched_once_it_does(tmp_path: Path) -> None:
    root = tmp_path / "later"
    async with following(root) as follower:
        assert follower.contents == {}
        a = write(root / "a.yaml", "1")
        await follower.until({a: "1"})
        await follower.until_watched(a)


async def test_given_file_is_followed_through_saves_that_replace_it(tmp_path: Path) -> None:
    a = write(tmp_path / "a.txt", "1")
    async with following(a) as follower:
        for text in ("2", "3"):
            write(tmp_path / "a.tmp", text).rename(a)
            assert None not in await follower.until({a: text})
        a.unlink()
        write(tmp_path / "other.yaml")
        a.write_text("4")
        await follower.until({a: "4"})


async def test_very_many_changes_become_one_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MANY_FILES", 20)
    write(tmp_path / "a.yaml", "1")
    async with following(tmp_path) as follower:
        expected = {tmp_path / "a.yaml": "1"}
        for number in range(200):
            expected[write(tmp_path / f"{number}.yaml", "1")] = "1"
        batches = await follower.until(expected)
        assert None in batches
        assert all(len(batch) <= 20 for batch in batches if batch is not None)


async def test_poll_asks_for_a_walk_whatever_the_watcher_says(tmp_path: Path) -> None:
    async with following(tmp_path, poll_seconds=0.05) as follower:
        async with asyncio.timeout(PATIENCE):
            assert [await follower.batches.get() for _ in range(3)] == [None, None, None]


async def test_watcher_that_breaks_is_replaced(tmp_path: Path) -> None:
    a = write(tmp_path / "a.yaml", "1")
    async with following(tmp_path) as follower:
        # watchfiles fails on a name that is not UTF-8.
        unreadable = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt"))
        write(unreadable)
        a.write_text("2")
        await follower.until({a: "2"})
        await follower.until_watched(a)
        assert follower.warnings == []


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (
            OSError("OS file watch limit reached. about [...]"),
            "too many folders for fs.inotify.max_user_watches, raise it with sysctl",
        ),
        (
            RuntimeError("Error creating recommended watcher: Too many open files (os error 24)"),
            "raise fs.inotify.max_user_instances with sysctl",
        ),
        (OSError("no such luck"), "no such luck"),
    ],
)
async def test_refused_watch_is_made_up_for_by_walks_and_explained_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, advice: str
) -> None:
    # The texts are those of watchfiles 1.3 under exhausted limits.
    a = write(tmp_path / "a.yaml", "1")
    monkeypatch.setattr(watch, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(watch, "FALLBACK_SECONDS", 0.01)
    real = watchfiles.watch

    def refused(*_: object, ignore_permission_denied: bool, **__: object) -> object:
        assert not ignore_permission_denied, "watchfiles would keep the error to itself"
        raise error

    monkeypatch.setattr(watchfiles, "watch", refused)
    async with following(tmp_path) as follower:
        a.write_text("2")
        assert set(await follower.until({a: "2"})) == {None}
        assert len(follower.warnings) == 1
        assert advice in follower.warnings[0]
        monkeypatch.setattr(watchfiles, "watch", real)
        async with asyncio.timeout(PATIENCE):
            while len(follower.warnings) < 2:
                await follower.batches.get()
        assert follower.warnings[1] == "file watching works again"
        await follower.until_watched(a)


async def test_folder_that_goes_away_as_its_watch_begins_is_no_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = write(tmp_path / "a.yaml", "1")
    real = watchfiles.watch
    attempts: list[int] = []

    def gone_at_first(*folders: str, **options: Any) -> object:
        attempts.append(len(folders))
        if len(attempts) == 1:
            raise FileNotFoundError("No path was found.")  # the text of watchfiles 1.3
        return real(*folders, **options)

    monkeypatch.setattr(watchfiles, "watch", gone_at_first)
    async with following(tmp_path) as follower:
        await follower.until_watched(a)
        assert follower.warnings == []


async def test_fault_of_the_watching_thread_reaches_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> object:
        raise ValueError("a fault of our own")

    monkeypatch.setattr(watchfiles, "watch", broken)
    with pytest.raises(ValueError, match="a fault of our own"):
        async for _ in source_of(tmp_path).changes(asyncio.Event(), poll_seconds=3600, warn=print):
            pass


async def test_leaving_the_iteration_ends_the_watch(tmp_path: Path) -> None:
    changes = source_of(tmp_path).changes(asyncio.Event(), poll_seconds=3600, warn=print)
    assert await anext(changes) is None
    await changes.aclose()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("source-watch")]


async def test_hidden_folders_and_links_out_of_the_tree_are_not_watched(tmp_path: Path) -> None:
    write(tmp_path / "outside/x.yaml")
    root = tmp_path / "root"
    a = write(root / "a.yaml", "1")
    write(root / ".git/index")
    (root / "out").symlink_to(tmp_path / "outside")
    async with following(root) as follower:
        write(root / ".git/index", "2")
        write(tmp_path / "outside/x.yaml", "2")
        a.write_text("2")
        assert set(await follower.until({a: "2"})) == {frozenset({str(a)})}


@pytest.mark.parametrize(("cpu_seconds", "every"), [(0.0, 30.0), (0.1, 30.0), (0.5, 150.0)])
def test_behind_a_watcher_walks_take_no_more_than_their_share_of_a_core(cpu_seconds: float, every: float):
    walks = Walks(())
    walks.cpu_seconds = cpu_seconds
    assert watch.Watcher(walks)._backup_seconds(30.0) == every
