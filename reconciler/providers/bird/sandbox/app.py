"""The simulated API over HTTP: who may ask, how fast, what goes wrong on the way, and how an answer is sent.

It must never take a PATCH on a call, which at Bird hangs the caller up: that is refused with 403 `CallUpdateRefused`
whatever the key and the faults, logged as an error, and counted.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from time import perf_counter
from typing import Final

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import Message, Receive, Scope, Send

from reconciler.providers.bird.sandbox.control import Control, RequestLog, read_body
from reconciler.providers.bird.sandbox.faults import WITHOUT_EFFECT, Act, Fault, Faults, Throttle
from reconciler.providers.bird.sandbox.operations import BODY_BYTES, Answer, Asked, Operation, Operations, error_answer
from reconciler.providers.bird.sandbox.world import World

#: What `reconciler sandbox` takes for a key unless it is told another.
DEFAULT_KEY: Final = "sandbox-key"
_LOG: Final = logging.getLogger("reconciler.sandbox")
_CHUNK: Final = b"x" * 65_536
#: A call's path however its slashes are doubled.
_CALL_PATH: Final = re.compile(r"/+workspaces/+[^/]+/+channels/+[^/]+/+calls/+[^/]+/*")

_CODES: Final = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "ResourceNotFound",
    409: "Conflict",
    422: "InvalidPayload",
    429: "TooManyRequests",
    503: "ServiceUnavailable",
}


def make_app(world: World, *, key: str = DEFAULT_KEY, read_only_key: str | None = None) -> Starlette:
    """Build the application over a world: Bird's API, and the switchboard under `/_sandbox/`.

    Args:
        key: what `Authorization: AccessKey ...` must carry.
        read_only_key: a second key, whose updates are refused with 403.
    """
    faults = Faults(world.behaviour.fault_seed)
    log = RequestLog()
    app = Starlette(routes=[Mount("/_sandbox", routes=Control(world, faults, log).routes())])
    # As the default rather than under a route: the framework's patterns do not match every path, and none is to be
    # answered, or redirected, by anyone else.
    app.router.default = _Api(world, faults, log, key, read_only_key)
    app.router.redirect_slashes = False
    return app


class _Api:
    """Bird's API as one ASGI application."""

    def __init__(self, world: World, faults: Faults, log: RequestLog, key: str, read_only_key: str | None) -> None:
        self._world = world
        self._operations = Operations(world)
        self._faults = faults
        self._log = log
        self._throttle = Throttle()
        self._key = f"AccessKey {key}".encode()
        self._read_only_key = None if read_only_key is None else f"AccessKey {read_only_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        self._world.appear()
        method, path = scope["method"], scope["path"]
        query = scope["query_string"].decode("ascii", "replace")
        body = await read_body(receive, BODY_BYTES)
        route, methods, ids = self._operations.find(path)
        # Looked at before the key, the throttle and the faults: nothing may hide it.
        refused = method == "PATCH" and _CALL_PATH.fullmatch(path) is not None
        behaviour = self._world.behaviour
        fault = None if refused else self._faults.take(method, path, ids, behaviour.fault_rate)
        # Logged on arrival and completed later: whoever waits for a request sees it while it is held back.
        entry = self._log.add(
            route,
            at=datetime.now(UTC),
            method=method,
            path=f"{path}?{query}" if query else path,
            body=_asked_status(body) if method == "PATCH" else None,
            fault=None if fault is None else fault.act.value,
        )
        late = fault is not None and fault.act is Act.DELAY_AFTER
        delay_ms = 0 if fault is None else fault.delay_ms
        if not await _wait(scope, behaviour.latency_ms + (0 if late else delay_ms)):
            await _hang_up(scope, receive)
            return
        if refused:
            answer = self._refuse_call_update(path)
        elif fault is not None and fault.act in WITHOUT_EFFECT:
            answer = _instead(fault, path)
        else:
            headers = dict(scope["headers"])
            asked = Asked(method, path, query, body, headers.get(b"content-type", b"").decode("latin-1").lower(), ids)
            answer = self._answer(asked, methods, headers.get(b"authorization", b""))
        if late and not await _wait(scope, delay_ms):
            await _hang_up(scope, receive)
            return
        sent = answer if fault is None else _spoil(fault, answer)
        entry["ms"] = round((perf_counter() - started) * 1000, 3)
        if sent is None:
            await _hang_up(scope, receive)
        else:
            entry["status"] = sent.status
            await _deliver(scope, receive, send, sent, fault)

    def _refuse_call_update(self, path: str) -> Answer:
        self._log.call_updates_refused += 1
        _LOG.error("call_update_refused path=%r: a PATCH on a call HANGS UP THE CALLER at Bird", path)
        return error_answer(403, "CallUpdateRefused", "REFUSED: A PATCH ON A CALL HANGS UP THE CALLER. Never send it.")

    def _answer(self, asked: Asked, methods: Mapping[str, Operation], authorization: bytes) -> Answer:
        may_read = hmac.compare_digest(authorization, self._key)
        may_update = may_read
        if self._read_only_key is not None:
            may_read |= hmac.compare_digest(authorization, self._read_only_key)
        if not may_read:
            return error_answer(401, "Unauthorized", "the access key is missing or not valid")
        if not methods:
            return error_answer(404, "ResourceNotFound", "there is no such path")
        operation = methods.get(asked.method)
        if operation is None:
            allow = (b"allow", ", ".join(methods).encode())
            return error_answer(405, "MethodNotAllowed", "the path does not take this method", headers=(allow,))
        if asked.method == "PATCH" and not may_update:
            return error_answer(403, "Forbidden", "the access key may not update")
        behaviour = self._world.behaviour
        seconds = self._throttle.refuse(asked.ids["workspaceId"].lower(), behaviour.rate_limit, self._world.clock())
        if seconds is not None:
            retry = (b"retry-after", str(seconds).encode())
            return error_answer(429, "TooManyRequests", "the workspace's rate limit is exceeded", headers=(retry,))
        return self._operations.run(operation, asked)


