"""Tell systemd how the daemon is: one datagram to the socket that it names, and nothing when it names none."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> bool:
    """Send one state, such as ``READY=1``, ``WATCHDOG=1`` or ``STOPPING=1``, without waiting for anybody.

    Source: sd_notify(3). A service manager that does not listen must not stop the work.

    Returns:
        Whether nothing is left to say: it was sent, or nobody is there to hear it. False when the manager has not read
        what it was sent before; who must be heard says it again.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return True
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as datagram:
            datagram.setblocking(False)
            datagram.connect(address)
            datagram.send(state.encode())
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def watchdog_seconds() -> float | None:
    """Return how often systemd wants to hear that the daemon lives, halved as it advises; None when it does not ask."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if not (microseconds.isascii() and microseconds.isdigit() and int(microseconds)):
        return None
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 2_000_000
