"""The whole: the installed command, real files, real sockets, against an API that owes nothing to the product.

What a team relies on, as a stranger would try it: a plan that names exactly what needs a change, an apply that sends
exactly that, a daemon that notices, and nothing secret written anywhere (each test's folder and output are searched).
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import urllib.request
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from foreign_api import ForeignApi, running
from test_cli import (
    CALL,
    CHANNEL,
    COMMAND,
    KEY,
    RECORDING,
    WORKSPACE,
    Done,
    Shell,
    Started,
    document,
    eventually,
    numbered,
    recording,
)

SATISFIES = {"ongoing": {"ongoing"}, "paused": {"paused"}, "completed": {"completed", "available"}}


@dataclass(frozen=True)
class Wanted:
    """A recording of the world: where it is, what it is, what its document will say."""

    name: str
    workspace: str
    channel: str
    call: str
    recording: str
    live: str
    desired: str

    @property
    def needs_change(self) -> bool:
        return self.live not in SATISFIES[self.desired]

    def as_seed(self) -> dict[str, str]:
        ids = {"workspaceId": self.workspace, "channelId": self.channel, "callId": self.call}
        return {**ids, "recordingId": self.recording, "status": self.live}


def make_world(calls: int) -> list[Wanted]:
    """Return two recordings for each call, a third of them in need of a change, within the safety limits."""
    chance = random.Random(calls)

    def new_id() -> str:
        return str(uuid.UUID(int=chance.getrandbits(128), version=4))

    channels = [(workspace, new_id()) for workspace in (new_id(), new_id(), new_id()) for _ in range(2)]
    # From, to; of the changes, the irreversible and the resuming ones stay few.
    changes = [("ongoing", "completed")] * 10 + [("paused", "completed")] * 10 + [("paused", "ongoing")] * 20
    settled = [("ongoing", "ongoing"), ("paused", "paused"), ("completed", "completed"), ("available", "completed")]
    world = []
    for number in range(calls):
        workspace, channel = channels[number % len(channels)]
        call = new_id()
        for position in range(2):
            index = number * 2 + position
            if index % 3 == 0:
                live, desired = changes.pop() if changes and chance.random() < 0.4 else ("ongoing", "paused")
            else:
                live, desired = chance.choice(settled)
            world.append(Wanted(f"r-{index:05}", workspace, channel, call, new_id(), live, desired))
    return world


@dataclass(frozen=True)
class Written:
    """A world in files: the recordings under the names that they have there, and where each stands."""

    recordings: list[Wanted]
    #: Name -> file and line, as reports show them.
    places: dict[str, tuple[str, int]]


def write_world(folder: Path, world: list[Wanted]) -> Written:
    """Write documents of both kinds, alone and many to a file, in folders of any depth, in every accepted dress."""
    chance = random.Random(7)
    shuffled = sorted(world, key=lambda _: chance.random())
    half, quarter = len(world) // 2, len(world) // 4
    singles, streams, sets = shuffled[:quarter], shuffled[quarter:half], shuffled[half:]
    places, recordings = {}, []

    def put(file: str, text: str, *, dress: int = 0) -> None:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        data = text.replace("\n", "\r\n" if dress % 5 == 3 else "\n").encode()
        path.write_bytes((b"\xef\xbb\xbf" if dress % 7 == 3 else b"") + data)

    for number, item in enumerate(singles):
        file = "/".join(("desired_state", *("abcdefgh"[: number % 8]), f"{item.name}.{('yaml', 'yml')[number % 2]}"))
        put(file, "# a comment before\n" + _single(item, upper=number % 3 == 0), dress=number)
        places[item.name] = file, 2
        recordings.append(item)
    for number in range(0, len(streams), 7):
        file, text = f"desired_state/streams/{number % 3}/s{number}.yaml", "# nothing yet\n---\n"
        for item in streams[number : number + 7]:
            places[item.name] = file, text.count("\n") + 1
            text += _single(item) + "---\n"
            recordings.append(item)
        put(file, text)
    by_channel = defaultdict(list)
    for item in sets:
        by_channel[item.workspace, item.channel].append(item)
    for number, items in enumerate(by_channel.values()):
        file, name = f"desired_state/sets/{number}/set.yaml", f"set-{number}"
        text = _set_head(name, items[0])
        for item in items:
            full = f"{name}/{item.name}"
            places[full] = file, text.count("\n") + 1
            text += (
                f"    - {{name: {item.name}, callId: {item.call}, recordingId: {item.recording},"
                f" status: {item.desired}}}\n"
            )
            recordings.append(replace(item, name=full))
        put(file, text)
    put("desired_state/.hidden/bad.yaml", "{")
    put("desired_state/.bad.yaml", "{")
    put("desired_state/notes.txt", "kind: {")
    put("desired_state/empty.yaml", "")
    return Written(recordings, places)


def _single(item: Wanted, *, upper: bool = False) -> str:
    def shown(text: str) -> str:
        return text.upper() if upper else text

    return textwrap.dedent(f"""\
        apiVersion: reconciler/v1
        kind: CallRecording
        metadata: {{name: {item.name}, labels: {{team: "no"}}, annotations: {{at: "010"}}}}
        spec:
          workspaceId: {shown(item.workspace)}
          channelId: "{shown(item.channel)}"
          callId: {shown(item.call)}
          recordingId: {shown(item.recording)}
          status: {item.desired}
        """)


def _set_head(name: str, first: Wanted) -> str:
    return textwrap.dedent(f"""\
        kind: CallRecordingSet
        apiVersion: reconciler/v1
        metadata:
          name: {name}
        spec:
          workspaceId: {first.workspace}
          channelId: {first.channel}
          drift: safe
          recordings:
        """)


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


def reach(api: ForeignApi, *more: str) -> tuple[str, ...]:
    """Return the options that point a command at the independent API, as fast as it can."""
    return ("--api-url", api.url, "--rate-limit", "0", *more)


BEHAVIOURS = {
    "as in the sheet": (),
    "one token for ever": ("--same-token",),
    "one recording a page, a null token at the end": ("--page-cap", "1", "--last-token", "null"),
    "upper-case IDs, an empty token at the end, no callId in a 202": (
        "--upper-case",
        "--last-token",
        "empty",
        "--no-call-id",
    ),
    "completed recordings leave the list": ("--drop-final", "--accepted-word", ""),
    "completed recordings leave the list, and filters do nothing": (
        "--drop-final",
        "--ignore-filters",
        "--page-cap",
        "7",
    ),
}


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_third_needs_a_change_and_exactly_that_is_planned_sent_and_confirmed(shell: Shell, behaviour: str) -> None:
    check_the_main_job(shell, calls=100, options=BEHAVIOURS[behaviour])


def check_the_main_job(shell: Shell, *, calls: int, options: tuple[str, ...]) -> None:
    """Plan, apply and plan again a whole world, and hold every request and every report against what was meant."""
    written = write_world(shell.folder, make_world(calls))
    changing = {item.name: item for item in written.recordings if item.needs_change}
    with running(*options, key=KEY) as api:
        api.seed([item.as_seed() for item in written.recordings])
        planned = shell("plan", *reach(api), "--detailed-exitcode", "--report", "json=plan.json", "--report", "text")
        assert (planned.code, planned.err) == (2, "")
        plan = json.loads((shell.folder / "plan.json").read_text())
        assert {action["name"]: (action["live"], action["desired"]) for action in plan["actions"]} == {
            name: (item.live, item.desired) for name, item in changing.items()
        }
        assert {action["name"]: (action["file"], action["line"]) for action in plan["actions"]} == {
            name: written.places[name] for name in changing
        }
        assert planned.out.splitlines()[-1] == (
            f"Plan: {len(changing)} to patch (0 drift), 0 waiting, 0 held, 0 to report, 0 to release,"
            f" {len(written.recordings) - len(changing)} in sync."
        )
        assert api.patches() == []
        assert not list(shell.folder.rglob("*.db*"))

        applied = shell("apply", *reach(api), "--yes")
        assert applied.code == 0, applied.err
        assert sorted(api.patches()) == sorted((item.recording, item.desired) for item in changing.values())
        statuses = api.statuses()
        assert [item for item in written.recordings if statuses[item.recording] not in SATISFIES[item.desired]] == []

        assert api.violations() == []
        api.forget()
        again = shell("plan", *reach(api), "--detailed-exitcode")
        assert again.code == 0, again.out
        assert shell("apply", *reach(api), "--yes").code == 0
        assert api.patches() == []
        assert api.violations() == []
    phases = Counter(item["phase"] for item in shell("status", "--format", "json").json()["recordings"])
    assert phases == {"applied": len(written.recordings)}
    sent = [event for event in shell("history", "--format", "json", "--limit", "100000").json()["events"]]
    counts = Counter(event["event"] for event in sent)
    assert (counts["patch_sent"], counts["patch_accepted"], counts["applied"]) == (len(changing),) * 3
