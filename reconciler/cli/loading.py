"""Documents for a command: read with what an earlier command knows of them, and each mistake shown.

A hook that checks one file imports this room. What must never happen here: an import of what only the other commands
need.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from reconciler.cli.exits import ERROR
from reconciler.cli.options import document_limits
from reconciler.desired import Files, Lines, Loaded, explain, load_documents
from reconciler.model import DesiredStateError, Problem, StoreError, UnsafePlan
from reconciler.settings import Settings
from reconciler.telemetry import visible

if TYPE_CHECKING:
    from reconciler.desired import Index

#: Nobody scrolls through more; what is written to a file or a pipe is whole.
SHOWN_ON_A_TERMINAL: Final = 200


def load_or_exit(
    context: click.Context, paths: Sequence[str], settings: Settings, index: Index | None = None
) -> Loaded:
    """Return every document, or show every mistake and end the command."""
    try:
        return load_or_explain(paths, settings, index)
    except DesiredStateError:
        click.echo("The documents are invalid; nothing was done.", err=True)
        context.exit(ERROR)


def load_or_explain(paths: Sequence[str], settings: Settings, index: Index | None) -> Loaded:
    """Return every document, or show every mistake.

    Args:
        paths: files or folders; none at all for no document.
        settings: whose limits hold.
        index: what earlier commands read of them.

    Raises:
        DesiredStateError: there are mistakes, and they have been shown.
    """
    # Imported late: a hook that checks one file starts no program.
    from reconciler.desired import Checkout

    source = Checkout(paths, max_file_bytes=settings.documents.max_file_bytes)
    loaded = load_documents(source, document_limits(settings.documents), index)
    explain_problems(loaded, source)
    return loaded


def explain_problems(loaded: Loaded, source: Files, also: Sequence[Problem] = ()) -> None:
    """Say what was skipped, and show every mistake.

    Args:
        loaded: what was read.
        source: where from.
        also: mistakes that were found elsewhere, to be shown first.

    Raises:
        DesiredStateError: there are mistakes, and they have been shown.
    """
    warn(loaded)
    problems = (*also, *loaded.problems)
    if problems:
        show_problems(problems, source, sys.stderr.isatty(), err=True)
        raise DesiredStateError(problems)


def index_for(paths: Iterable[str], settings: Settings, state: str) -> Index | None:
    """Return the index of some paths; None where it belongs beside the state, whose place is none."""
    # Imported late: a hook that checks one file needs neither.
    from reconciler.desired import Index
    from reconciler.settings import cache_folder

    try:
        return Index(cache_folder(settings.store.cache_dir, state), paths, document_limits(settings.documents))
    except (StoreError, FileNotFoundError):
        return None  # whoever needs the state, or the working directory, says what is wrong


def commits_of_hook() -> tuple[str, str]:
    """Return the two commits that pre-commit holds against each other; two empty texts where it is not so."""
    before, to = (os.environ.get(f"PRE_COMMIT_{name}_REF", "") for name in ("FROM", "TO"))
    return (before, to) if before and to else ("", "")


def refuse_empty(count: int, paths: Sequence[str], allow_empty: bool) -> None:
    """Refuse to release everything because a path was wrong.

    Raises:
        UnsafePlan: there is no document at all.
    """
    if count == 0 and not allow_empty:
        raise UnsafePlan(
            f"{', '.join(paths)}: no document at all, so every recording would be released;"
            " if that is meant: --allow-empty"
        )


def warn(loaded: Loaded) -> None:
    """Say what was skipped."""
    for warning in loaded.warnings:
        click.echo(f"Warning: {warning}", err=True)


def show_problems(problems: Sequence[Problem], source: Files, terminal: bool, *, err: bool = False) -> None:
    """Write each problem on its line; on a terminal the first of them, with the source line and a caret below it."""
    if not terminal:
        for problem in problems:
            click.echo(visible(str(problem)), err=err)
        return
    for file, of_file in groupby(problems[:SHOWN_ON_A_TERMINAL], key=attrgetter("file")):
        data = source.read(file) if Path(file).is_file() else None
        lines = Lines(data) if isinstance(data, bytes) else None
        for problem in of_file:
            click.echo(explain(problem, lines), err=err)
    if (more := len(problems) - SHOWN_ON_A_TERMINAL) > 0:
        click.echo(f"... and {counted(more, 'more problem')}; a file or a pipe gets all of them", err=err)


def counted(number: int, word: str) -> str:
    """Return a number with what it counts, in the plural where there is not one."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
