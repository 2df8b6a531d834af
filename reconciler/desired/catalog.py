"""The valid desired state over all files, kept up to date file by file.

A file whose newest content cannot be in force, because it is invalid or claims a name or a recording that another file
holds, keeps its last valid version. Pure: no file, no clock, no logging.

What must never happen in this room: one file's mistake changes what another file asks for; two documents are in force
for one recording or under one name; an update costs more than what it changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType

from reconciler.desired.documents.conflicts import FileDocuments, Place, conflict, cross_check, in_bounds
from reconciler.model import CallKey, Desired, Problem, RecordingKey


@dataclass(frozen=True, slots=True)
class CatalogChange:
    """What one update did to what is in force. Recordings in the order in which it met them, files sorted."""

    #: Added, or with another status, drift setting, suspension or name.
    changed: tuple[RecordingKey, ...] = ()
    #: No longer in any document that is in force.
    removed: tuple[RecordingKey, ...] = ()
    #: Different only in what nothing is decided by: file, lines and labels.
    moved: tuple[RecordingKey, ...] = ()
    #: Files whose newest content is not in force, where that or the reason is new.
    became_invalid: tuple[str, ...] = ()
    #: Files that were invalid and whose newest content is now in force.
    became_valid: tuple[str, ...] = ()


@dataclass(slots=True)
class _Trace:
    """What an update met before it changed it."""

    desired: dict[RecordingKey, Desired | None] = field(default_factory=dict)
    invalid: dict[str, tuple[Problem, ...] | None] = field(default_factory=dict)
    #: The files that wait for a name or a recording that was given up or taken.
    waiters: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Newest:
    """Content that is valid by itself and not in force, or not yet."""

    documents: FileDocuments
    #: Grows with each content that is given; the earlier one has the better right.
    arrival: int


class Catalog:
    """Which documents are in force, by recording, name, call and file."""

    def __init__(self) -> None:
        self._by_key: dict[RecordingKey, Desired] = {}
        self._key_of_name: dict[str, RecordingKey] = {}
        self._set_places: dict[str, Place] = {}
        # By the call's ID, which is there already: a CallKey for each of 100,000 recordings would take 15 MB.
        # A call of several recordings has a dictionary, used as an ordered set.
        self._keys_of_call: dict[str, RecordingKey | dict[RecordingKey, None]] = {}
        self._in_force: dict[str, FileDocuments] = {}
        self._waiting: dict[str, _Newest] = {}
        self._wanted: dict[str | RecordingKey, set[str]] = {}
        self._invalid: dict[str, tuple[Problem, ...]] = {}
        self._arrivals = 0
        self._trace = _Trace()
        #: All that is in force.
        self.desired: Mapping[RecordingKey, Desired] = MappingProxyType(self._by_key)
        #: The files whose newest content is not in force, and why.
        self.invalid: Mapping[str, tuple[Problem, ...]] = MappingProxyType(self._invalid)

    def by_name(self, name: str) -> Desired | None:
        """Return the document in force under a full name."""
        key = self._key_of_name.get(name)
        return None if key is None else self._by_key[key]

    def by_call(self, call: CallKey) -> tuple[RecordingKey, ...]:
        """Return the recordings of a call that have a document in force."""
        held = self._keys_of_call.get(call.call_id, {})
        return tuple(key for key in (held if isinstance(held, dict) else (held,)) if key.call == call)

    def revision_of(self, key: RecordingKey) -> str | None:
        """Return the commit of a recording's document in force; None where there is none, or it came from no commit."""
        desired = self._by_key.get(key)
        return None if desired is None else self._in_force[desired.file].revision

    def documents_of(self, file: str) -> Mapping[RecordingKey, Desired]:
        """Return what a file has in force, which for an invalid file is its last valid version."""
        documents = self._in_force.get(file)
        return {} if documents is None else {desired.key: desired for desired in documents.desired}

    def conflicts(self, documents: FileDocuments) -> tuple[Problem, ...]:
        """Say what would keep this content out of force if it were the newest of its file now; change nothing.

        A conflict that is to end within the same update, because the other file changes too, is reported as well.
        """
        return _own_conflicts(documents) or self._foreign_conflicts(documents)

    def update(self, changed: Mapping[str, FileDocuments | None]) -> CatalogChange:
        """Take in the newest content of some files, as one change.

        What these files held is taken out before their new contents go in, so that documents may move between them.
        Where two contents claim the same, the one that was given earlier is in force, and among those of one update the
        file that sorts first. When a claim is given up, content that waited for it comes into force in the same update.

        Args:
            changed: the newest content by file, None for a file that is gone.
        """
        gone: list[str] = []
        fresh: dict[str, _Newest] = {}
        for file in sorted(changed):
            documents = changed[file]
            self._forget_waiting(file)
            if documents is None:
                gone.append(file)
            elif problems := documents.problems or _own_conflicts(documents):
                self._set_problems(file, problems)
            else:
                self._arrivals += 1
                fresh[file] = _Newest(documents, self._arrivals)
        group = self._affected((*gone, *fresh)) | fresh
        for file in gone:
            self._take_out(file)
            self._set_problems(file, None)
        kept = self._admit(group)
        self._admit_late(kept)
        self._explain_waiting(kept)
        change = self._change(frozenset(gone))
        self._trace = _Trace()  # at the first load it holds as much as the catalog
        return change

    def _affected(self, files: Iterable[str]) -> dict[str, _Newest]:
        """Return what waits, directly or through one another, for what these files hold; the earliest first.

        It is judged together with the update: two files that trade their recordings in two saves each wait for what
        only the other can give up.
        """
        met = set(files)
        found: list[str] = []
        stack = list(met) if self._wanted else []
        while stack:
            for claim in _claims(self._in_force.get(stack.pop())):
                for file in self._wanted.get(claim, set()) - met:
                    met.add(file)
                    found.append(file)
                    stack.append(file)
        return {file: self._waiting[file] for file in self._by_arrival(found)}

    def _admit(self, group: Mapping[str, _Newest]) -> list[str]:
        """Put the newest contents of a group in force, all that can be; return the files that keep what they had."""
        kept: list[str] = []
        while group:
            blocked, displaced = self._admit_together(group)
            kept.extend(displaced or blocked)
            # What only a displaced file stood in the way of gets another turn, as a group again, without that file.
            group = {file: newest for file, newest in group.items() if file in blocked} if displaced else {}
        return self._by_arrival(kept)

    def _admit_together(self, group: Mapping[str, _Newest]) -> tuple[set[str], set[str]]:
        """Take out what a group holds, then put in its newest contents, one after the other.

        Returns:
            the files whose content met a claim that was taken, and those whose content was in and had to go out again.
        """
        held = {file: self._take_out(file) for file in group}
        blocked: set[str] = set()
        displaced: set[str] = set()
        for file, newest in group.items():
            if not self._is_blocked(newest.documents):
                self._put_in(newest.documents)
                continue
            # It keeps what it had. Whoever of this group took any of that meanwhile gives it back and keeps its own.
            blocked.add(file)
            restore = [held[file]]
            while restore:
                last_valid = restore.pop()
                if last_valid is not None:
                    for holder in sorted(self._holders(last_valid)):
                        self._take_out(holder)
                        displaced.add(holder)
                        restore.append(held[holder])
                    self._put_in(last_valid)
        for file, newest in group.items():
            if file in blocked or file in displaced:
                self._wait(newest)
            else:
                self._forget_waiting(file)
                self._set_problems(file, None)
        return blocked, displaced

    def _admit_late(self, files: Iterable[str]) -> None:
        """Put in force, one by one, what nothing stands in the way of any more, and what that in turn lets in."""
        candidates = deque(files)
        while candidates:
            file = candidates.popleft()
            newest = self._waiting.get(file)
            if newest is None or self._is_blocked(newest.documents):
                continue
            released = self._take_out(file)
            self._put_in(newest.documents)
            self._forget_waiting(file)
            self._set_problems(file, None)
            waiters = {waiter for claim in _claims(released) for waiter in self._wanted.get(claim, ())}
            candidates.extend(self._by_arrival(waiters))

    def _explain_waiting(self, kept: Iterable[str]) -> None:
        """Say of each waiting file that this update touched who stands in its way now."""
        for file in sorted(self._trace.waiters.union(kept)):
            newest = self._waiting.get(file)
            if newest is not None:
                self._set_problems(file, self._foreign_conflicts(newest.documents))

    def _change(self, gone: frozenset[str]) -> CatalogChange:
        changed: list[RecordingKey] = []
        removed: list[RecordingKey] = []
        moved: list[RecordingKey] = []
        for key, before in self._trace.desired.items():
            after = self._by_key.get(key)
            if after is None:
                if before is not None:
                    removed.append(key)
            elif before is None or _decisive(before) != _decisive(after):
                changed.append(key)
            elif before != after:
                moved.append(key)
        became_invalid: list[str] = []
        became_valid: list[str] = []
        for file, was in sorted(self._trace.invalid.items()):
            now = self._invalid.get(file)
            if now is not None and now != was:
                became_invalid.append(file)
            elif now is None and was is not None and file not in gone:
                became_valid.append(file)
        return CatalogChange(tuple(changed), tuple(removed), tuple(moved), tuple(became_invalid), tuple(became_valid))

    def _holder(self, claim: str | RecordingKey) -> Place | None:
        """Return the place in force that has a name or a recording."""
        if isinstance(claim, RecordingKey):
            desired = self._by_key.get(claim)
        elif (key := self._key_of_name.get(claim)) is not None:
            desired = self._by_key[key]
        else:
            return self._set_places.get(claim)
        return None if desired is None else Place(desired.file, desired.first_line)

    def _holders(self, documents: FileDocuments) -> set[str]:
        """Name the files that hold anything of what a content claims."""
        return {holder.file for claim in _claims(documents) if (holder := self._holder(claim)) is not None}

    def _is_blocked(self, documents: FileDocuments) -> bool:
        """Whether another file holds anything of what a content claims."""
        for claim in _claims(documents):
            holder = self._holder(claim)
            if holder is not None and holder.file != documents.file:
                return True
        return False

    def _foreign_conflicts(self, documents: FileDocuments) -> tuple[Problem, ...]:
        """Name each place of a content that claims what another file holds, once for each place that holds it."""
        found: dict[tuple[Place, Place], Problem] = {}
        pointers: Mapping[tuple[str | RecordingKey, int], str] | None = None
        for claim, line in documents.claims():
            holder = self._holder(claim)
            if holder is not None and holder.file != documents.file:
                place = Place(documents.file, line)
                pointers = documents.pointers() if pointers is None else pointers
                pointer = pointers.get((claim, line), "/metadata/name")
                found.setdefault((place, holder), conflict(claim, place, holder, pointer=pointer))
        return tuple(in_bounds(sorted(found.values(), key=attrgetter("line"))))

    def _put_in(self, documents: FileDocuments) -> None:
        self._in_force[documents.file] = documents
        self._note_waiters(documents)
        for name, line in documents.sets:
            self._set_places[name] = Place(documents.file, line)
        for desired in documents.desired:
            key = desired.key
            self._trace.desired.setdefault(key, None)
            self._by_key[key] = desired
            self._key_of_name[desired.name] = key
            others = self._keys_of_call.get(key.call_id)
            if others is None:
                self._keys_of_call[key.call_id] = key
            elif isinstance(others, dict):
                others[key] = None
            else:
                self._keys_of_call[key.call_id] = {others: None, key: None}

    def _take_out(self, file: str) -> FileDocuments | None:
        documents = self._in_force.pop(file, None)
        if documents is None:
            return None
        self._note_waiters(documents)
        for name, _ in documents.sets:
            del self._set_places[name]
        for desired in documents.desired:
            key = desired.key
            self._trace.desired.setdefault(key, desired)
            del self._by_key[key]
            del self._key_of_name[desired.name]
            others = self._keys_of_call[key.call_id]
            if isinstance(others, dict) and len(others) > 1:
                del others[key]
            else:
                del self._keys_of_call[key.call_id]
        return documents

    def _note_waiters(self, documents: FileDocuments) -> None:
        if self._wanted:
            for claim in _claims(documents):
                self._trace.waiters.update(self._wanted.get(claim, ()))

    def _wait(self, newest: _Newest) -> None:
        file = newest.documents.file
        self._waiting[file] = newest
        for claim in _claims(newest.documents):
            self._wanted.setdefault(claim, set()).add(file)

    def _forget_waiting(self, file: str) -> None:
        newest = self._waiting.pop(file, None)
        for claim in _claims(newest.documents) if newest is not None else ():
            self._wanted[claim].discard(file)
            if not self._wanted[claim]:
                del self._wanted[claim]

    def _by_arrival(self, files: Iterable[str]) -> list[str]:
        return sorted(files, key=lambda file: self._waiting[file].arrival)

    def _set_problems(self, file: str, problems: tuple[Problem, ...] | None) -> None:
        was = self._invalid.pop(file, None)
        if was is not None or problems is not None:
            self._trace.invalid.setdefault(file, was)
        if problems is not None:
            self._invalid[file] = problems


def _own_conflicts(documents: FileDocuments) -> tuple[Problem, ...]:
    """Find what a file claims twice: nothing but new content can cure that."""
    if len(documents.desired) + len(documents.sets) < 2:
        return ()
    claims = list(_claims(documents))
    return tuple(cross_check([documents])) if len(set(claims)) < len(claims) else ()


def _claims(documents: FileDocuments | None) -> Iterator[str | RecordingKey]:
    """Yield every name and recording that a content takes for itself."""
    if documents is not None:
        for claim, _ in documents.claims():
            yield claim


def _decisive(desired: Desired) -> tuple[object, ...]:
    return desired.status, desired.drift, desired.suspend, desired.name
