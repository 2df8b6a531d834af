"""People who push to a branch: a bare repository, a clone that commits as they do, and the daemon that follows it.

Nobody's own settings, keys or agents take part: the environment of every git is made here.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from reconciler.desired.sources.branch import BranchSettings, GitSource
from reconciler.git.mirror.address import parse_address
from reconciler.git.mirror.repository import Mirror
from reconciler.git.mirror.signatures import Mode, Scope, Verifier
from reconciler.model.documents import InForce, Revision
from reconciler.telemetry.logs import make_log
from tests.world.git import run_git
from tests.world.scene import COMMAND, Scene, Subject, subjects
from tests.world.started import Started

ADA = "Ada Lovelace <ada@example.org>"
BOB = "Bob Kahn <bob@example.org>"

#: Many tests share one sandbox; no two share a recording.
_numbers = count(1, 1000)


def isolate(patch: pytest.MonkeyPatch, home: Path) -> None:
    """Leave out the user's own settings, keys and agents, also for what is started later."""
    home.mkdir(parents=True)
    for name in list(os.environ):
        if name.startswith(("GIT_", "GNUPG", "SSH_", "GPG_")):
            patch.delenv(name)
    patch.setenv("HOME", str(home))
    patch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    patch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
    (home / "gitconfig").write_text("[user]\nname = Nobody\nemail = nobody@example.org\n[gc]\nauto = 0\n")


class Team:
    """A bare repository, `remote`, and a clone of it."""

    def __init__(self, folder: Path, *, object_format: str = "sha1") -> None:
        self.folder = folder
        self.remote = folder / "remote.git"
        self.clone = folder / "clone"
        make = ("init", "--quiet", "--initial-branch=main", f"--object-format={object_format}")
        run_git(folder, *make, "--bare", str(self.remote))
        run_git(folder, *make, str(self.clone))
        # As on a host: it filters, and the branch that others start from can be deleted, too.
        run_git(self.remote, "config", "uploadpack.allowFilter", "true")
        run_git(self.remote, "config", "receive.denyDeleteCurrent", "ignore")
        self.git("remote", "add", "origin", str(self.remote))
        self._seconds = count(1_790_000_000)

    def git(self, *arguments: str, **more: Any) -> str:
        """Run git in the clone and return what it says."""
        return run_git(self.clone, *arguments, **more)

    def write(self, files: Mapping[str, str | bytes | None]) -> None:
        """Write files, or with None delete them."""
        for name, content in files.items():
            path = self.clone / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def commit(
        self,
        files: Mapping[str, str | bytes | None] | None = None,
        *,
        by: str = ADA,
        subject: str = "Change",
        options: Sequence[str] = (),
        sign: Path | None = None,
        command: Sequence[str] = ("commit",),
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Commit files, with None deleting them, and whatever else was added; return the commit.

        Args:
            files: by their names.
            by: the author.
            subject: what the commit says.
            options: more, for `git commit`.
            sign: an SSH key to sign with.
            command: what stands before the options.
            environment: more, for git.
        """
        if sign is not None:
            command = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={sign}", "commit", "-S")
        self.write(files or {})
        # Each a second later than the one before, as people's are.
        date = f"{next(self._seconds)} +0000"
        self.git("add", "--all")
        self.git(
            *(*command, "--quiet", "--allow-empty", f"--author={by}", "-m", subject, *options),
            environment={"GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": date, **(environment or {})},
        )
        return self.git("rev-parse", "HEAD")

    def push(self, *options: str) -> None:
        """Push `HEAD` to the branch `main`."""
        self.git("push", "--quiet", *options, "origin", "HEAD:refs/heads/main")

    def publish(self, files: Mapping[str, str | bytes | None], **more: Any) -> str:
        """Commit and push; return the commit."""
        commit = self.commit(files, **more)
        self.push()
        return commit


class Branch:
    """A source on the team's branch, looked at when a test says so."""

    def __init__(
        self,
        team: Team,
        state: Path,
        *,
        mode: Mode = "off",
        scope: Scope = "all",
        allowed_signers: Path | str = "",
        gpg_keyring: Path | str = "",
        depth: int = 256,
        limit: int = 10_000,
        path: str = "docs",
        log_level: str = "error",
    ) -> None:
        address = parse_address(str(team.remote))
        verifier = Verifier(
            mode,
            scope,
            allowed_signers=str(allowed_signers),
            gpg_keyring=str(gpg_keyring),
            home=state / "gnupg",
        )
        mirror = Mirror(
            state,
            address,
            "main",
            max_file_bytes=limit,
            token_file="",
            timeout_seconds=60,
            depth=depth,
        )
        self.source = GitSource(
            mirror,
            verifier,
            BranchSettings(address.shown, "main", path, interval_seconds=3600, max_file_bytes=limit),
            in_force=self._last(state),
            describe=partial(self._keep, state),
            now=lambda: datetime.now(UTC),
            log=make_log("json", log_level, run_id="test", secrets=tuple, color=False),
        )

    @staticmethod
    def _last(state: Path) -> InForce | None:
        """Return what the state of a daemon would know of the revision in force."""
        file = state / "in-force.json"
        return InForce(*json.loads(file.read_text())) if file.exists() else None

    @staticmethod
    def _keep(state: Path, *_: Revision, in_force: InForce | None = None) -> None:
        if in_force is not None:
            (state / "in-force.json").write_text(json.dumps(in_force))

    def opened(self) -> Branch:
        self.source.open()
        return self

    def look(self) -> str | None:
        """Look at the branch once, as a hook makes it; return the revision in force."""
        self.source._update(threading.Event())
        return self.source.newest_revision

    @property
    def refused(self) -> list[str]:
        return [each.revision.id for each in self.source.state.refused]


@dataclass(frozen=True, slots=True)
class GitScene:
    """A scene whose documents are in the folder `docs` of a branch."""

    scene: Scene
    team: Team

    def recordings(self, number: int, status: str = "ongoing") -> list[Subject]:
        """Return recordings that no other test has, which the sandbox knows."""
        made = subjects(number, first=next(_numbers))
        self.scene.sandbox.seed(subject.seed(status) for subject in made)
        return made

    def unknown(self) -> Subject:
        """Return a recording that no other test has, and that the sandbox does not know yet."""
        return subjects(1, first=next(_numbers))[0]

    def options(self, *more: str) -> tuple[str, ...]:
        """Return what leads `run` to the branch. What comes later overrules what comes earlier."""
        source = ("--git", str(self.team.remote), "--branch", "main", "--path", "docs", "--git-interval", "0.5")
        return self.scene.options("--listen", "off", *source, *more)

    def daemon(self, *more: str) -> AbstractContextManager[Started]:
        """Start the installed daemon on the branch."""
        return self.scene.start(COMMAND, "run", *self.options(*more))

    def run(self, *more: str) -> subprocess.CompletedProcess[str]:
        """Run the daemon to its end, which it is expected to come to by itself."""
        return self.scene.run("run", *self.options(*more))

    def patches(self, *of: Subject) -> list[list[str]]:
        """Return the statuses that PATCHes asked for, of these recordings."""
        found = self.scene.sandbox.patches()
        return [found.get(subject.recording, []) for subject in of]

    def history(self, *of: Subject) -> list[dict[str, Any]]:
        """Return what `history` says of these recordings, newest first."""
        names = {subject.name for subject in of}
        done = self.scene.run("history", "--state", self.scene.state, "--format", "json", "--limit", "1000")
        assert done.returncode == 0, done.stderr
        return [event for event in json.loads(done.stdout)["events"] if event["name"] in names]
