"""One request and its answer: time-outs, the limit on a body, the budget, and every failure as one of our errors.

What must never happen here: a request that is sent twice, an answer that is followed elsewhere or read without end, an
exception of httpx or aiohttp that gets out, and a place in flight that a cancelled request keeps.

Requests go to the guarded transport itself. What `httpx.AsyncClient` would do of its own accord on the way (redirects,
cookies, credentials and proxies from the environment) is nothing that our requests may have.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, cast
from urllib.parse import urlsplit

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from reconciler import __version__
from reconciler.model import (
    CredentialRefused,
    Priority,
    ProviderError,
    Rejected,
    SettingsError,
    Throttled,
    Unanswered,
    Unavailable,
    Unreached,
)
from reconciler.providers.bird.answers import error_words, is_json_type, notice_text, read_json, retry_after_seconds
from reconciler.providers.bird.guard import GuardedTransport, Route
from reconciler.providers.gate.budget import Budgets
from reconciler.providers.gate.circuit import Circuits
from reconciler.providers.reach import is_loopback

if TYPE_CHECKING:
    from aiohttp.connector import Connection

TransportName = Literal["aiohttp", "httpx"]

#: The largest body that is read, in bytes. A full page of 99 recordings takes some 60 KB; this leaves room for what
#: Bird may add and still bounds what all requests in flight can hold together.
BODY_LIMIT: Final = 4 * 1024 * 1024
#: Of a refusal only a code and a sentence are wanted.
ERROR_BODY_LIMIT: Final = 64 * 1024
#: Idle connections are given up before the 5 s after which common servers close them, so that a PATCH seldom meets a
#: connection that is just being closed, which would leave its fate unknown.
KEEPALIVE_SECONDS: Final = 4.0

#: How long the kernel goes on sending what nobody acknowledges, in milliseconds: less than the state's lease is relied
#: on for after it was last asked about, so that no PATCH arrives when a path heals that was cut for longer, and another
#: process has taken over meanwhile.
UNACKNOWLEDGED_MS: Final = 2500
_SOCKET_OPTIONS: Final = (
    [(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)] if hasattr(socket, "TCP_USER_TIMEOUT") else []
)

#: Network faults before anything was sent. `httpx-aiohttp` reports a connection that broke after the request as
#: `httpx.ConnectTimeout`, so where aiohttp is underneath its own exception decides.
_NEVER_LEFT_AIOHTTP: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
)
_NEVER_LEFT_HTTPX: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_FAULTS: Final = (httpx.HTTPError, httpx.StreamError, aiohttp.ClientError, OSError)

_KEY: Final = re.compile(r"[\x21-\x7e]+")


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


class Wire:
    """Sends single requests to one API address."""

    def __init__(
        self,
        *,
        api_url: str,
        key_for: Callable[[str], str],
        budget: Budgets,
        circuits: Circuits,
        transport: TransportName | httpx.AsyncBaseTransport,
        timeouts: Timeouts,
        now: Callable[[], datetime],
        on_request: Callable[[RequestMetric], None] | None,
        on_notice: Callable[[str, str], object] | None,
        before_write: Callable[[], None],
    ) -> None:
        url = checked_url(api_url)
        inner = (
            make_transport(transport, url, budget.concurrency, before_write)
            if isinstance(transport, str)
            else transport
        )
        self._transport = GuardedTransport(inner, url)
        self._base = url.copy_with(raw_path=url.raw_path.rstrip(b"/"))
        self._place = url.netloc.decode("ascii")
        self._key_for = key_for
        #: By workspace: the key, and by body the headers that carry it.
        self._headers: dict[str, tuple[str, dict[bytes, httpx.Headers]]] = {}
        self._budget = budget
        self._circuits = circuits
        self._timeouts = timeouts
        self._extensions = {
            "timeout": {
                "connect": timeouts.connect,
                "read": timeouts.read,
                "write": timeouts.write,
                "pool": timeouts.pool,
            }
        }
        self._now = now
        self._on_request = on_request
        self._on_notice = on_notice
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
        refusal = None if probing else self._circuits.postponed(workspace_id, write=write)
        if refusal is not None:
            raise refusal
        await self._budget.acquire(workspace_id, priority)
        try:
            # Only now, so that a key that was changed while the request waited is the one that is used.
            key, headers = self._authorized(workspace_id, content)
            request = self._request(method, target, headers, content)
            if write:
                # Asked here so that no connection is made in vain; the transport asks again when one is there.
                self._before_write()
            trial = self._circuits.enter(workspace_id, write=write, probing=probing)
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
                error.said = self._circuits.is_open(workspace_id, write=write)
                raise
            finally:
                trial.abandoned()
                seconds = time.perf_counter() - started
                if self._on_request is not None:
                    self._on_request(RequestMetric(route.value, method, outcome, seconds))
            self._notice(reply.headers, key)
            if reply.status not in wanted:
                # Before the place is given back: after a 429 nobody shall take it.
                refused = self._refusal(what, workspace_id, reply, key)
                if isinstance(refused, Unavailable):
                    refused.said = self._circuits.is_open(workspace_id, write=write)
                raise refused
            return Answer(reply.status, parsed, asked_at, seconds, len(reply.body or b""))
        finally:
            self._budget.release(workspace_id, priority)

    def _authorized(self, workspace_id: str, content: bytes) -> tuple[str, httpx.Headers]:
        """Return the workspace's key and the headers that carry it with such a body; they are built once for each."""
        try:
            key = self._key_for(workspace_id)
            _check_key(key, workspace_id)
        except SettingsError as error:
            # To whoever sends, a key that is missing is as good as one that is refused: leave the workspace alone.
            raise CredentialRefused(str(error), status=401, workspace_id=workspace_id) from error
        known = self._headers.get(workspace_id)
        if known is None or known[0] != key:
            known = self._headers[workspace_id] = (key, {})
        headers = known[1].get(content)
        if headers is None:
            headers = known[1][content] = self._build_headers(key, content)
        return key, headers

    def _build_headers(self, key: str, content: bytes) -> httpx.Headers:
        headers = {
            "Host": self._place,
            "Authorization": f"AccessKey {key}",
            "Accept": "application/json",
            # An encoded body could unfold to a thousand times its size; lists are small enough as they are.
            "Accept-Encoding": "identity",
            "User-Agent": f"reconciler/{__version__}",
        }
        if content:
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
        return httpx.Headers(headers, encoding="ascii")

    def _request(self, method: str, target: str, headers: httpx.Headers, content: bytes) -> httpx.Request:
        # A stream that is read at once, for `content` would have every header parsed and built anew: the fifteenth part
        # of what a PATCH costs.
        request = httpx.Request(
            method,
            _address(self._base, target),
            headers=headers,
            stream=httpx.ByteStream(content),
            extensions=self._extensions,
        )
        request.read()
        request.headers.encoding = headers.encoding
        return request

    async def _fetch(self, request: httpx.Request, what: str) -> _Reply:
        """Send, and read the answer up to its limit.

        Once a status other than 200 has come, that status is the answer, even if its body never ends: a 202 has been
        accepted and a 429 has not been processed.
        """
        reply: _Reply | None = None
        try:
            async with asyncio.timeout(self._timeouts.total):
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
        if _never_left(error):
            return Unreached(f"{what}: cannot connect to {self._place} ({_reason(error)})")
        if isinstance(origin, (TimeoutError, httpx.TimeoutException)):
            return Unanswered(f"{what}: no complete answer in time from {self._place}", code="timeout")
        return Unanswered(f"{what}: the connection to {self._place} broke ({_reason(error)})", code="connection")

    def _refusal(self, what: str, workspace_id: str, reply: _Reply, key: str) -> ProviderError:
        status = reply.status
        code, words = error_words(reply.body or b"", key)
        said = f"{what}: answered {status}" + (f": {words}" if words else "")
        retry_after = retry_after_seconds(reply.headers.get("retry-after"), self._now())
        if status in (401, 403):
            return CredentialRefused(said, status=status, workspace_id=workspace_id, fingerprint=hash(key))
        if status == 429:
            self._budget.throttled(workspace_id, retry_after)
            return Throttled(said, retry_after=retry_after)
        if status >= 500:
            return Unanswered(said, code=f"http_{status}", status=status, retry_after=retry_after)
        if status >= 400:
            return Rejected(said, status=status, code=code or f"http_{status}")
        if status >= 300:
            return Unanswered(f"{said}, a redirect, which is never followed", code="redirect")
        return Unanswered(f"{said}, which this request is never answered with", code="unexpected_status")

    def _notice(self, headers: httpx.Headers, key: str) -> None:
        if self._on_notice is None:
            return
        for name in ("Deprecation", "Sunset"):
            if name not in self._noticed and (value := headers.get(name)) is not None:
                self._noticed.add(name)
                self._on_notice(name, notice_text(value, key))


