"""The switchboard for tests and demonstrations under `/_sandbox/`: seed, look, change, disturb, and what was asked.

It takes no key, answers loopback only, by its own name, and speaks JSON. API nouns are spelled as in the API, the
sandbox's own settings as the options of `reconciler sandbox`.

=====================  =================================================================================================
`POST seed`            `{"recordings": [{"workspaceId", "channelId", "callId", "recordingId", "status"?, "accepted_ms"?,
                       "call_ended"?, "appears_ms"?, "from"?, "to"?, "direction"?}]}`. Adds those whose IDs are new,
                       readable after `appears_ms`; answers `added`.
`GET state`            Every recording with its IDs, `status`, `callStatus`, what is still to settle (`pending`), and
                       how many updates it accepted (`patches`); the settings in force; how many rules are left.
`DELETE state`         Forgets every call and recording.
`POST set`             `{"recordingId", "status"}`. At once, any word, from any status: an agent pauses by hand.
`POST end_call`        `{"callId"}`. The caller hangs up.
`POST move`            `{"recordingId", "callId"}`. A transfer: the recording is on another call of its channel now.
`POST faults`          `{"rules": [RULE]}`. Appends; the first rule that fits a request is used. A RULE is
                       `{"match"?: {"method"?, "path_regex"?, "workspaceId"?, "channelId"?, "callId"?,
                       "recordingId"?}, "times"?: N, "action": WORD, "status"?, "retry_after"?, "delay_ms"?,
                       "bytes"?}`; WORD is a value of `faults.Act`, and without `times` the rule stays.
`DELETE faults`        Takes every rule back.
`POST settings`        Any of `settle_ms`, `latency_ms`, `fault_rate`, `fault_seed`, `rate_limit`; answers all.
`GET requests`         `total`, `counts` by method and route, `callUpdatesRefused`, and the last 50,000 `requests` in
                       the order of their arrival: `at`, `method`, `path`, `body` (the status that a PATCH asked for),
                       `fault`, `status` (null while there is no answer, and when there is none) and `ms` until the
                       answer was ready. `?method=PATCH` shows those only.
`DELETE requests`      Starts the record over.
=====================  =================================================================================================
"""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from ipaddress import ip_address
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive

from reconciler.model import LiveStatus, RecordingKey, parse_uuid
from reconciler.providers.bird.sandbox.faults import Faults, Rule, Unfit
from reconciler.providers.bird.sandbox.world import NotKnown, Recording, SeedRecording, World

#: A seed of a hundred thousand recordings fits.
_BODY_BYTES: Final = 64 * 1024 * 1024
_REQUESTS_KEPT: Final = 50_000
#: A name or an address, with a port or without.
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::[0-9]*)?")


class RequestLog:
    """What was asked: a ring of the last ones, and counts of all."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self._last: deque[dict[str, Any]] = deque(maxlen=_REQUESTS_KEPT)
        self._counts: Counter[str] = Counter()
        self.call_updates_refused = 0

    def add(
        self, route: str, *, at: datetime, method: str, path: str, body: str | None, fault: str | None
    ) -> dict[str, Any]:
        """Record a request on its arrival; the answer's `status` and `ms` are filled in by the caller."""
        self._counts[f"{method} {route}"] += 1
        entry = {
            "at": at.isoformat(timespec="microseconds"),
            "method": method,
            "path": path,
            "body": body,
            "fault": fault,
            "status": None,
            "ms": None,
        }
        self._last.append(entry)
        return entry

    def as_json(self, method: str | None) -> dict[str, Any]:
        return {
            "total": self._counts.total(),
            "counts": dict(self._counts),
            "callUpdatesRefused": self.call_updates_refused,
            "requests": [entry for entry in self._last if method in (None, entry["method"])],
        }


class Control:
    """The handlers of the switchboard, as the module's docstring lists them."""

    def __init__(self, world: World, faults: Faults, log: RequestLog) -> None:
        self._world = world
        self._faults = faults
        self._log = log

    def routes(self) -> list[Route]:
        return [
            Route("/seed", _guarded(self._seed), methods=["POST"]),
            Route("/state", _guarded(self._get_state), methods=["GET"]),
            Route("/state", _guarded(self._clear_state), methods=["DELETE"]),
            Route("/set", _guarded(self._set), methods=["POST"]),
            Route("/end_call", _guarded(self._end_call), methods=["POST"]),
            Route("/move", _guarded(self._move), methods=["POST"]),
            Route("/faults", _guarded(self._add_faults), methods=["POST"]),
            Route("/faults", _guarded(self._clear_faults), methods=["DELETE"]),
            Route("/settings", _guarded(self._change_settings), methods=["POST"]),
            Route("/requests", _guarded(self._get_requests), methods=["GET"]),
            Route("/requests", _guarded(self._clear_requests), methods=["DELETE"]),
        ]

    def _seed(self, _: Request, data: dict[str, Any]) -> object:
        return {"added": self._world.seed([_seed_from(item) for item in _items(data, "recordings")])}

    def _get_state(self, _: Request, _data: dict[str, Any]) -> object:
        return {
            "settings": asdict(self._world.behaviour),
            "rules": len(self._faults.rules),
            "recordings": [_state(recording) for recording in self._world.recordings()],
        }

    def _clear_state(self, _: Request, _data: dict[str, Any]) -> object:
        self._world.clear()
        return {}

    def _set(self, _: Request, data: dict[str, Any]) -> object:
        return _state(self._world.set_status(_word(data, "recordingId").lower(), _word(data, "status")))

    def _end_call(self, _: Request, data: dict[str, Any]) -> object:
        return {"ended": self._world.end_call(_word(data, "callId").lower())}

    def _move(self, _: Request, data: dict[str, Any]) -> object:
        return _state(self._world.move(_word(data, "recordingId").lower(), parse_uuid(_word(data, "callId"))))

    def _add_faults(self, _: Request, data: dict[str, Any]) -> object:
        self._faults.add([Rule.from_json(item) for item in _items(data, "rules")])
        return {"rules": len(self._faults.rules)}

    def _clear_faults(self, _: Request, _data: dict[str, Any]) -> object:
        self._faults.clear()
        return {}

    def _change_settings(self, _: Request, data: dict[str, Any]) -> object:
        for name, value in data.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise Unfit(f"{name} is a number")
        try:
            self._world.behaviour = replace(self._world.behaviour, **data)
        except TypeError as error:
            known = ", ".join(asdict(self._world.behaviour))
            raise Unfit(f"the settings are {known}") from error
        if "fault_seed" in data:
            self._faults.reseed(self._world.behaviour.fault_seed)
        return asdict(self._world.behaviour)

    def _get_requests(self, request: Request, _: dict[str, Any]) -> object:
        return self._log.as_json(request.query_params.get("method"))

    def _clear_requests(self, _: Request, _data: dict[str, Any]) -> object:
        self._log.clear()
        return {}


