"""Which documents are in force, kept up to date while people save files.

It follows a source and keeps the catalog. What is valid acts at once; an error, or a recording that went missing from a
file, is believed only once the file has been quiet, because editors, copies and checkouts write in pieces and neither
an error nor a release may flap. Nothing is decided here about a recording.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple, Protocol, TypeAlias

from reconciler.desired.catalog import Catalog, CatalogChange
from reconciler.desired.documents.conflicts import FileDocuments
from reconciler.desired.documents.limits import DocumentLimits, Patience
from reconciler.desired.documents.parse import Refused
from reconciler.desired.index.file import Index
from reconciler.desired.load import parse_files, uncollected
from reconciler.desired.readings import Reading, Readings
from reconciler.desired.sources.stamps import FileStamp
from reconciler.desired.sources.tree import Tree
from reconciler.model import Desired, Problem, Record, RecordingKey, ResourceFault
from reconciler.telemetry import Alarm, Log, scrubbed

#: From so many changed bytes on they are read in a thread, so that turns go on meanwhile: they take some 5 ms to parse.
_LARGE_BYTES = 16 * 1024
#: A file of so many bytes is read for itself, behind all others, where files are saved one by one: valid or not, it may
#: take seconds. What is taken away from other files meanwhile waits for it, since it may have moved there.
_HUGE_BYTES = 512 * 1024
#: From so many files on they are read in a thread, however small.
_MANY_FILES = 20
#: How much time of the processor the start may take to explain what is invalid, before anything is in force.
_START_PATIENCE_SECONDS = 2.0
#: How soon what the system could not read is tried again.
_FAULT_SECONDS = 1.0
#: Of a file that has not been seen, or not since it went out of sight: it proves nothing about any later one.
_UNSEEN = FileStamp(0, 0, 0, 0, 0, 0)


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


class _Explained(NamedTuple):
    """What was found out about an invalid file, and what about it was asked."""

    refused: Refused
    documents: FileDocuments


#: What is to be taken in: files to look at, one that was read by itself, an explanation, or that there will be no more.
_Queue: TypeAlias = "asyncio.Queue[Collection[str] | Reading | _Explained | None]"


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
        self._source = source
        self._quiet_seconds = source.quiet_seconds
        self._catalog = catalog
        self._limits = limits
        self._readings = Readings(source, limits)
        self._monotonic = monotonic
        self._log = log
        self._allow_empty = allow_empty
        self._stamps: dict[str, FileStamp] = {}
        #: Entries that may not be read at all, such as links that leave the folder.
        self._refused: dict[str, Problem] = {}
        #: File -> when it will have been quiet for long enough.
        self._unsettled: dict[str, float] = {}
        self._unsettle = asyncio.Event()
        #: Invalid files that have been quiet and are being explained, or wait for it: they are not settled until then.
        self._unexplained: dict[str, Refused] = {}
        self._explain = asyncio.Event()
        #: Huge files that wait to be read; and one that is being read, or was and is not taken in yet.
        self._unread: dict[str, None] = {}
        self._in_flight: str | None = None
        self._read_huge = asyncio.Event()
        #: Files that the system could not read at the last try: their time says when to try again.
        self._faulty: set[str] = set()
        self._unreadable = Alarm(log, "source_unreadable", "source_readable", monotonic)
        #: What unsettled files claim that others hold. It names files that have settled since, too.
        self._claimed: dict[RecordingKey, str] = {}
        self._vanished: frozenset[str] = frozenset()
        #: What was said of the last walk.
        self._warned: frozenset[str] = frozenset()
        self._held_back: frozenset[str] = frozenset()

    @property
    def files(self) -> int:
        """How many files there are."""
        return len(self._stamps)

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
        return self._vanished

    def load(self, records: Iterable[Record], index: Index | None = None) -> CatalogChange:
        """Read everything for the first time.

        Args:
            records: what earlier runs recorded. A recording whose file is invalid or out of sight now keeps in force
                what its record says that its document last asked for.
            index: what they read; only for files whose stamps prove that their bytes are the same.
        """
        with uncollected():
            return self._load(records, index)

    def _load(self, records: Iterable[Record], index: Index | None) -> CatalogChange:
        tree = self._source.walk()
        patience = Patience(_START_PATIENCE_SECONDS)
        readings = []
        unknown: Iterable[str] = tree.files
        if index is not None:
            parsed = parse_files(self._source, tree, self._limits, index, explain=False)
            readings = [Reading(each.file, tree.files[each.file], each) for each in parsed.columns.documents()]
            # Once more: one of them may have gone away after the walk, which is no mistake.
            unknown = [each.file for each in parsed.refused]
        for reading in self._readings.read(unknown, self._refused):
            if reading.fault is not None:
                raise reading.fault
            if reading.refused is not None:
                reading = replace(reading, documents=self._readings.explain(reading.refused, patience))
            readings.append(reading)
        self._stamps = {reading.file: reading.stamp for reading in readings if reading.stamp is not None}
        contents = {reading.file: reading.documents for reading in readings if reading.documents is not None}
        self._refused = {problem.file: problem for problem in tree.problems}
        for problem in tree.problems:
            contents[problem.file] = FileDocuments(problem.file, (), (problem,))
        self._note_warnings(tree)
        remembered = _remembered(contents, tree, records, self._source.name_of)
        # Out of sight, but to be judged when the place that they were in is back.
        self._stamps.update(dict.fromkeys(remembered.keys() - contents.keys(), _UNSEEN))
        self._catalog.update(remembered)
        change = self._catalog.update(contents)
        self._note(change)
        self._note_vanished(tree)
        return change

    async def changes(self, stop: asyncio.Event, *, poll_seconds: float) -> AsyncIterator[CatalogChange]:
        """Yield what changed in force, each time something did, until `stop` is set."""
        queue: _Queue = asyncio.Queue()
        watching = asyncio.create_task(self._watch(queue, stop, poll_seconds))
        settling = asyncio.create_task(self._wait_for_quiet(queue))
        explaining = asyncio.create_task(self._explain_in_turn(queue))
        reading = asyncio.create_task(self._read_in_turn(queue))
        try:
            while not stop.is_set():
                found = await self._next(queue, watching, settling, explaining, reading)
                if found is None:
                    return
                if isinstance(found, _Explained):
                    change = self._take_explanation(found)
                elif isinstance(found, Reading):
                    self._in_flight = None
                    self._read_huge.set()
                    change = await self._take_in([found.file], [found])
                    self._unsettle.set()
                else:
                    change = await self._take_in(self._without_huge(found))
                queue.task_done()
                if change.changed or change.removed or change.moved or change.became_valid:
                    yield change
        finally:
            watching.cancel()
            settling.cancel()
            explaining.cancel()
            reading.cancel()
            await asyncio.gather(watching, settling, explaining, reading, return_exceptions=True)

    @staticmethod
    async def _next(queue: _Queue, *tasks: asyncio.Task[None]) -> Collection[str] | Reading | _Explained | None:
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
            queue.put_nowait(await self._changed_files() if changed is None else changed)
            # Only then may the source move on: what is read belongs to what was named, so that a recording that moves
            # between two files is never seen in neither.
            await queue.join()
        queue.put_nowait(None)

    def _warn(self, text: str) -> None:
        self._log.warning("source_warning", detail=text)

    async def _changed_files(self) -> frozenset[str]:
        """Walk the tree and return the files whose stamps do not prove that they are as they were."""
        while True:
            try:
                tree, changed = await asyncio.to_thread(self._walk_and_compare)
                break
            except ResourceFault as fault:
                self._unreadable.met(fault)
                await asyncio.sleep(_FAULT_SECONDS)
        self._note_vanished(tree)
        self._note_warnings(tree)
        refused = {problem.file: problem for problem in tree.problems}
        changed.update(
            file for file in refused.keys() | self._refused.keys() if refused.get(file) != self._refused.get(file)
        )
        self._refused = refused
        # What cannot be seen right now is a mount or a checkout that went away, not a thousand releases.
        changed.update(file for file in self._stamps.keys() - tree.files.keys() if not tree.hides(file))
        return frozenset(changed)

    def _walk_and_compare(self) -> tuple[Tree, set[str]]:
        # In one go and off the loop: with 100,000 files the comparison alone would hold up an edit for 70 ms. What is
        # taken in meanwhile has a newer stamp than the walk saw, and is looked at once more.
        tree = self._source.walk()
        changed = set()
        for file, stamp in tree.files.items():
            before = self._stamps.get(file)
            if before is None or not stamp.proves_unchanged_since(before):
                changed.add(file)
        return tree, changed

    def _without_huge(self, files: Collection[str]) -> Collection[str]:
        """Return files that can be read now; the huge ones among them are read by themselves.

        So is one that was huge and is being read: what was read first must not come in after what was read later.
        """
        apart = {file for file in files if file in self._unread or file == self._in_flight}
        if self._quiet_seconds > 0 and len(files) < _MANY_FILES:
            apart.update(file for file in files if self._readings.size(file) >= _HUGE_BYTES)
        if not apart:
            return files
        self._unread.update(dict.fromkeys(apart))
        self._read_huge.set()
        return [file for file in files if file not in apart]

    async def _read_in_turn(self, queue: _Queue) -> None:
        """Read huge files in a thread, the next one once the last one has been taken in."""
        while True:
            self._read_huge.clear()
            if self._in_flight is None and self._unread:
                file = self._in_flight = next(iter(self._unread))
                del self._unread[file]  # saved once more from now on, it is read once more
                for reading in await asyncio.to_thread(self._readings.read_now, [file], self._refused):
                    queue.put_nowait(reading)
            await self._read_huge.wait()

    async def _take_in(self, files: Collection[str], read: Collection[Reading] | None = None) -> CatalogChange:
        """Act at once on what is valid; let doubtful files wait until they have been quiet.

        Args:
            files: that may have changed.
            read: what they hold, where that is known already.
        """
        now = self._monotonic()
        quiet = self._held_back - frozenset(files)
        readings = [*(read or ()), *await self._read([*(() if read else files), *quiet])]
        quiet |= {file for file in files if self._quiet_seconds == 0 or self._is_quiet(file, now)}
        hidden = await self._hidden(
            [reading.file for reading in readings if reading.stamp is None and reading.fault is None] if quiet else []
        )
        contents: dict[str, FileDocuments | None] = {}
        for reading in readings:
            file, documents = reading.file, reading.documents
            if reading.fault is not None:
                # What it declared stays; what it declares now is not known, and it is asked again soon.
                self._unreadable.met(reading.fault)
                self._unsettled[file] = now + _FAULT_SECONDS
                self._faulty.add(file)
                self._unsettle.set()
                continue
            self._faulty.discard(file)
            asked = self._unexplained.get(file)
            if asked is not None and reading.refused is not None and asked.data == reading.refused.data:
                self._take_stamp(reading)
                continue  # it is being explained
            self._unexplained.pop(file, None)
            self._unsettled.pop(file, None)
            if file in hidden:
                self._stamps[file] = _UNSEEN
                continue
            self._take_stamp(reading)
            if file in quiet and reading.refused is not None:
                # It counts; why it is invalid is said once everything valid is in force.
                self._unexplained[file] = reading.refused
                self._unsettled[file] = now
                self._explain.set()
                continue
            if file in quiet or not self._doubtful(file, documents):
                contents[file] = documents
                continue
            self._unsettled[file] = now + self._quiet_seconds
            self._unsettle.set()
            if documents is not None and not documents.problems:
                if self._catalog.conflicts(documents):
                    self._claimed.update((item.key, file) for item in documents.desired)
                else:
                    contents[file] = self._with_missing(documents)
        await self._join_moved(contents)
        if not self._unsettled:
            self._claimed.clear()
        if self._empties(contents):
            return CatalogChange()
        invalid_before = set(self._catalog.invalid)
        change = self._catalog.update(contents)
        self._note(change)
        # One that was deleted is no longer in the way either; whoever was told of it is told of its end.
        for file in sorted(invalid_before - self._catalog.invalid.keys() - set(change.became_valid)):
            self._log.info("document_valid_again", file=file, gone=True)
        return change

    def _is_quiet(self, file: str, now: float) -> bool:
        """Whether a file has been quiet since it was found to be doubtful, so that what it holds counts."""
        waits_for_more = file in self._unexplained or file in self._faulty
        return not waits_for_more and self._unsettled.get(file, now + 1) <= now

    async def _explain_in_turn(self, queue: _Queue) -> None:
        """Find out why files are invalid, one after the other, in a thread, and behind whatever else there is to do."""
        while True:
            self._explain.clear()
            for file, refused in list(self._unexplained.items()):
                if self._unexplained.get(file) is refused:
                    found = await asyncio.to_thread(self._readings.explain, refused)
                    queue.put_nowait(_Explained(refused, found))
            await self._explain.wait()

    def _take_explanation(self, explained: _Explained) -> CatalogChange:
        file = explained.documents.file
        if self._unexplained.get(file) is not explained.refused:
            return CatalogChange()  # it holds something else by now
        del self._unexplained[file]
        self._unsettled.pop(file, None)
        change = self._catalog.update({file: explained.documents})
        self._note(change)
        return change

    async def _read(self, files: Collection[str]) -> list[Reading]:
        total = 0
        for file in files if len(files) < _MANY_FILES else ():
            total += self._readings.size(file)
        if len(files) >= _MANY_FILES or total >= _LARGE_BYTES:
            return await asyncio.to_thread(self._readings.read_now, files, self._refused)
        return self._readings.read_now(files, self._refused)

    def _take_stamp(self, reading: Reading) -> None:
        if reading.stamp is None:
            self._stamps.pop(reading.file, None)
        else:
            self._stamps[reading.file] = reading.stamp

    async def _hidden(self, gone: Collection[str]) -> frozenset[str]:
        """Return those of some missing files that are out of sight with the place they were in, and so not deleted."""
        if not any(self._catalog.documents_of(file) for file in gone):
            return frozenset()
        try:
            tree = await asyncio.to_thread(self._source.walk)
        except ResourceFault as fault:
            self._unreadable.met(fault)
            return frozenset(gone)  # nobody can say that they are deleted
        self._note_vanished(tree)
        self._note_warnings(tree)
        return frozenset(file for file in gone if tree.hides(file))

    async def _join_moved(self, contents: dict[str, FileDocuments | None]) -> None:
        """Add the unsettled files that what goes missing has moved to, so that a move is no release.

        Args:
            contents: what is about to come into force.
        """
        dropped: set[RecordingKey] = set()
        for file, documents in contents.items():
            if documents is None or not documents.problems:
                dropped |= self._catalog.documents_of(file).keys()
                dropped.difference_update(() if documents is None else (item.key for item in documents.desired))
        takers = {self._claimed[key] for key in dropped & self._claimed.keys()} & self._unsettled.keys()
        for reading in await self._read(takers - contents.keys()):
            documents = reading.documents
            if documents is not None and not documents.problems and self._freed(documents, dropped):
                self._take_stamp(reading)
                del self._unsettled[reading.file]
                contents[reading.file] = documents

    def _freed(self, documents: FileDocuments, dropped: Collection[RecordingKey]) -> bool:
        """Return whether a content lacks nothing of what its file holds, and claims nothing that another file keeps."""
        if self._catalog.documents_of(documents.file).keys() - {item.key for item in documents.desired}:
            return False
        for item in documents.desired:
            for holder in (self._catalog.desired.get(item.key), self._catalog.by_name(item.name)):
                if holder is not None and holder.file != documents.file and holder.key not in dropped:
                    return False
        return True

    def _doubtful(self, file: str, documents: FileDocuments | None) -> bool:
        """Return whether a file may be in the middle of being saved."""
        held = self._catalog.documents_of(file)
        if documents is None:
            return bool(held)
        if documents.problems:
            return True
        return bool(held.keys() - {item.key for item in documents.desired}) or bool(self._catalog.conflicts(documents))

    def _with_missing(self, documents: FileDocuments) -> FileDocuments:
        held = self._catalog.documents_of(documents.file)
        present = {item.key for item in documents.desired}
        names = {item.name for item in documents.desired}
        missing = (item for key, item in held.items() if key not in present and item.name not in names)
        return replace(documents, desired=documents.desired + tuple(missing))

    def _empties(self, contents: Mapping[str, FileDocuments | None]) -> bool:
        """Return whether this would leave no document at all, which nobody means; say so once."""
        if self._allow_empty or not self._catalog.desired:
            return False
        left = len(self._catalog.desired)
        for file, documents in contents.items():
            left += (0 if documents is None else len(documents.desired)) - len(self._catalog.documents_of(file))
            if documents is not None and documents.problems:
                left += len(self._catalog.documents_of(file))
        if left > 0:
            self._held_back = frozenset()
            return False
        files = frozenset(contents)
        if files != self._held_back:
            self._held_back = files
            self._log.error(
                "limit_refused",
                rule="empty",
                count=len(self._catalog.desired),
                allowed=0,
                setting="allow_empty",
                override="--allow-empty",
            )
        return True

    async def _wait_for_quiet(self, queue: _Queue) -> None:
        """Have each unsettled file looked at again when it has been quiet, whatever it then holds."""
        asked: dict[str, float] = {}
        while True:
            self._unsettle.clear()
            now = self._monotonic()
            # What is taken away may have moved to a file that nobody has read yet.
            held = bool(self._unread) or self._in_flight is not None
            quiet = [
                file
                for file, due in self._unsettled.items()
                if due <= now and asked.get(file) != due and file not in self._unexplained and not held
            ]
            if quiet:
                asked = {file: self._unsettled[file] for file in quiet}
                queue.put_nowait(quiet)
            due = min((due for due in self._unsettled.values() if due > now), default=None)
            self._unreadable.look()
            if self._unreadable.raised:
                due = min(due or now + _FAULT_SECONDS, now + _FAULT_SECONDS)
            try:
                async with asyncio.timeout(None if due is None else due - now):
                    await self._unsettle.wait()
            except TimeoutError:
                pass

    def _note(self, change: CatalogChange) -> None:
        for file in change.became_invalid:
            problems = self._catalog.invalid[file]
            first = scrubbed(problems[0])
            self._log.error("document_invalid", file=file, problems=len(problems), rule=first.rule, first=str(first))
        for file in change.became_valid:
            self._log.info("document_valid_again", file=file)

    def _note_warnings(self, tree: Tree) -> None:
        """Say what is not read, once, and again when it was read in between."""
        for warning in sorted(set(tree.warnings) - self._warned):
            self._log.warning("source_warning", detail=warning)
        self._warned = frozenset(tree.warnings)

    def _note_vanished(self, tree: Tree) -> None:
        vanished = frozenset(tree.vanished_roots)
        for path in vanished - self._vanished:
            self._log.error("source_vanished", path=path, detail="what it held stays in force until it is back")
        for path in self._vanished - vanished:
            self._log.info("source_back", path=path)
        self._vanished = vanished


def _remembered(
    contents: Mapping[str, FileDocuments],
    tree: Tree,
    records: Iterable[Record],
    name_of: Callable[[str, str], str | None],
) -> dict[str, FileDocuments | None]:
    """Return, for each file that is invalid or out of sight now, what our records say it held when it was valid."""
    broken = {file for file, documents in contents.items() if documents.problems}
    if not (broken or tree.unseen or tree.hidden):
        return {}
    elsewhere = {item.key for documents in contents.values() for item in documents.desired}
    held: dict[str, list[Desired]] = {}
    for record in records:
        if record.key in elsewhere:
            continue
        file = name_of(record.file, record.base)
        if file is not None and (file in broken or (file not in contents and tree.hides(file))):
            held.setdefault(file, []).append(document_of(record, file))
    return {file: FileDocuments(file, tuple(desired), ()) for file, desired in held.items()}


def document_of(record: Record, file: str) -> Desired:
    """Return what a recording's document asked for when it was last valid; `file` is what its file is called now."""
    return Desired(
        record.key, record.name, record.desired, file, record.line, record.drift, record.suspend, record.labels
    )
