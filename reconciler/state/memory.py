"""The records of a state as its one holder has them: in memory, so that the event loop may ask for them.

Whoever holds the state is the only one who writes its records, so what it has read once and kept up to date is what the
state holds. A record is kept as a packed row, a third of what it takes as an object, and is made one when its turn
comes.

What must never happen here: a record that is served before its row is on disk. A turn that relied on it would believe
in an intent that a crash forgets.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping
from marshal import dumps, loads
from operator import itemgetter
from typing import Final

from reconciler.model import Desired, Record, RecordingKey, StoreError
from reconciler.state.base import Log, Standing
from reconciler.state.rows import KEY, RECORDING, Row, recording_from_row, standing_from_row

#: Columns that differ from recording to recording. All others have few values between them, and recordings share those.
_OWN: Final = (
    *("name", "file", "line", "suspend_until", "applied_at", "sent_at", "accepted_at", "confirm_by", "observed_at"),
    *("attempts", "due_at", "error", "phase_since", "unmet_since", "missing_since", "first_sent_at"),
)
_SHARED: Final = tuple(column for column in RECORDING if column not in KEY and column not in _OWN)
#: So many different values of the shared columns are looked for; with more, recordings share less.
_SHAPES: Final = 4096

_own_of: Final = itemgetter(*map(RECORDING.index, _OWN))
_shared_of: Final = itemgetter(*map(RECORDING.index, _SHARED))
#: The columns of a row in their order, out of key, shared and own columns.
_row_of: Final = itemgetter(*map((*KEY, *_SHARED, *_OWN).index, RECORDING))
_PHASE: Final = _SHARED.index("phase")
_LAST_APPLIED: Final = _SHARED.index("last_applied")
#: What `rows.standing_from_row` takes, out of a whole row.
_standing_of: Final = itemgetter(
    *map(RECORDING.index, (*KEY, "file", "base", "phase", "desired", "last_applied", "sent", "reason")),
    *map(RECORDING.index, ("phase_since", "unmet_since")),
)
_OBSERVED_AT: Final = RECORDING.index("observed_at")

#: The shared columns, and the others as bytes.
_Packed = tuple[Row, bytes]


class Memory:
    """Every record of the state that this process holds; see `reconciler.state.base.OwnRecords`.

    Nothing waits here and nothing is read from anywhere, but in `last_event`. The thread that writes the state puts in
    what it has committed.
    """

    def __init__(self, log: Log, not_understood: Callable[[Exception], StoreError]) -> None:
        """Begin with no record.

        Args:
            log: the history, which is not in memory.
            not_understood: says what is wrong with a row that this program cannot read.
        """
        self._log = log
        self._not_understood = not_understood
        self._packed: dict[RecordingKey, _Packed] = {}
        self._shapes: dict[Row, Row] = {}
        self._last_applied = 0

    def __len__(self) -> int:
        return len(self._packed)

    def get(self, key: RecordingKey) -> Record | None:
        """Return our record of one recording, or None where there is none.

        Raises:
            StoreError: it cannot be read: a newer program wrote it, or it is damaged.
        """
        packed = self._packed.get(key)
        if packed is None:
            return None
        try:
            return recording_from_row(_unpacked(key, packed))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise self._not_understood(error) from error

    def count_last_applied(self) -> int:
        """Return how many recordings have a last-applied status."""
        return self._last_applied

    def all_keys(self) -> list[RecordingKey]:
        """Return the keys of all records as they are at this moment, in no order. Any thread may ask."""
        return list(self._packed)

    def standing(self, key: RecordingKey) -> Standing | None:
        """Return how one recording stands, or None where there is no record of it.

        Raises:
            StoreError: its record cannot be read.
        """
        packed = self._packed.get(key)
        if packed is None:
            return None
        row = _unpacked(key, packed)
        *values, since, unmet_since = _standing_of(row)
        if packed[0][_PHASE] == "applied":
            since = None  # nearly all are in sync, and of these nobody asks since when
        elif since is None:
            since = row[_OBSERVED_AT]
        try:
            return standing_from_row((*values, since, unmet_since))._replace(key=key)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise self._not_understood(error) from error

    async def last_event(self, key: RecordingKey) -> str | None:
        """Return the word of the newest event about a recording, or None where there is none.

        The history is read in another thread: it may be larger than any memory.
        """
        from asyncio import to_thread  # here, since commands that only read have no use for it

        return await to_thread(self._log.last_event, key)

    # What the thread that writes puts in.

    def load(self, rows: Iterable[Row], declared: Mapping[RecordingKey, Desired]) -> None:
        """Take every record anew.

        Args:
            rows: of all records.
            declared: documents. The objects that they have for keys are used here, for a second one beside each would
                take half a kilobyte.
        """
        packed: dict[RecordingKey, _Packed] = {}
        last_applied = 0
        # Python would search all there is for garbage again and again as more is made.
        was_collecting = gc.isenabled()
        gc.disable()
        try:
            for row in rows:
                key = RecordingKey(row[0], row[1], row[2], row[3])
                document = declared.get(key)
                made = self._pack(row)
                packed[key if document is None else document.key] = made
                last_applied += made[0][_LAST_APPLIED] is not None
        finally:
            if was_collecting:
                gc.enable()
        self._packed = packed
        self._last_applied = last_applied

    def put(self, key: RecordingKey, row: Row | None) -> None:
        """Take in the row of a record that is on disk now; None for one that is no more."""
        before = self._packed.get(key)
        if before is not None and before[0][_LAST_APPLIED] is not None:
            self._last_applied -= 1
        if row is None:
            self._packed.pop(key, None)
            return
        packed = self._packed[key] = self._pack(row)
        self._last_applied += packed[0][_LAST_APPLIED] is not None

    def _pack(self, row: Row) -> _Packed:
        shared = _shared_of(row)
        shape = self._shapes.get(shared)
        if shape is None:
            if len(self._shapes) >= _SHAPES:
                self._shapes.clear()  # those in use stay where they are
            shape = self._shapes[shared] = shared
        return shape, dumps(_own_of(row))


def _unpacked(key: RecordingKey, packed: _Packed) -> Row:
    shared, own = packed
    row: Row = _row_of((*key, *shared, *loads(own)))  # noqa: S302 (our own bytes, which never left this process)
    return row
