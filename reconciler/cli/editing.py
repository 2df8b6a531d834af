"""What `set`, `suspend` and `resume` share: find the one document, edit its file in place, commit it when asked to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

from reconciler.cli.options import document_limits, paths_or_default
from reconciler.desired import DocumentLimits, Source, nearest, parse_documents, replace_file
from reconciler.git import check_committable, commit_file
from reconciler.model import Desired, Problem, ReconcilerError
from reconciler.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

#: Takes a file's content, its name, the document's name and the limits; gives the new content.
Edit = Callable[[bytes, str, str, DocumentLimits], bytes]

_FILES_SHOWN: Final = 3


def editing_options(function: F) -> F:
    """Add the name, the paths and the options for a commit to a command."""
    for decorate in (
        click.option("--message", "-m", help="The commit's message, when the one that says what was done will not do."),
        click.option("--commit", is_flag=True, help="Commit the file, and nothing else, with your own git."),
    ):
        function = decorate(function)
    return function


def edit_document(
    name: str,
    paths: Sequence[str],
    settings: Settings,
    edit: Edit,
    *,
    done: str,
    unchanged: str,
    commit: bool,
    message: str | None,
) -> None:
    """Edit the one document of a name in place, and say so on standard error.

    Args:
        name: its full name.
        paths: where to look; none for the default folder.
        settings: the settings of this invocation.
        edit: makes the new content.
        done: what was done, in words; the commit's message unless another is given.
        unchanged: what to say where there was nothing to do.
        commit: whether to commit the file.
        message: the commit's message.

    Raises:
        ReconcilerError: there is no such document or several, its file cannot be edited or has changed meanwhile, or
            git refused.
    """
    if message is not None and not commit:
        raise click.UsageError("--message is the message of a commit; add --commit")
    document, data = _find(name, paths_or_default(tuple(paths)), settings)
    file = document.file
    edited = edit(data, file, name, document_limits(settings.documents))
    if edited == data:
        click.echo(f"{file}:{document.line}: {unchanged}; nothing was changed.", err=True)
        return
    if commit:
        check_committable(file, settings.documents.max_file_bytes)
    replace_file(file, data, edited)
    click.echo(f"{file}:{document.line}: {done}.", err=True)
    if commit:
        click.echo(f"Committed as {commit_file(file, message or done)}.", err=True)


def _find(name: str, paths: Sequence[str], settings: Settings) -> tuple[Desired, bytes]:
    """Return the one document of a name, and its file's content. Invalid files elsewhere do not stand in the way."""
    source = Source(paths, max_file_bytes=settings.documents.max_file_bytes)
    tree = source.walk()
    if tree.vanished_roots:
        raise ReconcilerError(f"{tree.vanished_roots[0]}: no such file or folder")
    found: list[tuple[Desired, bytes]] = []
    names: list[str] = []
    invalid: list[Problem] = []
    for file in tree.files:
        data = source.read(file)
        if isinstance(data, Problem):
            invalid.append(data)
            continue
        documents = parse_documents(data, file, document_limits(settings.documents))
        invalid.extend(documents.problems)
        for desired in documents.desired:
            names.append(desired.name)
            if desired.name == name:
                found.append((desired, data))
    if len(found) == 1:
        return found[0]
    if found:
        places = ", ".join(f"{desired.file}:{desired.first_line}" for desired, _ in found)
        raise ReconcilerError(f"{name} is the name of several documents: {places}; names are unique")
    close = nearest(name, names)
    words = f"no document is named {name}" + (f", did you mean `{close}`?" if close else "")
    if invalid:
        files = sorted({problem.file for problem in invalid})
        more = f" and {len(files) - _FILES_SHOWN} more" if len(files) > _FILES_SHOWN else ""
        words += f"; it may be in a file that is invalid: {', '.join(files[:_FILES_SHOWN])}{more}"
    raise ReconcilerError(words)
