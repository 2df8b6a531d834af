"""What README.md and the pages of `docs/` show is what a reader gets: every command that they show is run.

A section's commands are one session of a shell, in a folder of its own with the samples; those of README.md begin where
`make run` has left its reader. A block that is not run says why in a comment above it. That each command and option
exists is held in `test_commands.py`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path

import pytest

from tests.house.pages import BLOCKS, SHELLS, Block, read_blocks
from tests.world.places import CHECKOUT
from tests.world.ports import free_port

#: The folder and the ports that the page shows; a test has others.
SHOWN_HOME = "/home/you/recordings"
DAEMON_PORT, SANDBOX_PORT = "8420", "8421"
#: What differs from run to run.
VARYING = {
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00| UTC)": "<time>",
    r"127\.0\.0\.1:\d+": "<address>",
    r'"run_id": "[0-9a-f]{12}"': '"run_id": "<run>"',
    r'"took_ms": [\d.]+': '"took_ms": <ms>',
    r"\bin \d+ ms\b": "in <ms>",
    r"\b\d+\.\d KiB": "<size>",
    # Ages, with what a longer one takes of the space after it; how many days a disk has room is another matter.
    r"(?<= )\d+[sm] +": "<age> ",
    r"process \d+ on \S+,": "process <process>,",
    r"sha256:[0-9a-f]{64}": "<digest>",
    r"commit [0-9a-f]{12}\b": "commit <id>",
}
#: The options of curl that the page uses, for machines that have no curl.
CURL = """\
import argparse, sys, urllib.request
options = argparse.ArgumentParser()
for name in "-s", "-f":
    options.add_argument(name, action="store_true")
for name in "-d", "-o", "url":
    options.add_argument(name)
options.add_argument("-H", action="append", default=[])
given = options.parse_args()
headers = dict(header.split(": ", 1) for header in given.H)
request = urllib.request.Request(given.url, given.d and given.d.encode(), headers)
try:
    with urllib.request.urlopen(request, timeout=10) as answer:
        body = answer.read().decode()
except OSError:
    sys.exit(22)
if given.o != "/dev/null":
    print(body, end="")
