"""One request and its answer: time-outs, the limit on a body, the budget, and every failure as one of our errors.

What must never happen here: a request that is sent twice, an answer that is followed elsewhere or read without end, an
exception of httpx or aiohttp that gets out, and a place in flight that a cancelled request keeps.

Requests go to the guarded transport itself. What `httpx.AsyncClient` would do of its own accord on the way (redirects,
cookies, credentials and proxies from the environment) is nothing that our requests may have.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, cast

import aiohttp
import httpx

from reconciler.model import (
    CredentialRefused,
    Priority,
    ProviderError,
    Rejected,
    Throttled,
    Unanswered,
    Unavailable,
    Unreached,
)
from reconciler.providers.bird.answers import error_words, is_json_type, notice_text, read_json, retry_after_seconds
from reconciler.providers.bird.guard import GuardedTransport, Route
from reconciler.providers.bird.request import Requests
from reconciler.providers.bird.transport import TransportName, checked_url, make_transport
from reconciler.providers.gate.gate import Gate

#: The largest body that is read, in bytes. A full page of 99 recordings takes some 60 KB; this leaves room for what
#: Bird may add and still bounds what all requests in flight can hold together.
BODY_LIMIT: Final = 4 * 1024 * 1024
#: Of a refusal only a code and a sentence are wanted.
ERROR_BODY_LIMIT: Final = 64 * 1024
#: Network faults before anything was sent. `httpx-aiohttp` reports a connection that broke after the request as
#: `httpx.ConnectTimeout`, so where aiohttp is underneath its own exception decides.
_NEVER_LEFT_AIOHTTP: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
)
_NEVER_LEFT_HTTPX: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_FAULTS: Final = (httpx.HTTPError, httpx.StreamError, aiohttp.ClientError, OSError)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait, in seconds. Bird documents no latency; these are assumed to be generous."""

    connect: float = 5.0
    #: Between two parts of an answer.
    read: float = 15.0
    write: float = 5.0
    #: For a connection; with the aiohttp transport this includes the time to connect.
    pool: float = 5.0
    #: The whole request, from its place in flight to the last byte of the answer.
    total: float = 30.0


