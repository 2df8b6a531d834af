"""Which files of desired state there are, what is in them, and which of them changed since.

The tree below the given paths is walked, single files are read, and the operating system is asked to say when something
moves. What a file means is not decided here (`documents` does), nor what follows from it (`catalog`).

    tree (what a walk meets) -> watch (what moved since) -> files (a source: walk, read, follow)
"""

from __future__ import annotations

from reconciler.desired.sources.files import Source
from reconciler.desired.sources.tree import (
    MAX_LINKS,
    QUIET_SECONDS,
    SETTLED_NS,
    SUFFIXES,
    WRONG_CASE,
    FileStamp,
    Tree,
    cycle,
    differs_in_case,
    is_nameable,
    is_within,
    leaves,
    nowhere,
    unnameable,
)

__all__ = [
    "MAX_LINKS",
    "QUIET_SECONDS",
    "SETTLED_NS",
    "SUFFIXES",
    "WRONG_CASE",
    "FileStamp",
    "Source",
    "Tree",
    "cycle",
    "differs_in_case",
    "is_nameable",
    "is_within",
    "leaves",
    "nowhere",
    "unnameable",
]
