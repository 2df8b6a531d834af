"""What is known of the documents that a command has loaded: our records of their recordings, and their commits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import click

from reconciler.desired import Loaded, Revisions, Source, find_revisions
from reconciler.model import Desired, Problem, Record, RecordingKey
from reconciler.state import Store


def records_of(store: Store, loaded: Loaded, paths: Sequence[str]) -> dict[RecordingKey, Record]:
    """Return our records of what is declared, and of what was declared below the paths and is not any more.

    What is out of sight was not taken away: of that there is nothing to say.
    """
    return declared_or_gone(store.all(), loaded.desired, loaded, paths)


def declared_or_gone(
    records: Iterable[Record], desired: Iterable[Desired], loaded: Loaded, paths: Sequence[str]
) -> dict[RecordingKey, Record]:
    source = Source(paths, max_file_bytes=1)
    declared = {document.key for document in desired}
    found = {}
    for record in records:
        if record.key not in declared:
            file = source.name_of(record.file, record.base)
            if file is None or loaded.tree.hides(file):
                continue
        found[record.key] = record
    return found


def revisions_of(paths: Sequence[str], loaded: Loaded, read: Callable[[str], bytes | Problem]) -> Revisions:
    """Return which files are as the last commit has them; say so where that cannot be found out."""
    found = find_revisions(paths, loaded.columns.files, loaded.digests, read)
    if found.error:
        click.echo(f"Warning: no commit is named: {found.error}", err=True)
    return found
