"""What benchmarks work on: trees of documents in three layouts, and a state in which all of them have been applied.

The same number gives the same recording in every layout and on every server of the benchmarks.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, get_args

from reconciler.model.keys import RecordingKey
from reconciler.model.records import Record
from reconciler.model.statuses import Phase, Status
from reconciler.state.opening import open_writer

Layout = Literal["stream", "sets", "files"]
LAYOUTS: Final[tuple[Layout, ...]] = get_args(Layout)

WORKSPACE: Final = "5f4f2f2e-6c0e-4c57-9f65-2f6cf0a1d7a1"
CHANNEL: Final = "0b6b0f5e-7d5a-4c55-8f0e-6f2a4cf5b9b7"
#: Recordings of one call, as in an ordinary call centre: few.
PER_CALL: Final = 5
#: Documents of one file, items of one set, or files of one folder.
GROUP: Final = 1000
#: The folder of the documents and the state, as they are where nobody names others.
DOCUMENTS: Final = "desired_state"
STATE: Final = ".reconciler"


def call_id(number: int) -> str:
    """Return the ID of the call of a number, from 0."""
    return f"00000000-0000-4000-8000-{number:012x}"


def recording_id(number: int) -> str:
    """Return the ID of the recording of a number, from 0; `number // PER_CALL` is its call's."""
    return f"00000000-0000-4000-9000-{number:012x}"


def document(number: int, status: str = "paused") -> str:
    """Return the document of one recording."""
    return (
        f"apiVersion: reconciler/v1\nkind: CallRecording\nmetadata:\n  name: r-{number:07}\nspec:\n"
        f"  workspaceId: {WORKSPACE}\n  channelId: {CHANNEL}\n  callId: {call_id(number // PER_CALL)}\n"
        f"  recordingId: {recording_id(number)}\n  status: {status}\n"
    )


def place(layout: Layout, number: int) -> tuple[str, str]:
    """Return the full name of a recording, and the file it is declared in."""
    group, within = divmod(number, GROUP)
    match layout:
        case "stream":
            return f"r-{number:07}", f"{DOCUMENTS}/stream-{group:04}.yaml"
        case "sets":
            return f"set-{group:04}/i-{within:03}", f"{DOCUMENTS}/set-{group:04}.yaml"
        case "files":
            return f"r-{number:07}", f"{DOCUMENTS}/team-{group:04}/r-{number:07}.yaml"


def write_tree(folder: Path, layout: Layout, recordings: int, status: str = "paused") -> Path:
    """Write documents of so many recordings below a folder, and return the folder that holds them."""
    root = folder / DOCUMENTS
    root.mkdir()
    for first in range(0, recordings, GROUP):
        numbers = range(first, min(first + GROUP, recordings))
        path = folder / place(layout, first)[1]
        if layout == "stream":
            path.write_text("".join(f"---\n{document(number, status)}" for number in numbers))
        elif layout == "sets":
            path.write_text(
                f"apiVersion: reconciler/v1\nkind: CallRecordingSet\nmetadata: {{name: {path.stem}}}\n"
                f"spec:\n  workspaceId: {WORKSPACE}\n  channelId: {CHANNEL}\n  recordings:\n"
                + "".join(
                    f"    - {{name: i-{number - first:03}, callId: {call_id(number // PER_CALL)},"
                    f" recordingId: {recording_id(number)}, status: {status}}}\n"
                    for number in numbers
                )
            )
        else:
            path.parent.mkdir()
            for number in numbers:
                (folder / place(layout, number)[1]).write_text(document(number, status))
    return root


def write_state(folder: Path, layout: Layout, recordings: int, status: str = "paused") -> None:
    """Record in the default state of a folder that every recording of a tree has been applied."""
    now = datetime.now(UTC)
    wanted = Status(status)
    (folder / STATE).mkdir(exist_ok=True)
    with open_writer(f"sqlite:///{folder / STATE / 'state.db'}", holder="benchmark") as writer:
        receipt = None
        for number in range(recordings):
            name, file = place(layout, number)
            key = RecordingKey(WORKSPACE, CHANNEL, call_id(number // PER_CALL), recording_id(number))
            receipt = writer.save(
                Record(
                    key,
                    name,
                    file,
                    line_of(layout, number),
                    wanted,
                    phase=Phase.APPLIED,
                    last_applied=wanted,
                    applied_at=now,
                    live=status,
                    observed_at=now,
                )
            )
        if receipt is not None:
            receipt.result(600)


def line_of(layout: Layout, number: int) -> int:
    """Return the line of a recording's status."""
    within = number % GROUP
    text = document(0)
    before = text.count("\n", 0, text.index("  status:"))
    match layout:
        case "stream":
            return 2 + within * (text.count("\n") + 1) + before
        case "sets":
            return 8 + within
        case "files":
            return 1 + before


@contextmanager
def scene(layout: Layout, recordings: int, *, applied: bool = False) -> Iterator[Path]:
    """Make a folder to run the command in, with a tree of documents; it goes when the benchmark has ended."""
    folder = Path(tempfile.mkdtemp(prefix="reconciler-benchmark-"))
    try:
        write_tree(folder, layout, recordings)
        if applied:
            write_state(folder, layout, recordings)
        yield folder
    finally:
        shutil.rmtree(folder)
