"""Documents as people write them: YAML, valid, one recording each."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.model.keys import RecordingKey
from tests.world.ids import CALL, CHANNEL, RECORDING, WORKSPACE, numbered


def document(status: str = "paused", *, name: str = "one", call: str = CALL, recording: str = RECORDING) -> str:
    """Return one valid document."""
    return f"""\
apiVersion: reconciler/v1
kind: CallRecording
metadata:
  name: {name}
spec:
  workspaceId: {WORKSPACE}
  channelId: {CHANNEL}
  callId: {call}
  recordingId: {recording}
  status: {status}
"""


def item(number: int, status: str = "paused") -> str:
    """Return the document of the recording of a number."""
    return document(status, name=f"card-{number}", recording=numbered(number))


def cards(keys: Mapping[int, RecordingKey], *, status: str = "paused", drift: str = "safe") -> str:
    """Return one document for each key, named by its number, in one stream."""
    return "".join(
        f"""\
---
apiVersion: reconciler/v1
kind: CallRecording
metadata:
  name: card-{number:03}
spec:
  workspaceId: {key.workspace_id}
  channelId: {key.channel_id}
  callId: {key.call_id}
  recordingId: {key.recording_id}
  status: {status}
  drift: {drift}
"""
        for number, key in keys.items()
    )
