"""The connections to the API: how they are made, kept and given up, and the last question before a write leaves.

What must never happen here: a write whose first byte leaves without `before_write` having been asked when its
connection was there, a read that a library sends again by itself, or a cookie or a credential that the environment
slips in.
"""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from reconciler.model import SettingsError
from reconciler.providers.reach import is_loopback

if TYPE_CHECKING:
    from aiohttp.connector import Connection

TransportName = Literal["aiohttp", "httpx"]

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


def checked_url(api_url: str) -> httpx.URL:
    """Return the API's address, once it is known to be one that the guard and the transport read alike.

    Raises:
        SettingsError: it is not.
    """
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
