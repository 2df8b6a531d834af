"""Which recording, and which call: IDs that are valid before they are part of a path."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from reconciler.model.statuses import Status

UUID_PATTERN: Final = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"


_UUID = re.compile(UUID_PATTERN)


def parse_uuid(text: str) -> str:
    """Return the UUID in lower case, the form in which IDs are compared and become part of a path.

    Raises:
        ValueError: the text is not a UUID in its 8-4-4-4-12 form.
    """
    if _UUID.fullmatch(text) is None:
        raise ValueError(f"{text[:64]!r} is not a UUID")
    return text.lower()


class CallKey(NamedTuple):
    """Names one call. A tuple, because hundreds of thousands are hashed and compared as dictionary keys."""

    workspace_id: str
    channel_id: str
    call_id: str


class RecordingKey(NamedTuple):
    """Names one recording by the four lower-case UUIDs of its path. Build it with `of` from text of unknown form."""

    workspace_id: str
    channel_id: str
    call_id: str
    recording_id: str

    @classmethod
    def of(cls, workspace_id: str, channel_id: str, call_id: str, recording_id: str) -> RecordingKey:
        """Build a key from four UUIDs in either case.

        Raises:
            ValueError: one of them is not a UUID.
        """
        return cls(parse_uuid(workspace_id), parse_uuid(channel_id), parse_uuid(call_id), parse_uuid(recording_id))

    @classmethod
    def from_text(cls, text: str) -> RecordingKey:
        """Read back what `text` returned.

        Raises:
            ValueError: it is no such text.
        """
        parts = text.split(" ")
        if len(parts) != len(cls._fields):
            raise ValueError(f"{text[:200]!r} is not the text of a key")
        return cls(*parts)

    def text(self) -> str:
        """Return the key as one text: its parts, in none of which is a space, with a space between them."""
        return " ".join(self)

    @property
    def call(self) -> CallKey:
        return CallKey(self.workspace_id, self.channel_id, self.call_id)


#: What an event has in place of a recording that is about none.
NO_RECORDING: Final = RecordingKey("", "", "", "")


def status_line(key: RecordingKey, status: Status) -> str:
    """Return a recording and a status of it as one text: the form in which a hundred thousand are compared at once."""
    return f"{key.text()} {status.value}"


def key_of_line(line: str) -> RecordingKey:
    """Return the recording of a `status_line`.

    Raises:
        ValueError: it is none.
    """
    return RecordingKey.from_text(line.rpartition(" ")[0])
