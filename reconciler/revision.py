"""Which Git commit the documents are. Asks the user's own git; changes nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from reconciler.git import ask


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
