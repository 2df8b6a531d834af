"""This process: its event loop, the signals that end work in order, and how many files it may have open."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from reconciler.cli.stops import handed_over

T = TypeVar("T")


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, on uvloop where that is installed.

    What libraries log goes to the command's own log where it has adopted them, else nowhere: the standard library would
    write it with tracebacks, and those quote requests. What failed reaches the command as an error all the same.
    """
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(logging.NullHandler())
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)


@contextmanager
def stop_on_signals(*also: tuple[signal.Signals, Callable[[], Any]]) -> Iterator[asyncio.Event]:
    """Give an event that SIGTERM and SIGINT set, for work that must end in order; a second SIGINT ends it at once.

    Before and after it they end the program wherever it is; see `reconciler.cli.stops`.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    raising = signal.getsignal(signal.SIGINT)

    def interrupt() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, raising)

    handlers = [(signal.SIGTERM, stop.set), (signal.SIGINT, interrupt), *also]

    def take() -> None:
        for number, handler in handlers:
            loop.add_signal_handler(number, handler)

    def give() -> None:
        for number, _ in handlers:
            loop.remove_signal_handler(number)

    with handed_over([number for number, _ in handlers], take, give):
        yield stop


def raise_descriptor_limit() -> None:
    """Take as many descriptors as this process may have: by default it may open far fewer."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError):
        pass  # some systems say that there is no bound, and then take none