@dataclass(frozen=True, slots=True)
class RequestMetric:
    """One request that has ended."""

    #: The route's template, never a path with IDs.
    route: str
    method: str
    #: The answer's status, or a constant word where none could be used: an error's `code`, or `cancelled`.
    status: int | str
    #: From leaving the gate to the last byte of the answer, in seconds.
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to be used: 200 or 404 to a read, 202 to the write."""

    status: int
    #: The parsed body of a 200, else None.
    content: object
    #: When the request left.
    asked_at: datetime
    seconds: float
    #: Bytes of the body.
    size: int


@dataclass(slots=True)
class _Reply:
    """What came back, before anything is made of it; `body` stays None where it was too large."""

    status: int
    headers: httpx.Headers
    body: bytes | None = b""


class Connection(NamedTuple):
    """How requests are carried."""

    #: `aiohttp`, the fallback `httpx`, or a double.
    transport: TransportName | httpx.AsyncBaseTransport = "aiohttp"
    timeouts: Timeouts = Timeouts()


class Listeners(NamedTuple):
    """Who is told of requests, to measure them and to warn a person."""

    #: Told of every request that has ended.
    on_request: Callable[[RequestMetric], None] | None = None
    #: Told, once each, the name and value of a `Deprecation` or `Sunset` header.
    on_notice: Callable[[str, str], object] | None = None


#: Nobody is told.
NOBODY: Final = Listeners()


class Wire:
    """Sends single requests to one API address."""

    def __init__(
        self,
        api_url: str,
        key_for: Callable[[str], str],
        gate: Gate,
        before_write: Callable[[], None],
        now: Callable[[], datetime],
        connection: Connection,
        listeners: Listeners,
    ) -> None:
        """Prepare to send; see `Bird`."""
        url = checked_url(api_url)
        transport, timeouts = connection
        if isinstance(transport, str):
            transport = make_transport(transport, url, gate.budget.concurrency, before_write)
        self._transport = GuardedTransport(transport, url)
        each = {"connect": timeouts.connect, "read": timeouts.read, "write": timeouts.write, "pool": timeouts.pool}
        self._requests = Requests(url, key_for, each)
        self._gate = gate
        self._total_seconds = timeouts.total
        self._now = now
        self._listeners = listeners
        self._before_write = before_write
        self._noticed: set[str] = set()

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def get(
        self, route: Route, workspace_id: str, target: str, priority: Priority, *, probing: bool = False
    ) -> Answer:
        """Read; the answer is a 200 with its content, or a 404.

        Args:
            route: the route's template, for messages and metrics.
            workspace_id: whose key and budget are used.
            target: path and query, without the prefix of the API address.
            priority: the class in which the request waits for its turn.
            probing: whether it asks for nothing but an answer, and so leaves while the workspace is left alone.

        Raises:
            ProviderError: any other answer, or none.
            SettingsError: the workspace's key cannot be used.
        """
        return await self._exchange("GET", route, workspace_id, target, priority, b"", (200, 404), probing=probing)

    async def patch(self, route: Route, workspace_id: str, target: str, content: bytes) -> Answer:
        """Write; the answer is a 202. Its body is drained, not read: it is no observation.

        Raises:
            ProviderError: any other answer, or none. After `Unanswered` the write may have taken effect.
            SettingsError: the workspace's key cannot be used.
        """
        return await self._exchange("PATCH", route, workspace_id, target, Priority.WRITE, content, (202,))

    async def _exchange(
        self,
        method: str,
        route: Route,
        workspace_id: str,
        target: str,
        priority: Priority,
        content: bytes,
        wanted: tuple[int, ...],
        *,
        probing: bool = False,
    ) -> Answer:
        what = f"{method} {route}"
        write = method == "PATCH"
        # Before the gate, so that what cannot leave takes no share of the pace; and after it, for the circuit may have
        # opened meanwhile.
        refusal = None if probing else self._gate.circuits.postponed(workspace_id, write=write)
        if refusal is not None:
            raise refusal
        await self._gate.budget.acquire(workspace_id, priority)
        try:
            # Only now, so that a key that was changed while the request waited is the one that is used.
            request, key = self._requests.build(method, target, workspace_id, content)
            if write:
                # Asked here so that no connection is made in vain; the transport asks again when one is there.
                self._before_write()
            trial = self._gate.circuits.enter(workspace_id, write=write, probing=probing)
            asked_at = self._now()
            started = time.perf_counter()
            outcome: int | str = "aborted"
            try:
                reply = await self._fetch(request, what)
                parsed = _read_content(reply, what) if reply.status == 200 and not write else None
                outcome = reply.status
                if _is_failure(reply.status):
                    trial.failed(f"http_{reply.status}")
                else:
                    trial.succeeded()
            except Unavailable as error:
                outcome = error.code
                trial.failed(error.code)
                error.said = self._gate.circuits.is_open(workspace_id, write=write)
                raise
            finally:
                trial.abandoned()
                seconds = time.perf_counter() - started
                if self._listeners.on_request is not None:
                    self._listeners.on_request(RequestMetric(route.value, method, outcome, seconds))
            self._notice(reply.headers, key)
            if reply.status not in wanted:
                # Before the place is given back: after a 429 nobody shall take it.
                refused = self._refusal(what, workspace_id, reply, key)
                if isinstance(refused, Unavailable):
                    refused.said = self._gate.circuits.is_open(workspace_id, write=write)
                raise refused
            return Answer(reply.status, parsed, asked_at, seconds, len(reply.body or b""))
        finally:
            self._gate.budget.release(workspace_id, priority)

    async def _fetch(self, request: httpx.Request, what: str) -> _Reply:
        """Send, and read the answer up to its limit.

        Once a status other than 200 has come, that status is the answer, even if its body never ends: a 202 has been
        accepted and a 429 has not been processed.
        """
        reply: _Reply | None = None
        try:
            async with asyncio.timeout(self._total_seconds):
                response = await self._transport.handle_async_request(request)
                reply = _Reply(response.status_code, response.headers)
                try:
                    await _read_body(response, reply)
                finally:
                    await response.aclose()
        except _FAULTS as error:
            if reply is None or reply.status == 200:
                raise self._failure(what, error) from _safe_to_chain(error)
        return reply

    def _failure(self, what: str, error: Exception) -> Unreached | Unanswered:
        origin = _origin(error)
        place = self._requests.place
        if _never_left(error):
            return Unreached(f"{what}: cannot connect to {place} ({_reason(error)})")
        if isinstance(origin, (TimeoutError, httpx.TimeoutException)):
            return Unanswered(f"{what}: no complete answer in time from {place}", code="timeout")
        return Unanswered(f"{what}: the connection to {place} broke ({_reason(error)})", code="connection")

    def _refusal(self, what: str, workspace_id: str, reply: _Reply, key: str) -> ProviderError:
        status = reply.status
        code, words = error_words(reply.body or b"", key)
        said = f"{what}: answered {status}" + (f": {words}" if words else "")
        retry_after = retry_after_seconds(reply.headers.get("retry-after"), self._now())
        if status in (401, 403):
            return CredentialRefused(said, status=status, workspace_id=workspace_id, fingerprint=hash(key))
        if status == 429:
            self._gate.budget.throttled(workspace_id, retry_after)
            return Throttled(said, retry_after=retry_after)
        if status >= 500:
            return Unanswered(said, code=f"http_{status}", status=status, retry_after=retry_after)
        if status >= 400:
            return Rejected(said, status=status, code=code or f"http_{status}")
        if status >= 300:
            return Unanswered(f"{said}, a redirect, which is never followed", code="redirect")
        return Unanswered(f"{said}, which this request is never answered with", code="unexpected_status")

    def _notice(self, headers: httpx.Headers, key: str) -> None:
        if self._listeners.on_notice is None:
            return
        for name in ("Deprecation", "Sunset"):
            if name not in self._noticed and (value := headers.get(name)) is not None:
                self._noticed.add(name)
                self._listeners.on_notice(name, notice_text(value, key))


def _is_failure(status: int) -> bool:
    """Return whether the API, or what stands before it, is not well: a redirect leads away from it.

    A refusal is an answer; so is a 200 where a 202 was due, and a 429 has its own remedy.
    """
    return status >= 500 or 300 <= status < 400


async def _read_body(response: httpx.Response, reply: _Reply) -> None:
    # The stream itself, not `Response.aiter_raw`: a test double's response counts as read already.
    stream = cast("httpx.AsyncByteStream", response.stream)
    limit = BODY_LIMIT if reply.status == 200 else ERROR_BODY_LIMIT
    length = reply.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limit:
        reply.body = None
        return
    parts: list[bytes] = []
    size = 0
    async for part in stream:
        size += len(part)
        if size > limit:
            reply.body = None
            return
        parts.append(part)
    reply.body = b"".join(parts)


def _read_content(reply: _Reply, what: str) -> object:
    if reply.body is None:
        raise Unanswered(f"{what}: the answer is larger than {BODY_LIMIT} bytes", code="body_too_large")
    if not is_json_type(reply.headers.get("content-type")):
        raise Unanswered(f"{what}: the answer is not JSON by its Content-Type", code="not_json")
    if reply.headers.get("content-encoding", "identity") != "identity":
        raise Unanswered(f"{what}: the answer is encoded, which was not asked for", code="not_json")
    try:
        return read_json(reply.body)
    except ValueError:
        # Not chained: the parser's error holds the whole body.
        raise Unanswered(f"{what}: the answer is not valid JSON", code="not_json") from None


def _origin(error: Exception) -> BaseException:
    """Return aiohttp's own exception where it is underneath, else the error itself."""
    if isinstance(error.__cause__, aiohttp.ClientError):
        return error.__cause__
    return error


def _never_left(error: Exception) -> bool:
    origin = _origin(error)
    if isinstance(origin, aiohttp.ClientError):
        return isinstance(origin, _NEVER_LEFT_AIOHTTP)
    return isinstance(origin, _NEVER_LEFT_HTTPX)


def _reason(error: BaseException) -> str:
    """Name a network fault in the operating system's words, or by its class: never in words that came from outside."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    return type(error).__name__


def _safe_to_chain(error: Exception) -> Exception | None:
    """Return the error unless it carries the request's headers, and with them the key, in its representation."""
    return None if isinstance(_origin(error), aiohttp.ClientResponseError) else error
