"""A daemon in this process on real files, the real watcher, queue, store and turns; the API is the world in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from reconciler.controller.daemon import Daemon
from reconciler.controller.parts import Conduct, Following, Memory, Reach, Run
from reconciler.controller.wakes import Wakes
from reconciler.desired.catalog import Catalog
from reconciler.desired.documents.limits import DocumentLimits
from reconciler.desired.follow import Follower
from reconciler.desired.sources.folder import Source
from reconciler.model.keys import RecordingKey
from reconciler.model.statuses import Phase, Status
from reconciler.plan.limits import Limits
from tests.world.bench import Bench, RealTime
from tests.world.documents import cards
from tests.world.nouns import key

#: Longer than anything here takes on a busy machine; only a failure waits for it.
PATIENCE = 20.0
HEALTH_SECONDS = 120.0


def key_of(number: int) -> RecordingKey:
    """Return a recording of a call of its own."""
    return key(number, call=number)


def text(*numbers: int, status: str = "paused", call: int | None = None) -> str:
    """Return documents of some recordings, one each, of calls of their own or of one call."""
    return cards({number: key(number, call=call or number) for number in numbers}, status=status)


class Running:
    """A daemon and all around it, in a folder of its own."""

    def __init__(self, folder: Path, *, limits: Limits | None = None, resync_seconds: float = 3600.0) -> None:
        self.root = folder / "state"
        self.root.mkdir(exist_ok=True)
        self.bench = Bench(folder, limits=limits, time=RealTime(), desired=lambda each: self.catalog.desired.get(each))
        self.world = self.bench.world
        self.world.settle_seconds = 0.0
        self.log = self.bench.log
        self.stop = asyncio.Event()
        self._resync_seconds = resync_seconds
        self.make()

    def make(self) -> None:
        """Make the daemon, as a process does once the state is its own."""
        self.catalog = Catalog()
        clock = self.bench.time.clock
        self.follower = Follower(
            Source([self.root], max_file_bytes=1_000_000),
            self.catalog,
            DocumentLimits(),
            monotonic=clock.monotonic,
            log=self.log,
            allow_empty=False,
        )
        self.wakes = Wakes()
        bench = self.bench
        self.daemon = Daemon(
            Following(self.catalog, self.follower, declared=lambda _documents: None, source=lambda: None),
            Memory(bench.store, bench.records, bench.pen.writer, bench.standings, bench.window),
            bench.reconciler,
            Reach(self.world.probe, lambda _workspace_id: 0.0),
            self.wakes,
            Run(clock, self.log, "run", bench.metrics),
            Conduct(self._resync_seconds, 3600.0, HEALTH_SECONDS, turns_at_once=8),
        )
        bench.on_authorized = self.wakes.key_taken

    def restart(self) -> None:
        """Make the daemon of another process on the same files and the same state."""
        self.bench.restart()
        self.world.looks.clear()
        self.world.patches.clear()
        self.log.clear()
        self.stop.clear()
        self.make()

    def save(self, *numbers: int, status: str = "paused", file: str = "a.yaml", live: str | None = "ongoing") -> None:
        """Save a file with these recordings, which exist if they did not."""
        for number in numbers:
            if live is not None and key_of(number) not in self.world.recordings:
                self.world.add(key_of(number), live)
        (self.root / file).write_text(text(*numbers, status=status))

    def load(self) -> None:
        self.follower.load(self.bench.store.all())

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - files, threads and the world have no event in common
                await asyncio.sleep(0.005)

    def phase(self, number: int) -> Phase | None:
        record = self.bench.store.get(key_of(number))
        return None if record is None else record.phase

    def applied(self, *numbers: int, status: Status = Status.PAUSED) -> bool:
        """Tell whether these recordings are recorded as brought to a status."""
        records = [self.bench.store.get(key_of(number)) for number in numbers]
        return all(
            record is not None and (record.phase, record.last_applied) == (Phase.APPLIED, status) for record in records
        )

    async def resynced(self, times: int = 1) -> None:
        """Wait until so many resyncs are done since the start."""
        await self.until(lambda: len(self.log.of("resync_done")) >= times)


@asynccontextmanager
async def at_work(running: Running) -> AsyncIterator[asyncio.Task[None]]:
    """Load the documents, run the daemon for the length of the block, then stop it."""
    running.load()
    task = asyncio.create_task(running.daemon.run(running.stop))
    try:
        await running.until(lambda: "started" in running.log.words or task.done())
        yield task
    finally:
        running.stop.set()
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait({task})
    assert "stopping" in running.log.words
