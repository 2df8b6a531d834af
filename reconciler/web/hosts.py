"""By which names the page may be called, and which requests are none that any honest client sends.

A web page that somebody looks at may point a name of its own at this machine and read what answers there: its browser
sends that name in `Host`. What must never happen here: names and IDs in an answer to a name that is not this machine's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from reconciler.model import SettingsError

#: A name or an address, with a port or without.
_HOST: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:]*)(?::[0-9]*)?")
_NAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
#: Probes say nothing that anybody could use, and those who knock sign.
_OPEN: Final = frozenset({"/healthz", "/readyz"})
_KNOCKS: Final = "/hooks/"

_MISDIRECTED: Final = (
    "this page answers to localhost, 127.0.0.0/8 and [::1]; for another name, add it to allowed_hosts"
    " (--allowed-hosts), or have the page ask for a token (--token-file)\n"
)


def parse_hosts(text: str) -> frozenset[str]:
    """Return the setting `allowed_hosts`: names or addresses between commas, without ports.

    Raises:
        SettingsError: one of them is none.
    """
    hosts = [part.strip().lower().rstrip(".") for part in text.split(",") if part.strip()]
    for host in hosts:
        if _NAME.fullmatch(host) is None and _address(host) is None:
            raise SettingsError(f"allowed_hosts: {host!r} is no name of a host; give names without scheme or port")
    return frozenset(str(_address(host) or host) for host in hosts)


def _address(name: str) -> IPv4Address | IPv6Address | None:
    """Return the address that stands in a URL as it is given; None where none does."""
    try:
        if name.startswith("[") and name.endswith("]"):
            return IPv6Address(name[1:-1])
        return IPv4Address(name)
    except ValueError:
        return None


def is_ours(host: str, allowed: Iterable[str]) -> bool:
    """Return whether a `Host` header names this machine, or one of the allowed names; any port will do."""
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = found["host"].lower().rstrip(".")
    if name == "localhost" or name in allowed:
        return True
    address = _address(name)
    return address is not None and (address.is_loopback or str(address) in allowed)


class HostGuard:
    """Wraps an application, and refuses what is not meant for it."""

    def __init__(self, app: ASGIApp, allowed: frozenset[str] | None) -> None:
        """Guard an application.

        Args:
            app: what is guarded.
            allowed: names besides this machine's own; None where a token is asked for, and any name will do.
        """
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        refusal = None
        if b"transfer-encoding" in headers and b"content-length" in headers:
            # Two words for one length: whoever stands before this page may have read the other.
            refusal = PlainTextResponse("one of Transfer-Encoding and Content-Length\n", 400, {"Connection": "close"})
        elif not (self._allowed is None or _is_open(scope["path"]) or is_ours(headers.get(b"host", ""), self._allowed)):
            refusal = PlainTextResponse(_MISDIRECTED, 421, {"Connection": "close"})
        await (refusal or self._app)(scope, receive, send)


def _is_open(path: str) -> bool:
    return path in _OPEN or path.startswith(_KNOCKS)
