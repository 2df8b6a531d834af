"""What of a file's new content is doubtful while the file may still be written: an error, a loss, a conflict.

Questions about contents and the catalog; nothing is read and nothing waits here. What must never happen in this room: a
recording that moves between two files looks like one that is released; everything is released at once unsaid.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from reconciler.desired.catalog import Catalog
from reconciler.desired.documents.conflicts import FileDocuments
from reconciler.model import RecordingKey
from reconciler.telemetry import Log


def is_doubtful(catalog: Catalog, file: str, documents: FileDocuments | None) -> bool:
    """Return whether a file may be in the middle of being saved.

    Args:
        catalog: what is in force.
        file: its name.
        documents: what it holds now; None when it is gone.
    """
    in_force = catalog.documents_of(file)
    if documents is None:
        return bool(in_force)
    if documents.problems:
        return True
    return bool(in_force.keys() - {item.key for item in documents.desired}) or bool(catalog.conflicts(documents))


def with_missing(catalog: Catalog, documents: FileDocuments) -> FileDocuments:
    """Return a file's new content together with what it has in force and the new content lacks."""
    present = {item.key for item in documents.desired}
    names = {item.name for item in documents.desired}
    in_force = catalog.documents_of(documents.file)
    missing = (item for key, item in in_force.items() if key not in present and item.name not in names)
    return replace(documents, desired=documents.desired + tuple(missing))


def dropped_by(catalog: Catalog, contents: Mapping[str, FileDocuments | None]) -> set[RecordingKey]:
    """Return the recordings that files would give up by their new contents, None for a file that is gone."""
    dropped: set[RecordingKey] = set()
    for file, documents in contents.items():
        if documents is None or not documents.problems:
            dropped |= catalog.documents_of(file).keys()
            dropped.difference_update(() if documents is None else (item.key for item in documents.desired))
    return dropped


def takes_only(catalog: Catalog, documents: FileDocuments, dropped: Collection[RecordingKey]) -> bool:
    """Return whether a content lacks nothing of what its file has in force, and takes from others only what they drop.

    Args:
        catalog: what is in force.
        documents: the content, which is valid by itself.
        dropped: what other files are about to give up.
    """
    if catalog.documents_of(documents.file).keys() - {item.key for item in documents.desired}:
        return False
    for item in documents.desired:
        for holder in (catalog.desired.get(item.key), catalog.by_name(item.name)):
            if holder is not None and holder.file != documents.file and holder.key not in dropped:
                return False
    return True


class EmptyGuard:
    """Refuses a change that would leave no document at all, which nobody means."""

    def __init__(self, catalog: Catalog, log: Log, *, allow_empty: bool) -> None:
        self._catalog = catalog
        self._log = log
        self._allow_empty = allow_empty
        self._kept_back: frozenset[str] = frozenset()

    @property
    def kept_back(self) -> frozenset[str]:
        """The files of the change that was refused last; empty once one was let pass."""
        return self._kept_back

    def refuses(self, contents: Mapping[str, FileDocuments | None]) -> bool:
        """Return whether these new contents of files would leave no document; say so once."""
        if self._allow_empty or not self._catalog.desired:
            return False
        left = len(self._catalog.desired)
        for file, documents in contents.items():
            left += (0 if documents is None else len(documents.desired)) - len(self._catalog.documents_of(file))
            if documents is not None and documents.problems:
                left += len(self._catalog.documents_of(file))
        if left > 0:
            self._kept_back = frozenset()
            return False
        files = frozenset(contents)
        if files != self._kept_back:
            self._kept_back = files
            self._log.error(
                "limit_refused",
                rule="empty",
                count=len(self._catalog.desired),
                allowed=0,
                setting="allow_empty",
                override="--allow-empty",
            )
        return True
