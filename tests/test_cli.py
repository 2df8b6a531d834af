"""The front door: each command of the installed program as a process, its options, its output and its exit code.

Aspects: commands and options, settings and their precedence, exit codes that need no API, what is written where,
mistakes in documents. What needs an API is in `test_acceptance.py`, except for the cheapest cases.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from foreign_api import CANARY_LINK, CANARY_PHONE, ForeignApi, running

COMMAND = str(Path(sys.executable).with_name("reconciler"))
#: Must never be seen in anything that the command writes.
KEY = "canary-key-4f1b9c27"
WORKSPACE = "5f4f2f2e-6c0e-4c57-9f65-2f6cf0a1d7a1"
CHANNEL = "0b6b0f5e-7d5a-4c55-8f0e-6f2a4cf5b9b7"
CALL = "9a0a4c3c-58a1-4a5e-b7de-3f1ab0a3d1c2"
RECORDING = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
ROOT = Path(__file__).parent.parent


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

    @contextmanager
    def start(self, *arguments: str, **environment: str) -> Iterator[Started]:
        """Start a command that goes on; kill it at the end when it is still there."""
        log = self.folder.parent / f"{self.folder.name}-{len(self.written)}.log"
        with log.open("w") as out:
            process = subprocess.Popen(
                [COMMAND, *arguments],
                cwd=self.folder,
                env=self.environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        try:
            yield Started(process, log)
        finally:
            process.kill()
            process.wait()
            self.written.append(log.read_text())

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


class Started:
    """A command that goes on, and what it has written so far."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def text(self) -> str:
        return self.log.read_text()

    def events(self, *words: str) -> list[dict[str, Any]]:
        """Return the log events written so far, of these words or all."""
        found = []
        for line in self.text.splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n"):
                event = json.loads(line)
                if not words or event["event"] in words:
                    found.append(event)
        return found

    def wait_for(self, word: str, count: int = 1, **values: object) -> dict[str, Any]:
        """Wait until events of this word with these values have been logged `count` times; return the last of them."""

        def matching() -> list[dict[str, Any]]:
            return [event for event in self.events(word) if values.items() <= event.items()]

        eventually(lambda: len(matching()) >= count, lambda: f"no {word} {values} in\n{self.text}")
        return matching()[-1]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        """Return the exit code once the command has ended."""
        return self.process.wait(60)


def eventually(holds: Callable[[], bool], why: Callable[[], str] = lambda: "") -> None:
    """Wait until something holds. The wait ends as soon as it does, so its length is no claim."""
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until, why()
        time.sleep(0.01)


def document(status: str = "paused", *, name: str = "one", call: str = CALL, recording: str = RECORDING) -> str:
    """Return one valid document."""
    return f"""\
apiVersion: reconciler/v1
kind: CallRecording
metadata:
  name: {name}
spec:
  workspaceId: {WORKSPACE}
  channelId: {CHANNEL}
  callId: {call}
  recordingId: {recording}
  status: {status}
"""


def numbered(number: int) -> str:
    """Return a UUID by its number."""
    return f"00000000-0000-4000-8000-{number:012x}"


def recording(status: str = "ongoing", *, call: str = CALL, recording_id: str = RECORDING) -> dict[str, str]:
    """Return a live recording as the independent API is seeded with it."""
    ids = {"workspaceId": WORKSPACE, "channelId": CHANNEL, "callId": call, "recordingId": recording_id}
    return {**ids, "status": status}


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    folder = tmp_path / "work"
    folder.mkdir()
    shell = Shell(folder)
    yield shell
    assert shell.leaks() == []


@pytest.fixture
def api() -> Iterator[ForeignApi]:
    with running(key=KEY) as api:
        yield api
