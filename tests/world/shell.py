"""The installed command as a person or a job starts it: in a folder, with an environment, on a pipe or a terminal.

Everything that it writes is kept and can be searched for what must not be there.
"""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.world.foreign_api import CANARY_LINK, CANARY_PHONE
from tests.world.started import Started, started

COMMAND = str(Path(sys.executable).with_name("reconciler"))


#: Must never be seen in anything that the command writes.
KEY = "canary-key-4f1b9c27"


@dataclass(frozen=True)
class Done:
    """What an ended command leaves."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """The installed command in a folder and an environment of its own. Keeps all that it wrote, to be searched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: list[str] = []
        self._logs = 0
        self.env = {"BIRD_ACCESS_KEY": KEY}

    def environment(self, more: dict[str, str]) -> dict[str, str]:
        """Return the environment of a command; an empty value takes a variable away."""
        merged = {**os.environ, **self.env, **more}
        return {name: value for name, value in merged.items() if value or name in os.environ}

    def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> Done:
        """Run a command to its end."""
        ended = subprocess.run(
            [COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment(environment),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )
        self.written += [ended.stdout, ended.stderr]
        return Done(ended.returncode, ended.stdout, ended.stderr)

    def start(self, *arguments: str, **environment: str) -> AbstractContextManager[Started]:
        """Start the command, which goes on; it is killed at the end if it is still there."""
        return self.start_other((COMMAND, *arguments), **environment)

    @contextmanager
    def start_other(self, command: Sequence[str], **environment: str) -> Iterator[Started]:
        """The same with whatever else starts it: a wrapper, or a program around its parts."""
        self._logs += 1
        log = self.folder.parent / f"{self.folder.name}-{self._logs}.log"
        with started(command, self.folder, self.environment(environment), log) as process:
            yield process
        self.written.append(process.text)

    def terminal(self, *arguments: str, typed: str = "", **environment: str) -> Done:
        """Run a command on a terminal, where its output and its errors are one."""
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment({"TERM": "xterm-256color", **environment}),
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
        )
        os.close(follower)
        if typed:
            os.write(leader, typed.encode())
        read = bytearray()
        try:
            while select.select([leader], [], [], 60)[0] and (data := os.read(leader, 65536)):
                read += data
        except OSError:
            pass  # the terminal closes as the process ends
        finally:
            os.close(leader)
        text = read.decode().replace("\r\n", "\n")
        self.written.append(text)
        return Done(process.wait(60), text, "")

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file below the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def leaks(self) -> list[str]:
        """Return where something secret or a stack trace was written, standard output and every file included."""
        found = []
        texts = {f"output {number}": text.encode() for number, text in enumerate(self.written)}
        files = {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        for place, content in {**texts, **files}.items():
            for secret in (KEY, "AccessKey", CANARY_PHONE, CANARY_LINK.partition("?")[2], "Traceback"):
                if secret.encode() in content:
                    at = content.index(secret.encode())
                    found.append(f"{place}: {content[max(0, at - 200) : at + 400]!r}")
        return found


def by_shell(shell: Shell, line: str, **more: str) -> tuple[int, str, str]:
    """Let a shell run a line in which $R is the command; closed and full streams are said in its own words."""
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=shell.folder,
        env=shell.environment({"R": COMMAND, **more}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    shell.written += [done.stdout, done.stderr]
    return done.returncode, done.stdout, done.stderr


@contextmanager
def not_root(folder: Path) -> Iterator[list[str]]:
    """Yield what runs a command as somebody who may read this folder and write nothing."""
    for parent in (folder, *folder.parents):
        if parent != Path("/") and not parent.stat().st_mode & 0o001:
            parent.chmod(0o755)
    for each in folder.iterdir():
        each.chmod(0o444)
    folder.chmod(0o555)
    yield [] if os.geteuid() else ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    folder.chmod(0o755)
