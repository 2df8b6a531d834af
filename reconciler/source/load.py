"""All documents below some paths, for a command that reads them once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reconciler.documents import DocumentLimits, FileDocuments, cross_check, parse_documents
from reconciler.model import Desired, Problem
from reconciler.source.files import Source
from reconciler.source.tree import Tree


@dataclass(frozen=True, slots=True)
class Loaded:
    """All documents below the given paths, for a command."""

    #: Sorted by name; empty when there is any problem, so that nobody acts on half of it.
    desired: tuple[Desired, ...]
    #: Those of all files, sorted by file, line and column.
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]
    #: How many files were read.
    files: int


def load_documents(source: Source, limits: DocumentLimits) -> Loaded:
    """Walk, read, parse and cross-check everything. A given path that is not there is a problem like any other."""
    tree, parsed = parse_tree(source, limits)
    return gather(tree, parsed, cross_check(parsed))


def parse_tree(source: Source, limits: DocumentLimits) -> tuple[Tree, list[FileDocuments]]:
    """Walk, read and parse everything, each file by itself."""
    tree = source.walk()
    parsed: list[FileDocuments] = []
    for file in tree.files:
        data = source.read(file)
        parsed.append(
            FileDocuments(file, (), (data,)) if isinstance(data, Problem) else parse_documents(data, file, limits)
        )
    return tree, parsed


def gather(tree: Tree, parsed: Sequence[FileDocuments], conflicts: Iterable[Problem]) -> Loaded:
    """Put together what a walk, its files and the checks between files came to."""
    problems = [Problem(root, 1, 1, "no such file or folder", rule="missing") for root in tree.vanished_roots]
    problems.extend(tree.problems)
    for documents in parsed:
        problems.extend(documents.problems)
    problems.extend(conflicts)
    problems.sort(key=lambda problem: (problem.file, problem.line, problem.column))
    desired = () if problems else (each for documents in parsed for each in documents.desired)
    return Loaded(
        desired=tuple(sorted(desired, key=lambda each: each.name)),
        problems=tuple(problems),
        warnings=tree.warnings,
        files=len(tree.files),
    )
