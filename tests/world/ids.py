"""The IDs that tests mean when any will do, and a recording of theirs as an API is seeded with it."""

from __future__ import annotations

WORKSPACE = "5f4f2f2e-6c0e-4c57-9f65-2f6cf0a1d7a1"
CHANNEL = "0b6b0f5e-7d5a-4c55-8f0e-6f2a4cf5b9b7"
CALL = "9a0a4c3c-58a1-4a5e-b7de-3f1ab0a3d1c2"
RECORDING = "3fa85f64-5717-4562-b3fc-2c963f66afa6"


def numbered(number: int) -> str:
    """Return a UUID by its number."""
    return f"00000000-0000-4000-8000-{number:012x}"


def recording(status: str = "ongoing", *, call: str = CALL, recording_id: str = RECORDING) -> dict[str, str]:
    """Return a live recording as the independent API is seeded with it."""
    ids = {"workspaceId": WORKSPACE, "channelId": CHANNEL, "callId": call, "recordingId": recording_id}
    return {**ids, "status": status}
