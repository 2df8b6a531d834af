"""The one runner of the git program: its guards, the variables that it is given, the ways in which it is waited for.

A repository's content is hostile input, and so is what a server says. Nothing of either may run: no hook, no filter, no
watcher, no transport that nobody asked for. What must never happen in this room: git is started elsewhere, or without
its guards; one of our keys or tokens is in its environment; a process outlives its purpose.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import IO, Final, NamedTuple

from reconciler.model import ReconcilerError
from reconciler.telemetry import visible

#: A listing of a hundred thousand files takes a second; this only ends what hangs, as on a dead network mount.
QUESTION_SECONDS: Final = 120
#: How often a git under way is asked whether anybody still needs it.
_LOOK_SECONDS: Final = 0.1
#: How long git may take to tidy up, its lock files above all, once it is told to end.
_END_SECONDS: Final = 2.0
#: Of what git says on its standard error, more than anybody is told.
_SAID_BYTES: Final = 64 * 1024
#: The first version that can be told to refuse a folder that only looks like a repository.
_LEAST_VERSION: Final = (2, 38)
#: No watcher, no hook, no transport, no repository that nobody named. They win over the settings of any file.
GUARDS: Final = (
    "--no-pager",
    "--literal-pathspecs",
    "-c",
    "safe.bareRepository=explicit",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "protocol.allow=never",
)
#: What holds for a command that shall run the user's own hooks, or reach a host.
REACHING_GUARDS: Final = ("--no-pager", "--literal-pathspecs", "-c", "safe.bareRepository=explicit")
#: What speaks of one repository: `git rev-parse --local-env-vars`. The one that is asked may be another. Not among them
#: is `GIT_CONFIG_COUNT` and what comes with it, since a person or a CI system gives settings so, `safe.directory` above
#: all; the guards come after them.
LOCAL_VARIABLES: Final = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_CONFIG",
        "GIT_DIR",
        "GIT_GRAFT_FILE",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_NAMESPACE",
        "GIT_NO_REPLACE_OBJECTS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_QUARANTINE_PATH",
        "GIT_REPLACE_REF_BASE",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)
NO_GIT: Final = "there is no `git` command: install git"
#: What changes what a path means, so that ours would not be taken literally, or git would say no.
_PATHSPECS: Final = frozenset(f"GIT_{how}_PATHSPECS" for how in ("GLOB", "ICASE", "LITERAL", "NOGLOB"))
#: How variables begin that are none of git's business.
_OURS: Final = ("BIRD_", "RECONCILER_")
#: Others of that kind, which the settings name; see `withhold`.
_withheld: set[str] = set()
#: Nothing is fetched (a partial clone would), written, replaced or asked of a person; words are in English.
QUIETLY: Final[Mapping[str, str]] = {
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}


def withhold(variables: Iterable[str]) -> None:
    """Keep more variables from every git that is started from now on: those that settings name as holding a key."""
    _withheld.update(variables)


def is_withheld(variable: str) -> bool:
    """Return whether a variable of the environment may hold a key or a token of ours, which no git is given."""
    return variable.startswith(_OURS) or variable in _withheld


class GitError(ReconcilerError):
    """Git could not be asked, or said no; the message says why, in its own words where it has any."""


class TookTooLong(Exception):
    """What was started did not end in its time, and was ended."""


class TooLong(Exception):
    """The answer is longer than was asked for; the rest of it was not read."""


class Ended(NamedTuple):
    """How a program ended."""

    code: int
    answer: bytes
    #: What it wrote to its standard error; of very much the beginning.
    said: bytes


def own_environment() -> dict[str, str]:
    """Return the variables that git may have on a repository that people work in: none that speaks of another one."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in LOCAL_VARIABLES | _PATHSPECS and not is_withheld(name)
    }


def command_line(*arguments: str) -> Sequence[str]:
    """Return the command that asks git about what is here."""
    return ["git", *GUARDS, *arguments]


