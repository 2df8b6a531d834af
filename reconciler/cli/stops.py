"""Signals that ask the program to stop, from its first line to its last.

As the first process of a container a program gets no signal that it has no handler for, and a handler of an event loop
does nothing while the loop is not there yet or stands still. So here they raise, wherever the program is, until a
command takes them over for work that must end in order. What must never happen here: an import that takes long.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

STOPS = (signal.SIGTERM, signal.SIGINT)
_ALL = (*STOPS, signal.SIGHUP)
_loaded = False
#: How long after a stop was lost it is asked for again, in seconds.
_AGAIN_SECONDS = 0.01


def listen(arguments: Sequence[str]) -> None:
    """Have SIGTERM and SIGINT end the program from now on, and SIGHUP end no daemon. In the main thread only.

    Once its command is `loaded` they raise KeyboardInterrupt. A daemon that has nothing under way yet ends by SIGTERM
    as well as ever: with SystemExit, and 0. What whoever started the program has set to be ignored stays so.

    Args:
        arguments: those of the program.
    """
    word = next((each for each in arguments if not each.startswith("-")), "")
    daemon = word == "run" and "--once" not in arguments

    asked: int = signal.SIGINT

    def ask(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if number != signal.SIGALRM:
            asked = number
        code = 0 if daemon and asked == signal.SIGTERM else 130
        if not _loaded:
            # An exception may be lost in a callback of the import system's, and there is nothing to put in order.
            os._exit(code)
        if code == 0:
            raise SystemExit(0)
        raise KeyboardInterrupt

    handlers: list[tuple[signal.Signals, object, Callable[[int, FrameType | None], None]]] = [
        (signal.SIGTERM, signal.SIG_DFL, ask),
        (signal.SIGINT, signal.default_int_handler, ask),
    ]
    if daemon:
        # It asks a daemon to look at everything, which its start does anyway.
        handlers.append((signal.SIGHUP, signal.SIG_DFL, lambda _number, _frame: None))
    for number, untouched, handler in handlers:
        if signal.getsignal(number) is untouched:
            signal.signal(number, handler)
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _ask_again
        signal.signal(signal.SIGALRM, ask)
    atexit.register(_disregard)


def _ask_again(lost: sys.UnraisableHookArgs) -> None:
    """Ask once more for a stop that was raised where nothing can be raised, as in a callback of the interpreter's.

    By a timer: raised here it would be lost as well.
    """
    if lost.exc_type in (KeyboardInterrupt, SystemExit):
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
    else:
        sys.__unraisablehook__(lost)


def loaded() -> None:
    """Say that the command is there and begins: a stop lets it end in order from now on."""
    global _loaded
    _loaded = True


def _disregard() -> None:
    """Let the interpreter clear up: it takes each handler away before it ends, and a signal then would kill it."""
    for number in (*STOPS, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def handed_over(
    numbers: Sequence[signal.Signals], take: Callable[[], None], give: Callable[[], None]
) -> Iterator[None]:
    """Let somebody else handle signals for a while, without a moment in which they would do what they do by default.

    Args:
        numbers: the signals.
        take: installs the other handlers.
        give: takes them away again, and leaves any.
    """
    before = {number: signal.getsignal(number) for number in numbers}
    with _held_back():
        take()
    try:
        yield
    finally:
        with _held_back():
            give()
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _held_back() -> Iterator[None]:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ALL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def end_with(code: int) -> None:
    """Let nothing change the exit code any more: all is said and done, and a signal only hastens the end."""

    def end(_number: int, _frame: FrameType | None) -> None:
        os._exit(code)

    for number in STOPS:
        signal.signal(number, end)
