"""Ports of loopback for servers that must be told theirs, or that come back under the same one."""

from __future__ import annotations

import os
import random
import socket

#: Below the ports that systems give to connections (from 32,768 on Linux, from 49,152 on others): one of those may
#: belong to another test's connection by the time at which the server asks for it.
_FIRST, _EACH, _WORKERS = 20_000, 1_000, 12
_choice = random.SystemRandom()


def free_port() -> int:
    """Return a port on which nobody listens now, out of those of this worker of the tests."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    while True:
        port = _FIRST + worker * _EACH + _choice.randrange(_EACH)
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
