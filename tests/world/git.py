"""Git as a person uses it in a folder, without the settings that this machine has."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

#: Somebody, with no settings.
TESS = {
    **{
        f"GIT_{role}_{part}": value
        for role in ("AUTHOR", "COMMITTER")
        for part, value in (("NAME", "Tess Ting"), ("EMAIL", "tess@example.com"))
    },
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


def run_git(
    folder: Path,
    *arguments: str,
    check: bool = True,
    environment: Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> str:
    """Run git as the environment has it and return what it says; fail with what it complains of."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        input=stdin,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0 or not check, done.stderr.decode(errors="replace")
    return done.stdout.decode(errors="replace").strip()


def git(folder: Path, *arguments: str) -> str:
    """Run git as Tess would and return what it says."""
    return run_git(folder, *arguments, environment=TESS)


def commit_all(folder: Path, message: str = "Change documents") -> str:
    """Commit whatever is in a folder; return the commit."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--no-verify", "--allow-empty", "--message", message)
    return git(folder, "rev-parse", "HEAD")
