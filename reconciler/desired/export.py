"""Live recordings as documents: their names, their text, and how they join a file that is there already.

Pure. What must never happen here: a document that asks for anything but what is live, a phone number, or a byte of a
hand-written document that changes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from reconciler.desired.documents.conflicts import cross_check
from reconciler.desired.documents.limits import DEFAULT_LIMITS, DocumentLimits
from reconciler.desired.documents.parse import parse_documents
from reconciler.model import SATISFIES, DesiredStateError, LiveStatus, ReconcilerError, RecordingKey, Status

_BREAK: Final = re.compile(rb"\r\n|\r|\n")
#: How much of a recording's ID is in a name, as long as that is enough to tell it from all others.
_SHORT: Final = 8


@dataclass(frozen=True, slots=True)
class Export:
    """One live recording, and what a person will want to know of it."""

    key: RecordingKey
    status: Status
    #: `incoming`, `outgoing`, or empty where Bird does not say.
    direction: str
    #: What it was begun by; empty where Bird does not say.
    origin: str
    call_began_at: datetime | None
    began_at: datetime | None


def status_of(word: str) -> Status | None:
    """Return the desired status that a live one satisfies, or None where no document can ask for it."""
    return next((status for status, words in SATISFIES.items() if word in {live.value for live in words}), None)


def why_not(word: str) -> str:
    """Say why a recording of this live status has no document."""
    if word == LiveStatus.ACCEPTED:
        return "its status is `accepted`: it has not begun yet; import it again when it has"
    if word in set(LiveStatus):
        return f"its status is `{word}`, which no document can ask for"
    return "its status is one that this program does not know"


def give_names(recordings: Iterable[Export], taken: Collection[str]) -> list[tuple[str, Export]]:
    """Name each recording by its ID: the short form unless something else has that name already."""
    used = set(taken)
    named = []
    for recording in recordings:
        long = f"recording-{recording.key.recording_id}"
        short = long[: len("recording-") + _SHORT]
        name = short if short not in used else long
        used.add(name)
        named.append((name, recording))
    return named


def document_text(name: str, recording: Export) -> str:
    """Return the document of one recording, its line breaks as on Unix."""
    labels = {"direction": recording.direction or "unknown"}
    if recording.origin:
        labels["origin"] = recording.origin
    key = recording.key
    return f"""\
# {_summary(recording)}
apiVersion: reconciler/v1
kind: CallRecording
metadata:
  name: {name}
  labels: {{{", ".join(f"{label}: {value}" for label, value in labels.items())}}}
spec:
  workspaceId: {key.workspace_id}
  channelId: {key.channel_id}
  callId: {key.call_id}
  recordingId: {key.recording_id}
  status: {recording.status.value}
"""


def _summary(recording: Export) -> str:
    call = {"incoming": "Incoming call", "outgoing": "Outgoing call"}.get(recording.direction, "Call")
    parts = [call if recording.call_began_at is None else f"{call}, began {_instant(recording.call_began_at)}"]
    if recording.began_at is not None:
        parts.append(f"recording since {_instant(recording.began_at)}")
    return "; ".join(parts) + "."


def _instant(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def join(texts: Sequence[str]) -> str:
    """Return documents as the text of one file."""
    return "---\n".join(texts)


def append(data: bytes, file: str, texts: Sequence[str], limits: DocumentLimits = DEFAULT_LIMITS) -> bytes:
    """Return a file's content with documents behind those it has, which stay as they are to the byte.

    Args:
        data: the content; empty for a new file.
        file: its path as it shall be shown.
        texts: documents as `document_text` gives them. They get the file's own line ends.
        limits: what the file may ask of this program.

    Raises:
        DesiredStateError: the content is invalid, or would be with these documents in it.
        ReconcilerError: the file's end would not stay what it is.
    """
    before = parse_documents(data, file, limits)
    if before.problems:
        raise DesiredStateError(before.problems)
    added = join(texts).encode("ascii")
    if before.desired or before.sets:
        added = b"---\n" + added
    found = _BREAK.search(data)
    line_break = b"\n" if found is None else found[0]
    ended = not data.strip(b"\xef\xbb\xbf") or data.endswith((b"\n", b"\r"))
    joined = data + (b"" if ended else line_break) + added.replace(b"\n", line_break)
    after = parse_documents(joined, file, limits)
    problems = after.problems or cross_check([after])
    if problems:
        raise DesiredStateError(problems)
    if after.desired[: len(before.desired)] != before.desired:
        raise ReconcilerError(f"{file} ends in a way that nothing can be added to; write into another file")
    return joined
