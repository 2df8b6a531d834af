"""The documents as they were at a Git commit: what a change is held against.

They are read out of the repository's objects, never by way of the work tree, and found by the same rules as those on
disk: below the same paths, by the same suffixes, hidden names left out. Links and submodules are left out as well: what
a link inside of a folder leads to stands there under its own name. What must never happen in this room: a file is read
from disk, or a document that its schema refuses counts as one that was there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.documents import DocumentLimits, FileDocuments, Patience, cross_check, parse_documents
from reconciler.errors import ReconcilerError
from reconciler.git import Commit, Entry, find_commit, list_entries, read_blobs
from reconciler.model import Desired, Problem
from reconciler.source import SUFFIXES, is_nameable


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the documents said at a commit."""

    #: As it was asked for, such as `main`.
    reference: str
    #: Hexadecimal; None before the first commit.
    commit: str | None
    #: Sorted by name; empty when there is any problem.
    desired: tuple[Desired, ...]
    #: Those of all files, sorted by file, line and column; each `file` begins with the reference and a colon.
    problems: tuple[Problem, ...]
    #: The given paths that were there.
    present: frozenset[str]


def read_baseline(reference: str, paths: Sequence[str], limits: DocumentLimits) -> Baseline:
    """Read the documents that a commit holds below some paths.

    Args:
        reference: a branch, tag or commit, as git takes it.
        paths: files or folders, there now or not, all in one repository.
        limits: what one file may ask of this program.

    Raises:
        ReconcilerError: there is no such commit, or a path is in no repository or in another one.
    """
    places = [Path(path).resolve() for path in paths]
    commit = find_commit(_nearest_folder(places[0]), reference)
    roots = [(_in_repository(commit, place), str(Path(path))) for place, path in zip(places, paths, strict=True)]
    present: set[str] = set()
    found: dict[str, Entry] = {}
    for entry in list_entries(commit, [root for root, _ in roots]):
        path = os.fsdecode(entry.path)
        present.update(given for root, given in roots if _rest(path, root) is not None)
        shown = _shown(path, roots)
        if shown is not None and entry.is_file:
            found[shown] = entry
    parsed, problems = _parse(commit, found, limits)
    problems += cross_check(parsed)
    return Baseline(
        reference=reference,
        commit=commit.id,
        desired=() if problems else tuple(sorted((each for file in parsed for each in file.desired), key=_name)),
        problems=tuple(
            replace(problem, file=f"{reference}:{problem.file}")
            for problem in sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column))
        ),
        present=frozenset(present),
    )


def _nearest_folder(place: Path) -> Path:
    """Return the folder that a path is or is in, or was in: what was deleted since has no folder any more."""
    return next(folder for folder in (place, *place.parents) if folder.is_dir())


def _in_repository(commit: Commit, place: Path) -> str:
    """Return a path as the repository calls it; empty for its root."""
    if not place.is_relative_to(commit.root):
        raise ReconcilerError(f"{place} is not in the repository {commit.root}, which --base reads")
    inside = place.relative_to(commit.root).as_posix()
    return "" if inside == "." else inside


def _shown(path: str, roots: Sequence[tuple[str, str]]) -> str | None:
    """Return what a file is called by the given paths, a folder before a single file; None where it does not count."""
    single = None
    for root, given in roots:
        rest = _rest(path, root)
        if rest == "":
            single = single or given
        elif rest is not None and rest.endswith(SUFFIXES) and not f"/{rest}".count("/."):
            return rest if given == "." else f"{given.removesuffix('/')}/{rest}"
    return single


def _rest(path: str, root: str) -> str | None:
    """Return the part of a path below a root, empty for the root itself; None where it is elsewhere."""
    if path == root:
        return ""
    within = f"{root}/" if root else ""
    return path[len(within) :] if path.startswith(within) else None


def _parse(
    commit: Commit, found: Mapping[str, Entry], limits: DocumentLimits
) -> tuple[list[FileDocuments], list[Problem]]:
    problems = []
    wanted = {}
    for shown, entry in found.items():
        if not is_nameable(shown):
            name = shown.encode("unicode_escape").decode("ascii")
            message = "the name holds control characters or is not UTF-8"
            problems.append(Problem(name, 1, 1, message, rule="file-name"))
        elif entry.size > limits.max_file_bytes:
            message = f"the file has {entry.size:,} bytes, more than max_file_bytes allows ({limits.max_file_bytes:,})"
            problems.append(Problem(shown, 1, 1, message, rule="too-large"))
        else:
            wanted[shown] = entry.id
    contents = read_blobs(commit, list(wanted.values()))
    patience = Patience()
    parsed = [parse_documents(data, shown, limits, patience) for shown, data in zip(wanted, contents, strict=True)]
    problems += [problem for file in parsed for problem in file.problems]
    return parsed, problems


def _name(document: Desired) -> str:
    return document.name