def _guarded(
    handle: Callable[[Request, dict[str, Any]], object],
) -> Callable[[Request], Awaitable[Response]]:
    """Wrap a handler of the switchboard: loopback only, a JSON object in, JSON or an error body out."""

    async def endpoint(request: Request) -> Response:
        if request.client is None or not _is_loopback(request.client.host):
            return JSONResponse({"code": "Forbidden", "message": "for loopback only"}, 403)
        # A web page that somebody looks at can have its browser ask here: by a name of its own, or without saying JSON.
        if not _names_loopback(request.headers.get("host", "")):
            return JSONResponse({"code": "Misdirected", "message": "call it localhost or 127.0.0.1"}, 421)
        if request.method == "POST" and not _says_json(request.headers.get("content-type", "")):
            return JSONResponse({"code": "UnsupportedMediaType", "message": "send Content-Type: application/json"}, 415)
        try:
            return JSONResponse(handle(request, await _object(request)))
        except NotKnown as error:
            return JSONResponse({"code": "ResourceNotFound", "message": str(error)}, 404)
        # RecursionError: JSON that is nested too deeply to be read.
        except (ValueError, RecursionError) as error:
            return JSONResponse({"code": "InvalidPayload", "message": str(error)}, 422)

    return endpoint


async def _object(request: Request) -> dict[str, Any]:
    if request.method != "POST":
        return {}
    data = json.loads(await read_body(request.receive, _BODY_BYTES))
    if not isinstance(data, dict):
        raise Unfit("the body is an object")
    return data


async def read_body(receive: Receive, most: int) -> bytes:
    """Return the request's body, cut off behind the first byte too many."""
    body = b""
    while True:
        message = await receive()
        part: bytes = message.get("body", b"")
        body += part
        if len(body) > most or not message.get("more_body", False):
            return body[: most + 1]


def _names_loopback(host: str) -> bool:
    found = _HOST.fullmatch(host)
    return found is not None and (found[1].lower() == "localhost" or _is_loopback(found[1].strip("[]")))


def _says_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _items(data: Mapping[str, Any], name: str) -> list[Any]:
    items = data.get(name)
    if not isinstance(items, list):
        raise Unfit(f"{name} is a list")
    return items


def _word(data: Mapping[str, Any], name: str) -> str:
    word = data.get(name)
    if not isinstance(word, str) or not 1 <= len(word) <= 64:
        raise Unfit(f"{name} is a text of 1 to 64 characters")
    return word


def _seed_from(item: object) -> SeedRecording:
    if not isinstance(item, dict):
        raise Unfit("a recording is an object")
    accepted_ms = item.get("accepted_ms")
    if accepted_ms is not None and (isinstance(accepted_ms, bool) or not isinstance(accepted_ms, int | float)):
        raise Unfit("accepted_ms is a number")
    appears_ms = item.get("appears_ms", 0)
    if isinstance(appears_ms, bool) or not isinstance(appears_ms, int | float):
        raise Unfit("appears_ms is a number")
    ids = (_word(item, name) for name in ("workspaceId", "channelId", "callId", "recordingId"))
    return SeedRecording(
        RecordingKey.of(*ids),
        LiveStatus(item.get("status", LiveStatus.ONGOING)),
        accepted_ms=accepted_ms,
        call_ended=item.get("call_ended") is True,
        appears_ms=appears_ms,
        from_number=str(item.get("from", "")),
        to_number=str(item.get("to", "")),
        direction=str(item.get("direction", "incoming")),
    )


def _state(recording: Recording) -> dict[str, Any]:
    key = recording.key
    return {
        "workspaceId": key.workspace_id,
        "channelId": key.channel_id,
        "callId": key.call_id,
        "recordingId": key.recording_id,
        "status": recording.status,
        "callStatus": recording.call.status,
        "pending": [word for _, word in recording.pending],
        "patches": recording.patches,
    }