def reaching_command_line(*arguments: str) -> Sequence[str]:
    """Return the command that has git run the user's own hooks, or reach a host."""
    return ["git", *REACHING_GUARDS, *arguments]


# The ways to wait for it. Each raises OSError where it cannot be started.


def run_whole(
    arguments: Sequence[str], environment: Mapping[str, str], *, folder: str | None = None, stdin: bytes = b""
) -> Ended:
    """Ask git and return all that it answers.

    Raises:
        TookTooLong: it did not end in `QUESTION_SECONDS`.
    """
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program, no shell, revisions and paths where options cannot be
            command_line(*arguments),
            cwd=folder,
            input=stdin,
            capture_output=True,
            check=False,
            timeout=QUESTION_SECONDS,
            env=environment,
        )
    except subprocess.TimeoutExpired as error:
        raise TookTooLong from error
    return Ended(done.returncode, done.stdout, done.stderr)


def run_bounded(
    arguments: Sequence[str], environment: Mapping[str, str], *, stdin: bytes = b"", most_bytes: int
) -> Ended:
    """Ask git and return what it answers, of which a stranger may decide how long it is.

    Raises:
        TooLong: it answers more than `most_bytes`.
        TookTooLong: it was killed, or did not end in `QUESTION_SECONDS`.
    """
    import tempfile  # late: nobody waits for archives and random numbers, which it brings with it, but for a mirror

    # Files, so that one pipe is left, which can be read as far as wanted and no further.
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as said:
        asked.write(stdin)
        asked.seek(0)
        process = subprocess.Popen(  # noqa: S603 - a fixed program, no shell, revisions and paths where options cannot be
            command_line(*arguments), stdin=asked, stdout=subprocess.PIPE, stderr=said, env=environment
        )
        late = threading.Timer(QUESTION_SECONDS, process.kill)
        late.daemon = True
        late.start()
        try:
            with process:
                answer = b"" if process.stdout is None else process.stdout.read(most_bytes + 1)
                if len(answer) > most_bytes:
                    process.kill()
        finally:
            late.cancel()
        if len(answer) > most_bytes:
            raise TooLong
        if process.returncode == -signal.SIGKILL:
            raise TookTooLong
        said.seek(0)
        return Ended(process.returncode, answer, said.read(_SAID_BYTES))


def run_attended(
    arguments: Sequence[str], environment: Mapping[str, str], *, seconds: float, stop: threading.Event
) -> Ended | None:
    """Run git for as long as it may take; end it, and whatever it started, once `stop` is set.

    It has no standard input and no terminal. Its end counts, not that of its words: what it leaves behind, as ssh does
    for the next connection or a helper that remembers a password, may hold them open for hours.

    Returns:
        None where it was ended because `stop` was set.

    Raises:
        TookTooLong: it did not end in its seconds.
    """
    # Late: who asks only of what is here needs none of it.
    from concurrent.futures import ThreadPoolExecutor

    abandoned = threading.Event()

    def is_needed() -> bool:
        return not (stop.is_set() or abandoned.is_set())

    # In a thread of its own, in which no signal raises: an exception between the start of git and the moment at which
    # it is known here would leave it running for a daemon that is gone.
    with ThreadPoolExecutor(1) as attendant:
        try:
            return attendant.submit(_attend, arguments, environment, seconds, is_needed).result()
        finally:
            abandoned.set()


