"""What of a repository looks like documents, or a place of documents, and is not read: said once.

What must never happen in this room: a document that somebody takes for declared goes unread in silence; the log is
flooded by one commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from reconciler.desired.sources.content import Below
from reconciler.desired.sources.names import SUFFIXES, WRONG_CASE, differs_in_case, is_nameable
from reconciler.git import Entry, GitFailed, Mirror
from reconciler.telemetry import Log

#: Of the links that one revision brings, so many are looked at and named. Nobody makes as many.
LINKS_NAMED: Final = 100


class Unread:
    """Says what is not read, and remembers what it said."""

    def __init__(self, mirror: Mirror, below: Below, log: Log) -> None:
        self._mirror = mirror
        self._below = below
        self._log = log
        #: What was said, by the places that it was said of.
        self._said: dict[str, str] = {}

    def say(self, revision: str, entries: Mapping[str, Entry | None]) -> None:
        """Say once of what looks like documents, or a place of documents, that it is not read.

        Args:
            revision: in force now.
            entries: of it, or those that it changed.
        """
        for file in [file for file, entry in entries.items() if entry is None]:
            self._said.pop(file, None)
        self._say_links(revision, entries)
        unread = {}
        for file, entry in entries.items():
            if entry is not None and not self._below.is_hidden(file):
                if entry.is_submodule:
                    unread[file] = "a submodule, which a Git source does not read; what was there before stays in force"
                elif not entry.is_folder and differs_in_case(file):
                    unread[file] = WRONG_CASE
        self._say_once({file: unread[file] for file in sorted(unread) if is_nameable(file)})

    def _say_links(self, revision: str, entries: Mapping[str, Entry | None]) -> None:
        """Say of each link to a folder, once, that it is not followed: else what is behind it would be missed."""
        links = [
            file
            for file, entry in entries.items()
            if entry is not None and entry.is_link and not (file.endswith(SUFFIXES) or self._below.is_hidden(file))
        ]
        asked = sorted(filter(is_nameable, links))[:LINKS_NAMED]
        try:
            found = self._mirror.ways_out(revision, asked) if asked else {}
        except GitFailed:
            return  # a word of warning less
        gone = [file for file, entry in entries.items() if entry is None]
        for file in asked:
            # One that leads nowhere matters where documents were before.
            if file not in found and any(each.startswith(f"{file}/") for each in gone):
                found[file] = "nothing that is there"
        self._say_once(
            {
                file: f"a link to {where}, and what is there is not followed in a Git source"
                for file, where in found.items()
            }
        )

    def _say_once(self, words: Mapping[str, str]) -> None:
        """Say of some places why they are not read, except for what was said of them before."""
        for file in [file for file, why in words.items() if self._said.get(file) != why][:LINKS_NAMED]:
            self._said[file] = words[file]
            self._log.warning("source_warning", detail=f"{file}: {words[file]}")
