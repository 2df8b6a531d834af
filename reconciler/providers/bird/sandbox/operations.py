"""Bird's eight operations on the simulated world: a request as values in, an answer as values out.

It must never answer what `schemas/bird-voice.openapi.yaml` rules out. Which key may ask, how fast, and what goes wrong
on the way is decided before (see `app`); the PATCH on a call is not among the operations and must never be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from reconciler.model import CallKey, LiveStatus, RecordingKey, Status, parse_uuid
from reconciler.providers.bird.sandbox.wire import (
    CALLS_LIMIT,
    RECORDINGS_LIMIT,
    Filter,
    Invalid,
    Query,
    anything,
    call_json,
    call_recording_json,
    date_time,
    media_link,
    one_of,
    past_recording_json,
    text_of,
    uuid,
    whole_number,
)
from reconciler.providers.bird.sandbox.world import Call, NotControllable, NotKnown, Recording, World

#: More than any request to this API needs; a longer body is refused, and its end need not be read.
BODY_BYTES: Final = 64 * 1024

_DIRECTION: Final = one_of("incoming", "outgoing")
_CALL_FILTERS: Final[Mapping[str, Filter]] = {
    "startAt": date_time(),
    "endAt": date_time(),
    # Of these two Bird's sets are not known in full, so that any word has to be taken.
    "status": Filter(anything),
    "type": Filter(anything),
    "to": text_of(1, 100),
    "from": text_of(1, 100),
    "duration": whole_number(),
    "direction": _DIRECTION,
}
_CALL_LOG_FILTERS: Final = {
    **_CALL_FILTERS,
    "id": uuid(),
    "channelId": Filter(anything, repeats=True),
    "tag": Filter(anything, repeats=True),
}
_RECORDING_FILTERS: Final[Mapping[str, Filter]] = {
    "startAt": date_time(),
    "endAt": date_time(),
    "id": uuid(),
    "sourceId": uuid(),
    "channelId": uuid(),
    "direction": _DIRECTION,
    "from": Filter(anything),
    "to": Filter(anything),
    "status": Filter(anything),
}


class Answer(NamedTuple):
    """A response, before a fault may spoil it."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to the API, as its operations see it."""

    method: str
    path: str
    query: str
    body: bytes
    content_type: str
    #: The IDs in the path, by the names of the API, as they were sent.
    ids: Mapping[str, str]


Operation = Callable[[Asked], Answer]


