"""The state store on real files: what is kept, what is refused, and what it says of a file or disk at fault."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.model.documents import Revision, Suspend
from reconciler.model.errors import StoreError
from reconciler.model.keys import RecordingKey
from reconciler.model.records import Event, Record
from reconciler.model.statuses import Drift, Phase, Status
from reconciler.settings.place import state_folder
from reconciler.state import rows
from reconciler.state.base import Standing, Store, Writer
from reconciler.state.opening import open_store, open_writer
from reconciler.state.receipts import Receipt
from reconciler.state.sqlite import connection as files
from reconciler.state.sqlite import schema, statements
from tests.world.old_layouts import key, old_layout, url_of

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)


def record(number: int, **changes: object) -> Record:
    made = Record(key(number), f"card-{number}", "desired_state/cards.yaml", number, Status.PAUSED)
    return made._replace(**changes)  # type: ignore[arg-type]  # the tests name fields by word


def event(number: int, word: str = "applied", **changes: object) -> Event:
    made = Event(NOW + timedelta(seconds=number), word, key(number), f"card-{number}")
    return made._replace(**changes)  # type: ignore[arg-type]  # the tests name fields by word


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "state.db"


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    with open_writer(url_of(path), holder="test") as opened:
        yield opened


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with open_store(url_of(path)) as opened:
        yield opened


@contextmanager
def write_locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold SQLite's own write lock, as a backup or a shell would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


# What is kept

moments = st.datetimes(
    min_value=datetime(1, 1, 3),  # noqa: DTZ001 (the strategy adds the zone)
    max_value=datetime(9999, 12, 29),  # noqa: DTZ001 (the strategy adds the zone)
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-9))]),
)
texts = st.text(max_size=40)
counts = st.integers(0, 2**63 - 1)
keys = st.builds(RecordingKey, *[st.uuids().map(str)] * 4)
maybe_moment = st.none() | moments
maybe_status = st.none() | st.sampled_from(Status)
records = st.builds(
    Record,
    key=keys,
    name=texts,
    file=texts,
    line=counts,
    desired=st.sampled_from(Status),
    drift=st.sampled_from(Drift),
    suspend=st.none() | st.builds(Suspend, texts, moments),
    phase=st.sampled_from(Phase),
    last_applied=maybe_status,
    applied_at=maybe_moment,
    sent=maybe_status,
    sent_at=maybe_moment,
    accepted_at=maybe_moment,
    confirm_by=maybe_moment,
    live=st.none() | texts,
    observed_at=maybe_moment,
    rejected=maybe_status,
    rejected_live=st.none() | texts,
    attempts=counts,
    due_at=maybe_moment,
    error=texts,
    revision=st.none() | texts,
    base=texts,
    labels=st.dictionaries(texts, texts, max_size=3).map(lambda labels: tuple(sorted(labels.items()))),
    reason=texts,
    phase_since=maybe_moment,
    unmet_since=maybe_moment,
    missing_since=maybe_moment,
    first_sent_at=maybe_moment,
)
events = st.builds(
    Event,
    at=moments,
    event=texts,
    key=keys,
    name=texts,
    cause=texts,
    revision=st.none() | texts,
    from_status=st.none() | texts,
    to_status=st.none() | texts,
    requested_at=maybe_moment,
    request_ms=st.none() | st.floats(allow_nan=False),
    answer=st.none() | texts,
    outcome=st.none() | texts,
    irreversible=st.booleans(),
    resumes_foreign=st.booleans(),
    run_id=texts,
    detail=texts,
    reason=texts,
    by_kind=texts,
    by_text=texts,
    last_seen=st.none() | texts,
    last_seen_at=maybe_moment,
)
on_one_file = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


@on_one_file
@given(records)
def test_a_record_comes_back_as_it_was_saved(writer: Writer, store: Store, saved: Record) -> None:
    writer.save(saved).result()
    assert store.get(saved.key) == saved


@on_one_file
@given(records)
def test_how_a_record_stands_is_what_the_whole_record_says(writer: Writer, store: Store, saved: Record) -> None:
    writer.save(saved).result()
    assert list(store.standings()) == [
        Standing(
            *(each.key, each.file, each.base, each.phase, each.desired, each.last_applied, each.sent, each.reason),
            # Of what is in sync nobody asks since when.
            None if each.phase is Phase.APPLIED else each.phase_since or each.observed_at,
            each.unmet_since,
        )
        for each in store.all()
    ]


@on_one_file
@given(events)
def test_an_event_comes_back_as_it_was_appended(writer: Writer, store: Store, appended: Event) -> None:
    writer.append(appended).result()
    assert store.history(limit=1) == [appended]


@pytest.mark.parametrize(
    ("table", "noun", "split"),
    [
        ("recordings", Record, {"key": RecordingKey._fields, "suspend": ("suspend_reason", "suspend_until")}),
        ("history", Event, {"key": RecordingKey._fields}),
    ],
    ids=["recordings", "history"],
)
@pytest.mark.usefixtures("writer")
def test_every_field_has_its_column_in_order(
    path: Path, table: str, noun: type[Record | Event], split: dict[str, tuple[str, ...]]
) -> None:
    with closing(sqlite3.connect(path)) as other:
        columns = [name for (name,) in other.execute("SELECT name FROM pragma_table_info(?)", (table,)) if name != "id"]
    assert columns == [column for field in noun._fields for column in split.get(field, (field,))]


@on_one_file
@given(st.lists(st.tuples(st.integers(0, 4), st.none() | maybe_status.map(lambda status: (status,))), max_size=12))
def test_reads_tell_what_a_dictionary_would(
    writer: Writer, store: Store, steps: list[tuple[int, tuple[Status | None] | None]]
) -> None:
    for number in range(5):
        writer.release(key(number))
    kept: dict[RecordingKey, Record] = {}
    receipts = []
    for line, (number, saved) in enumerate(steps):
        if saved is None:
            kept.pop(key(number), None)
            receipts.append(writer.release(key(number)))
        else:
            kept[key(number)] = record(number, last_applied=saved[0], line=line)
            receipts.append(writer.save(kept[key(number)]))
    for receipt in [*receipts, writer.append()]:
        receipt.result()
    assert list(store.all()) == [kept[each] for each in sorted(kept)]
    assert {each: store.get(each) for each in map(key, range(5))} == {
        each: kept.get(each) for each in map(key, range(5))
    }
    assert store.count_last_applied() == sum(each.last_applied is not None for each in kept.values())


def test_error_and_detail_are_cut(writer: Writer, store: Store) -> None:
    writer.save(record(1, error="e" * 5000), event(1, detail="d" * 5000)).result()
    kept = store.get(key(1))
    assert kept is not None
    assert (len(kept.error), len(store.history()[0].detail)) == (1000, 1000)


def test_many_more_rows_than_one_statement_takes_are_kept(writer: Writer, store: Store) -> None:
    saved = [record(number, last_applied=Status.PAUSED) for number in range(3001)]
    [writer.save(each, event(each.line)) for each in saved][-1].result()
    assert list(store.all()) == saved
    assert len(store.history(limit=10_000)) == 3001
    [writer.release(each.key) for each in saved[:2001]][-1].result()
    assert (list(store.all()), store.count_last_applied()) == (saved[2001:], 1000)


# The history


def test_history_is_newest_first_and_limited(writer: Writer, store: Store) -> None:
    writer.append(*(event(number) for number in range(10))).result()
    assert [each.name for each in store.history(limit=3)] == ["card-9", "card-8", "card-7"]


def test_history_since_a_moment_is_inclusive(writer: Writer, store: Store) -> None:
    writer.append(*(event(number) for number in range(10))).result()
    assert [each.name for each in store.history(since=NOW + timedelta(seconds=8))] == ["card-9", "card-8"]
    assert store.history("card-3", since=NOW + timedelta(seconds=4)) == []


def test_history_of_a_name_outlives_renaming_and_release(writer: Writer, store: Store) -> None:
    writer.save(record(1), event(1, "patch_sent"))
    writer.save(record(1, name="renamed"), event(1, "applied", name="renamed"))
    writer.release(key(1), event(1, "released", name="renamed")).result()
    assert [each.event for each in store.history("card-1")] == ["patch_sent"]
    assert [each.event for each in store.history("renamed")] == ["released", "applied"]


@pytest.mark.parametrize("statement", ["UPDATE history SET name = ''", "DELETE FROM history"])
def test_history_can_neither_be_changed_nor_deleted(path: Path, writer: Writer, statement: str) -> None:
    writer.append(event(1)).result()
    with (
        closing(sqlite3.connect(path)) as other,
        pytest.raises(sqlite3.IntegrityError, match="the history is append-only"),
    ):
        other.execute(statement)


def test_patches_since_tells_what_the_limits_count(writer: Writer, store: Store) -> None:
    writer.append(
        event(0, "patch_sent"),
        event(3, "patch_sent", resumes_foreign=True),
        event(2, "patch_sent", irreversible=True),
        event(4, "patch_accepted", irreversible=True),
    ).result()
    assert store.patches_since(NOW + timedelta(seconds=2)) == [
        (NOW + timedelta(seconds=2), key(2), True, False),
        (NOW + timedelta(seconds=3), key(3), False, True),
    ]


# Reading beside writing


def test_a_state_that_is_not_there_is_empty_and_is_not_made(tmp_path: Path, path: Path, store: Store) -> None:
    assert store.get(key(1)) is None
    assert (list(store.all()), store.count_last_applied()) == ([], 0)
    assert (store.history(), store.patches_since(NOW)) == ([], [])
    assert list(tmp_path.iterdir()) == []
    with open_writer(url_of(path), holder="test") as writer:
        writer.save(record(1)).result()
        assert store.get(key(1)) == record(1)


def test_a_file_still_being_made_is_empty(path: Path, store: Store) -> None:
    path.parent.mkdir()
    path.touch()
    assert (store.get(key(1)), list(store.all())) == (None, [])


def test_reading_leaves_the_folder_as_it_was(path: Path) -> None:
    with open_writer(url_of(path), holder="test") as writer:
        writer.save(record(1), event(1)).result()
    before = {each.name: (each.stat().st_mtime_ns, each.read_bytes()) for each in path.parent.iterdir()}
    with open_store(url_of(path)) as store:
        assert (store.get(key(1)), len(list(store.all())), len(store.history())) == (record(1), 1, 1)
    assert before == {each.name: (each.stat().st_mtime_ns, each.read_bytes()) for each in path.parent.iterdir()}
    assert sorted(before) == [".gitignore", "state.db"]


def test_reading_does_not_wait_for_a_write_under_way(path: Path, writer: Writer, store: Store) -> None:
    writer.save(record(1), event(1)).result()
    with write_locked(path) as other:
        other.execute("DELETE FROM recordings")
        assert store.get(key(1)) == record(1)
        assert (list(store.all()), len(store.history())) == ([record(1)], 1)
        with open_store(url_of(path)) as late:
            assert late.count_last_applied() == 0


def test_streaming_shows_one_moment_while_other_reads_show_the_newest(writer: Writer, store: Store) -> None:
    [writer.save(record(number)) for number in range(100)][-1].result()
    stream = store.all()
    first = next(stream)
    writer.save(record(99, name="changed")).result()
    assert [first, *stream] == [record(number) for number in range(100)]
    assert store.get(key(99)) == record(99, name="changed")


def test_a_reader_cannot_write(path: Path, writer: Writer) -> None:
    writer.save(record(1)).result()
    with closing(files.open_for_reading(path)) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM recordings")


def test_many_threads_may_read_one_store(writer: Writer, store: Store) -> None:
    [writer.save(record(number)) for number in range(50)][-1].result()
    wrong: list[int] = []

    def read() -> None:
        wrong.extend(number for number in range(50) if store.get(key(number)) != record(number))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# Commits and receipts


def test_writes_that_wait_together_share_a_commit(path: Path, writer: Writer, store: Store) -> None:
    with write_locked(path):
        receipts = [writer.save(record(number), event(number)) for number in range(500)]
        before = writer.commits
        assert not receipts[0].done()
    for receipt in receipts:
        receipt.result()
    assert writer.commits - before <= 2  # One may have begun with the first write alone.
    assert len(list(store.all())) == 500


async def test_coroutines_share_commits(writer: Writer, store: Store) -> None:
    before = writer.commits

    async def save(number: int) -> None:
        await writer.save(record(number), event(number))
        assert store.get(key(number)) == record(number)

    await asyncio.gather(*(save(number) for number in range(1000)))
    assert writer.commits - before < 100


async def test_a_settled_receipt_may_be_awaited_again(writer: Writer) -> None:
    receipt = writer.save(record(1))
    receipt.result()
    await receipt
    await receipt


async def test_who_stops_waiting_does_not_stop_the_write(path: Path, writer: Writer, store: Store) -> None:
    async def wait() -> None:
        await writer.save(record(1))

    with write_locked(path):
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await writer.append()
    assert store.get(key(1)) == record(1)


def test_a_loop_closed_while_waiting_does_not_stop_the_writer(path: Path, writer: Writer, store: Store) -> None:
    async def wait() -> None:
        await writer.save(record(1))

    async def leave() -> None:
        waiting.append(asyncio.ensure_future(wait()))
        await asyncio.sleep(0)
        waiting.append(asyncio.ensure_future(wait()))
        await asyncio.sleep(0)

    waiting: list[asyncio.Future[None]] = []
    with write_locked(path):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(leave())
        for task in waiting:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*waiting, return_exceptions=True))
        loop.close()
    writer.append().result()
    assert store.get(key(1)) == record(1)


def test_result_gives_up_after_its_timeout(path: Path, writer: Writer) -> None:
    with write_locked(path):
        receipt = writer.save(record(1))
        with pytest.raises(TimeoutError):
            receipt.result(timeout=0)
    receipt.result()


def test_a_value_that_cannot_be_stored_fails_alone(path: Path, writer: Writer, store: Store) -> None:
    with write_locked(path):
        receipts = [
            writer.save(record(1), event(1)),
            writer.save(record(2, file="caf\udce9.yaml"), event(2)),
            writer.save(record(3, line=2**63), event(3)),
            writer.save(record(4, name=None), event(4)),
            writer.save(record(5), event(5)),
        ]
    kept = []
    for number, receipt in enumerate(receipts, 1):
        try:
            receipt.result()
            kept.append(number)
        except StoreError as error:
            assert "cannot be stored" in str(error)  # noqa: PT017 (some of them are kept)
    assert kept == [1, 5]
    assert [each.name for each in store.all()] == ["card-1", "card-5"]
    assert [each.name for each in store.history()] == ["card-5", "card-1"]
    assert writer.error is None


@pytest.mark.parametrize("given", [record(1, due_at=datetime(2026, 1, 1))])  # noqa: DTZ001 (the fault under test)
def test_a_time_without_a_zone_is_refused_at_once(writer: Writer, given: Record) -> None:
    with pytest.raises(TypeError):
        writer.save(given)


def test_closing_writes_what_waits_and_refuses_the_rest(path: Path, store: Store) -> None:
    writer = open_writer(url_of(path), holder="test")
    receipts = [writer.save(record(number)) for number in range(200)]
    writer.close()
    writer.close()
    assert all(receipt.done() for receipt in receipts)
    assert len(list(store.all())) == 200
    assert not writer.lease_valid()
    with pytest.raises(StoreError, match="is closed"):
        writer.save(record(1))


SAVER = """
import sys
from datetime import UTC, datetime
from reconciler.model import Event, Record, RecordingKey, Status
from reconciler.state import open_writer
from uuid import UUID
writer = open_writer(sys.argv[1], holder="saver")
for number in range(int(sys.argv[2]), 10**9, 10):
    keys = [RecordingKey.of(*(str(UUID(int=part)) for part in (1, 2, n, n))) for n in range(number, number + 10)]
    receipts = [
        writer.save(
            Record(key, f"n-{number + i}", "f.yaml", 1, Status.PAUSED, last_applied=Status.PAUSED),
            Event(datetime.now(UTC), "patch_sent", key, f"n-{number + i}"),
        )
        for i, key in enumerate(keys)
    ]
    for i, receipt in enumerate(receipts):
        receipt.result()
        print(number + i, flush=True)
