"""A scene: the sandbox as a process of its own, documents in a folder, and the installed daemon between the two.

Nothing here knows what a campaign proves. Every process that is started here ends with the scene.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import UUID

from tests.world.started import PATIENCE_SECONDS, Started, started

COMMAND = str(Path(sys.executable).with_name("reconciler"))
KEY = "campaign-key"
WORKSPACE = str(UUID(int=0xA1))
CHANNEL = str(UUID(int=0xC1))


@dataclass(frozen=True, slots=True)
class Subject:
    """One recording of a campaign: what it is called, and where it is."""

    name: str
    call: str
    recording: str

    def seed(self, status: str = "ongoing") -> dict[str, str]:
        """Return it as the sandbox is seeded with it."""
        return {
            "workspaceId": WORKSPACE,
            "channelId": CHANNEL,
            "callId": self.call,
            "recordingId": self.recording,
            "status": status,
        }

    def document(self, status: str) -> str:
        """Return its document."""
        return (
            f"apiVersion: reconciler/v1\nkind: CallRecording\nmetadata: {{name: {self.name}}}\n"
            f"spec:\n  workspaceId: {WORKSPACE}\n  channelId: {CHANNEL}\n  callId: {self.call}\n"
            f"  recordingId: {self.recording}\n  status: {status}\n"
        )

    def item(self, status: str) -> str:
        """Return it as one line of a set."""
        return f"    - {{name: {self.name}, callId: {self.call}, recordingId: {self.recording}, status: {status}}}\n"


def subjects(count: int, *, per_call: int = 1, first: int = 1, prefix: str = "r") -> list[Subject]:
    """Return recordings with IDs that follow from their number, so many of them in each call."""
    return [
        Subject(
            f"{prefix}-{number:06}",
            str(UUID(int=0xCA11 << 64 | (first * 1_000_000 + (number - first) // per_call))),
            str(UUID(int=0x4EC << 64 | number)),
        )
        for number in range(first, first + count)
    ]


def set_of(name: str, items: Iterable[str]) -> str:
    """Return a document of many recordings."""
    return (
        f"apiVersion: reconciler/v1\nkind: CallRecordingSet\nmetadata: {{name: {name}}}\n"
        f"spec:\n  workspaceId: {WORKSPACE}\n  channelId: {CHANNEL}\n  recordings:\n{''.join(items)}"
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as the sandbox logged it on its arrival."""

    at: float
    method: str
    path: str
    #: What a PATCH asked for.
    asked: str | None
    #: What went wrong with it, as `reconciler.providers.bird.sandbox.faults` calls it.
    fault: str | None

    @property
    def ids(self) -> tuple[str, str]:
        """Return the call and the recording of a PATCH, and of a list the call and an empty text."""
        parts = self.path.partition("?")[0].split("/")
        call = parts[parts.index("calls") + 1] if "calls" in parts else ""
        return call, parts[-1] if len(parts) > 1 and parts[-2] == "recordings" else ""


class Sandbox:
    """The simulated API in a process, and its switchboard."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url
        self._place = urlsplit(url).netloc

    def control(self, method: str, path: str, content: object = None) -> Any:
        """Use the switchboard; see `reconciler.providers.bird.sandbox.control`."""
        connection = http.client.HTTPConnection(self._place, timeout=PATIENCE_SECONDS)
        try:
            sent = None if content is None else json.dumps(content)
            connection.request(method, f"/_sandbox/{path}", sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, body
            return json.loads(body)
        finally:
            connection.close()

    def seed(self, recordings: Iterable[dict[str, str]]) -> None:
        everything = list(recordings)
        for start in range(0, len(everything), 10_000):
            self.control("POST", "seed", {"recordings": everything[start : start + 10_000]})

    def state(self) -> dict[str, dict[str, Any]]:
        """Return every recording by its ID."""
        return {item["recordingId"]: item for item in self.control("GET", "state")["recordings"]}

    def requests(self, method: str = "") -> list[Seen]:
        """Return the last requests, at most 50,000, in the order of their arrival."""
        found = self.control("GET", f"requests?method={method}" if method else "requests")["requests"]
        return [
            Seen(
                datetime.fromisoformat(entry["at"]).timestamp(),
                entry["method"],
                entry["path"],
                entry["body"],
                entry["fault"],
            )
            for entry in found
        ]

    def patches(self) -> dict[str, list[str]]:
        """Return the statuses that PATCHes asked for, by recording, in the order of their arrival."""
        found: dict[str, list[str]] = defaultdict(list)
        for request in self.requests("PATCH"):
            found[request.ids[1]].append(request.asked or "")
        return found


class Scene:
    """The processes and files of one campaign."""

    def __init__(self, folder: Path, *, settle_ms: float = 150, sandbox_options: Sequence[str] = ()) -> None:
        self._undo = ExitStack()
        self._move(folder)
        options = ("--port", "0", "--settle-ms", str(settle_ms), *sandbox_options)
        process = subprocess.Popen(
            [COMMAND, "sandbox", *options],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._undo.callback(_end, process)
        assert process.stdout is not None
        self.sandbox = Sandbox(process, process.stdout.readline().strip())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def at(self, folder: Path) -> Scene:
        """Return the same sandbox with another folder and another state; the first scene ends it."""
        other = copy(self)
        other._undo = ExitStack()
        other._move(folder)
        return other

    def _move(self, folder: Path) -> None:
        self.folder = folder
        self.documents = folder / "desired_state"
        self.documents.mkdir(parents=True, exist_ok=True)
        self.state = f"sqlite:///{folder / 'state.db'}"
        self._logs = 0

    def write(self, name: str, text: str, *, in_place: bool = False) -> None:
        """Save a document: under another name and then renamed, as most editors do, or in place."""
        path = self.documents / name
        if in_place:
            path.write_text(text, encoding="utf-8")
            return
        part = path.with_name(f".{name}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)

    def options(self, *more: str) -> tuple[str, ...]:
        """Return what leads a command to this scene; what comes later overrules what comes earlier."""
        return (
            *("--api-url", self.sandbox.url, "--state", self.state, "--log-format", "json", "--rate-limit", "0"),
            *more,
        )

    def start(self, *command: str) -> AbstractContextManager[Started]:
        """Start a command that goes on; kill it at the end if it is still there."""
        self._logs += 1
        return started(command, self.folder, environment(), self.folder / f"daemon-{self._logs:04}.log")

    def daemon(self, *more: str) -> AbstractContextManager[Started]:
        """Start the installed daemon, which serves no page unless it is told to."""
        return self.start(COMMAND, "run", *self.options("--listen", "off", *more), str(self.documents))

    def run(self, command: str, *more: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [COMMAND, command, *more],
            cwd=self.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )


def environment() -> dict[str, str]:
    """Return the environment of a campaign's processes: nobody's settings, and a key of their own.

    Their coverage is not measured: it would slow down what is killed at random moments, and a killed process leaves
    half of what it had measured.
    """
    strange = ("RECONCILER_", "BIRD_", "COVERAGE_")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    return {**ours, "BIRD_ACCESS_KEY": KEY}


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
