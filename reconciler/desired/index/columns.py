"""What many valid files declare, column by column: a hundred thousand recordings without a hundred thousand objects.

Most commands ask of nearly all recordings only whether they are as they were. That is answered by comparing columns;
a `Desired` is built for the few of which more is asked. Pure: no file, no clock.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import accumulate, chain, repeat
from operator import itemgetter
from typing import Final

from reconciler.desired.documents.conflicts import FileDocuments
from reconciler.model import Desired, Drift, Labels, RecordingKey, Status, Suspend, status_line

#: A drift setting is one byte, its place here.
DRIFTS: Final = tuple(Drift)
_DRIFT_BYTES: Final = {drift: place for place, drift in enumerate(DRIFTS)}
_STATUS: Final = {status.value: status for status in Status}
#: Of a `status_line`: the parts of the key, and the status.
_LINE_PARTS: Final = len(RecordingKey._fields) + 1
#: So many rows are split at once: as fast as can be, and of little memory.
_CHUNK: Final = 1024


@dataclass(slots=True)
class Columns:
    """Rows are recordings: those of one file in its order, one file's after the other's, files sorted by name."""

    files: list[str] = field(default_factory=list)
    #: How many rows each file has.
    counts: array[int] = field(default_factory=lambda: array("I"))
    #: Key and status of each row, as `status_line` writes them; names; 1-based lines of the status and of the begin;
    #: places in `DRIFTS` and in `label_sets`.
    lines: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    places: array[int] = field(default_factory=lambda: array("I"))
    begins: array[int] = field(default_factory=lambda: array("I"))
    drifts: bytearray = field(default_factory=bytearray)
    labelled: array[int] = field(default_factory=lambda: array("I"))
    #: The different sets of labels; the first is that of documents without any.
    label_sets: list[Labels] = field(default_factory=lambda: [()])
    #: Only of the rows that are suspended.
    suspends: dict[int, Suspend] = field(default_factory=dict)
    #: The sets: the place of the file, the name, the 1-based line.
    sets: list[tuple[int, str, int]] = field(default_factory=list)
    #: Whether it is known that no two documents share a name or a recording; `check` finds out.
    unambiguous: bool = False
    _places_of_labels: dict[Labels, int] = field(default_factory=lambda: {(): 0}, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, documents: Iterable[FileDocuments]) -> Columns:
        """Put valid files, sorted by name, into columns."""
        made = cls()
        for each in documents:
            made._append(each)
        return made

    def __len__(self) -> int:
        """Return how many recordings there are."""
        return len(self.lines)

    def merged(self, kept: Sequence[int], fresh: Sequence[FileDocuments]) -> Columns:
        """Return the columns of some of these files and of others.

        Args:
            kept: places in `files`, ascending.
            fresh: valid files that are not among them, sorted by name.
        """
        if not fresh and len(kept) == len(self.files):
            return self
        # Of documents that share nothing, some share nothing either.
        made = Columns(unambiguous=self.unambiguous and not fresh)
        starts = [0, *accumulate(self.counts)]
        sets: dict[int, list[tuple[str, int]]] = {}
        for place, name, line in self.sets:
            sets.setdefault(place, []).append((name, line))
        waiting = iter([*fresh, None])
        following = next(waiting)
        begin = end = 0  # a run of files that are kept, and not copied yet
        for place in kept:
            while following is not None and following.file < self.files[place]:
                self._copy(begin, end, starts, sets, made)
                begin = end = place
                made._append(following)
                following = next(waiting)
            if place != end:
                self._copy(begin, end, starts, sets, made)
                begin = place
            end = place + 1
        self._copy(begin, end, starts, sets, made)
        while following is not None:
            made._append(following)
            following = next(waiting)
        return made

    def _copy(
        self, begin: int, end: int, starts: Sequence[int], sets: dict[int, list[tuple[str, int]]], to: Columns
    ) -> None:
        """Append the files from one place to another, as slices."""
        first, last = starts[begin], starts[end]
        moved = len(to.lines) - first
        if self.sets:
            for place in range(begin, end):
                to.sets.extend((len(to.files) + place - begin, name, line) for name, line in sets.get(place, ()))
        if self.suspends:
            to.suspends.update((row + moved, self.suspends[row]) for row in self.suspends if first <= row < last)
        to.files += self.files[begin:end]
        to.counts += self.counts[begin:end]
        to.lines += self.lines[first:last]
        to.names += self.names[first:last]
        to.places += self.places[first:last]
        to.begins += self.begins[first:last]
        to.drifts += self.drifts[first:last]
        labelled = self.labelled[first:last]
        if len(self.label_sets) > 1:
            # Only those that are still used: what was once a label of some document is not carried on for ever.
            moved_sets = {place: to._place_of(self.label_sets[place]) for place in set(labelled)}
            labelled = array("I", map(moved_sets.__getitem__, labelled))
        to.labelled += labelled

    def _append(self, documents: FileDocuments) -> None:
        """Append a valid file that sorts after those that are here."""
        self.sets.extend((len(self.files), name, line) for name, line in documents.sets)
        self.files.append(documents.file)
        self.counts.append(len(documents.desired))
        for desired in documents.desired:
            if desired.suspend is not None:
                self.suspends[len(self.lines)] = desired.suspend
            self.lines.append(status_line(desired.key, desired.status))
            self.names.append(desired.name)
            self.places.append(desired.line)
            self.begins.append(desired.begins)
            self.drifts.append(_DRIFT_BYTES[desired.drift])
            self.labelled.append(self._place_of(desired.labels) if desired.labels else 0)

    def _place_of(self, labels: Labels) -> int:
        """Return the place of some labels in `label_sets`; only of columns that are being made."""
        place = self._places_of_labels.setdefault(labels, len(self.label_sets))
        if place == len(self.label_sets):
            self.label_sets.append(labels)
        return place

    def check(self) -> None:
        """Find out whether any two documents share a name or a recording: `cross_check` without its words."""
        if not self.unambiguous:
            names = len(set(chain(self.names, map(itemgetter(1), self.sets)))) == len(self.names) + len(self.sets)
            self.unambiguous = names and len({line.rpartition(" ")[0] for line in self.lines}) == len(self.lines)

    def statuses(self, rows: Sequence[int] | None = None) -> list[str]:
        """Return the words of the statuses that are asked for; of some rows, in their order, or of all."""
        lines: Iterable[str] = self.lines if rows is None else map(self.lines.__getitem__, rows)
        return [line.rpartition(" ")[2] for line in lines]

    def unsuspended(self) -> Iterable[str]:
        """Return the lines of the recordings that are not suspended, whatever the time."""
        if not self.suspends:
            return self.lines
        return [line for row, line in enumerate(self.lines) if row not in self.suspends]

    def desired(self, without: AbstractSet[str] = frozenset()) -> list[Desired]:
        """Return what the files declare, but for recordings of which the line is in `without`."""
        if not without:
            return list(self._rows())
        if len(without) == len(self.lines):
            return []
        chosen = [row for row, line in enumerate(self.lines) if line not in without]
        return list(self._rows(chosen))

    def at(self, rows: Sequence[int]) -> list[Desired]:
        """Return what some rows declare, in their order."""
        return list(self._rows(rows))

    def claiming(self, claims: AbstractSet[str | RecordingKey]) -> Iterator[FileDocuments]:
        """Yield the files that take any of some names and recordings for themselves, sorted by name."""
        keys = {claim.text() for claim in claims if isinstance(claim, RecordingKey)}
        ends = list(accumulate(self.counts))
        rows = (
            row
            for row, (name, line) in enumerate(zip(self.names, self.lines, strict=True))
            if name in claims or line.rpartition(" ")[0] in keys
        )
        places = {bisect_right(ends, row) for row in rows}
        places.update(place for place, name, _ in self.sets if name in claims)
        return self.merged(sorted(places), ()).documents()

    def documents(self) -> Iterator[FileDocuments]:
        """Yield each file as it would be had it just been parsed."""
        rows = self._rows()
        sets: dict[int, list[tuple[str, int]]] = {}
        for place, name, line in self.sets:
            sets.setdefault(place, []).append((name, line))
        for place, (file, count) in enumerate(zip(self.files, self.counts, strict=True)):
            yield FileDocuments(
                file, tuple(next(rows) for _ in range(count)), (), tuple(sets[place]) if place in sets else ()
            )

    def _rows(self, chosen: Sequence[int] | None = None) -> Iterator[Desired]:
        """Yield rows as values, built column by column: calls of C for a row, not lines of Python."""
        rows = range(len(self.lines)) if chosen is None else chosen
        if not rows:
            return iter(())
        lines, names, places, drifts = self.lines, self.names, self.places, self.drifts
        begins, labelled = self.begins, self.labelled
        files: Iterable[str] = chain.from_iterable(map(repeat, self.files, self.counts))
        if chosen is not None:
            pick = itemgetter(*chosen, chosen[-1])  # one more, so that a single row is a tuple as well
            lines, names, files = list(pick(lines)), list(pick(names)), pick(list(files))
            places, drifts = array("I", pick(places)), bytearray(pick(drifts))
            begins, labelled = array("I", pick(begins)), array("I", pick(labelled))
        suspends = self.suspends
        remaining = iter(files)

        def made(begin: int) -> Iterator[Desired]:
            end = min(begin + _CHUNK, len(rows))
            parts = " ".join(lines[begin:end]).split(" ")
            workspaces, channels, calls, recordings, statuses = (parts[at::_LINE_PARTS] for at in range(_LINE_PARTS))
            # Workspaces and channels are few and named by every recording: interned, they take no memory.
            keys = zip(map(sys.intern, workspaces), map(sys.intern, channels), calls, recordings, strict=True)
            fields = zip(
                map(tuple.__new__, repeat(RecordingKey), keys),
                names[begin:end],
                map(_STATUS.__getitem__, statuses),
                remaining,
                places[begin:end],
                map(DRIFTS.__getitem__, drifts[begin:end]),
                map(suspends.get, rows[begin:end]) if suspends else repeat(None),
                map(self.label_sets.__getitem__, labelled[begin:end]),
                begins[begin:end],
                strict=False,  # the files go on
            )
            return map(tuple.__new__, repeat(Desired), fields)

        return chain.from_iterable(map(made, range(0, len(rows), _CHUNK)))
