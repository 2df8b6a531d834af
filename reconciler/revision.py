"""Which Git commit the documents are. Asks the user's own git; changes nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from reconciler.git import ask
from reconciler.model import Revision


def describe(paths: Sequence[str], commit: str) -> Revision | None:
    """Return whose commit the documents are and what it says of itself; None where git does not tell."""
    where = Path(paths[0])
    try:
        said = ask(where if where.is_dir() else where.parent, "show", "-s", "--format=%an <%ae>%x00%s%x00%ct", commit)
    except (OSError, subprocess.SubprocessError):
        return None
    author, subject, committed_at = said.decode(errors="replace").strip().split("\0")
    return Revision(commit, author, subject, datetime.fromtimestamp(int(committed_at), UTC))


def revision_of(paths: Sequence[str]) -> str | None:
    """Return the commit that the documents are, or None where they are none: outside Git, or edited since."""
    where = Path(paths[0])
    folder = where if where.is_dir() else where.parent
    try:
        head = ask(folder, "rev-parse", "--verify", "--quiet", "HEAD")
        names = [str(Path(path).absolute()) for path in paths]
        changed = ask(folder, "status", "--porcelain", "--untracked-files=all", "--", *names)
    except (OSError, subprocess.SubprocessError):
        return None
    return None if changed else head.decode().strip()
