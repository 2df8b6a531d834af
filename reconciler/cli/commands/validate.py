"""`reconciler validate`: check the documents offline."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from reconciler.cli.exits import DONE, ERROR
from reconciler.cli.loading import commits_of_hook, counted, index_for, show_problems, warn
from reconciler.cli.options import (
    CACHE,
    COMMON,
    DEFAULT_FOLDER,
    DOCUMENTS,
    document_limits,
    given_settings,
    paths_argument,
    paths_or_default,
    setting_options,
)
from reconciler.desired import Files, Loaded, Source, load_against, load_among, load_documents
from reconciler.model import Problem
from reconciler.settings import Settings


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
@setting_options(*COMMON, *DOCUMENTS, *CACHE)
@click.pass_context
def command(
    context: click.Context, paths: tuple[str, ...], output: str, root: str, staged: bool, require_documents: bool
) -> None:
    """Check the documents in PATH... (default: desired_state) offline, and name every mistake.

    Of the files beside given ones only names and recordings are looked at, so that a hook answers at once.
    """
    settings = given_settings()
    source: Files = Source(paths_or_default(paths), max_file_bytes=settings.documents.max_file_bytes)
    if staged:
        source, loaded = _load_staged(paths_or_default(paths), root, settings)
    elif any(Path(path).is_dir() for path in paths_or_default(paths)):
        given = paths_or_default(paths)
        loaded = load_documents(
            source, document_limits(settings.documents), index_for(given, settings, settings.store.state)
        )
    else:
        given_files = Source(paths_or_default(paths), max_file_bytes=settings.documents.max_file_bytes)
        tree = Source([root], max_file_bytes=settings.documents.max_file_bytes)
        index = index_for([root], settings, settings.store.state)
        loaded = load_against(given_files, tree, Path(root), document_limits(settings.documents), index)
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
        click.echo(f"{counted(len(loaded.problems), 'problem')} in {counted(files, 'file')}.", err=True)
        context.exit(ERROR)
    if not count:
        places = ", ".join(paths_or_default(paths))
        word = "Error" if require_documents else "Warning"
        click.echo(f"{word}: no document was found in {places}", err=True)
        if require_documents:
            context.exit(ERROR)
    click.echo(f"{counted(loaded.files, 'file')}, {counted(count, 'recording')}: all valid.", err=True)
    context.exit(DONE)


def _from_the_root(problems: Iterable[Problem]) -> list[Problem]:
    from reconciler.cli.places import Places  # what a hook that checks one file does without

    places = Places()
    return [places.problem(problem) for problem in problems]


def _load_staged(paths: Sequence[str], root: str, settings: Settings) -> tuple[Files, Loaded]:
    """Return the documents of the index, or of the commit that pre-commit names, and where they come from."""
    # Imported late: nobody else here needs git.
    from reconciler.desired import Compared, read_staged

    most, limits = settings.documents.max_file_bytes, document_limits(settings.documents)
    before, to = commits_of_hook()
    compared = Compared(before or "HEAD", staged=True, to=to)
    files = read_staged(compared, paths, max_file_bytes=most)
    if {str(Path(path)) for path in paths} & files.folders:
        return files, load_documents(files, limits)
    tree = read_staged(compared, [root], max_file_bytes=most)
    return files, load_among(files, tree.apart_from(files), lambda file: tree.holds(file, files), limits)


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
