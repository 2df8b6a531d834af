"""Which documents are in force, kept up to date while people save files.

It follows a source and keeps the catalog. What is valid acts at once; an error, or a recording that went missing from a
file, is believed only once the file has been quiet, because editors, copies and checkouts write in pieces and neither
an error nor a release may flap. Nothing is decided here about a recording.

    beginning (the first look) -> seen (what a look shows) -> doubts (may it be half of something?) -> settling (wait)
    slow (huge files and explanations, behind all else)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable
from typing import Final, Protocol, TypeAlias

from reconciler.desired.beginning import read_everything, remembered
from reconciler.desired.catalog import Catalog, CatalogChange
from reconciler.desired.documents.conflicts import FileDocuments
from reconciler.desired.documents.limits import DocumentLimits
from reconciler.desired.doubts import EmptyGuard, dropped_by, is_doubtful, takes_only, with_missing
from reconciler.desired.index.file import Index
from reconciler.desired.load import uncollected
from reconciler.desired.readings import Reading, Readings
from reconciler.desired.seen import Seen
from reconciler.desired.settling import Settling
from reconciler.desired.slow import Explained, Explanations, HugeFiles
from reconciler.desired.sources.stamps import FileStamp
from reconciler.desired.sources.tree import Tree
from reconciler.model import Problem, Record
from reconciler.telemetry import Alarm, Log, scrubbed

#: From so many changed bytes on they are read in a thread, so that turns go on meanwhile: they take some 5 ms to parse.
_LARGE_BYTES: Final = 16 * 1024
#: From so many files on they are read in a thread, however small.
_MANY_FILES: Final = 20


class Files(Protocol):
    """Where the files come from: a folder that people save into, or the commits of a Git repository."""

    @property
    def quiet_seconds(self) -> float:
        """How long a file must have been quiet before an error in it, or a recording missing from it, counts.

        0 where contents arrive whole, all files of a change at once.
        """
        ...

    @property
    def base(self) -> str:
        """What names are relative to, as records keep it; see `Record.base`."""
        ...

    def name_of(self, file: str, base: str) -> str | None:
        """Return what a file is called here that records call `file`, relative to `base`.

        None where it is not among what was given: a document that stood there is nobody's to release here.
        """
        ...

    def walk(self) -> Tree:
        """Find every file, without reading any. Any thread may call it."""
        ...

    def stamp(self, file: str) -> FileStamp | None:
        """Take one file's stamp; None when nothing to read has that name now."""
        ...

    def read(self, file: str) -> bytes | Problem:
        """Read one file that a walk or a change named, or say why not."""
        ...

    def revision_of(self, file: str) -> str | None:
        """Return the commit that gave a file what `read` returns now; None outside Git."""
        ...

    def changes(
        self, stop: asyncio.Event, *, poll_seconds: float, warn: Callable[[str], None]
    ) -> AsyncGenerator[frozenset[str] | None, None]:
        """Yield the names of files to look at again, or None for "walk everything", until `stop` is set."""
        ...


#: What is to be taken in: files to look at, one that was read by itself, an explanation, or that there will be no more.
_Queue: TypeAlias = "asyncio.Queue[Collection[str] | Reading | Explained | None]"


