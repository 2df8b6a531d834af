"""The bytes of a file to validated desired state, or to problems with file, line and column.

The room knows YAML, the JSON Schemas and how to explain a mistake. It walks no folders, opens no files, logs nothing,
and never lets a document through that its schema refuses: a refused file declares nothing at all.

    bytes -> yaml_events (fast) -> schema.gate -> convert -> Desired
                  '- refused -> nodes (slow) -> schema.mistakes -> explain -> Problem
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, cast

from reconciler.documents import schema
from reconciler.documents.conflicts import FileDocuments, Place, conflict, cross_check
from reconciler.documents.convert import recording, recordings
from reconciler.documents.excerpt import explain
from reconciler.documents.limits import DEFAULT_LIMITS, DocumentLimits
from reconciler.documents.plain import load_plain
from reconciler.documents.schema import schema_text
from reconciler.documents.wording import nearest
from reconciler.model import Desired, Problem
from reconciler.scrub import frames

__all__ = [
    "DEFAULT_LIMITS",
    "DocumentLimits",
    "FileDocuments",
    "Place",
    "conflict",
    "cross_check",
    "explain",
    "load_plain",
    "nearest",
    "parse_documents",
    "sample_text",
    "schema_text",
]


#: Nobody needs one; a text that speaks of them may.
MOST_TAG_DIRECTIVES: Final = 64


def parse_documents(data: bytes, file: str, limits: DocumentLimits = DEFAULT_LIMITS) -> FileDocuments:
    """Read one file; whatever its bytes are, the answer is a value.

    What no two documents may share is not looked at here, not even within the file: that is `cross_check`'s.

    Args:
        data: the content of the file.
        file: its path as it shall be shown.
    """
    if data.count(b"%TAG") > MOST_TAG_DIRECTIVES:
        # Refused before libyaml sees them: it compares each with all others, which takes minutes for a few megabytes.
        message = f"more than {MOST_TAG_DIRECTIVES} times `%TAG`: tags are not allowed, nor is what declares them"
        return FileDocuments(file, (), (Problem(file, 1, 1, message, rule="too-many-directives"),))
    if len(data) <= limits.max_file_bytes:
        # Imported late: where the index knows all documents, nobody waits for a parser.
        from reconciler.documents.yaml_events import Irregular

        try:
            return _read_valid(data, file, limits)
        except Irregular:
            pass  # why, is told below
        except Exception as error:  # noqa: BLE001 - one poison file must not end a daemon that has others to look after
            return _unforeseen(file, error)
    # Imported late: a mistake may wait for it, a command that finds none should not.
    from reconciler.documents.explain import find_problems

    try:
        return FileDocuments(file, (), find_problems(data, file, limits))
    except Exception as error:  # noqa: BLE001 - the same
        return _unforeseen(file, error)


def sample_text() -> str:
    """Return the commented document that a newcomer begins with."""
    return _SAMPLE.read_text(encoding="utf-8")


def _unforeseen(file: str, error: Exception) -> FileDocuments:
    message = f"cannot be read: {type(error).__name__} at {frames(error)}, a fault of this program; please report it"
    return FileDocuments(file, (), (Problem(file, 1, 1, message, rule="unforeseen"),))


_SAMPLE: Final = Path(__file__).with_name("sample.yaml")


def _read_valid(data: bytes, file: str, limits: DocumentLimits) -> FileDocuments:
    from reconciler.documents.yaml_events import Irregular, read_documents

    fits_one = schema.gate(schema.CALL_RECORDING)
    fits_set = schema.gate(schema.CALL_RECORDING_SET)
    desired: list[Desired] = []
    sets: list[tuple[str, int]] = []
    for value, line, item_lines, status_lines in read_documents(data, limits):
        # The gates hold for the kind as well: a document passes one of them or none.
        if fits_one(value):
            desired.append(recording(cast("dict[str, Any]", value), file, line, status_lines))
        elif fits_set(value):
            document = cast("dict[str, Any]", value)
            sets.append((document["metadata"]["name"], line))
            desired.extend(recordings(document, file, item_lines, status_lines))
        else:
            raise Irregular
    return FileDocuments(file, tuple(desired), (), tuple(sets))
