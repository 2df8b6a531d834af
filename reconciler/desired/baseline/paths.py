"""Which repository the given paths are in, and which commit a reference names there.

What must never happen in this room: paths of two repositories are compared with one commit; a reference that names
nothing passes for an empty one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from reconciler.desired.baseline.files import lacking
from reconciler.desired.baseline.forest import Forest
from reconciler.desired.baseline.listing import Listing, list_documents
from reconciler.git import (
    LacksObjects,
    Location,
    Repository,
    is_shallow,
    is_unborn,
    locate,
    resolve,
)
from reconciler.model import ReconcilerError
from reconciler.telemetry import visible


class GivenPaths(NamedTuple):
    """Some given paths in one repository."""

    repository: Repository
    #: The paths from its root, each with how it is shown.
    given: tuple[tuple[str, str], ...]

    def at(self, reference: str, commit: str | None) -> Listing:
        try:
            return list_documents(Forest(self.repository, commit), self.given)
        except LacksObjects as error:
            raise ReconcilerError(lacking(self.repository.root, reference, "a folder")) from error

    def staged(self) -> Listing:
        return list_documents(Forest(self.repository, None, index=True), self.given)


def locate_paths(paths: Sequence[str], reference: str) -> GivenPaths:
    found: list[tuple[Location, str]] = []
    for path in paths:
        location = locate(path, (reference,))
        if location is None and not found:
            raise ReconcilerError(f"{path} is in no work tree: not a git repository, nor any folder above it")
        if location is None or (found and location.repository.root != found[0][0].repository.root):
            raise ReconcilerError(f"{path} is not in the repository {found[0][0].repository.root}, as {paths[0]} is")
        found.append((location, str(Path(path))))
    return GivenPaths(found[0][0].repository, tuple((location.path, shown) for location, shown in found))


def find_commit(repository: Repository, reference: str) -> str | None:
    """Return the commit that a reference names; None for `HEAD` before the first commit.

    Raises:
        ReconcilerError: it names none; the message says what helps.
    """
    found = resolve(repository, reference)
    if found is None and not (reference == "HEAD" and is_unborn(repository)):
        remote = f"origin/{reference}"
        hint = (
            f"did you mean `{remote}`?"
            if resolve(repository, remote)
            else "this clone is shallow: fetch it first, as by `git fetch origin BRANCH`, or clone with more depth"
            if is_shallow(repository)
            else "`git branch --all` and `git tag` list what there is, and `git fetch` brings what is new elsewhere"
        )
        raise ReconcilerError(f"`{visible(reference[:200])}` names no commit in {repository.root}; {hint}")
    return found
