"""A stop that is asked for at any moment: at the question, before the loop, as the first process of a container."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.world.scene import COMMAND, Scene, environment, set_of, subjects
from tests.world.started import eventually

#: Of a process in a PID namespace of its own, where it is the first.
FIRST = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


@pytest.fixture
def scene(scene: Scene) -> Scene:
    """The shared sandbox with four recordings that are to be paused, which takes a while."""
    some = subjects(4)
    scene.sandbox.control("POST", "settings", {"settle_ms": 100})
    scene.sandbox.seed(each.seed() for each in some)
    scene.write("some.yaml", set_of("some", (each.item("paused") for each in some)))
    return scene


class Asked:
    """`apply` on a terminal of its own."""

    def __init__(self, scene: Scene) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [COMMAND, "apply", *scene.options(), str(scene.documents)],
            cwd=scene.folder,
            env=environment(),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.said = b""

    def read_until(self, words: bytes) -> None:
        while words not in self.said:
            part = os.read(self._master, 65_536)
            assert part, self.said
            self.said += part

    def type(self, text: bytes) -> None:
        os.write(self._master, text)

    def ended(self) -> int:
        try:
            while part := os.read(self._master, 65_536):
                self.said += part
        except OSError:  # the other side is closed
            pass
        return self.process.wait(60)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@contextmanager
def asked(scene: Scene) -> Iterator[Asked]:
    command = Asked(scene)
    try:
        yield command
    finally:
        command.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_question_is_left_at_once_and_a_yes_that_comes_later_sends_nothing(
    scene: Scene, number: signal.Signals
) -> None:
    with asked(scene) as command:
        command.read_until(b"[y/N]")
        command.process.send_signal(number)
        command.type(b"y\n")
        assert command.ended() == 130, command.said
        assert b"Interrupted." in command.said
    assert scene.sandbox.patches() == {}


def test_what_is_no_answer_is_asked_again(scene: Scene) -> None:
    with asked(scene) as command:
        command.read_until(b"[y/N]")
        command.type(b"perhaps\n")
        command.read_until(b"Please say y or n.")
        command.type(b"\x04")
        assert command.ended() == 130, command.said
    assert scene.sandbox.patches() == {}


def waiting_in(pipe: int) -> int:
    """Return how many bytes nobody has read yet."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_reader_of_the_plan_that_stands_still_keeps_nobody_from_stopping(
    scene: Scene, number: signal.Signals
) -> None:
    many = subjects(2000, first=1000)
    scene.sandbox.seed(each.seed() for each in many)
    scene.write("many.yaml", set_of("many", (each.item("paused") for each in many)))
    reading, writing = os.pipe()
    room = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    process = subprocess.Popen(
        [COMMAND, "apply", "--yes", *scene.options("--override-limits"), str(scene.documents)],
        cwd=scene.folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        # The plan is longer than what the pipe holds.
        eventually(lambda: waiting_in(reading) == room)
        process.send_signal(number)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
        os.close(reading)
    assert scene.sandbox.patches() == {}


def test_an_interrupted_apply_says_how_far_it_came(scene: Scene) -> None:
    scene.sandbox.control("POST", "settings", {"settle_ms": 60_000})
    with scene.start(COMMAND, "apply", "--yes", *scene.options(), str(scene.documents)) as command:
        command.wait_for("patch_accepted", 4)
        command.process.send_signal(signal.SIGINT)
        assert command.ended() == 130
        assert "Interrupted: 4 sent, 4 accepted, 0 confirmed." in command.said()


def handles(process: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def first_of(process: int) -> int | None:
    """Return the process that is the first in the namespace that another made."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    return int(children[0]) if children else None


def has_namespaces() -> bool:
    try:
        return subprocess.run([*FIRST, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not has_namespaces(), reason="a PID namespace needs rights that this user lacks")
@pytest.mark.parametrize("after", [0.0, 0.1, 0.2, 0.4, 0.8])
@pytest.mark.parametrize("command", ["run", "plan"])
def test_the_first_process_of_a_container_obeys_as_soon_as_it_runs(scene: Scene, command: str, after: float) -> None:
    if command == "plan":
        scene.sandbox.control("POST", "settings", {"latency_ms": 5000})
    options = scene.options("--listen", "off") if command == "run" else ("--refresh", "--api-url", scene.sandbox.url)
    with scene.start(*FIRST, COMMAND, command, *options, str(scene.documents)) as started:
        found: list[int] = []

        def there() -> bool:
            first = first_of(started.process.pid)
            if first is not None and handles(first, signal.SIGTERM) and b"python" in commandline(first):
                found.append(first)
            return bool(found)

        eventually(there)
        time.sleep(after)  # the moment that is tried
        os.kill(found[0], signal.SIGTERM)
        assert started.ended() == (0 if command == "run" else 130), started.said()
    scene.sandbox.control("POST", "settings", {"latency_ms": 0})


def commandline(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()


def test_an_interrupt_amid_the_imports_shows_no_traceback(scene: Scene) -> None:
    for after in (0.0, 0.02, 0.05, 0.1):
        process = subprocess.Popen(
            [COMMAND, "validate", str(scene.documents)],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        eventually(lambda: handles(process.pid, signal.SIGTERM) or process.poll() is not None)  # noqa: B023
        time.sleep(after)  # the moment that is tried
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
        assert b"Traceback" not in said
        assert process.returncode in (0, 130), said


#: An interrupt when the first handler is there and its own is not yet.
BETWEEN_THE_HANDLERS = """
import signal, sys
install = signal.signal
def install_one(number, handler):
    before = install(number, handler)
    if number == signal.SIGTERM:
        signal.raise_signal(signal.SIGINT)
    return before
signal.signal = install_one
sys.argv = ["reconciler", "schema"]
from reconciler.__main__ import main
main()
"""


def test_an_interrupt_before_its_handler_is_there_shows_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BETWEEN_THE_HANDLERS], env=environment(), capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


#: A signal in a callback of the interpreter's: what is raised there is printed and lost, and the program goes on.
IN_A_CALLBACK = """
import signal, weakref
from reconciler.cli.stops import listen, loaded
listen({arguments})
class Lock: pass
lock = Lock()
kept = weakref.ref(lock, lambda _: signal.raise_signal(signal.{number}))
del lock
print("went on")
"""


@pytest.mark.parametrize(
    ("arguments", "number", "code"),
    [(["validate"], "SIGINT", 130), (["validate"], "SIGTERM", 130), (["run"], "SIGINT", 130), (["run"], "SIGTERM", 0)],
)
def test_a_stop_while_the_program_is_loaded_ends_it_wherever_the_interpreter_is(
    arguments: list[str], number: str, code: int
) -> None:
    done = python(IN_A_CALLBACK.format(arguments=arguments, number=number))
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_a_stop_that_is_lost_in_a_callback_is_asked_for_again() -> None:
    # That it is lost is said before it is asked for again, which may be at once.
    seen = (
        "loaded()\nimport os, sys, time\nagain = sys.unraisablehook\n"
        "sys.unraisablehook = lambda lost: (os.write(1, b'lost\\n'), again(lost))\nlock = Lock"
    )
    code = IN_A_CALLBACK.format(arguments=["validate"], number="SIGINT").replace("lock = Lock", seen)
    waiting = code.replace('print("went on")', "time.sleep(60)  # the interrupt ends it")
    done = python(f"try:\n{textwrap.indent(waiting, '    ')}\nexcept KeyboardInterrupt:\n    print('stopped')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "lost\nstopped\n", "")


def test_a_stop_while_the_interpreter_clears_up_takes_no_exit_code_away() -> None:
    # The last of what a module holds goes when all handlers are gone.
    done = python(
        "import os, signal\n"
        "from reconciler.cli.stops import end_with, listen\n"
        "listen(['validate'])\n"
        "class Last:\n"
        "    def __del__(self, kill=os.kill, me=os.getpid(), number=signal.SIGINT): kill(me, number)\n"
        "last = Last()\n"
        "end_with(3)\n"
        "raise SystemExit(3)\n"
    )
    assert (done.returncode, done.stderr) == (3, "")


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


def test_hanging_up_ends_no_daemon_whose_loop_is_not_there_yet(scene: Scene) -> None:
    with scene.daemon() as daemon:
        eventually(lambda: handles(daemon.process.pid, signal.SIGHUP))
        for _ in range(20):
            daemon.process.send_signal(signal.SIGHUP)
            time.sleep(0.02)  # from the first lines to the loop
        daemon.wait_for("applied", 4)
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.ended() == 0


def test_what_is_said_at_the_end_is_not_changed_by_a_late_signal(tmp_path: Path) -> None:
    script = (
        "import atexit, os, signal, sys\n"
        "from reconciler.__main__ import main\n"
        "atexit.register(lambda: os.kill(os.getpid(), signal.SIGTERM))\n"
        "sys.argv = ['reconciler', 'schema', 'CallRecording']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