class Operations:
    """The operations by path and method.

    A table of its own in place of the framework's routes: it also serves benchmarks, and faults are chosen by the IDs
    in the path before anything is carried out.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        recordings = "/workspaces/{workspaceId}/channels/{channelId}/calls/{callId}/recordings"
        # The most frequent first.
        self._table: Final = tuple(
            (template, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)), methods)
            for template, methods in (
                (f"{recordings}/{{recordingId}}", {"PATCH": self._update, "GET": self._get_call_recording}),
                (recordings, {"GET": self._list_call_recordings}),
                ("/workspaces/{workspaceId}/channels/{channelId}/calls/{callId}", {"GET": self._get_call}),
                ("/workspaces/{workspaceId}/recordings", {"GET": self._list_recordings}),
                ("/workspaces/{workspaceId}/recordings/{recordingId}", {"GET": self._get_recording}),
                ("/workspaces/{workspaceId}/channels/calls", {"GET": self._list_workspace_calls}),
                ("/workspaces/{workspaceId}/channels/{channelId}/calls", {"GET": self._list_channel_calls}),
            )
        )

    def find(self, path: str) -> tuple[str, Mapping[str, Operation], dict[str, str]]:
        """Return the path's template, its operations by method (none for an unknown path), and the IDs in it."""
        for template, pattern, methods in self._table:
            match = pattern.fullmatch(path)
            if match is not None:
                return template, methods, match.groupdict()
        return "(unknown)", {}, {}

    def run(self, operation: Operation, asked: Asked) -> Answer:
        """Carry an operation out; what it refuses becomes an answer."""
        try:
            return operation(asked)
        except NotKnown as error:
            return error_answer(404, "ResourceNotFound", str(error))
        except NotControllable as error:
            return _invalid({"status": [str(error)]})
        except Invalid as error:
            return _invalid(error.details)

    def _update(self, asked: Asked) -> Answer:
        key = RecordingKey(*_uuids(asked, "workspaceId", "channelId", "callId", "recordingId"))
        recording = self._world.change(key, _target(asked))
        return _json(202, call_recording_json(recording, self._world.clock(), status=LiveStatus.ACCEPTED.value))

    def _get_call_recording(self, asked: Asked) -> Answer:
        key = RecordingKey(*_uuids(asked, "workspaceId", "channelId", "callId", "recordingId"))
        return _json(200, call_recording_json(self._world.call_recording(key), self._world.clock()))

    def _list_call_recordings(self, asked: Asked) -> Answer:
        key = CallKey(*_uuids(asked, "workspaceId", "channelId", "callId"))
        query = Query.parse("/".join(key), asked.query, filters={}, maximum=CALLS_LIMIT)
        now = self._world.clock()
        recordings = self._world.active_recordings(key, after=query.after)
        return _json(200, query.page(recordings, lambda recording: call_recording_json(recording, now)))

    def _get_call(self, asked: Asked) -> Answer:
        key = CallKey(*_uuids(asked, "workspaceId", "channelId", "callId"))
        return _json(200, call_json(self._world.call(key), self._world.clock()))

    def _list_workspace_calls(self, asked: Asked) -> Answer:
        (workspace_id,) = _uuids(asked, "workspaceId")
        query = Query.parse(workspace_id, asked.query, filters=_CALL_LOG_FILTERS, maximum=CALLS_LIMIT)
        return self._page_of_calls(query, workspace_id, None)

    def _list_channel_calls(self, asked: Asked) -> Answer:
        workspace_id, channel_id = _uuids(asked, "workspaceId", "channelId")
        query = Query.parse(f"{workspace_id}/{channel_id}", asked.query, filters=_CALL_FILTERS, maximum=CALLS_LIMIT)
        return self._page_of_calls(query, workspace_id, channel_id)

    def _page_of_calls(self, query: Query, workspace_id: str, channel_id: str | None) -> Answer:
        now = self._world.clock()
        values, many = query.values, query.many
        channels = {channel.lower() for channel in many.get("channelId", ())}

        def fits(call: Call) -> bool:
            shown = call_json(call, now)
            return (
                query.within(call.created_at)
                # No call has a tag.
                and "tag" not in many
                and (not channels or call.key.channel_id in channels)
                and values.get("id", call.key.call_id).lower() == call.key.call_id
                and values.get("from", call.from_number) == call.from_number
                and values.get("to", call.to_number) == call.to_number
                and int(values.get("duration", shown["duration"])) == shown["duration"]
                and all(values.get(name, shown[name]) == shown[name] for name in ("status", "type", "direction"))
            )

        calls = self._world.calls(workspace_id, channel_id, after=query.after)
        return _json(200, query.page(filter(fits, calls), lambda call: call_json(call, now)))

    def _list_recordings(self, asked: Asked) -> Answer:
        workspace_id = asked.ids["workspaceId"].lower()
        query = Query.parse(workspace_id, asked.query, filters=_RECORDING_FILTERS, maximum=RECORDINGS_LIMIT)
        values = {name: value.lower() for name, value in query.values.items()}

        def fits(recording: Recording) -> bool:
            call = recording.call
            return (
                query.within(recording.created_at)
                and values.get("id", call.key.call_id) == call.key.call_id
                and values.get("sourceId", call.key.call_id) == call.key.call_id
                and values.get("channelId", call.key.channel_id) == call.key.channel_id
                and values.get("direction", call.direction) == call.direction
                and values.get("from", call.from_number) == call.from_number
                and values.get("to", call.to_number) == call.to_number
                and query.values.get("status", recording.status) == recording.status
            )

        call_id = values.get("id", values.get("sourceId"))
        recordings = self._world.past_recordings(workspace_id, call_id=call_id, after=query.after)
        return _json(200, query.page(filter(fits, recordings), past_recording_json))

    def _get_recording(self, asked: Asked) -> Answer:
        workspace_id, name = asked.ids["workspaceId"].lower(), asked.ids["recordingId"].lower()
        recording = self._world.past_recording(workspace_id, name.removesuffix(".mp3"))
        if name.endswith(".mp3"):
            return Answer(307, b"", ((b"location", media_link(recording).encode()),))
        return _json(200, past_recording_json(recording))


def error_answer(
    status: int,
    code: str,
    message: str,
    *,
    details: Mapping[str, list[str]] | None = None,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> Answer:
    """Return a refusal with Bird's error body."""
    body: dict[str, Any] = {"code": code, "message": message}
    if details is not None:
        body["details"] = details
    return Answer(status, json.dumps(body).encode(), ((b"content-type", b"application/json"), *headers))


def _json(status: int, value: object) -> Answer:
    return Answer(status, json.dumps(value).encode())


def _invalid(details: Mapping[str, list[str]]) -> Answer:
    return error_answer(422, "InvalidPayload", "the payload is invalid", details=details)


def _uuids(asked: Asked, *names: str) -> tuple[str, ...]:
    """Return IDs of the path in lower case, in the order asked for.

    Raises:
        Invalid: one is not a UUID (assumed: a 404 would do as well).
    """
    found, wrong = [], {}
    for name in names:
        try:
            found.append(parse_uuid(asked.ids[name]))
        except ValueError:
            wrong[name] = ["must be a UUID"]
    if wrong:
        raise Invalid(wrong)
    return tuple(found)


def _target(asked: Asked) -> Status:
    """Read the body of an update: exactly one field, one of three values.

    Raises:
        Invalid: it is anything else.
    """
    if asked.content_type.partition(";")[0].strip() != "application/json":
        raise Invalid({"Content-Type": ["must be application/json"]})
    if len(asked.body) > BODY_BYTES:
        raise Invalid({"body": [f"must not be longer than {BODY_BYTES} bytes"]})
    try:
        data = json.loads(asked.body)
    except (ValueError, RecursionError) as error:
        raise Invalid({"body": ["must be JSON"]}) from error
    if not isinstance(data, dict):
        raise Invalid({"body": ["must be an object"]})
    wrong = {str(name)[:64]: ["is not allowed"] for name in data if name != "status"}
    allowed = f"must be one of {', '.join(Status)}"
    status = None
    if "status" not in data:
        wrong["status"] = ["is required"]
    elif data["status"] not in list(Status):
        wrong["status"] = [allowed]
    else:
        status = Status(data["status"])
    if wrong or status is None:
        raise Invalid(wrong)
    return status