class Follower:
    """Follows the files and answers what changed in force."""

    def __init__(
        self,
        source: Files,
        catalog: Catalog,
        limits: DocumentLimits,
        *,
        monotonic: Callable[[], float],
        log: Log,
        allow_empty: bool,
    ) -> None:
        """Put the parts together; `load` begins.

        Args:
            source: of the files.
            catalog: kept up to date here, and by nobody else.
            limits: what one file may ask of this program.
            monotonic: the clock, in seconds.
            log: where it is said what is invalid, out of sight or refused.
            allow_empty: whether the last document may go.
        """
        self._source = source
        self._catalog = catalog
        self._limits = limits
        self._monotonic = monotonic
        self._log = log
        self._unreadable = Alarm(log, "source_unreadable", "source_readable", monotonic)
        self._readings = Readings(source, limits)
        self._seen = Seen(source, log, self._unreadable)
        self._settling = Settling(source.quiet_seconds, monotonic, self._unreadable)
        self._huge = HugeFiles()
        self._explanations = Explanations()
        self._empty = EmptyGuard(catalog, log, allow_empty=allow_empty)

    @property
    def files(self) -> int:
        """How many files there are."""
        return self._seen.files

    @property
    def base(self) -> str:
        """What the names of files are relative to, as records keep it."""
        return self._source.base

    def covers(self, file: str, base: str) -> bool:
        """Return whether a document that stood in a file, as a record names it, is taken away if it is not found."""
        return self._source.name_of(file, base) is not None

    @property
    def vanished(self) -> frozenset[str]:
        """Given paths that are missing now; what they held stays in force."""
        return self._seen.vanished

    def load(self, records: Iterable[Record], index: Index | None = None) -> CatalogChange:
        """Read everything for the first time.

        Args:
            records: what earlier runs recorded. A recording whose file is invalid or out of sight now keeps in force
                what its record says that its document last asked for.
            index: what they read; only for files whose stamps prove that their bytes are the same.

        Raises:
            ResourceFault: the system cannot read some file.
        """
        with uncollected():
            found = read_everything(self._source, self._readings, self._limits, index)
            kept = remembered(found, records, self._source.name_of)
            self._seen.begin(found.tree, found.readings, kept.keys() - found.contents.keys())
            self._seen.note_warnings(found.tree)
            self._catalog.update(kept)
            change = self._catalog.update(found.contents)
            self._note(change)
            self._seen.note_vanished(found.tree)
            return change

    async def changes(self, stop: asyncio.Event, *, poll_seconds: float) -> AsyncIterator[CatalogChange]:
        """Yield what changed in force, each time something did, until `stop` is set."""
        queue: _Queue = asyncio.Queue()
        tasks = [
            asyncio.create_task(work)
            for work in (
                self._watch(queue, stop, poll_seconds),
                self._settling.ask(queue.put_nowait, lambda: self._huge.pending, self._explanations.files),
                self._explanations.explain_in_turn(lambda refused: self._readings.explain(refused), queue.put_nowait),
                self._huge.read_in_turn(self._read_now, queue.put_nowait),
            )
        ]
        try:
            while not stop.is_set():
                found = await self._next(queue, tasks)
                if found is None:
                    return
                if isinstance(found, Explained):
                    change = self._take_explanation(found)
                elif isinstance(found, Reading):
                    self._huge.taken_in()
                    change = await self._take_in([found.file], [found])
                    self._settling.look()
                else:
                    apart = self._source.quiet_seconds > 0 and len(found) < _MANY_FILES
                    files = self._huge.set_apart(found, self._readings.size if apart else None)
                    change = await self._take_in(files)
                queue.task_done()
                if change.changed or change.removed or change.moved or change.became_valid:
                    yield change
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    async def _next(queue: _Queue, tasks: Iterable[asyncio.Task[None]]) -> Collection[str] | Reading | Explained | None:
        """Return the next that is to be taken in; a task that failed raises here what it failed with."""
        getting = asyncio.create_task(queue.get())
        try:
            await asyncio.wait({getting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            return getting.result() if getting.done() else None
        finally:
            getting.cancel()

    async def _watch(self, queue: _Queue, stop: asyncio.Event, poll_seconds: float) -> None:
        async for changed in self._source.changes(stop, poll_seconds=poll_seconds, warn=self._warn):
            queue.put_nowait(await self._seen.changed_files() if changed is None else changed)
            # Only then may the source move on: what is read belongs to what was named, so that a recording that moves
            # between two files is never seen in neither.
            await queue.join()
        queue.put_nowait(None)

    def _warn(self, text: str) -> None:
        self._log.warning("source_warning", detail=text)

    async def _take_in(self, files: Collection[str], read: Collection[Reading] | None = None) -> CatalogChange:
        """Act at once on what is valid; let doubtful files wait until they have been quiet.

        Args:
            files: that may have changed.
            read: what they hold, where that is known already.
        """
        now = self._monotonic()
        quiet = self._empty.kept_back - frozenset(files)
        readings = [*(read or ()), *await self._read([*(() if read else files), *quiet])]
        # Where contents arrive whole, one that is being explained may hold something else by now, and that counts.
        waiting = self._explanations.files if self._source.quiet_seconds > 0 else ()
        quiet |= {file for file in files if file not in waiting and self._settling.is_quiet(file, now)}
        gone = [reading.file for reading in readings if reading.stamp is None and reading.fault is None]
        lost = bool(quiet) and any(self._catalog.documents_of(file) for file in gone)
        hidden = await self._seen.hidden(gone) if lost else frozenset()
        contents: dict[str, FileDocuments | None] = {}
        for reading in readings:
            if reading.fault is not None:
                # What it declared stays; what it declares now is not known, and it is asked again soon.
                self._unreadable.met(reading.fault)
                self._settling.try_again(reading.file, now)
                continue
            self._settling.could_be_read(reading.file)
            if reading.refused is not None and self._explanations.has(reading.refused):
                self._seen.take_stamp(reading)
                continue
            self._explanations.forget(reading.file)
            self._settling.settle(reading.file)
            if reading.file in hidden:
                self._seen.lose(reading.file)
                continue
            self._seen.take_stamp(reading)
            self._weigh(reading, now, contents, quiet=reading.file in quiet)
        await self._join_moved(contents)
        self._settling.tidy()
        if self._empty.refuses(contents):
            return CatalogChange()
        return self._put_in_force(contents)

    def _weigh(self, reading: Reading, now: float, contents: dict[str, FileDocuments | None], *, quiet: bool) -> None:
        """Add what counts now of a file's content to `contents`; see to it that the rest counts when it may."""
        file, documents = reading.file, reading.documents
        if quiet and reading.refused is not None:
            # It counts; why it is invalid is said once everything valid is in force.
            self._explanations.want(reading.refused)
            self._settling.hold(file, now)
        elif quiet or not is_doubtful(self._catalog, file, documents):
            contents[file] = documents
        else:
            self._settling.wait(file, now)
            if documents is not None and not documents.problems:
                if self._catalog.conflicts(documents):
                    self._settling.claim(documents)
                else:
                    contents[file] = with_missing(self._catalog, documents)

    async def _join_moved(self, contents: dict[str, FileDocuments | None]) -> None:
        """Add the unsettled files that what goes missing has moved to, so that a move is no release.

        Args:
            contents: what is about to come into force.
        """
        dropped = dropped_by(self._catalog, contents)
        for reading in await self._read(self._settling.claimants(dropped) - contents.keys()):
            documents = reading.documents
            if documents is not None and not documents.problems and takes_only(self._catalog, documents, dropped):
                self._seen.take_stamp(reading)
                self._settling.settle(reading.file)
                contents[reading.file] = documents

    def _put_in_force(self, contents: dict[str, FileDocuments | None]) -> CatalogChange:
        invalid_before = set(self._catalog.invalid)
        change = self._catalog.update(contents)
        self._note(change)
        # One that was deleted is no longer in the way either; whoever was told of it is told of its end.
        for file in sorted(invalid_before - self._catalog.invalid.keys() - set(change.became_valid)):
            self._log.info("document_valid_again", file=file, gone=True)
        return change

    def _take_explanation(self, explained: Explained) -> CatalogChange:
        if not self._explanations.take(explained):
            return CatalogChange()  # its file holds something else by now
        file = explained.documents.file
        self._settling.settle(file)
        change = self._catalog.update({file: explained.documents})
        self._note(change)
        return change

    async def _read(self, files: Collection[str]) -> list[Reading]:
        total = 0
        for file in files if len(files) < _MANY_FILES else ():
            total += self._readings.size(file)
        if len(files) >= _MANY_FILES or total >= _LARGE_BYTES:
            return await asyncio.to_thread(self._read_now, files)
        return self._read_now(files)

    def _read_now(self, files: Collection[str]) -> list[Reading]:
        return self._readings.read_now(files, self._seen.refused)

    def _note(self, change: CatalogChange) -> None:
        for file in change.became_invalid:
            problems = self._catalog.invalid[file]
            first = scrubbed(problems[0])
            self._log.error("document_invalid", file=file, problems=len(problems), rule=first.rule, first=str(first))
        for file in change.became_valid:
            self._log.info("document_valid_again", file=file)
