"""The terminal: logs and progress on standard error, and a question whose answer may take long.

What must never happen here: work that waits for whoever reads standard error, or a question that holds the loop up.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, TextIO

import click

from reconciler.cli.heap import spare_what_is_loaded
from reconciler.cli.options import in_color
from reconciler.settings import Settings
from reconciler.telemetry import Log, Outlet, make_log

#: How often the bar is drawn at most, and how long it is.
_BAR_SECONDS: Final = 0.1
_BAR_CHARACTERS: Final = 36


def standard_error() -> Outlet | TextIO:
    """Return standard error for logs and progress: neither may wait for whoever reads them."""
    if _outlets and _outlets[-1].stream is sys.stderr:
        return _outlets[-1]
    try:
        _outlets[:] = [Outlet(sys.stderr)]
    except (OSError, ValueError):  # it is no file: a test reads it
        return sys.stderr
    return _outlets[-1]


def open_log(settings: Settings, run_id: str, *, level: str | None = None) -> Log:
    """Return the log of one run, on standard error, which shows no access key.

    Args:
        settings: its form, its level, and the keys.
        run_id: stands on every line.
        level: in place of the settings' level.
    """
    return make_log(
        settings.log.log_format,
        level or settings.log.log_level,
        run_id=run_id,
        secrets=settings.keys.secrets,
        stream=standard_error(),
        color=in_color(settings.log),
    )


def drain_standard_error() -> None:
    """Let what was written there come out, for a second at most; call it before anything else writes there."""
    for outlet in _outlets:
        outlet.drain()


#: The one that is in use, once there is one.
_outlets: list[Outlet] = []


def reading_calls(calls: int) -> AbstractContextManager[Callable[[], object]]:
    """Show the progress of reading so many calls."""
    return progress("Reading calls", calls)


@contextmanager
def converging(recordings: int) -> Iterator[Callable[[], object]]:
    """Show the progress of bringing so many recordings to their end; spare the collector what is loaded by then."""
    spare_what_is_loaded()
    with progress("Converging", recordings) as tick:
        yield tick


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[], object]]:
    """Show a bar on a terminal, below the log's lines; elsewhere nothing."""
    out = standard_error()
    if total == 0 or not isinstance(out, Outlet) or not out.isatty():
        yield lambda: None
        return
    bar = _Bar(label, total, out)
    try:
        yield bar.step
    finally:
        bar.end()


class _Bar:
    """A progress bar in the line below the log."""

    def __init__(self, label: str, total: int, out: Outlet) -> None:
        self._label = label
        self._total = total
        self._out = out
        self._done = 0
        self._began = self._drawn = time.monotonic()
        out.show_below(str(self))

    def step(self) -> None:
        """Note that one more is done."""
        self._done += 1
        now = time.monotonic()
        if now - self._drawn >= _BAR_SECONDS:
            self._drawn = now
            self._out.show_below(str(self))

    def end(self) -> None:
        """Leave the bar where it is, and the line to others."""
        self._out.show_below("")
        self._out.write(f"{self}\n")
        self._out.drain()

    def __str__(self) -> str:
        share = self._done / self._total
        filled = int(share * _BAR_CHARACTERS)
        bar = "#" * filled + "-" * (_BAR_CHARACTERS - filled)
        left = ""
        if 0 < self._done < self._total:
            seconds = int((time.monotonic() - self._began) / share * (1 - share))
            left = f"  {seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        return f"{self._label}  [{bar}]  {share:4.0%}{left}"


async def confirm(question: str, stop: asyncio.Event) -> bool:
    """Ask on the terminal, until there is an answer or somebody asks to stop; the loop goes on meanwhile.

    Raises:
        click.Abort: standard input has ended.
        KeyboardInterrupt: somebody asked to stop.
    """
    while True:
        click.echo(f"{question} [y/N]: ", nl=False, err=True)
        await _until_typed(stop)
        if stop.is_set():
            click.echo(err=True)
            raise KeyboardInterrupt
        # A terminal hands a line over when it is complete: this does not wait.
        line = sys.stdin.readline()
        if not line:
            raise click.Abort
        answer = line.strip().lower()
        if answer in ("y", "yes"):
            return True
        if answer in ("", "n", "no"):
            return False
        click.echo("Please say y or n.", err=True)


async def _until_typed(stop: asyncio.Event) -> None:
    """Wait until there is something to read from the terminal, or somebody asks to stop."""
    loop = asyncio.get_running_loop()
    typed = asyncio.Event()
    waiting = [asyncio.ensure_future(event.wait()) for event in (typed, stop)]
    loop.add_reader(sys.stdin, typed.set)
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(sys.stdin)
        for each in waiting:
            each.cancel()