async def _wait(scope: Scope, milliseconds: float) -> bool:
    """Hold a request back, and answer whether the server is still open afterwards."""
    closing: asyncio.Event | None = scope.get("state", {}).get("closing")
    if closing is None:
        await asyncio.sleep(milliseconds / 1000)
        return True
    if milliseconds:
        with suppress(TimeoutError):
            await asyncio.wait_for(closing.wait(), milliseconds / 1000)
    return not closing.is_set()


def _spoil(fault: Fault, answer: Answer) -> Answer | None:
    """Return what is sent in place of an answer that was ready, None for nothing."""
    match fault.act:
        case Act.DROP_BEFORE | Act.DROP_AFTER:
            return None
        case Act.OK_INSTEAD_OF_ACCEPTED if answer.status == 202:
            return answer._replace(status=200)
        case Act.NOT_JSON:
            return answer._replace(body=b'{"status": "paus')
    return answer


async def _deliver(scope: Scope, receive: Receive, send: Send, answer: Answer, fault: Fault | None) -> None:
    act = None if fault is None else fault.act
    if fault is not None and act is Act.HUGE_BODY:
        await send(_start(answer))
        await send(_part(b'{"results": [], "padding": "', more=True))
        for _ in range(fault.bytes // len(_CHUNK)):
            await send(_part(_CHUNK, more=True))
            # Sending to a connection that was closed meanwhile never waits, and others are to be served.
            await asyncio.sleep(0)
        await send(_part(b'"}'))
        return
    await send(_start(answer, (b"content-length", str(len(answer.body)).encode())))
    if act is Act.CUT_BODY:
        await send(_part(answer.body[: len(answer.body) // 2], more=True))
        await _hang_up(scope, receive)
    else:
        await send(_part(answer.body))


async def _hang_up(scope: Scope, receive: Receive) -> None:
    """Close the connection under the request.

    Raises:
        ConnectionAbortedError: there is no connection to close, since the application runs without its server.
    """
    transport: asyncio.Transport | None = scope.get("state", {}).get("transport")
    if transport is None:
        raise ConnectionAbortedError("the sandbox was told to drop this request")
    transport.close()
    # The server takes an application that returns early for a broken one, so wait until it knows.
    while (await receive())["type"] != "http.disconnect":
        pass


def _start(answer: Answer, *headers: tuple[bytes, bytes]) -> Message:
    return {"type": "http.response.start", "status": answer.status, "headers": [*answer.headers, *headers]}


def _part(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


def _instead(fault: Fault, path: str) -> Answer:
    """Return what is answered in place of the API."""
    if fault.act is Act.HTML:
        page = b"<!doctype html><title>Bad gateway</title><h1>Something went wrong</h1>"
        return Answer(fault.status, page, ((b"content-type", b"text/html"),))
    if fault.act is Act.REDIRECT:
        return Answer(307, b"", ((b"location", f"/redirected{path}".encode("ascii", "replace")),))
    headers = ((b"retry-after", fault.retry_after.encode("latin-1", "replace")),) if fault.retry_after else ()
    code = _CODES.get(fault.status, "InternalError" if fault.status >= 500 else "InvalidRequest")
    return error_answer(fault.status, code, "the sandbox was told to answer this", headers=headers)


def _asked_status(body: bytes) -> str | None:
    """Return the status in the body of an update, None when there is none to be read."""
    try:
        status = json.loads(body)["status"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return status[:64] if isinstance(status, str) else None
