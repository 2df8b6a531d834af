"""The socket of `listen`: opened, shown, and whether others than this machine can reach it."""

from __future__ import annotations

import errno
import ipaddress
import socket

from reconciler.model import SettingsError


class AddressInUse(SettingsError):
    """Somebody else listens there: it may become free."""


def bind(listen: str) -> socket.socket:
    """Open the socket of `--listen`.

    Args:
        listen: `HOST:PORT`, a port of 0 for any free one.

    Raises:
        AddressInUse: the address is taken.
        SettingsError: it is not of that form, or cannot be had.
    """
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise SettingsError(f"listen: {listen!r} is not HOST:PORT or off")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, int(port)))
        opened.listen(128)
        opened.setblocking(False)
    except (OSError, TypeError) as error:  # a name that cannot be a host's name is a TypeError
        opened.close()
        reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        kind = AddressInUse if isinstance(error, OSError) and error.errno == errno.EADDRINUSE else SettingsError
        raise kind(
            f"cannot listen on {listen}: {reason}; choose another address with --listen HOST:PORT, or --listen off"
        ) from error
    return opened


def is_exposed(opened: socket.socket) -> bool:
    """Whether others than this machine can reach a bound socket."""
    address = ipaddress.ip_address(opened.getsockname()[0].partition("%")[0])
    return not (getattr(address, "ipv4_mapped", None) or address).is_loopback


def shown(opened: socket.socket) -> str:
    """Return a bound socket's address as it is written in a URL: `127.0.0.1:8420`, `[::1]:8420`."""
    host, port = opened.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
