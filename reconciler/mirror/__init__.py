"""A Git branch as the source of the daemon's documents: a mirror under the state folder, judged and read by commits."""

from __future__ import annotations

from reconciler.mirror.address import Address, parse_address
from reconciler.mirror.command import GitFailed
from reconciler.mirror.repository import Mirror
from reconciler.mirror.signatures import Mode, Scope, Verifier
from reconciler.mirror.source import GitSource, Refused, SourceState

__all__ = [
    "Address",
    "GitFailed",
    "GitSource",
    "Mirror",
    "Mode",
    "Refused",
    "Scope",
    "SourceState",
    "Verifier",
    "parse_address",
]