def _address(base: httpx.URL, target: str) -> httpx.URL:
    """Return the URL of a target without parsing it, which is a tenth of what a PATCH costs.

    What goes on the wire is looked at by the guard: should this ever build something else, nothing leaves.
    """
    path, mark, query = target.partition("?")
    url = httpx.URL(base)
    parts = base._uri_reference  # noqa: SLF001 - there is no public way to set a path that is known to be clean
    url._uri_reference = parts._replace(path=parts.path.rstrip("/") + path, query=query if mark else None)  # noqa: SLF001
    return url


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


def _check_key(key: str, workspace_id: str) -> None:
    if key.startswith("bk_"):
        raise SettingsError(
            f"the access key for workspace {workspace_id} begins with bk_: such keys belong to Bird's newer platform, "
            "which has another host and cannot change recordings; create an access key for api.bird.com"
        )
    if not _KEY.fullmatch(key):
        raise SettingsError(
            f"the access key for workspace {workspace_id} is empty, or holds a space, a line break or a character "
            "that no header can carry"
        )


def checked_url(api_url: str) -> httpx.URL:
    try:
        url = httpx.URL(api_url)
    except httpx.InvalidURL as error:
        raise SettingsError(f"the API address is not a URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise SettingsError(f"the API address must begin with http:// or https:// and name a host: {api_url[:200]!r}")
    if url.userinfo or url.query or url.fragment:
        raise SettingsError("the API address must hold neither user information nor a query nor a fragment")
    # What the guard has checked is what leaves: a transport may resolve dots and read escapes otherwise than it does.
    path = url.raw_path.decode("ascii")
    if "%" in path or "\\" in api_url or {".", ".."} & {*urlsplit(api_url).path.split("/"), *path.split("/")}:
        raise SettingsError(
            "the API address must hold no percent sign, no backslash and no `.` or `..` in its path, nor a character"
            f" that has to be escaped there: {api_url[:200]!r}"
        )
    return url


def make_transport(
    name: TransportName, url: httpx.URL, connections: int, before_write: Callable[[], None]
) -> httpx.AsyncBaseTransport:
    """Build a transport with a pool as large as the gate is wide, so that no request waits inside it.

    `before_write` is asked as the last thing before a write's first byte, once a connection is there: to make one may
    take longer than what was true before it holds. What it raises is raised in place of the write.

    A request that is cancelled while it waits in the pool of plain httpx keeps its connection for ever
    (https://github.com/encode/httpcore/issues/961).
    """
    context = httpx.create_ssl_context()
    proxy = _environment_proxy(url)
    if name == "httpx":
        limits = httpx.Limits(
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=KEEPALIVE_SECONDS,
        )
        inner = httpx.AsyncHTTPTransport(verify=context, limits=limits, proxy=proxy, socket_options=_SOCKET_OPTIONS)
        return _AskingTransport(inner, before_write)

    def session() -> aiohttp.ClientSession:
        # Called with the first request, inside the event loop. The environment is not trusted here: aiohttp would ask
        # it for proxies with every request, and take credentials from a .netrc file.
        connector = aiohttp.TCPConnector(
            limit=connections, ssl=context, keepalive_timeout=KEEPALIVE_SECONDS, socket_factory=_open_socket
        )
        session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), request_class=_asking_request(before_write)
        )
        # aiohttp sends a read again by itself when its connection broke: past the budget, and in a storm twice as much.
        session._retry_connection = False  # noqa: SLF001 - there is no public switch
        return session

    return AiohttpTransport(verify=context, client=session, proxy=proxy)


