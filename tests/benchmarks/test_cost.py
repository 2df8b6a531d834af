"""What work costs, counted and not timed: requests made, files opened, rows written, queries run.

A plan costs a list for each call, a convergence what its recordings need, and one edit the same among ten thousand
files as among ten. What the clock would say is for the benchmarks.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.controller.once import give_turns
from reconciler.model.documents import Desired
from reconciler.model.keys import RecordingKey
from reconciler.model.records import Record
from reconciler.model.statuses import Phase, Status
from reconciler.state.sqlite.reader import SqliteStore
from tests.benchmarks.fast_bird import CHANNEL, WORKSPACE, call_id, fast_bird, recording_id
from tests.benchmarks.measure import COMMAND, run
from tests.world.bench import Bench, Time
from tests.world.nouns import NOW, key
from tests.world.running import Running, at_work, key_of, text
from tests.world.virtual_loop import run_virtually

#: What one recording's convergence writes: its intent, the acceptance, the effect; a record and an event each.
WRITES = 3


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count the queries of the state's readers, by their statement, while the block lasts."""
    queries: Counter[str] = Counter()
    with monkeypatch.context() as patched:

        def count(inner: Callable[..., Any]) -> Callable[..., Any]:
            def counting(store: SqliteStore, statement: str, *values: object) -> Any:
                queries[statement] += 1
                return inner(store, statement, *values)

            return counting

        patched.setattr(SqliteStore, "read", count(SqliteStore.read))
        patched.setattr(SqliteStore, "stream", count(SqliteStore.stream))
        yield queries


class Opened:
    """Notes which files and folders below one are opened or listed, as the interpreter itself tells."""

    def __init__(self) -> None:
        self.root: str | None = None
        self.paths: list[str] = []
        sys.addaudithook(self._note)  # for good: there is no way to take it away

    def _note(self, event: str, details: tuple[Any, ...]) -> None:
        if self.root is None or event not in ("open", "os.scandir", "os.listdir"):
            return
        path = str(details[0])
        # A walk opens a folder and lists what it has opened.
        if path.startswith(self.root) and (event != "open" or path.endswith(".yaml") or Path(path).is_dir()):
            self.paths.append(path)

    @contextmanager
    def below(self, root: Path) -> Iterator[list[str]]:
        self.paths = []
        self.root = str(root)
        try:
            yield self.paths
        finally:
            self.root = None


OPENED = Opened()


@pytest.mark.parametrize(("recordings", "per_call", "lists"), [(40, 5, 8), (200, 200, 3), (99, 99, 1)])
def test_a_refreshed_plan_lists_each_call_once_page_by_page_and_asks_for_no_recording(
    tmp_path: Path, recordings: int, per_call: int, lists: int
) -> None:
    items = "".join(
        f"    - {{name: i-{number}, callId: {call_id(number // per_call)}, recordingId: {recording_id(number)},"
        " status: paused}\n"
        for number in range(recordings)
    )
    (tmp_path / "set.yaml").write_text(
        "apiVersion: reconciler/v1\nkind: CallRecordingSet\nmetadata: {name: evening}\nspec:\n"
        f"  workspaceId: {WORKSPACE}\n  channelId: {CHANNEL}\n  recordings:\n{items}"
    )
    with fast_bird(calls=recordings // per_call, recordings=per_call) as api:
        done = run((COMMAND, "plan", "set.yaml", "--api-url", api.url, "--rate-limit", "0"), tmp_path)
        assert f"Plan: {recordings} to patch" in done.text
        assert {kind: count for kind, count in api.counts().items() if count} == {"list": lists}


class LoopTime(Time):
    """The event loop's own time, which passes when nothing else is left to do."""

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_event_loop().time()


def test_a_convergence_looks_at_each_call_twice_and_reads_and_writes_each_recording_as_often_as_it_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, each = 20, 5
    keys = [key(number, call=number // each) for number in range(calls * each)]

    async def work() -> tuple[Bench, Counter[str], int]:
        bench = Bench(tmp_path, blocking=True, time=LoopTime())
        for number, one in enumerate(keys):
            bench.world.add(one)
            bench.declare(Desired(one, f"card-{number:03}", Status.PAUSED, "a.yaml", number))
        saves = 0
        save = bench.pen.save

        async def counting(record: Record, *events: Any) -> None:
            nonlocal saves
            saves += 1
            await save(record, *events)

        monkeypatch.setattr(bench.pen, "save", counting)
        with counted(monkeypatch) as queries:
            turns = await give_turns(
                keys,
                bench.reconciler.reconcile,
                clock=bench.time.clock,
                concurrency=len(keys),
                give_up_seconds=60,
                look_again_seconds=30.0,
                progress=lambda: None,
                stop=asyncio.Event(),
            )
        assert {turn.phase for turn in turns.values()} == {Phase.APPLIED}
        return bench, queries, saves

    bench, queries, saves = run_virtually(work())
    with closing(bench):
        assert Counter(one for one, _ in bench.world.patches) == Counter(keys)
        assert Counter(bench.world.looks) == Counter({one.call: 2 for one in keys})
        assert saves == len(bench.history()) == WRITES * len(keys)
        # Records are served from memory; each commit, here one for each save, is read back once.
        assert sum(queries.values()) == saves


@pytest.mark.parametrize("files", [10, 10_000])
async def test_one_edit_costs_the_same_among_ten_files_and_among_ten_thousand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    running = Running(tmp_path)
    with closing(running.bench):
        in_sync(running, files)
        async with at_work(running):
            await running.resynced()
            # So that nothing is left of what was made before: its first edit is read when the watch has begun.
            running.save(1, status="ongoing", file="0000001.yaml")
            await running.until(lambda: running.applied(1, status=Status.ONGOING))
            running.world.looks.clear()
            running.world.patches.clear()
            lines = len(running.bench.history())
            with counted(monkeypatch) as queries, OPENED.below(running.root) as opened:
                running.save(2, status="completed", file="0000002.yaml")
                opened.clear()
                await running.until(lambda: running.log.of("applied")[-1].values["name"] == "card-002")
            asked, history = sum(queries.values()), running.bench.history()[lines:]
        assert running.world.patches == [(key_of(2), "completed")]
        assert running.world.looks == [key_of(2).call] * 2
        assert [line.event for line in history] == ["patch_sent", "patch_accepted", "applied"]
        # The system may tell of one save in two events.
        assert set(opened) == {str(running.root / "0000002.yaml")}
        assert len(opened) <= 2
        # The record and the count for the limits when the change comes in, the record in each of two turns.
        assert asked <= 5


def in_sync(running: Running, files: int) -> None:
    """Have so many files of one recording each, all of them paused and applied."""
    receipt = None
    for number in range(1, files + 1):
        one: RecordingKey = key_of(number)
        (running.root / f"{number:07}.yaml").write_text(text(number))
        running.world.add(one, "paused")
        applied = Record(
            one,
            f"card-{number:03}",
            str(running.root / f"{number:07}.yaml"),
            2,
            Status.PAUSED,
            phase=Phase.APPLIED,
            last_applied=Status.PAUSED,
            live="paused",
        )
        receipt = running.bench.pen.writer.save(applied)
    assert receipt is not None
    receipt.result()