"""


def test_what_was_acknowledged_outlives_kills_at_random_moments(path: Path) -> None:
    chance = random.Random(4411)
    acknowledged: set[str] = set()
    for turn in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", SAVER, url_of(path), str(turn * 1_000_000)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            for _ in range(chance.randrange(1, 400)):
                acknowledged.add(f"n-{int(child.stdout.readline())}")
            child.kill()
            acknowledged.update(f"n-{line.strip()}" for line in child.stdout if line.endswith("\n"))
        with open_store(url_of(path)) as store:
            kept = list(store.all())
            assert acknowledged <= {each.name for each in kept}
            assert {each.name for each in kept} == {each.name for each in store.history(limit=10**6)}
            assert store.count_last_applied() == len(kept)


# Files, modes, URLs


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_file_and_folder_belong_to_the_owner_alone(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "deep" / "state" / "state.db"
    before = os.umask(umask)
    try:
        with open_writer(url_of(path), holder="test") as writer:
            writer.save(record(1)).result()
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "deep").rglob("*")}
    finally:
        os.umask(before)
    files = (".gitignore", "state.db", "state.db-wal", "state.db-shm")
    assert modes == {"state": 0o700, **dict.fromkeys(files, 0o600)}


def test_an_existing_folder_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    open_writer(url_of(tmp_path / "state.db"), holder="test").close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_relative_url_is_resolved_when_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///.reconciler/a%20b.db")
    with open_writer("sqlite:///.reconciler/a%20b.db", holder="test") as writer:
        monkeypatch.chdir("/")
        writer.save(record(1)).result()
        assert store.get(key(1)) == record(1)
    store.close()
    assert (tmp_path / ".reconciler" / "a b.db").is_file()


def test_the_folder_of_a_state_is_known_before_it_is_there(path: Path) -> None:
    assert state_folder(url_of(path)) == path.parent
    assert not path.parent.exists()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "state.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///folder/",
        "sqlite:///:memory:",
        "sqlite://user:hunter2@host/state.db",
        "sqlite:///state.db?mode=hunter2",
        "sqlite:///nul%00.db",
        "user:hunter2@host",
    ],
)
def test_a_url_of_another_form_is_refused_with_the_right_one(url: str) -> None:
    with pytest.raises(StoreError, match=r"write sqlite:///relative/path\.db or sqlite:////absolute") as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)


def test_an_unsupported_scheme_is_named_and_its_password_is_not() -> None:
    with pytest.raises(StoreError, match=r"begins with postgresql:// is not supported") as caught:
        open_writer("postgresql://user:hunter2@db.example/state", holder="test")
    assert "hunter2" not in str(caught.value)


# Layout and migration


def set_version(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {version}")


def open_both(path: Path) -> tuple[str, str]:
    """Return what a reader and a writer say who cannot use the file."""
    with open_store(url_of(path)) as store, pytest.raises(StoreError) as reading:
        store.get(key(1))
    with pytest.raises(StoreError) as writing:
        open_writer(url_of(path), holder="test")
    return str(reading.value), str(writing.value)


def made(path: Path, count: int = 1) -> Path:
    with open_writer(url_of(path), holder="test") as writer:
        [writer.save(record(number), event(number)) for number in range(count)][-1].result()
    return path


def test_a_newer_layout_is_refused(path: Path) -> None:
    set_version(made(path), 99)
    for said in open_both(path):
        assert f"{path} was written by a newer reconciler (layout 99; this one knows {len(schema.MIGRATIONS)})" in said


def test_the_database_of_another_program_is_refused_and_untouched(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE invoices (id)")
    before = path.read_bytes()
    for said in open_both(path):
        assert "the database of another program" in said
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM sqlite_schema").fetchall() == [("invoices",)]
    assert path.read_bytes()[100:] == before[100:]


#: A layout that no program has yet.
NEXT = ("ALTER TABLE recordings ADD COLUMN colour TEXT", "CREATE TABLE colours (colour TEXT) STRICT")


def test_a_migration_keeps_the_rows_and_a_copy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(path)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, NEXT))
    with open_store(url_of(path)) as store:
        assert store.get(key(0)) == record(0)  # a reader takes the file as it is
        with open_writer(url_of(path), holder="test") as writer:
            writer.save(record(7)).result()
            assert list(store.all()) == [record(0), record(7)]
    copy = path.with_name(f"state.db.v{len(schema.MIGRATIONS) - 1}.bak")
    assert sorted(each.name for each in path.parent.iterdir()) == [".gitignore", "state.db", copy.name]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    monkeypatch.undo()
    with open_store(url_of(copy)) as store:
        assert list(store.all()) == [record(0)]


def test_a_new_file_gets_every_layout_and_no_copy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, NEXT))
    made(path)
    assert sorted(each.name for each in path.parent.iterdir()) == [".gitignore", "state.db"]
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)


@pytest.mark.parametrize("layout", range(1, len(schema.MIGRATIONS)))
def test_a_file_of_an_older_layout_is_read_as_it_is_and_migrated_without_loss(path: Path, layout: int) -> None:
    old_layout(path, layout)
    with open_store(url_of(path), must_exist=True) as store:
        before = list(store.all()), store.history(), list(store.standings()), store.count_last_applied()
        known = store.revisions({"c" * 40})
        assert store.get(key(1)) == before[0][1]
        assert store.in_force() is None
        assert [each.phase for each in before[0]] == [Phase.APPLIED, Phase.CONFIRMING, Phase.HELD]
        assert [(each.base, each.labels, each.phase_since) for each in before[0]] == [("", (), None)] * 3
        assert [each.at.microsecond for each in before[1]] == [2, 1, 0]
        assert [(each.answer, each.resumes_foreign, each.last_seen) for each in before[1]] == [("202", True, None)] * 3
        assert bool(known) == (layout >= 2)
        with closing(sqlite3.connect(path)) as other:
            assert other.execute("PRAGMA user_version").fetchone() == (layout,)
        with open_writer(url_of(path), holder="test") as writer:
            after = list(store.all()), store.history(), list(store.standings()), store.count_last_applied()
            assert after == before
            assert store.revisions({"c" * 40}) == known
            writer.describe(revision()).result()
            assert store.revisions({revision().id}) == {revision().id: revision()}
            writer.save(record(7, base="/srv", labels=(("team", "billing"),))).result()
            assert store.get(key(7)) == record(7, base="/srv", labels=(("team", "billing"),))
    with closing(sqlite3.connect(path.with_name(f"state.db.v{layout}.bak"))) as copy:
        assert copy.execute("PRAGMA user_version").fetchone() == (layout,)
        assert copy.execute("SELECT count(*) FROM recordings").fetchone() == (3,)


def test_records_of_a_state_that_followed_a_branch_belong_to_that_branch_before_and_after_the_migration(
    path: Path,
) -> None:
    old_layout(path, 2)
    with closing(sqlite3.connect(path)) as old:
        old.execute("INSERT INTO source (id, revision, judged) VALUES (1, ?, 0)", ("c" * 40,))
        old.commit()
    with open_store(url_of(path)) as store:
        assert {each.base for each in store.all()} == {each.base for each in store.standings()} == {"git"}
        with open_writer(url_of(path), holder="test"):
            assert {each.base for each in store.all()} == {each.base for each in store.standings()} == {"git"}


def revision(**changes: Any) -> Revision:
    made_at = datetime(2026, 11, 22, 18, 0, 1, tzinfo=UTC)
    return replace(Revision("1" * 40, "Ada Lovelace <ada@example.org>", "Pause Ⅶ — 'now'; \\", made_at), **changes)


def test_revisions_come_back_as_they_went_in_the_last_word_on_each_counts_and_unknown_ones_are_left_out(
    path: Path,
) -> None:
    one, other = revision(), revision(id="2" * 64, author="", subject="")
    with open_writer(url_of(path), holder="test") as writer, open_store(url_of(path)) as store:
        assert store.revisions({one.id}) == {}
        writer.describe(one, other)
        writer.describe(replace(one, subject="as amended")).result()
        assert store.revisions({one.id, other.id, "3" * 40}) == {
            one.id: replace(one, subject="as amended"),
            other.id: other,
        }
        assert store.revisions(()) == {}
        with pytest.raises(TypeError):
            writer.describe(revision(committed_at=datetime(2026, 11, 22)))  # noqa: DTZ001 - the naive one is the point


def test_a_migration_that_fails_changes_nothing_and_holds_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(path)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, (*NEXT, "not SQL")))
    with pytest.raises(StoreError, match="syntax error"):
        open_writer(url_of(path), holder="test")
    monkeypatch.undo()
    with open_writer(url_of(path), holder="test"), open_store(url_of(path)) as store:
        assert list(store.all()) == [record(0)]


@pytest.mark.parametrize("version", range(1, len(schema.MIGRATIONS) + 1))
def test_the_digest_that_is_known_of_each_layout_is_that_of_its_statements(version: int) -> None:
    assert schema.KNOWN_DIGESTS[version] == schema.digest(version)


def test_a_state_is_opened_without_building_its_layout_and_a_stranger_in_it_is_named(path: Path) -> None:
    with open_writer(url_of(path), holder="test"):
        pass
    schema._layout.cache_clear()
    with open_store(url_of(path)) as store:
        assert store.count_last_applied() == 0
    assert schema._layout.cache_info().misses == 0
    with closing(sqlite3.connect(path)) as stranger:
        stranger.execute("CREATE VIEW\n'stranger\tview' AS SELECT 1")
    with open_store(url_of(path)) as store, pytest.raises(StoreError, match="holds what no reconciler put there"):
        store.count_last_applied()


def test_a_step_that_another_has_made_meanwhile_is_not_made_again(path: Path) -> None:
    with closing(sqlite3.connect(made(path), isolation_level=None)) as other:
        schema._step(other, path, 1)
    with open_store(url_of(path)) as store:
        assert list(store.all()) == [record(0)]


def test_a_word_of_a_newer_program_is_named(path: Path) -> None:
    with closing(sqlite3.connect(made(path))) as other:
        other.execute("UPDATE recordings SET phase = 'dreaming'")
        other.commit()
    with open_store(url_of(path)) as store:
        with pytest.raises(StoreError, match="'dreaming'"):
            store.get(key(0))
        with pytest.raises(StoreError, match="'dreaming'"):
            list(store.all())


def test_an_sqlite_too_old_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(StoreError, match=r"3\.37 or later is needed"):
        open_writer(url_of(path), holder="test")


# Faults of file and disk


def test_a_file_that_is_no_database_is_named_with_a_remedy(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"status: paused\n" * 1000)
    for said in open_both(path):
        assert f"{path} is damaged (file is not a database): move it aside" in said


@pytest.mark.parametrize("keep", [50, 700, 9000], ids=["half a header", "half a page", "two pages"])
def test_a_truncated_file_is_named_with_a_remedy(path: Path, keep: int) -> None:
    made(path, 500)
    os.truncate(path, keep)
    for said in open_both(path):
        assert f"{path} is damaged" in said


def test_a_damaged_page_is_an_error_and_not_a_wrong_answer(path: Path) -> None:
    made(path, 2000)
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (path.stat().st_size - 8192))
    with open_store(url_of(path)) as store:
        with pytest.raises(StoreError, match="is damaged"):
            list(store.all())
        with pytest.raises(StoreError, match="is damaged"):
            store.history()


def test_a_file_damaged_in_use_is_said_and_heals_once_moved_away(path: Path, writer: Writer, store: Store) -> None:
    [writer.save(record(number)) for number in range(500)][-1].result()
    os.truncate(path.with_name("state.db-wal"), 0)
    path.write_bytes(b"status: paused\n" * 10_000)
    with pytest.raises(StoreError):
        list(store.all())
    for each in path.parent.iterdir():
        each.unlink()
    with pytest.raises(StoreError):
        writer.save(record(1)).result()
    writer.save(record(2)).result()
    assert list(store.all()) == [store.get(key(2))] == [record(2)]


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(StoreError, match=r"state\.db cannot be used: Not a directory"):
        open_writer(url_of(tmp_path / "state" / "state.db"), holder="test")
    with open_store(url_of(tmp_path / "state" / "state.db")) as store:
        assert store.get(key(1)) is None


def test_a_folder_in_place_of_the_file_is_an_error(path: Path) -> None:
    path.mkdir(parents=True)
    for said in open_both(path):
        assert f"{path} is not a regular file" in said


def test_a_read_only_file_fails_the_write_and_heals(
    path: Path, writer: Writer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "WRITER_PRAGMAS", (*files.WRITER_PRAGMAS, "PRAGMA query_only = ON"))
    path.unlink()  # Makes the writer open the file anew.
    with pytest.raises(StoreError, match="was removed or replaced"):
        writer.save(record(1)).result()
    with pytest.raises(StoreError, match="cannot be written"):
        writer.save(record(1)).result()
    monkeypatch.undo()
    writer.save(record(1)).result()
    assert store.get(key(1)) == record(1)


def fill(writer: Writer) -> None:
    for number in range(10_000):
        writer.save(record(number), event(number)).result()


def test_a_full_disk_fails_the_writes_and_heals(path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "WRITER_PRAGMAS", (*files.WRITER_PRAGMAS, "PRAGMA max_page_count = 40"))
    with open_writer(url_of(path), holder="test") as writer:
        with pytest.raises(StoreError, match=r"the disk that holds .* is full: make room"):
            fill(writer)
        kept = len(list(store.all()))
        assert kept > 0
        assert len(store.history(limit=10**6)) == kept
        monkeypatch.undo()
        writer.save(record(kept), event(kept)).result()
        assert len(list(store.all())) == kept + 1


def test_an_error_of_the_disk_fails_the_write_and_heals(writer: Writer, store: Store) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer.save(record(1)).result()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        with pytest.raises(StoreError, match="the disk failed on"):
            writer.save(record(2)).result()
        assert "the disk failed on" in str(writer.error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    writer.save(record(3)).result()
    assert writer.error is None
    assert list(store.all()) == [record(1), record(3)]


def test_a_place_without_a_shared_log_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "WRITER_PRAGMAS", ())
    with pytest.raises(StoreError, match="keep it on a local disk"):
        open_writer(url_of(path), holder="test")


def test_a_file_locked_for_long_fails_the_write_and_heals(
    path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BUSY_SECONDS", 0.05)
    with open_writer(url_of(path), holder="test") as writer:
        with write_locked(path), pytest.raises(StoreError, match="is locked by another program"):
            writer.save(record(1)).result()
        writer.save(record(2)).result()
        assert list(store.all()) == [record(2)]


@pytest.mark.parametrize("left", [(), ("-wal", "-shm")], ids=["with its log", "without its log"])
def test_a_file_removed_in_use_fails_one_write_and_is_begun_anew(
    path: Path, writer: Writer, store: Store, left: tuple[str, ...]
) -> None:
    writer.save(record(1)).result()
    assert store.get(key(1)) == record(1)
    for each in path.parent.iterdir():
        if not each.name.endswith(left or "-"):
            each.unlink()
    assert store.get(key(1)) is None
    with pytest.raises(StoreError, match="was removed or replaced while in use"):
        writer.save(record(2)).result()
    writer.save(record(3)).result()
    assert list(store.all()) == [store.get(key(3))] == [record(3)]
    assert writer.lease_valid()


def test_a_file_replaced_in_use_fails_one_write_and_is_then_used(path: Path, writer: Writer, store: Store) -> None:
    writer.save(record(1)).result()
    assert store.get(key(1)) == record(1)
    made(path.with_name("other.db"), 5).replace(path)
    with pytest.raises(StoreError, match="was removed or replaced while in use"):
        writer.save(record(7)).result()
    with pytest.raises(StoreError, match=r"remove state\.db-wal and state\.db-shm"):
        writer.save(record(7)).result()
    with pytest.raises(StoreError, match=r"remove state\.db-wal and state\.db-shm"):
        store.get(key(1))
    for log in ("-wal", "-shm"):
        path.with_name(f"state.db{log}").unlink()
    writer.save(record(8)).result()
    assert [each.line for each in store.all()] == [0, 1, 2, 3, 4, 8]


def test_a_folder_that_was_cleaned_away_is_made_again(path: Path, writer: Writer, store: Store) -> None:
    writer.save(record(1)).result()
    shutil.rmtree(path.parent)
    with pytest.raises(StoreError, match="was removed or replaced while in use"):
        writer.save(record(1)).result()
    writer.save(record(2)).result()
    assert list(store.all()) == [record(2)]


def test_a_folder_that_we_did_not_make_is_not_made_again_when_it_vanishes(path: Path) -> None:
    path.parent.mkdir()
    with open_writer(url_of(path), holder="test") as writer, open_store(url_of(path)) as store:
        writer.save(record(1)).result()
        shutil.rmtree(path.parent)
        with pytest.raises(StoreError, match="was removed or replaced while in use"):
            writer.save(record(1)).result()
        with pytest.raises(StoreError, match="is gone; make it again"):
            writer.save(record(1)).result()
        assert not path.parent.exists()
        path.parent.mkdir()
        writer.save(record(2)).result()
        assert list(store.all()) == [record(2)]


def test_a_fault_nobody_foresaw_does_not_end_the_writer(
    writer: Writer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> Iterator[tuple[str, rows.Row]]:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(statements, "inserts", fail)
    with pytest.raises(StoreError, match="unforeseen"):
        writer.save(record(1)).result()
    monkeypatch.undo()
    writer.save(record(2)).result()
    assert list(store.all()) == [record(2)]


def test_each_waiter_gets_its_own_error(path: Path, writer: Writer) -> None:
    async def wait() -> list[BaseException | None]:
        async def wait_for(receipt: Receipt) -> None:
            await receipt

        receipt = writer.save(record(1))
        return list(await asyncio.gather(wait_for(receipt), wait_for(receipt), return_exceptions=True))

    path.unlink()
    errors = asyncio.run(wait())
    assert [type(each) for each in errors] == [StoreError, StoreError]
    assert errors[0] is not errors[1]


def test_a_program_that_forgets_to_close_still_ends(path: Path) -> None:
    code = "import sys\nfrom reconciler.state import open_writer\nopen_writer(sys.argv[1], holder='forgetful')"
    assert subprocess.run([sys.executable, "-c", code, url_of(path)], check=False, timeout=30).returncode == 0


def test_reading_commands_do_not_pay_for_asyncio() -> None:
    opening = "import sys\nfrom reconciler.state import open_store\nopen_store('sqlite:///state.db')\n"
    code = f"{opening}assert 'asyncio' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN  # What the test of disk errors relies on.


def test_beside_a_writer_a_file_that_is_gone_is_a_fault_and_no_empty_state(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'state' / 'state.db'}"
    with open_writer(url, holder="test") as writer, open_store(url, must_exist=True) as store:
        writer.save(record(1)).result(5)
        assert len(list(store.all())) == 1
        (tmp_path / "state").rename(tmp_path / "away")
        for read in (lambda: store.get(record(1).key), lambda: list(store.all()), store.count_last_applied):
            with pytest.raises(StoreError, match="gone"):
                read()
        (tmp_path / "away").rename(tmp_path / "state")
        assert store.get(record(1).key) is not None
