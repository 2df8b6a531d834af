"""Where symbolic links lead, and which of them lead in a circle.

What must never happen in this room: a link that does not end is followed for ever; a file is opened.
"""

# Paths are strings and calls go to `os`: at a hundred thousand files pathlib doubles the time of a walk.
# ruff: noqa: PTH115, PTH120

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import Final

from reconciler.desired.sources.names import beginning_of

#: As many links in one path as Linux follows.
MAX_LINKS: Final = 40


def follow(path: str) -> tuple[str, list[str]]:
    """Follow a path whose folder is real to where it leads, there or not; return that and the links passed on the way.

    Raises:
        OSError: `ELOOP`, when it does not end.
    """
    current, name = os.path.split(path)
    parts = [name]
    passed: list[str] = []
    while parts:
        part = parts.pop()
        if part in ("", "."):
            continue
        if part == "..":
            current = os.path.dirname(current)
            continue
        place = f"{beginning_of(current)}{part}"
        try:
            target = os.readlink(place)
        except OSError:
            current = place  # no link
            continue
        passed.append(place)
        if len(passed) > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if target.startswith("/"):
            current = "/"
        parts.extend(reversed(target.split("/")))
    return current, passed


def circling_links(folders: Iterable[str], links: Iterable[tuple[str, str, str]]) -> list[str]:
    """Name the links by which one can come back to a folder one came from.

    Args:
        folders: real paths of all folders.
        links: the real path of the folder that a link is in, that of the folder it leads to, and its shown path.
    """
    ways: dict[str, list[tuple[str, str]]] = {}
    for folder in folders:
        ways.setdefault(os.path.dirname(folder), []).append((folder, ""))
    for parent, target, shown in links:
        ways.setdefault(parent, []).append((target, shown))
    circling: dict[str, None] = {}
    left: set[str] = set()
    for start in sorted(folders):
        # Each folder on the way from `start`, with the last link that was taken to get there.
        way = {start: ""}
        stack = [(start, iter(sorted(ways.get(start, ()))))] if start not in left else []
        while stack:
            folder, exits = stack[-1]
            step = next(exits, None)
            if step is None:
                stack.pop()
                del way[folder]
                left.add(folder)
                continue
            target, link = step[0], step[1] or way[folder]
            if target in way:
                circling[link] = None
            elif target not in left:
                way[target] = link
                stack.append((target, iter(sorted(ways.get(target, ())))))
    return list(circling)