def _open_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, *_ = address
    opened = socket.socket(family, kind, protocol)
    for level, option, value in _SOCKET_OPTIONS:
        opened.setsockopt(level, option, value)
    return opened


def _asking_request(before_write: Callable[[], None]) -> type[aiohttp.ClientRequest]:
    class Asking(aiohttp.ClientRequest):
        """Asks whether a write may leave when a connection is there, and nothing stands between it and the socket."""

        async def send(self, conn: Connection) -> aiohttp.ClientResponse:
            if self.method == "PATCH":
                before_write()
            return await super().send(conn)

    return Asking


class _AskingTransport(httpx.AsyncBaseTransport):
    """The same for plain httpx, which tells of each step of a request before it takes it."""

    def __init__(self, inner: httpx.AsyncBaseTransport, before_write: Callable[[], None]) -> None:
        self._inner = inner
        self._before_write = before_write

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PATCH":
            request.extensions = {**request.extensions, "trace": self._trace}
        return await self._inner.handle_async_request(request)

    async def _trace(self, step: str, _details: object) -> None:
        if step.endswith(".send_request_headers.started"):
            self._before_write()

    async def aclose(self) -> None:
        await self._inner.aclose()


def _environment_proxy(url: httpx.URL) -> httpx.Proxy | None:
    """Return the proxy that the environment names for the API (HTTP_PROXY and the like, NO_PROXY)."""
    if is_loopback(url.host) or urllib.request.proxy_bypass(url.netloc.decode("ascii")):
        return None
    proxies = urllib.request.getproxies()
    address = proxies.get(url.scheme) or proxies.get("all")
    if not address:
        return None
    try:
        proxy = httpx.Proxy(address if "://" in address else f"http://{address}")
    except (ValueError, httpx.InvalidURL):
        proxy = None
    if proxy is None or proxy.url.scheme not in ("http", "https"):
        # The address is not shown: it may hold a password.
        raise SettingsError(f"the environment's proxy for {url.scheme} is not an http:// or https:// address")
    return proxy
