"""Which hosts are this machine: what goes there may go unencrypted, and by no proxy.

What must never happen here: a name that only looks like such an address, since a stranger may own it.
"""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Return whether a host, as it stands in an address without brackets, is this machine by its name or number.

    >>> [is_loopback(host) for host in ("localhost", "127.1.2.3", "::1", "127.evil.example", "127.1")]
    [True, True, True, False, False]
    """
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