def _attend(
    arguments: Sequence[str], environment: Mapping[str, str], seconds: float, is_needed: Callable[[], bool]
) -> Ended | None:
    process = subprocess.Popen(  # noqa: S603 - a fixed program, no shell
        reaching_command_line(*arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        # A session of its own has no terminal to ask on, and ends as a whole.
        start_new_session=True,
    )
    with process:
        try:
            deadline = time.monotonic() + seconds
            said = _Words(process)
            while process.poll() is None:
                if time.monotonic() >= deadline:
                    raise TookTooLong
                if not is_needed():
                    return None
                said.listen()
            return Ended(process.returncode, b"", said.all())
        finally:
            if process.returncode is None:
                _end(process)


def run_before_the_user(arguments: Sequence[str], environment: Mapping[str, str], *, folder: str) -> int:
    """Run git with the user's terminal, hooks and settings, for as long as they take, and return its exit code."""
    # Standard output by the number of standard error: the former is for data, and a hook may write anything.
    return subprocess.run(  # noqa: S603 - a fixed program, no shell, paths after `--`
        reaching_command_line(*arguments), cwd=folder, env=environment, stdout=2, check=False
    ).returncode


@contextmanager
def conversation(arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Start a git that answers one line after the other, until the end of the block.

    Yields:
        where it is asked, and where it answers.
    """
    process = subprocess.Popen(  # noqa: S603 - a fixed program, no shell
        command_line(*arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    try:
        if process.stdin is None or process.stdout is None:
            raise OSError("no pipes")  # they were asked for
        yield process.stdin, process.stdout
    finally:
        process.kill()
        process.communicate()


def run_tool(command: Sequence[str], seconds: float) -> Ended:
    """Run one of the programs by which git checks signatures, and return how it ended.

    Raises:
        TookTooLong: it did not end in its seconds.
    """
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=seconds)  # noqa: S603 - no shell
    except subprocess.TimeoutExpired as error:
        raise TookTooLong from error
    return Ended(done.returncode, done.stdout, done.stderr)


@cache
def check_version() -> str:
    """Return what git says of its version.

    Raises:
        GitError: there is no git, or it is too old to be kept from repositories that others put into the content.
    """
    try:
        done = run_whole(["--version"], own_environment())
    except FileNotFoundError as error:
        raise GitError(NO_GIT) from error
    except (OSError, TookTooLong) as error:
        raise GitError(f"git cannot be run: {type(error).__name__}") from error
    if done.code != 0:
        raise GitError(f"git cannot be run: it ended with {done.code}")
    version = visible(done.answer.decode(errors="replace").strip())
    found = re.search(r"(\d{1,6})\.(\d{1,6})", version)
    if found is None or (int(found[1]), int(found[2])) < _LEAST_VERSION:
        raise GitError(
            f"this is {version}, and git 2.38 or newer is needed: older ones run what a repository's files say"
        )
    return version


def reason_of(said: bytes) -> str:
    """Return why git failed, on one line, in its own words; empty where it said nothing."""
    lines = [visible(line.strip())[:300] for line in said.decode(errors="replace").splitlines()]
    lines = [line for line in lines if line and not line.startswith(("hint:", "warning:"))]
    # The first line says what is wrong. Where the repository belongs to somebody else, the remedy stands below it.
    remedy = next((line for line in lines if line.startswith("git config ")), "")
    first = lines[0].removeprefix("fatal: ").removeprefix("error: ") if lines else ""
    return f"{first}; if you trust it: {remedy}" if remedy else first


class _Words:
    """What a process says on its standard error, the beginning of it: a server decides how long it is."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._pipe = -1 if process.stderr is None else process.stderr.fileno()
        os.set_blocking(self._pipe, False)
        self._said = b""
        self._open = True

    def listen(self) -> None:
        """Take in what is said next, or wait for a moment for the end."""
        if self._open:
            with selectors.DefaultSelector() as ready:
                ready.register(self._pipe, selectors.EVENT_READ)
                if ready.select(_LOOK_SECONDS):
                    self._take()
            return
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_LOOK_SECONDS)

    def all(self) -> bytes:
        """Return what was said until now."""
        while self._open and len(self._said) < _SAID_BYTES and self._take():
            pass
        return self._said

    def _take(self) -> bool:
        try:
            part = os.read(self._pipe, _SAID_BYTES)
        except BlockingIOError:
            return False
        self._open = bool(part)
        self._said += part[: _SAID_BYTES - len(self._said)]
        return self._open


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(_END_SECONDS)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
