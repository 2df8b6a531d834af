"""The index against real files: whatever it holds, nobody can tell from an answer that it is there.

Aspects: the same answer after any edits; any damage is as good as no index; files that may have changed within the
grain of their times; who may have written it; several processes at once; what it costs to read and when it is written;
an offline plan that counts what is in sync against one that lists it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.desired import load
from reconciler.desired.catalog import Catalog
from reconciler.desired.documents.conflicts import FileDocuments
from reconciler.desired.documents.limits import DEFAULT_LIMITS, DocumentLimits
from reconciler.desired.follow import Follower
from reconciler.desired.index import file as index_file
from reconciler.desired.index.columns import Columns
from reconciler.desired.index.file import Index
from reconciler.desired.load import Loaded, load_documents
from reconciler.desired.sources.folder import Source
from reconciler.model.documents import Desired, Problem, Suspend
from reconciler.model.keys import key_of_line, status_line
from reconciler.model.records import Record
from reconciler.model.statuses import Drift, Phase, Status
from reconciler.plan.data import as_json
from reconciler.plan.limits import Limits
from reconciler.plan.outline import make_outline
from reconciler.plan.plan import make_plan
from reconciler.report.text import as_text, outline_as_text, plain
from reconciler.state.opening import open_store, open_writer
from reconciler.telemetry.logs import make_log
from tests.world.documents import document as yaml_document
from tests.world.ids import CALL
from tests.world.mistakes import ITEM, MISTAKES
from tests.world.nouns import NOW, document, key, record


class Counting(Source):
    """A source that knows what was read of it."""

    def __init__(self, *paths: Path) -> None:
        super().__init__(paths, max_file_bytes=DEFAULT_LIMITS.max_file_bytes)
        self.was_read: list[str] = []

    def read(self, file: str) -> bytes | Problem:
        self.was_read.append(Path(file).name)
        return super().read(file)


def item(number: int, status: str = "paused", extra: str = "") -> str:
    recording = f"{number:08d}-0000-4000-8000-000000000000"
    return yaml_document(status, name=f"card-{number}", recording=recording) + extra


def index_of(folder: Path, tree: Path, limits: DocumentLimits = DEFAULT_LIMITS) -> Index:
    return Index(folder, [str(tree)], limits)


def loaded(tree: Path, index: Index | None = None) -> tuple[Loaded, list[str]]:
    """Load a tree; return also the files that were read for it."""
    source = Counting(tree)
    return load_documents(source, DEFAULT_LIMITS, index), source.was_read


def answer(found: Loaded) -> tuple[object, ...]:
    """All that anybody is told."""
    return (
        found.desired,
        list(map(str, found.problems)),
        found.problems,
        found.warnings,
        found.files,
        len(found.columns),
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    return folder


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have small trees indexed too."""
    monkeypatch.setattr(load, "LEAST_BYTES", 0)


