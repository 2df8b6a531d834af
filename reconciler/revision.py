"""Which Git commit the documents are. Asks the user's own git; changes nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path


def revision_of(paths: Sequence[str]) -> str | None:
    """Return the commit that the documents are, or None where they are none: outside Git, or edited since."""
    where = Path(paths[0])
    folder = where if where.is_dir() else where.parent
    try:
        head = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
        names = [str(Path(path).absolute()) for path in paths]
        changed = _git(folder, "status", "--porcelain", "--untracked-files=all", "--", *names)
    except (OSError, subprocess.SubprocessError):
        return None
    return None if changed else head


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - a fixed program, no shell, paths after `--`
        ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *arguments],  # noqa: S607 - the user's git
        cwd=folder,
        capture_output=True,
        check=True,
        timeout=10,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
    )
    # A name in another encoding is still a change, and a commit is hexadecimal.
    return done.stdout.decode(errors="replace").strip()