"""


SESSIONS = {
    f"{page}#{title}": list(blocks)
    for (page, title), blocks in groupby(filter(lambda b: b.is_run, BLOCKS), lambda b: (b.page, b.section))
}
#: Where the daemon of `make run` is still there, and where it was.
BESIDE_THE_DAEMON, AFTER_THE_DAEMON = "README.md#Five minutes with it", "README.md#By hand, without the daemon"


def environment(home: Path) -> dict[str, str]:
    """The environment of a reader who has installed the program, and curl."""
    folders = [str(Path(sys.executable).parent), os.environ["PATH"]]
    if shutil.which("curl") is None:
        (home / "bin").mkdir(exist_ok=True)
        (home / "bin" / "curl").write_text(f"#!{sys.executable}\n{CURL}")
        (home / "bin" / "curl").chmod(0o700)
        folders.append(str(home / "bin"))
    return {**os.environ, "HOME": str(home), "PATH": os.pathsep.join(folders)}


def plain(text: str) -> str:
    for pattern, word in VARYING.items():
        text = re.sub(pattern, word, text)
    return text


def agree(shown: str, written: str) -> bool:
    """Whether an output is as shown; a line `...` stands for any number of lines."""
    parts = [re.escape(plain(part)) for part in re.split(r"^\.\.\.\n", shown, flags=re.MULTILINE)]
    return re.fullmatch("(?:.*\n)*".join(parts), plain(written)) is not None


def run_session(blocks: list[Block], folder: Path) -> list[tuple[str, str, str, int, str]]:
    """Run the commands of a section in one bash: place, command, shown output, exit code, written output."""
    ports = {DAEMON_PORT: str(free_port()), SANDBOX_PORT: str(free_port())}
    commands = [
        (f"{block.page}:{line}", command, shown) for block in blocks for line, command, shown in block.commands()
    ]
    script = []
    for _, command, _ in commands:
        for shown, port in ports.items():
            command = re.sub(rf"\b{shown}\b", port, command)
        # The code is put back, for `echo $?`; the mark goes on a line of its own even where an output does not end one.
        script.append(f'{command}\n__code=$?; printf "\\n<ended %d>\\n" $__code; (exit $__code)\n')
    process = subprocess.Popen(
        ["bash", "-c", "".join(script)],
        cwd=folder,
        env={**environment(folder.parent), "RECONCILER_LISTEN": f"127.0.0.1:{ports[DAEMON_PORT]}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            written = process.communicate(timeout=90)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            # The command that goes on; those after it were not run.
            written = f"{process.communicate()[0]}\n<ended 124>\n"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # whatever it left in the background
    outputs = re.findall(r"(.*?)\n<ended (\d+)>\n", written.replace(str(folder), SHOWN_HOME), re.DOTALL)
    return [
        (place, command, shown, int(code), f"{output}\n" if output and not output.endswith("\n") else output)
        for (place, command, shown), (output, code) in zip(commands, outputs, strict=False)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as a reader of the page has it."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    shutil.copytree(CHECKOUT / "desired_state", folder / "desired_state")
    return folder


@contextmanager
def made_run(folder: Path) -> Iterator[None]:
    """What `make run` does in a folder, from when all that the samples ask for is so until it is stopped."""
    with (folder / "make-run.log").open("w") as log:
        process = subprocess.Popen(
            ["reconciler", "run", "--sandbox", "desired_state"],
            cwd=folder,
            env={**environment(folder.parent), "RECONCILER_LISTEN": "127.0.0.1:0"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 60
        while (folder / "make-run.log").read_text().count('"applied"') < 4:
            assert process.poll() is None, (folder / "make-run.log").read_text()
            assert time.monotonic() < until, (folder / "make-run.log").read_text()
            time.sleep(0.05)  # until the log says so; the loop has its own end
        yield
        os.killpg(process.pid, signal.SIGINT)
        process.wait(30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def scene(title: str, folder: Path) -> Iterator[None]:
    """What is there when a reader begins with a section."""
    if title == BESIDE_THE_DAEMON:
        with made_run(folder):
            yield
        return
    if title == AFTER_THE_DAEMON:
        with made_run(folder):
            pass
    yield


@pytest.mark.parametrize("title", SESSIONS)
def test_shown_commands_do_what_is_shown(title: str, folder: Path) -> None:
    with scene(title, folder):
        session = run_session(SESSIONS[title], folder)
    wrong = []
    for (place, command, shown, code, written), following in zip(session, [*session[1:], None], strict=True):
        # A code other than 0 has to be shown, by `echo $?`.
        if code and (following is None or following[1] != "echo $?"):
            wrong.append(f"{place}: $ {command}\nexit code {code}\n{written}")
        elif not agree(shown, written):
            lines = difflib.ndiff(plain(shown).splitlines(keepends=True), plain(written).splitlines(keepends=True))
            wrong.append(f"{place}: $ {command}\n{''.join(lines)}")
    logs = [f"{log.name}:\n{log.read_text()}" for log in sorted(folder.glob("*.log"))]
    assert not wrong, "\n".join([*wrong, *logs])


def test_the_readme_begins_where_make_run_has_left_its_reader() -> None:
    assert {title for title in SESSIONS if title.startswith("README.md#")} == {BESIDE_THE_DAEMON, AFTER_THE_DAEMON}


def test_a_block_that_is_not_checked_says_why() -> None:
    assert SESSIONS
    checked = SHELLS | {"yaml", "text"}
    silent = [block.place for block in BLOCKS if block.language not in checked and not block.comment]
    assert not silent, f"no comment above that says why they are not run: {silent}"
    reasons = [block.comment for block in BLOCKS if block.comment]
    assert [reason for reason in reasons if not re.match(r"not run by the tests: \w.{10,}", reason)] == []


def test_make_run_starts_the_daemon_on_the_samples(folder: Path) -> None:
    assert any(block.text == "make run" for block in BLOCKS)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(CHECKOUT / name, folder)
    # An environment that is set up already: its packages are those of this one, and nothing is installed.
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    for mark in (".created", ".run"):
        (folder / ".venv" / mark).touch()
    port = free_port()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["make", "run"],
            cwd=folder,
            env={**environment(folder.parent), "RECONCILER_LISTEN": f"127.0.0.1:{port}"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        assert answered(f"http://127.0.0.1:{port}/readyz", process) == "ok\n", (folder / "log").read_text()
        status = json.loads(answered(f"http://127.0.0.1:{port}/status", process))
        assert status["managed"] == 8
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        process.wait(30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert '"stopping"' in (folder / "log").read_text()


def answered(url: str, process: subprocess.Popen[bytes]) -> str:
    """Ask until there is an answer, or the process has ended, or a minute has passed; then the answer is empty."""
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        ask = [sys.executable, "-c", CURL, "-sf", url]
        asked = subprocess.run(ask, capture_output=True, text=True, timeout=30, check=False)
        if asked.returncode == 0:
            return asked.stdout
        time.sleep(0.05)  # until the daemon answers; the loop has its own end
    return ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shown_completion_is_there(shell: str) -> None:
    shown = [
        block.text for block in BLOCKS if block.section == "How does my shell complete it?" and block.language == shell
    ]
    assert len(shown) == 1
    assert f"_RECONCILER_COMPLETE={shell}_source reconciler" in shown[0]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("reconciler"))],
        env={**os.environ, "_RECONCILER_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "reconciler" in done.stdout


def test_the_comparison_sees_what_differs() -> None:
    shown = "at 2026-11-22T18:00:00Z\n...\nend\n"
    assert agree(shown, "at 2027-01-01T00:00:00.123Z\none\ntwo\nend\n")
    assert agree(shown, "at 2027-01-01T00:00:00.123Z\nend\n")
    for written in ("at noon\nend\n", "at 2027-01-01T00:00:00Z\none\nEND\n", "at 2027-01-01T00:00:00Z\n", ""):
        assert not agree(shown, written)
    page = "# A\n<!-- not run by the tests: for a reason -->\n```sh\nb\n```\n```console\n$ c\nd\n\n$ e\n```\n"
    unrun, run = read_blocks("a.md", page)
    assert (unrun.section, unrun.is_run, unrun.comment) == ("A", False, "not run by the tests: for a reason")
    assert run.is_run
    assert list(run.commands()) == [(7, "c", "d\n\n"), (10, "e", "")]