@pytest.fixture
def trusting(eager: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each file count as settled when it is read: for tests in which none changes between two ticks."""
    monkeypatch.setattr(load, "CONCLUSIVE_NS", -(10**18))


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


# The same answer.


CONTENTS = [
    item(1, "paused"),
    item(1, "ongoing").replace("ongoing", "ongoing"),
    item(2, "paused"),
    item(2, "completed"),
    item(1) + "---\n" + item(2),
    item(3, extra="  drift: heal\n  suspend: {reason: 'a reason', until: 2026-12-01T00:00:00.000001Z}\n"),
    item(3).replace("name: card-3", "name: card-3\n  labels: {team: billing}\n  annotations: {why: 'line\\nbreak'}"),
    yaml_document(name="card-4").replace("CallRecording", "CallRecordingSet").partition("  callId")[0]
    + f"  recordings:\n    - {{name: a, {ITEM}}}\n"
    + f"    - {{name: b, callId: {CALL}, recordingId: {CALL}, status: ongoing}}\n",
    "",
    "# nothing\n",
    item(1, "pausd"),
    "apiVersion: [",
    item(1).replace("card-1", "card-2"),
]
NAMES = ["a.yaml", "b.yaml", "c.yml", "d/e.yaml", "d/f.yaml", "g"]
EDITS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(NAMES), st.sampled_from(CONTENTS)),
    st.tuples(st.just("write over"), st.sampled_from(NAMES), st.sampled_from(CONTENTS)),
    st.tuples(st.just("write back in time"), st.sampled_from(NAMES), st.sampled_from(CONTENTS)),
    st.tuples(st.just("touch"), st.sampled_from(NAMES), st.integers(0, 2)),
    st.tuples(st.just("rename"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    st.tuples(st.just("delete"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("link"), st.sampled_from(NAMES), st.sampled_from([*NAMES, "../outside.yaml", "nowhere"])),
    st.tuples(st.just("let time pass"), st.none(), st.none()),
)
#: More than the grain of this machine's file times, and as long as two of their ticks at a hundred a second.
GRAIN_NS = 20_000_000


def edit(root: Path, what: str, first: Any, second: Any) -> None:
    if what == "let time pass":
        time.sleep(1.5 * GRAIN_NS / 1e9)  # that files can become settled is what the tests are about
        return
    path = root / first
    try:
        match what:
            case "write":
                part = path.with_name(".part")
                part.write_text(second)
                part.replace(path)
            case "write over":
                path.write_text(second)
            case "write back in time":
                before = path.stat()
                path.write_text(second)
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            case "touch":
                os.utime(path, ns=(second, second))
            case "rename":
                path.replace(root / second)
            case "delete":
                path.unlink()
            case "link":
                path.unlink(missing_ok=True)
                path.symlink_to(os.path.relpath(root / second, path.parent))
    except (FileNotFoundError, IsADirectoryError, OSError):
        pass  # no such file yet, a link that goes round in circles: no edit at all


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(EDITS, st.booleans()), min_size=1, max_size=25))
@pytest.mark.usefixtures("eager")
def test_after_any_edits_the_answer_is_that_of_no_index(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, edits: list[tuple[Any, bool]]
) -> None:
    monkeypatch.setattr(load, "CONCLUSIVE_NS", GRAIN_NS)
    folder = tmp_path_factory.mktemp("edits")
    root = folder / "tree"
    (root / "d").mkdir(parents=True)
    write(folder, outside=item(9))
    for name, content in zip(NAMES, CONTENTS[:1] + CONTENTS[2:3] + CONTENTS[5:7], strict=False):
        (root / name).write_text(content)
    index = index_of(folder / "state", root)
    for (what, first, second), look in edits:
        edit(root, what, first, second)
        if look:
            assert answer(loaded(root, index)[0]) == answer(loaded(root)[0])
    assert answer(loaded(root, index)[0]) == answer(loaded(root)[0])
    shutil.rmtree(folder)


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_told_in_the_same_words(tree: Path, tmp_path: Path, case: str) -> None:
    content, _, _ = MISTAKES[case]
    write(tree, good=item(9), other=item(8))
    index = index_of(tmp_path / "state", tree)
    loaded(tree, index)
    (tree / "one.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    without = answer(loaded(tree)[0])
    assert without[1]
    for read in (["one.yaml"], ["one.yaml"], ["one.yaml"]):
        found, was_read = loaded(tree, index)
        assert answer(found) == without
        # Two that are valid by themselves and at odds with one another are known after the first time.
        assert was_read in (read, [])


@pytest.mark.usefixtures("trusting")
def test_a_conflict_between_files_that_are_both_known_is_told(tree: Path, tmp_path: Path) -> None:
    write(tree, a=item(1), b=item(2), c=item(1).replace("card-1", "card-3"), d=item(4).replace("card-4", "card-2"))
    index = index_of(tmp_path / "state", tree)
    first, second = loaded(tree, index), loaded(tree, index)
    assert second[1] == []
    assert answer(first[0]) == answer(second[0]) == answer(loaded(tree)[0])
    assert [problem.rule for problem in second[0].problems] == ["duplicate-recording", "duplicate-name"]
    write(tree, d=item(5))
    (tree / "c.yaml").unlink()
    assert loaded(tree, index)[0].problems == ()


@pytest.mark.usefixtures("trusting")
def test_a_file_with_labels_is_served_from_the_index_and_old_labels_are_not_carried_on(
    tree: Path, tmp_path: Path
) -> None:
    def labelled(number: int, team: str) -> str:
        return item(number).replace(f"name: card-{number}", f"name: card-{number}\n  labels: {{team: {team}}}")

    index = index_of(tmp_path / "state", tree)
    write(tree, a=labelled(1, "billing"), b=labelled(2, "billing"), c=item(3))
    for team, read in (("billing", ["a.yaml", "b.yaml", "c.yaml"]), ("sales", ["a.yaml"]), ("support", ["a.yaml"])):
        write(tree, a=labelled(1, team))
        found, was_read = loaded(tree, index)
        assert was_read == read
        teams = (("team", team),), (("team", "billing"),), ()
        assert tuple(desired.labels for desired in found.desired) == teams
        served, was_read = loaded(tree, index)
        assert was_read == []
        assert served.desired == found.desired
        assert len(served.columns.label_sets) == len(set(teams))


# Damage.


@pytest.fixture
def kept(tree: Path, tmp_path: Path, trusting: None) -> Path:
    """The index of a small tree that has some of everything."""
    for number, content in enumerate([CONTENTS[0], CONTENTS[2], CONTENTS[6], CONTENTS[7]]):
        (tree / f"{number}.yaml").write_text(content)
    loaded(tree, index_of(tmp_path / "state", tree))
    (found,) = (tmp_path / "state").glob("documents-*.index")
    return found


def put_back(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(0o400)


def test_any_wrong_byte_is_as_good_as_no_index(tree: Path, kept: Path) -> None:
    whole = kept.read_bytes()
    index = index_of(kept.parent, tree)
    assert index.read() is not None
    for at in range(len(whole)):
        kept.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        assert index.read() is None, at


def test_an_index_that_is_cut_short_or_grew_is_as_good_as_none(tree: Path, kept: Path) -> None:
    whole = kept.read_bytes()
    index = index_of(kept.parent, tree)
    for length in range(len(whole)):
        kept.write_bytes(whole[:length])
        assert index.read() is None, length
    for more in (b"\0", whole):
        kept.write_bytes(whole + more)
        assert index.read() is None


@pytest.mark.parametrize("at", range(0, 1000, 50))
def test_a_damaged_index_is_made_anew(tree: Path, kept: Path, at: int) -> None:
    whole = kept.read_bytes()
    kept.write_bytes(whole[:at] + b"\0DAMAGE" + whole[at + 7 :])
    found, was_read = loaded(tree, index_of(kept.parent, tree))
    assert answer(found) == answer(loaded(tree)[0])
    assert len(was_read) == 4
    assert loaded(tree, index_of(kept.parent, tree))[1] == []


@pytest.mark.parametrize("part", range(15))
def test_columns_that_do_not_fit_one_another_raise_nothing(tree: Path, kept: Path, part: int) -> None:
    """As a program with a fault might write them: the digest is right, and what it covers is not."""
    index = index_of(kept.parent, tree)
    held = index.read()
    assert held is not None
    parts = index_file._encode(held.columns, [None] * len(held.columns.files), held.digests, index._key())[3:]
    whole = parts[part]
    for content in (b"", b"x", whole[:-1], whole + b"\n[]", b"[[99, 9]]", b"\xff" * len(whole), b"[" * 100_000):
        parts[part] = content
        body = struct.pack("<15Q", *map(len, parts)) + b"".join(parts)
        put_back(kept, index_file._MAGIC + hashlib.sha256(body).digest() + body)
        assert loaded(tree, index_of(kept.parent, tree))[0].files == 4


def other_limits(_kept: Path, tree: Path) -> Index:
    return index_of(_kept.parent, tree, DocumentLimits(max_depth=31))


def group_readable(kept: Path, tree: Path) -> Index:
    kept.chmod(0o640)
    return index_of(kept.parent, tree)


def checked_out(kept: Path, tree: Path) -> Index:
    kept.chmod(0o600)  # as Git does under a umask of 077, and with the checkout's own bytes
    return index_of(kept.parent, tree)


def a_link(kept: Path, tree: Path) -> Index:
    kept.rename(kept.with_name("elsewhere"))
    kept.symlink_to("elsewhere")
    return index_of(kept.parent, tree)


def a_folder(kept: Path, tree: Path) -> Index:
    kept.unlink()
    kept.mkdir()
    return index_of(kept.parent, tree)


def a_pipe(kept: Path, tree: Path) -> Index:
    kept.unlink()
    os.mkfifo(kept, 0o600)
    return index_of(kept.parent, tree)


@pytest.mark.parametrize("make", [other_limits, group_readable, checked_out, a_link, a_folder, a_pipe])
def test_what_this_program_did_not_write_so_is_not_believed(
    tree: Path, kept: Path, make: Callable[[Path, Path], Index]
) -> None:
    index = make(kept, tree)
    assert index.read() is None
    found, was_read = loaded(tree, index)
    assert answer(found) == answer(loaded(tree)[0])
    assert len(was_read) == 4


def test_an_index_of_another_owner_is_not_believed(tree: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: kept.stat().st_uid + 1)
    assert index_of(kept.parent, tree).read() is None


def test_an_index_of_another_program_is_made_anew(tree: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_file, "__version__", "0.0.0")
    assert index_of(kept.parent, tree).read() is None
    assert len(loaded(tree, index_of(kept.parent, tree))[1]) == 4
    assert loaded(tree, index_of(kept.parent, tree))[1] == []


def test_where_it_cannot_be_written_it_is_done_without(tree: Path, tmp_path: Path, trusting: None) -> None:
    write(tree, a=item(1))
    (tmp_path / "file").write_text("no folder")
    for folder in (tmp_path / "file", tmp_path / "file/deeper", Path("/proc/none")):
        found, was_read = loaded(tree, index_of(folder, tree))
        assert (len(found.columns), was_read) == (1, ["a.yaml"])


# What may have changed within the grain of its times.


@pytest.mark.usefixtures("eager")
def test_a_file_that_changed_just_before_it_was_read_is_read_again(tree: Path, tmp_path: Path) -> None:
    write(tree, a=item(1), b=item(2))
    index = index_of(tmp_path / "state", tree)
    for _ in range(2):
        assert loaded(tree, index)[1] == ["a.yaml", "b.yaml"]


@pytest.mark.usefixtures("trusting")
def test_bytes_that_are_known_are_not_parsed_again(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tree, a=item(1), b=item(2))
    index = index_of(tmp_path / "state", tree)
    expected = answer(loaded(tree, index)[0])
    for file in tree.iterdir():
        os.utime(file, ns=(1, 1))
    parsed: list[str] = []
    monkeypatch.setattr(load, "parse_documents", lambda _data, file, _limits: parsed.append(file))
    found, was_read = loaded(tree, index)
    assert (answer(found), was_read, parsed) == (expected, ["a.yaml", "b.yaml"], [])
    assert loaded(tree, index)[1] == []


# What it costs.


@pytest.mark.usefixtures("trusting")
def test_only_what_changed_is_read(tree: Path, tmp_path: Path) -> None:
    for number in range(100):
        (tree / f"{number:02}.yaml").write_text(item(number))
    index = index_of(tmp_path / "state", tree)
    assert len(loaded(tree, index)[1]) == 100
    assert loaded(tree, index)[1] == []
    (path,) = (tmp_path / "state").glob("*.index")
    written = path.stat().st_ino
    write(tree, **{"42": item(42, "ongoing"), "more": item(100)})
    (tree / "07.yaml").unlink()
    for _ in range(2):
        found, was_read = loaded(tree, index)
        assert was_read == ["42.yaml", "more.yaml"]
        assert answer(found) == answer(loaded(tree)[0])
        assert path.stat().st_ino == written, "for two files of a hundred it is not worth writing"
    for number in range(10, 20):
        (tree / f"{number}.yaml").write_text(item(number, "ongoing"))
    assert len(loaded(tree, index)[1]) == 12
    assert loaded(tree, index)[1] == []
    assert path.stat().st_ino != written


def test_a_small_tree_gets_no_index(tree: Path, tmp_path: Path) -> None:
    write(tree, a=item(1), b=item(2))
    loaded(tree, index_of(tmp_path / "state", tree))
    assert not (tmp_path / "state").exists()


@pytest.mark.usefixtures("trusting")
def test_it_is_its_owners_alone_and_hides_itself_from_git(tree: Path, tmp_path: Path) -> None:
    write(tree, a=item(1))
    state = tmp_path / "deep/state"
    before = os.umask(0)
    try:
        loaded(tree, index_of(state, tree))
    finally:
        os.umask(before)
    (path,) = state.glob("documents-*")
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(state.stat().st_mode)) == (0o400, 0o700)
    assert (state / ".gitignore").read_text() == "*\n"


@pytest.mark.usefixtures("trusting")
def test_a_folder_that_is_there_already_is_left_as_it_is(tree: Path, tmp_path: Path) -> None:
    write(tree, a=item(1))
    (tmp_path / "state").mkdir(mode=0o755)
    loaded(tree, index_of(tmp_path / "state", tree))
    assert [path.suffix for path in (tmp_path / "state").iterdir()] == [".index"]


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize(
    "notes",
    [
        "annotations: {caller: '+31 6 1234 5678'}",
        "labels: {'0031612345678': x}",
        "annotations: {where: 'https://user:password@example.com/x'}",
        "annotations: {key: AccessKey abcdefgh}",
    ],
)
def test_what_is_nowhere_to_be_kept_is_not_in_it_and_costs_no_second_read(
    tree: Path, tmp_path: Path, notes: str
) -> None:
    suspend = "  suspend: {reason: 'asked by 0031612345678', until: 2099-12-01T00:00:00Z}\n"
    write(tree, a=item(1).replace("name: card-1", f"name: card-1\n  {notes}") + suspend, b=item(2))
    index = index_of(tmp_path / "state", tree)
    for read in (["a.yaml", "b.yaml"], []):
        found, was_read = loaded(tree, index)
        assert was_read == read
        assert answer(found) == answer(loaded(tree)[0])
        (path,) = (tmp_path / "state").glob("documents-*")
        kept = path.read_bytes()
        assert b"asked by" in kept
        assert not any(word in kept for word in (b"5678", b"password", b"abcdefgh"))


@pytest.mark.usefixtures("trusting")
def test_indexes_of_paths_that_nobody_gives_any_more_go(tmp_path: Path) -> None:
    state = tmp_path / "state"
    for number in range(20):
        folder = tmp_path / f"tree-{number}"
        folder.mkdir()
        write(folder, a=item(number))
        loaded(folder, index_of(state, folder))
    assert len(list(state.glob("documents-*.index"))) == 8
    abandoned = state / ".documents-0.index.left"
    abandoned.touch()
    os.utime(abandoned, (0, 0))
    write(folder, a=item(99))
    loaded(folder, index_of(state, folder))
    assert [path for path in state.iterdir() if path.name.startswith(".documents")] == []


@pytest.mark.usefixtures("trusting")
def test_the_daemon_begins_with_what_the_index_knows(tree: Path, tmp_path: Path) -> None:
    for number, content in enumerate([*CONTENTS[4:8], "broken: ["]):
        (tree / f"{number}.yaml").write_text(content.replace("card-", f"card-{number}-"))
    log = make_log("json", "error", run_id="x", color=False, secrets=list)

    def begun(index: Index | None) -> tuple[dict[Any, Desired], dict[str, tuple[Problem, ...]], int]:
        source, catalog = Counting(tree), Catalog()
        follower = Follower(source, catalog, DEFAULT_LIMITS, monotonic=time.monotonic, log=log, allow_empty=False)
        follower.load([], index)
        return dict(catalog.desired), dict(catalog.invalid), len(set(source.was_read))

    index = index_of(tmp_path / "state", tree)
    without = begun(None)
    assert without[:2] == begun(index)[:2] == begun(index)[:2]
    assert (without[2], begun(index)[2]) == (5, 1)


# Several processes.


def test_processes_at_once_neither_disturb_nor_mislead_one_another(tmp_path: Path) -> None:
    folder = tmp_path / "desired_state"
    folder.mkdir()
    for number in range(400):
        (folder / f"{number:03}.yaml").write_text(item(number))
    command = [sys.executable, "-m", "reconciler", "plan", "--no-refresh"]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    for round_ in range(4):
        for number in range(round_, 400, 9):
            (folder / f"{number:03}.yaml").write_text(item(number, ["ongoing", "completed", "paused"][round_ % 3]))
        running = [
            subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=-1, stderr=-1, text=True) for _ in range(4)
        ]
        told = {process.communicate(timeout=120) for process in running}
        shutil.rmtree(tmp_path / ".reconciler", ignore_errors=round_ % 2 == 0)
        alone = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        assert told == {(alone.stdout, alone.stderr)}
        assert len(list((tmp_path / ".reconciler").iterdir())) == 2


# Columns and the offline plan.


DESIRED = st.builds(
    lambda number, status, suspended, line: document(
        number, status, line=line, suspend=Suspend("x", NOW + timedelta(days=suspended)) if suspended else None
    ),
    st.integers(1, 12),
    st.sampled_from([status.value for status in Status]),
    st.sampled_from([0, 0, 0, -1, 1]),
    st.integers(1, 9),
)
RECORDS = st.builds(
    lambda number, status, last, sent, file: record(
        number,
        status,
        file=file,
        phase=Phase.APPLIED,
        last_applied=last,
        sent=sent,
        sent_at=sent and NOW,
        confirm_by=sent and NOW + timedelta(seconds=9),
    ),
    st.integers(1, 14),
    st.sampled_from([status.value for status in Status]),
    st.sampled_from([None, *Status]),
    st.sampled_from([None, None, *Status]),
    st.sampled_from(["desired_state/cards.yaml", "/etc/passwd"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(DESIRED, max_size=12, unique_by=lambda each: each.key),
    st.lists(RECORDS, max_size=14, unique_by=lambda each: each.key),
    st.sampled_from([0, 1000]),
)
def test_a_plan_that_counts_what_is_in_sync_says_what_one_that_lists_it_says(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    desired: list[Desired],
    records: list[Record],
    singly: int,
) -> None:
    monkeypatch.setattr("reconciler.state.sqlite.reader._SINGLY", singly)
    url = f"sqlite:///{tmp_path_factory.mktemp('plan')}/state.db"
    with open_writer(url, holder="test") as writer:
        for each in records:
            writer.save(each)
    columns = Columns.of(FileDocuments(each.file, (each,), ()) for each in desired)
    with open_store(url) as store:
        everything = {each.key: each for each in store.all()}
        holding, others = store.apart_from(columns.unsuspended())
    assert {key_of_line(line) for line in holding} | {each.key for each in others} == everything.keys()
    assert len(holding) + len(others) == len(everything)
    limits = Limits(max_change_percent=20, min_managed=3, max_irreversible=2)
    whole = make_plan(desired, everything, None, now=NOW, limits=limits)
    counted = make_plan(
        columns.desired(without=holding),
        {each.key: each for each in others},
        None,
        now=NOW,
        limits=limits,
        in_sync=len(holding),
    )
    assert as_text(counted) == as_text(whole)
    assert as_json(counted) == as_json(whole)
    assert (counted.summary, counted.withheld, counted.digest) == (
        whole.summary,
        whole.withheld,
        whole.digest,
    )


@settings(max_examples=150, deadline=None)
@given(
    st.lists(DESIRED, max_size=12, unique_by=lambda each: each.key),
    st.lists(st.integers(1, 12), unique=True),
    st.lists(st.sampled_from(list(Drift)), min_size=12, max_size=12),
    st.lists(st.sampled_from(["a", "b", "a b", "Z-long", "\u202ea", "\u00e9/x"]), min_size=12, max_size=12),
    st.sampled_from(["f.yaml", "\u2028.yaml", "deep/\u200f.yaml"]),
    st.booleans(),
    st.sampled_from([0, 2, 25, None]),
    st.sampled_from([plain, lambda text, role: f"<{role}>{text}</>"]),
)
def test_an_outline_reads_as_the_plan_that_has_every_action(
    desired: list[Desired],
    held: list[int],
    drifts: list[Drift],
    names: list[str],
    file: str,
    one_file: bool,
    most: int | None,
    paint: Any,
) -> None:
    desired = [
        each._replace(name=f"{name}-{at % 5}-{at}", drift=drift, file=file if one_file else f"{at:02}-{file}")
        for at, (each, name, drift) in enumerate(zip(desired, names, drifts, strict=False))
    ]
    if one_file:
        columns = Columns.of([FileDocuments(file, tuple(desired), ())])
    else:
        columns = Columns.of(FileDocuments(each.file, (each,), ()) for each in desired)
    applied = {
        each.key: record(1, each.status, last_applied=each.status, phase=Phase.APPLIED)
        for each in desired
        if each.suspend is None and any(each.key == key(number) for number in held)
    }
    in_sync = {status_line(each.key, each.status) for each in desired if each.key in applied}
    limits = Limits(max_irreversible=most, max_change_percent=20, min_managed=1)
    whole = make_plan(desired, applied, None, now=NOW, limits=limits, revision="abc")
    outline = make_outline(columns, in_sync, now=NOW, limits=limits, revision="abc")
    assert (outline is None) == any(each.suspend is not None for each in desired)
    if outline is not None:
        assert outline_as_text(outline, paint=paint) == as_text(whole, paint=paint)
        assert outline.sample.summary == whole.summary
        assert outline.sample.refusals == whole.refusals
        assert len(outline.sample.actions) <= len(Status) * len(Drift)


@pytest.mark.parametrize("options", [(), ("--detailed-exitcode",), ("--override-limits",), ("--max-irreversible", "3")])
def test_the_command_says_the_same_when_it_has_to_make_every_action(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Another report beside the text takes the long way."""
    folder = tmp_path / "desired_state"
    folder.mkdir()
    for number in range(60):
        (folder / f"{99 - number}.yaml").write_text(item(number, ["completed", "ongoing", "paused"][number % 3]))
    command = [sys.executable, "-m", "reconciler", "plan", "--no-refresh", *options]
    ways = [("--report", "text"), ("--report", "text", "--report", "json=plan.json"), ("--report", "text", "--all")]
    said = {
        (done.stdout, done.stderr, done.returncode)
        for way in ways
        for done in [subprocess.run([*command, *way], cwd=tmp_path, capture_output=True, text=True, check=False)]
    }
    assert len(said) == 1
    assert "Plan: 60 to patch" in said.pop()[0]


def test_a_line_names_its_recording_and_status() -> None:
    line = status_line(key(7), Status.PAUSED)
    assert key_of_line(line) == key(7)
    assert line.endswith(" paused")
