"""Following real files with the real watcher: what acts at once, what waits for a file to be quiet, what never flaps.

The follower's clock stands still until a test lets time pass, so that how busy the machine is cannot decide whether a
file was quiet. What must not happen is proved by what comes after it, never by waiting for nothing.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from reconciler.desired.catalog import Catalog, CatalogChange
from reconciler.desired.documents.conflicts import FileDocuments
from reconciler.desired.documents.limits import DocumentLimits, Patience
from reconciler.desired.documents.parse import Refused, parse_quickly
from reconciler.desired.follow import Follower
from reconciler.desired.readings import Reading, Readings
from reconciler.desired.sources.folder import QUIET_SECONDS, Source
from reconciler.desired.sources.stamps import FileStamp
from reconciler.desired.sources.tree import Tree
from reconciler.model.documents import Problem
from reconciler.model.keys import RecordingKey
from reconciler.model.records import Record
from reconciler.model.statuses import Drift, Status
from tests.world.bench import Lines, Time
from tests.world.documents import cards
from tests.world.nouns import key

#: Longer than anything here takes on a busy machine; only a failure waits for it.
PATIENCE = 20.0


def text(*numbers: int, status: str = "paused", drift: str = "safe") -> str:
    """Return documents of some recordings, one each."""
    return cards({number: key(number) for number in numbers}, status=status, drift=drift)


def move(place: Path, to: Path) -> None:
    place.rename(to)


def make_folder(place: Path) -> Path:
    place.mkdir()
    return place


BROKEN = text(1).replace("status: paused", "status: pausd")


class Following:
    """A follower at work, and all that it told."""

    def __init__(self, *paths: Path, allow_empty: bool = False) -> None:
        self.time = Time()
        self.log = Lines()
        self.catalog = Catalog()
        self.follower = Follower(
            Source(paths, max_file_bytes=1_000_000),
            self.catalog,
            DocumentLimits(),
            monotonic=self.time.monotonic,
            log=self.log,
            allow_empty=allow_empty,
        )
        self.changes: list[CatalogChange] = []
        self._probes = 0
        self._root = paths[0]

    async def collect(self, stop: asyncio.Event, *, poll_seconds: float = 3600.0) -> None:
        async for change in self.follower.changes(stop, poll_seconds=poll_seconds):
            self.changes.append(change)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - files, threads and the catalog have no event in common
                await asyncio.sleep(0.005)

    async def doubts(self, *files: Path) -> None:
        """Wait until the follower has read these files and waits for them to be quiet."""
        await self.until(lambda: {str(file) for file in files} <= self.follower._settling.due.keys())

    async def doubts_since_now(self, file: Path) -> None:
        """Wait until the follower has read a file once more, after which it would have to be quiet anew."""
        due = self.time.elapsed + QUIET_SECONDS
        await self.until(lambda: self.follower._settling.due.get(str(file)) == due)

    def be_quiet(self) -> None:
        """Let the time pass after which what the files hold counts."""
        self.time.pass_by(QUIET_SECONDS + 0.01)
        self.follower._settling.look()

    async def settle(self) -> None:
        """Let everything that waits for quiet be decided."""
        self.be_quiet()
        await self.until(lambda: not self.follower._settling.due)

    async def caught_up(self) -> None:
        """Wait until all that was saved before has been read: a later file acts at once, and it has acted."""
        self._probes += 1
        number = 900 + self._probes
        (self._root / "probe.yaml").write_text(text(*range(901, number + 1)))
        await self.until(lambda: key(number) in self.catalog.desired)

    @property
    def removed(self) -> list[RecordingKey]:
        return [key for change in self.changes for key in change.removed]

    @property
    def changed(self) -> list[RecordingKey]:
        """Return what changed, but for the probes."""
        return [each for change in self.changes for each in change.changed if int(each.recording_id[-4:], 16) < 901]

    def status(self, number: int) -> Status | None:
        desired = self.catalog.desired.get(key(number))
        return None if desired is None else desired.status

    def file(self, number: int) -> str:
        return Path(self.catalog.desired[key(number)].file).name


@asynccontextmanager
async def following(
    *paths: Path, records: Iterable[Record] = (), allow_empty: bool = False, poll_seconds: float = 3600.0
) -> AsyncIterator[Following]:
    """Load, then follow until the end of the block; nothing is missed between the two."""
    made = Following(*paths, allow_empty=allow_empty)
    made.follower.load(records)
    stop = asyncio.Event()
    collecting = asyncio.create_task(made.collect(stop, poll_seconds=poll_seconds))
    try:
        yield made
        assert not collecting.done() or collecting.result() is None
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE):
            await collecting


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir()
    (made / "a.yaml").write_text(text(1, 2))
    (made / "b.yaml").write_text(text(3))
    return made


# What acts at once.


async def test_a_valid_edit_acts_at_once(root: Path):
    async with following(root) as follow:
        (root / "b.yaml").write_text(text(3, status="completed"))
        await follow.until(lambda: follow.status(3) is Status.COMPLETED)
        await follow.until(lambda: follow.changed)
        assert follow.changed == [key(3)]
        assert follow.time.elapsed == 0


async def test_a_new_file_and_a_new_folder_act_at_once(root: Path):
    async with following(root) as follow:
        await follow.caught_up()
        (root / "team").mkdir()
        (root / "team" / "c.yaml").write_text(text(4))
        await follow.until(lambda: follow.status(4))
        assert follow.changed == [key(4)]


async def test_many_files_at_once_act_at_once(root: Path):
    numbers = range(10, 90)
    for number in numbers:
        (root / f"{number}.yaml").write_text(text(number))
    async with following(root) as follow:
        await follow.caught_up()
        for number in numbers:
            (root / f"{number}.yaml").write_text(text(number, status="completed"))
        await follow.until(lambda: all(follow.status(number) is Status.COMPLETED for number in numbers))
        assert follow.removed == []
        assert follow.follower.files == 83


async def test_a_change_of_nothing_that_matters_is_told_as_moved(root: Path):
    async with following(root) as follow:
        (root / "b.yaml").write_text("# moved down\n" + text(3))
        await follow.until(lambda: follow.changes)
        assert [change.moved for change in follow.changes] == [(key(3),)]


async def test_writing_the_same_again_tells_nothing(root: Path):
    async with following(root) as follow:
        (root / "b.yaml").write_text(text(3))
        await follow.caught_up()
        assert [change.changed for change in follow.changes] == [(key(901),)]


# What waits until the file is quiet.


async def test_an_error_counts_once_the_file_has_been_quiet_and_the_last_valid_version_stays(root: Path):
    async with following(root) as follow:
        (root / "a.yaml").write_text(BROKEN)
        await follow.doubts(root / "a.yaml")
        await follow.caught_up()
        assert follow.log.of("document_invalid") == []
        assert follow.catalog.invalid == {}
        await follow.settle()
        assert [line.values["file"] for line in follow.log.of("document_invalid")] == [str(root / "a.yaml")]
        assert "pausd" in follow.log.of("document_invalid")[0].values["first"]
        assert set(follow.catalog.invalid) == {str(root / "a.yaml")}
        assert (follow.status(1), follow.status(2)) == (Status.PAUSED, Status.PAUSED)
        (root / "a.yaml").write_text(text(1, 2, status="completed"))
        await follow.until(lambda: follow.status(2) is Status.COMPLETED)
        assert [line.values["file"] for line in follow.log.of("document_valid_again")] == [str(root / "a.yaml")]
        assert follow.catalog.invalid == {}
        assert follow.removed == []


async def test_an_invalid_file_does_not_hold_up_the_others(root: Path):
    async with following(root) as follow:
        (root / "a.yaml").write_text(BROKEN)
        await follow.doubts(root / "a.yaml")
        await follow.settle()
        (root / "b.yaml").write_text(text(3, status="ongoing"))
        await follow.until(lambda: follow.status(3) is Status.ONGOING)


async def test_an_error_that_stays_is_told_once(root: Path):
    async with following(root) as follow:
        for _ in range(3):
            (root / "a.yaml").write_text(BROKEN)
            await follow.doubts(root / "a.yaml")
            await follow.settle()
        assert len(follow.log.of("document_invalid")) == 1


@pytest.mark.parametrize(
    "half", [text(1), text(1)[:60], "", BROKEN], ids=["one of two", "cut off", "empty", "an error"]
)
async def test_a_half_written_file_that_is_then_completed_never_flaps(root: Path, half: str):
    async with following(root) as follow:
        (root / "a.yaml").write_text(half)
        await follow.doubts(root / "a.yaml")
        (root / "a.yaml").write_text(text(1, 2, status="completed"))
        await follow.until(lambda: follow.status(2) is Status.COMPLETED)
        follow.be_quiet()
        await follow.caught_up()
        assert follow.removed == []
        assert follow.log == []
        assert follow.changed == [key(1), key(2)]


async def test_what_is_left_in_a_file_acts_at_once_and_what_went_missing_waits(root: Path):
    async with following(root) as follow:
        (root / "a.yaml").write_text(text(1, status="completed"))
        await follow.until(lambda: follow.status(1) is Status.COMPLETED)
        await follow.doubts(root / "a.yaml")
        assert follow.status(2) is Status.PAUSED
        await follow.settle()
        assert follow.status(2) is None
        assert follow.removed == [key(2)]


async def test_a_file_that_is_saved_again_and_again_is_not_quiet(root: Path):
    async with following(root) as follow:
        for step in range(3):
            (root / "a.yaml").write_text(text(1) + f"# {step}\n")
            await follow.doubts_since_now(root / "a.yaml")
            follow.time.pass_by(QUIET_SECONDS - 0.05)
        await follow.caught_up()
        assert follow.removed == []
        await follow.settle()
        assert follow.removed == [key(2)]


async def test_a_deleted_file_releases_once_it_has_been_quiet(root: Path):
    async with following(root) as follow:
        (root / "b.yaml").unlink()
        await follow.doubts(root / "b.yaml")
        assert follow.status(3) is Status.PAUSED
        await follow.settle()
        assert follow.removed == [key(3)]
        assert follow.log == []


async def test_a_file_deleted_and_written_anew_never_releases(root: Path):
    async with following(root) as follow:
        (root / "b.yaml").unlink()
        await follow.doubts(root / "b.yaml")
        (root / "b.yaml").write_text(text(3, status="ongoing"))
        await follow.until(lambda: follow.status(3) is Status.ONGOING)
        follow.be_quiet()
        await follow.caught_up()
        assert follow.removed == []


# Documents that move between files.


async def test_a_renamed_file_takes_its_documents_along(root: Path):
    async with following(root) as follow:
        await follow.caught_up()
        (root / "b.yaml").rename(root / "c.yaml")
        await follow.doubts(root / "b.yaml", root / "c.yaml")
        await follow.settle()
        assert follow.file(3) == "c.yaml"
        assert follow.removed == []
        assert follow.changed == []
        assert follow.log == []


async def test_a_file_copied_first_and_deleted_later_releases_nothing(root: Path):
    async with following(root) as follow:
        (root / "c.yaml").write_text(text(3))
        await follow.doubts(root / "c.yaml")
        (root / "b.yaml").unlink()
        await follow.doubts(root / "b.yaml", root / "c.yaml")
        await follow.settle()
        assert follow.file(3) == "c.yaml"
        assert follow.removed == []


async def test_a_file_deleted_first_and_written_elsewhere_a_moment_later_releases_nothing(root: Path):
    async with following(root) as follow:
        (root / "b.yaml").unlink()
        await follow.doubts(root / "b.yaml")
        follow.time.pass_by(0.2)
        (root / "c.yaml").write_text(text(3, status="completed"))
        await follow.doubts(root / "c.yaml")
        follow.time.pass_by(0.11)
        follow.follower._settling.look()
        await follow.until(lambda: follow.status(3) is Status.COMPLETED)
        await follow.until(lambda: follow.changed == [key(3)])
        assert follow.removed == [], "the two are told as one change"
        assert follow.file(3) == "c.yaml"


async def test_a_document_moved_within_two_saves_is_never_in_two_files_nor_in_none(root: Path):
    async with following(root) as follow:
        (root / "a.yaml").write_text(text(1))
        await follow.doubts(root / "a.yaml")
        (root / "b.yaml").write_text(text(3, 2))
        await follow.doubts(root / "a.yaml", root / "b.yaml")
        await follow.settle()
        assert follow.file(2) == "b.yaml"
        assert follow.removed == []
        assert follow.log == []


async def test_two_files_that_claim_one_recording_are_told_once_both_are_quiet(root: Path):
    async with following(root) as follow:
        (root / "c.yaml").write_text(text(3, status="completed"))
        await follow.doubts(root / "c.yaml")
        await follow.settle()
        assert [line.values["file"] for line in follow.log.of("document_invalid")] == [str(root / "c.yaml")]
        assert follow.status(3) is Status.PAUSED, "the earlier claim holds"


# The first load.


def recorded(number: int, file: Path) -> Record:
    return Record(key(number), f"card-{number:03}", str(file), 1, Status.COMPLETED, Drift.HEAL)


async def test_a_file_that_is_invalid_at_the_start_keeps_what_the_records_say(root: Path):
    (root / "a.yaml").write_text(BROKEN)
    records = [recorded(1, root / "a.yaml"), recorded(2, root / "a.yaml"), recorded(7, root / "gone.yaml")]
    async with following(root, records=records) as follow:
        assert (follow.status(1), follow.status(2), follow.status(3)) == (
            Status.COMPLETED,
            Status.COMPLETED,
            Status.PAUSED,
        )
        assert follow.catalog.desired[key(2)].drift is Drift.HEAL
        assert follow.status(7) is None, "its file is not invalid but gone"
        assert follow.log.words == ["document_invalid"]
        (root / "a.yaml").write_text(text(1, status="ongoing"))
        await follow.until(lambda: follow.status(1) is Status.ONGOING)
        await follow.settle()
        assert follow.removed == [key(2)]


def test_what_moved_out_of_a_file_that_is_invalid_at_the_start_belongs_to_where_it_is_now(root: Path):
    (root / "a.yaml").write_text(BROKEN)
    follow = Following(root)
    follow.follower.load([recorded(3, root / "a.yaml")])
    assert follow.file(3) == "b.yaml"
    assert follow.status(3) is Status.PAUSED


def test_what_cannot_be_seen_at_the_start_keeps_what_the_records_say(root: Path, tmp_path: Path):
    (root / "mounted").symlink_to(root / "not-there-yet")
    away = tmp_path / "away"
    records = [
        recorded(5, root / "mounted" / "c.yaml"),
        recorded(6, away / "d.yaml"),
        recorded(7, root / "gone.yaml"),
    ]
    follow = Following(root, away)
    follow.follower.load(records)
    assert (follow.status(5), follow.status(6)) == (Status.COMPLETED, Status.COMPLETED)
    assert follow.status(7) is None
    assert follow.follower.vanished == {str(away)}
    assert [line.values["path"] for line in follow.log.of("source_vanished")] == [str(away)]


async def test_what_could_not_be_seen_at_the_start_is_judged_when_it_is_there(root: Path, tmp_path: Path):
    away = tmp_path / "away"
    records = [recorded(5, away / "c.yaml"), recorded(6, away / "d.yaml")]
    async with following(root, away, records=records) as follow:
        away.mkdir()
        (away / "c.yaml").write_text(text(5, status="ongoing"))
        await follow.until(lambda: follow.status(5) is Status.ONGOING)
        await follow.doubts(away / "d.yaml")
        await follow.settle()
        assert follow.removed == [key(6)]
        assert follow.log.words == ["source_vanished", "source_back"]


async def test_a_link_that_leaves_the_folder_stays_refused(root: Path, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.yaml").write_text(text(8))
    (root / "out").symlink_to(tmp_path / "elsewhere")
    async with following(root, poll_seconds=0.1) as follow:
        await follow.caught_up()
        await follow.caught_up()
        assert set(follow.catalog.invalid) == {str(root / "out")}
        (root / "out").unlink()
        await follow.until(lambda: not follow.catalog.invalid)
        assert follow.status(8) is None


# What goes missing as a whole.


async def test_a_vanished_root_keeps_everything_and_says_so_once(root: Path, tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "z.yaml").write_text(text(9))
    async with following(other, root) as follow:
        move(root, tmp_path / "away")
        await follow.until(lambda: follow.log.of("source_vanished"))
        await follow.caught_up()
        follow.be_quiet()
        await follow.caught_up()
        assert follow.removed == []
        assert follow.follower.vanished == {str(root)}
        assert (follow.status(1), follow.status(3)) == (Status.PAUSED, Status.PAUSED)
        (tmp_path / "away" / "b.yaml").write_text(text(3, status="ongoing"))
        move(tmp_path / "away", root)
        await follow.until(lambda: follow.status(3) is Status.ONGOING)
        await follow.until(lambda: follow.log.of("source_back"))
        assert follow.log.words == ["source_vanished", "source_back"]
        assert follow.follower.vanished == frozenset()
        assert follow.removed == []


async def test_files_that_went_before_their_root_did_are_not_released(root: Path, tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "z.yaml").write_text(text(9))
    async with following(other, root) as follow:
        await follow.caught_up()
        (root / "a.yaml").unlink()
        (root / "b.yaml").unlink()
        await follow.doubts(root / "a.yaml", root / "b.yaml")
        shutil.rmtree(root)
        await follow.settle()
        await follow.caught_up()
        assert follow.removed == []
        assert (follow.status(1), follow.status(3)) == (Status.PAUSED, Status.PAUSED)
        make_folder(root).joinpath("a.yaml").write_text(text(1, 2))
        await follow.until(lambda: follow.log.of("source_back"))
        await follow.doubts(root / "b.yaml")
        await follow.settle()
        assert follow.removed == [key(3)], "the folder is back, and this file is not in it"


async def test_all_documents_gone_is_held_back_and_said_once(root: Path):
    async with following(root) as follow:
        await follow.until(lambda: follow.follower.files == 2)
        (root / "a.yaml").unlink()
        (root / "b.yaml").write_text("# nothing here\n")
        await follow.doubts(root / "a.yaml", root / "b.yaml")
        follow.be_quiet()
        await follow.until(lambda: follow.log)
        assert follow.log.words == ["limit_refused"]
        values = follow.log[0].values
        assert (values["rule"], values["count"], values["override"]) == ("empty", 3, "--allow-empty")
        assert follow.removed == []
        assert len(follow.catalog.desired) == 3


async def test_what_was_held_back_goes_once_there_are_documents_again(root: Path):
    async with following(root) as follow:
        (root / "a.yaml").unlink()
        (root / "b.yaml").unlink()
        await follow.doubts(root / "a.yaml", root / "b.yaml")
        follow.be_quiet()
        await follow.until(lambda: follow.log)
        (root / "c.yaml").write_text(text(7))
        await follow.until(lambda: follow.status(7))
        await follow.until(lambda: follow.removed)
        assert sorted(follow.removed) == [key(1), key(2), key(3)]
        assert set(follow.catalog.desired) == {key(7)}
        assert follow.log.words == ["limit_refused"]


async def test_what_was_held_back_stays_when_it_comes_back(root: Path):
    async with following(root) as follow:
        (root / "a.yaml").unlink()
        (root / "b.yaml").unlink()
        await follow.doubts(root / "a.yaml", root / "b.yaml")
        follow.be_quiet()
        await follow.until(lambda: follow.log)
        (root / "a.yaml").write_text(text(1, 2))
        (root / "b.yaml").write_text(text(3))
        await follow.caught_up()
        assert follow.removed == []
        assert len(follow.catalog.desired) == 4


async def test_all_documents_gone_is_taken_at_its_word_where_that_is_allowed(root: Path):
    async with following(root, allow_empty=True) as follow:
        (root / "a.yaml").unlink()
        (root / "b.yaml").unlink()
        await follow.doubts(root / "a.yaml", root / "b.yaml")
        await follow.settle()
        assert sorted(follow.removed) == [key(1), key(2), key(3)]


# Files as programs save them.


async def test_a_config_map_swap_is_one_change(tmp_path: Path):
    root = tmp_path / "mounted"
    for revision, status in (("..1", "paused"), ("..2", "completed")):
        (root / revision).mkdir(parents=True)
        (root / revision / "a.yaml").write_text(text(1, 2, status=status))
    (root / "..data").symlink_to("..1")
    (root / "a.yaml").symlink_to("..data/a.yaml")
    async with following(root) as follow:
        await follow.until(lambda: follow.follower.files == 1)
        (root / "..new").symlink_to("..2")
        (root / "..new").rename(root / "..data")
        shutil.rmtree(root / "..1")
        await follow.until(lambda: follow.status(1) is Status.COMPLETED)
        await follow.until(lambda: follow.changes)
        assert [change.changed for change in follow.changes] == [(key(1), key(2))]
        assert follow.log == []


async def test_what_editors_leave_beside_a_file_is_nothing(root: Path):
    async with following(root) as follow:
        for name in (".b.yaml.swp", "b.yaml~", "4913", "#b.yaml#", ".#b.yaml", "b.yaml.tmp", ".goutputstream-X1"):
            (root / name).write_text("not: [valid")
        (root / "b.yaml.new").write_text(text(3, status="completed"))
        (root / "b.yaml.new").rename(root / "b.yaml")
        await follow.until(lambda: follow.status(3) is Status.COMPLETED)
        for name in ("b.yaml~", ".b.yaml.swp", "4913"):
            (root / name).unlink()
        follow.be_quiet()
        await follow.caught_up()
        assert follow.log == []
        assert follow.removed == []
        assert follow.catalog.invalid == {}


async def test_a_file_that_is_no_regular_file_is_warned_of(root: Path, tmp_path: Path):
    os.mkfifo(root / "pipe.yaml")
    follow = Following(root)
    follow.follower.load([])
    assert [line.level for line in follow.log.of("source_warning")] == ["warning"]
    assert "pipe.yaml" in follow.log[0].values["detail"]


async def test_it_ends_when_it_is_told_to(root: Path):
    follow = Following(root)
    follow.follower.load([])
    stop = asyncio.Event()
    collecting = asyncio.create_task(follow.collect(stop))
    stop.set()
    async with asyncio.timeout(PATIENCE):
        await collecting


async def test_a_fault_of_the_watcher_is_not_hidden(root: Path, monkeypatch: pytest.MonkeyPatch):
    follow = Following(root)
    follow.follower.load([])

    def broken() -> None:
        raise RuntimeError("a fault of its own")

    monkeypatch.setattr(follow.follower._source, "walk", broken)
    with pytest.raises(RuntimeError, match="a fault of its own"):
        async with asyncio.timeout(PATIENCE):
            await follow.collect(asyncio.Event())


class Stepwise:
    """A source of commits: each names its files, and puts them in force when it is asked to go on."""

    quiet_seconds = 0.0

    def __init__(self, first: Mapping[str, str], *commits: Mapping[str, str]) -> None:
        self.now = dict(first)
        self.commits = commits
        self.read_by: list[set[str]] = []

    base = "/srv"

    def name_of(self, file: str, base: str) -> str | None:
        return file if base == self.base else None

    def walk(self) -> Tree:
        files = {file: stamp for file in self.now if (stamp := self.stamp(file))}
        return Tree(files=files, problems=(), warnings=(), vanished_roots=(), unseen=())

    def stamp(self, file: str) -> FileStamp | None:
        return FileStamp(1, 0, 0, hash(self.now[file]), 0, 1) if file in self.now else None

    def read(self, file: str) -> bytes:
        if self.read_by:
            self.read_by[-1].add(file)
        return self.now[file].encode()

    def revision_of(self, file: str) -> str | None:
        return file and None

    async def changes(
        self, stop: asyncio.Event, *, poll_seconds: float, warn: Callable[[str], None]
    ) -> AsyncGenerator[frozenset[str] | None, None]:
        assert not stop.is_set(), (poll_seconds, warn)
        for commit in self.commits:
            before, self.now = self.now, dict(commit)
            self.read_by.append(set())
            yield frozenset(file for file in commit if commit[file] != before[file])


async def test_a_source_moves_on_only_when_what_it_named_was_read_so_that_a_move_is_never_a_release() -> None:
    # The first commit touches the file that the second one moves its recording out of.
    one = {"a": text(1), "b": ""}
    source = Stepwise(one, {**one, "a": text(1, status="ongoing")}, {"a": "", "b": text(1)}, {"a": text(1), "b": ""})
    catalog = Catalog()
    follower = Follower(source, catalog, DocumentLimits(), monotonic=Time().monotonic, log=Lines(), allow_empty=True)
    follower.load([])
    found = [change async for change in follower.changes(asyncio.Event(), poll_seconds=3600)]
    assert source.read_by == [{"a"}, {"a", "b"}, {"a", "b"}]
    assert not any(change.removed for change in found)
    assert catalog.desired.keys() == {key(1)}


# What an invalid file costs the others.


HOSTILE = (
    "x: [" + ",".join(f"&a{number:06d} " for number in range(60_000)) + "]\n"
    "y: [" + ",".join(f"*b{number:06d}" for number in range(64)) + "]\n"
)


class Halting(Readings):
    """Explains nothing until it is told to."""

    def __init__(self, follower: Follower) -> None:
        super().__init__(follower._source, DocumentLimits())
        self.asked = threading.Event()
        self.go_on = threading.Event()

    def explain(self, refused: Refused, patience: Patience | None = None) -> FileDocuments:
        self.asked.set()
        assert self.go_on.wait(PATIENCE)
        return super().explain(refused, patience)


async def test_an_edit_is_in_force_while_a_hostile_file_is_being_explained(root: Path) -> None:
    async with following(root) as follow:
        readings = follow.follower._readings = Halting(follow.follower)
        (root / "hostile.yaml").write_text(HOSTILE)
        await follow.doubts(root / "hostile.yaml")
        follow.be_quiet()
        await follow.until(readings.asked.is_set)
        (root / "b.yaml").write_text(text(3, status="ongoing"))
        await follow.until(lambda: follow.status(3) is Status.ONGOING)
        assert follow.catalog.invalid == {}
        readings.go_on.set()
        await follow.until(lambda: follow.catalog.invalid)


async def test_the_same_invalid_bytes_are_parsed_and_explained_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []

    def counted(data: bytes, file: str, limits: DocumentLimits) -> FileDocuments | Refused:
        parsed.append(Path(file).name)
        return parse_quickly(data, file, limits)

    monkeypatch.setattr("reconciler.desired.readings.parse_quickly", counted)
    async with following(root) as follow:
        broken = root / "broken.yaml"
        broken.write_text(BROKEN)
        await follow.doubts(broken)
        await follow.settle()
        (problems,) = follow.catalog.invalid.values()
        assert "pausd" in problems[0].message
        for _ in range(3):
            broken.touch()
            await follow.caught_up()
            await follow.settle()
        assert parsed.count("broken.yaml") == 1
        assert list(follow.catalog.invalid.values()) == [problems]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO])
async def test_what_the_system_cannot_read_is_not_invalid_and_is_read_soon(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    failing = True
    opened = os.open

    def scarce(path: str, *arguments: object, **named: object) -> int:
        if failing and str(path).endswith("b.yaml"):
            raise OSError(number, os.strerror(number), path)
        return opened(path, *arguments, **named)  # type: ignore[arg-type]

    async with following(root) as follow:
        await follow.caught_up()
        monkeypatch.setattr(os, "open", scarce)
        (root / "b.yaml").write_text(text(3, status="ongoing"))
        await follow.until(lambda: "source_unreadable" in follow.log.words)
        assert follow.catalog.invalid == {}
        assert follow.status(3) is Status.PAUSED
        follow.time.pass_by(1.5)
        follow.follower._settling.look()
        await follow.until(lambda: follow.follower._settling._faulty)
        assert follow.log.words.count("source_unreadable") == 1
        failing = False
        follow.time.pass_by(1.5)
        follow.follower._settling.look()
        await follow.until(lambda: follow.status(3) is Status.ONGOING)
        follow.time.pass_by(5)
        follow.follower._settling.look()
        await follow.until(lambda: "source_readable" in follow.log.words)
        assert "document_invalid" not in follow.log.words


class Slow(Readings):
    """Reads huge files only when it is told to."""

    def __init__(self, follower: Follower) -> None:
        super().__init__(follower._source, DocumentLimits())
        self.asked = threading.Event()
        self.go_on = threading.Event()

    def read_now(self, files: Iterable[str], refused: Mapping[str, Problem]) -> list[Reading]:
        found = super().read_now(files, refused)
        if any(file.endswith("huge.yaml") for file in files):
            self.asked.set()
            assert self.go_on.wait(PATIENCE)
        return found


def huge(*numbers: int, status: str = "paused") -> str:
    return text(*numbers, status=status) + "#" * 600_000


async def test_an_edit_is_in_force_while_a_huge_file_is_being_read_and_what_moves_into_that_stays(root: Path):
    async with following(root) as follow:
        readings = follow.follower._readings = Slow(follow.follower)
        (root / "huge.yaml").write_text(huge(2))
        await follow.until(readings.asked.is_set)
        (root / "a.yaml").write_text(text(1, status="completed"))
        await follow.until(lambda: follow.status(1) is Status.COMPLETED)
        # It was taken out of its file, and is in one that nobody has taken in yet.
        follow.be_quiet()
        await follow.caught_up()
        assert follow.status(2) is Status.PAUSED
        readings.go_on.set()
        await follow.until(lambda: not follow.follower._huge.pending)
        follow.be_quiet()
        await follow.until(lambda: follow.file(2) == "huge.yaml")
        assert follow.removed == []


async def test_what_was_read_of_a_huge_file_first_never_comes_in_last(root: Path):
    async with following(root) as follow:
        readings = follow.follower._readings = Slow(follow.follower)
        (root / "huge.yaml").write_text(huge(5))
        await follow.until(readings.asked.is_set)
        (root / "huge.yaml").write_text(text(5, status="ongoing"))
        await follow.caught_up()
        readings.go_on.set()
        await follow.until(lambda: follow.status(5) is Status.ONGOING)
        await follow.until(lambda: not follow.follower._huge.pending)
        assert follow.status(5) is Status.ONGOING
