"""Read one file: the quick way for what is valid, the slow one for what has to be explained.

What must never happen in this room: a file that its schema refuses declares anything; a byte of any file ends the
program.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from reconciler.desired.documents import schema
from reconciler.desired.documents.conflicts import FileDocuments
from reconciler.desired.documents.convert import recording, recordings
from reconciler.desired.documents.limits import DEFAULT_LIMITS, DocumentLimits, Patience
from reconciler.model import Desired, Problem
from reconciler.telemetry import frames

if TYPE_CHECKING:
    from reconciler.desired.documents.yaml_events import Document, Irregular

#: Nobody needs one; a text that speaks of them may.
MOST_TAG_DIRECTIVES: Final = 64
#: Looked for before the word: one character is found in a fraction of the time.
_PERCENT: Final = ord("%")


class Refused(NamedTuple):
    """A file that is invalid, before anybody has said why."""

    data: bytes
    file: str
    limits: DocumentLimits
    #: What the fast reader met; None where that was forgotten, and is found out again when it is needed.
    reason: Irregular | None

    def explain(self, patience: Patience | None = None) -> FileDocuments:
        """Say what is wrong with the file; in the time that there is, and so far as that suffices."""
        # Imported late: a mistake may wait for it, a command that finds none should not.
        from reconciler.desired.documents.problems import find_problems

        try:
            problems = find_problems(self.data, self.file, self.limits, self._refusal, patience or Patience())
        except Exception as error:  # noqa: BLE001 - one poison file must not end a daemon that has others to look after
            return _unforeseen(self.file, error)
        return FileDocuments(self.file, (), problems)

    def _refusal(self) -> Irregular:
        if self.reason is not None:
            return self.reason
        irregular = _reader().irregular
        try:
            _read_valid(self.data, self.file, self.limits)
        except irregular as reason:
            return reason
        return irregular()


def parse_documents(
    data: bytes, file: str, limits: DocumentLimits = DEFAULT_LIMITS, patience: Patience | None = None
) -> FileDocuments:
    """Read one file; whatever its bytes are, the answer is a value.

    What no two documents may share is not looked at here, not even within the file: that is `cross_check`'s.

    Args:
        data: the content of the file.
        file: its path as it shall be shown.
        limits: what one file may ask of this program.
        patience: how much time there is to say what is wrong; by default that for a single file.
    """
    found = parse_quickly(data, file, limits)
    return found.explain(patience) if isinstance(found, Refused) else found


def parse_quickly(data: bytes, file: str, limits: DocumentLimits = DEFAULT_LIMITS) -> FileDocuments | Refused:
    """Read one file without explaining what is wrong with it, which takes a multiple of the time; else the same."""
    if _PERCENT in data and data.count(b"%TAG") > MOST_TAG_DIRECTIVES:
        # Refused before libyaml sees them: it compares each with all others, which takes minutes for a few megabytes.
        message = f"more than {MOST_TAG_DIRECTIVES} times `%TAG`: tags are not allowed, nor is what declares them"
        return FileDocuments(file, (), (Problem(file, 1, 1, message, rule="too-many-directives"),))
    irregular = _reader().irregular
    if len(data) > limits.max_file_bytes:
        return Refused(data, file, limits, irregular())
    try:
        return _read_valid(data, file, limits)
    except irregular as reason:
        return Refused(data, file, limits, reason)
    except Exception as error:  # noqa: BLE001 - one poison file must not end a daemon that has others to look after
        return _unforeseen(file, error)


def _unforeseen(file: str, error: Exception) -> FileDocuments:
    message = f"cannot be read: {type(error).__name__} at {frames(error)}, a fault of this program; please report it"
    return FileDocuments(file, (), (Problem(file, 1, 1, message, rule="unforeseen"),))


class _Reader(NamedTuple):
    """What each file is read with."""

    irregular: type[Irregular]
    read_documents: Callable[[bytes, DocumentLimits], Iterator[Document]]
    fits_one: Callable[[object], bool]
    fits_set: Callable[[object], bool]


@functools.cache
def _reader() -> _Reader:
    """Return what each file is read with: an import statement in the way of each would be a hundredth of its time."""
    # Imported late: where the index knows all documents, nobody waits for a parser.
    from reconciler.desired.documents.yaml_events import Irregular, read_documents

    return _Reader(
        Irregular, read_documents, schema.gate(schema.CALL_RECORDING), schema.gate(schema.CALL_RECORDING_SET)
    )


def _read_valid(data: bytes, file: str, limits: DocumentLimits) -> FileDocuments:
    irregular, read_documents, fits_one, fits_set = _reader()
    desired: list[Desired] = []
    sets: list[tuple[str, int]] = []
    for read in read_documents(data, limits):
        value, line, item_lines, status_lines = read
        # The gates hold for the kind as well: a document passes one of them or none.
        if fits_one(value):
            desired.append(recording(cast("dict[str, Any]", value), file, line, status_lines))
        elif fits_set(value):
            document = cast("dict[str, Any]", value)
            sets.append((document["metadata"]["name"], line))
            desired.extend(recordings(document, file, item_lines, status_lines))
        else:
            raise irregular(line, read)
    return FileDocuments(file, tuple(desired), (), tuple(sets))
