"""`reconciler validate`: check the documents offline."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from reconciler.cli.exits import DONE, ERROR
from reconciler.cli.options import (
    COMMON,
    DEFAULT_FOLDER,
    DOCUMENTS,
    Values,
    paths_argument,
    paths_or_default,
    setting_options,
    values,
)
from reconciler.desired import Files, Lines, Loaded, Source, explain, load_against, load_among, load_documents
from reconciler.model import Problem, StoreError
from reconciler.telemetry import visible

if TYPE_CHECKING:
    from reconciler.desired import Index


#: Nobody scrolls through more; what is written to a file or a pipe is whole.
SHOWN_ON_A_TERMINAL: Final = 200


@click.command("validate")
@paths_argument
@click.option(
    "--format",
    "output",
    type=click.Choice(["text", "json", "github", "sarif"]),
    default="text",
    envvar="RECONCILER_FORMAT",
    show_default=True,
    help="How problems are written.",
)
@click.option(
    "--root",
    default=DEFAULT_FOLDER,
    show_default=True,
    metavar="DIR",
    help="Where PATH... are single files: the tree that their names and recordings must be unique in.",
)
@click.option("--staged", is_flag=True, help="Take the documents from Git's index, as a commit hook must.")
@click.option("--require-documents", is_flag=True, help="Exit with 1 when no document is found.")
@setting_options(*COMMON, *DOCUMENTS)
@click.pass_context
def command(
    context: click.Context, paths: tuple[str, ...], output: str, root: str, staged: bool, require_documents: bool
) -> None:
    """Check the documents in PATH... (default: desired_state) offline, and name every mistake.

    Of the files beside given ones only names and recordings are looked at, so that a hook answers at once.
    """
    settings = values()
    source: Files = Source(paths_or_default(paths), max_file_bytes=settings["max_file_bytes"])
    if staged:
        source, loaded = _load_staged(paths_or_default(paths), root, settings)
    elif any(Path(path).is_dir() for path in paths_or_default(paths)):
        given = paths_or_default(paths)
        loaded = load_documents(source, settings.document_limits, index_for(given, settings, settings["state"]))
    else:
        given_files = Source(paths_or_default(paths), max_file_bytes=settings["max_file_bytes"])
        tree = Source([root], max_file_bytes=settings["max_file_bytes"])
        index = index_for([root], settings, settings["state"])
        loaded = load_against(given_files, tree, Path(root), settings.document_limits, index)
    warn(loaded)
    match output:
        case "json":
            click.echo(_as_json(loaded), nl=False)
        case "github":
            from reconciler.report import problems_as_annotations

            click.echo(problems_as_annotations(_from_the_root(loaded.problems)), nl=False)
        case "sarif":
            from reconciler.report import problems_as_sarif

            click.echo(problems_as_sarif(_from_the_root(loaded.problems)), nl=False)
        case _:
            show_problems(loaded.problems, source, sys.stdout.isatty())
    count = len(loaded.columns)
    if loaded.problems:
        files = len({problem.file for problem in loaded.problems})
        click.echo(f"{_counted(len(loaded.problems), 'problem')} in {_counted(files, 'file')}.", err=True)
        context.exit(ERROR)
    if not count:
        places = ", ".join(paths_or_default(paths))
        word = "Error" if require_documents else "Warning"
        click.echo(f"{word}: no document was found in {places}", err=True)
        if require_documents:
            context.exit(ERROR)
    click.echo(f"{_counted(loaded.files, 'file')}, {_counted(count, 'recording')}: all valid.", err=True)
    context.exit(DONE)


def _from_the_root(problems: Iterable[Problem]) -> list[Problem]:
    from reconciler.cli.places import Places  # what a hook that checks one file does without

    places = Places()
    return [places.problem(problem) for problem in problems]


def _load_staged(paths: Sequence[str], root: str, settings: Values) -> tuple[Files, Loaded]:
    """Return the documents of the index, or of the commit that pre-commit names, and where they come from."""
    # Imported late: nobody else here needs git.
    from reconciler.desired import Compared, read_staged

    most, limits = settings["max_file_bytes"], settings.document_limits
    before, to = commits_of_hook()
    compared = Compared(before or "HEAD", staged=True, to=to)
    files = read_staged(compared, paths, max_file_bytes=most)
    if {str(Path(path)) for path in paths} & files.folders:
        return files, load_documents(files, limits)
    tree = read_staged(compared, [root], max_file_bytes=most)
    return files, load_among(files, tree.apart_from(files), lambda file: tree.holds(file, files), limits)


def commits_of_hook() -> tuple[str, str]:
    """Return the two commits that pre-commit holds against each other; two empty texts where it is not so."""
    before, to = (os.environ.get(f"PRE_COMMIT_{name}_REF", "") for name in ("FROM", "TO"))
    return (before, to) if before and to else ("", "")


def index_for(paths: Iterable[str], settings: Values, state: str) -> Index | None:
    """Return the index of some paths, beside the state; None where the state's place is none."""
    # Imported late: a hook that checks one file needs neither.
    from reconciler.desired import Index
    from reconciler.settings import state_folder

    try:
        return Index(state_folder(state), paths, settings.document_limits)
    except (StoreError, FileNotFoundError):
        return None  # whoever needs the state, or the working directory, says what is wrong


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
        click.echo(f"... and {_counted(more, 'more problem')}; a file or a pipe gets all of them", err=err)


def _as_json(loaded: Loaded) -> str:
    return (
        json.dumps(
            {
                "format": "reconciler.problems/v1",
                "valid": not loaded.problems,
                "files": loaded.files,
                "recordings": len(loaded.columns),
                "problems": [
                    {
                        "file": problem.file,
                        "line": problem.line,
                        "column": problem.column,
                        "message": problem.message,
                        "hint": problem.hint,
                        "pointer": problem.pointer,
                        "rule": problem.rule,
                    }
                    for problem in loaded.problems
                ],
            },
            indent=2,
        )
        + "\n"
    )


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
