"""Put the parts of a command together: the API or the embedded sandbox, the clock, the progress bar, the signals."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO, TypeVar
from urllib.parse import urlsplit

import click

from reconciler.cli.options import Values
from reconciler.cli.stops import handed_over
from reconciler.controller import Observed, doubtful, observe_all
from reconciler.model import Clock, Desired, Record, RecordingKey, SettingsError, StoreError
from reconciler.providers import is_loopback
from reconciler.reconcile import CONTRADICTED_SECONDS, Observer
from reconciler.settings import make_state_folder, read_regular, state_folder, write_whole
from reconciler.state import Retention, open_store
from reconciler.telemetry import Outlet

if TYPE_CHECKING:
    from reconciler.providers import Bird, CircuitChange, RequestMetric, World

T = TypeVar("T")

_SANDBOX_FILE: Final = "sandbox.json"
_SANDBOX_SAVE_SECONDS: Final = 5.0
#: The largest such file that is read, in bytes: a million recordings have less than half of this.
_SANDBOX_BYTES: Final = 1024 * 1024 * 1024
#: How often the bar is drawn at most, and how long it is.
_BAR_SECONDS: Final = 0.1
_BAR_CHARACTERS: Final = 36


def system_clock() -> Clock:
    """Return the real time and real chance."""
    return Clock(lambda: datetime.now(UTC), time.monotonic, random.random)


def retention(values: Values) -> Retention:
    """Return how much of the history is kept."""
    return Retention(values["history_days"] or None, values["history_rows"] or None)


def new_run_id() -> str:
    """Return an ID for one run, to be found again on each of its lines."""
    return uuid.uuid4().hex[:12]


@asynccontextmanager
async def bird(
    values: Values,
    desired: Iterable[Desired],
    *,
    sandbox: bool,
    state: str,
    before_write: Callable[[], None],
    patient: bool = True,
    rate: float | None = None,
    on_request: Callable[[RequestMetric], None] | None = None,
    on_notice: Callable[[str, str], object] | None = None,
    on_circuit: Callable[[CircuitChange], None] = lambda _change: None,
) -> AsyncIterator[tuple[Bird, Callable[[Iterable[Desired]], None]]]:
    """Open the API client, or one of the embedded sandbox, which then holds every recording that is declared.

    Args:
        values: the settings.
        desired: what is declared.
        sandbox: whether to use the embedded sandbox.
        state: where the state is kept, and beside it the sandbox's recordings.
        before_write: asked when a PATCH is about to leave; what it raises is raised in its place.
        rate: requests per second and workspace; None for what is set.
        patient: whether a request may wait for its turn for as long as it takes.
        on_request: told of every request that has ended.
        on_notice: told, once each, of a `Deprecation` or `Sunset` header of the API.
        on_circuit: told when a workspace is left alone because it does not answer, and when that ends.

    Yields:
        The client, and what to tell of documents that are declared later: the sandbox then has their recordings too.
    """
    from reconciler.providers import PATIENCE_SECONDS, Bird, Budgets, Circuits

    def client(api_url: str, key_for: Callable[[str], str]) -> Bird:
        return Bird(
            api_url=api_url,
            key_for=key_for,
            budget=Budgets(
                values["rate_limit"] if rate is None else rate,
                concurrency=values["concurrency"],
                patience_seconds=None if patient else PATIENCE_SECONDS,
            ),
            circuits=Circuits(on_change=on_circuit),
            transport=values["transport"],
            on_request=on_request,
            on_notice=on_notice,
            before_write=before_write,
        )

    if not sandbox:
        check_reach(values, {document.key.workspace_id for document in desired})
        async with client(values["api_url"], values.key_ring.key_for) as api:
            yield api, lambda _later: None
        return
    async with (
        _embedded_sandbox(desired, state_folder(state) / _SANDBOX_FILE) as (url, key, seed),
        client(url, lambda _workspace_id: key) as api,
    ):
        yield api, seed


def reading_rate(rate: float, state: str) -> float:
    """Return the rate of a command that only reads: the tenth of what is set beside a living writer of the same state.

    Whoever cannot be asked may be alive, so that is the tenth as well.
    """
    from reconciler.providers import guest_rate

    try:
        with open_store(state) as store:
            seen = store.writer()
    except StoreError:
        return guest_rate(rate, beside=True)
    return guest_rate(rate, beside=seen is not None and seen.alive)


def check_reach(values: Values, workspaces: Iterable[str]) -> None:
    """Say before anything is sent what would keep every request from succeeding.

    Raises:
        SettingsError: a workspace has no usable key, or the key would leave unencrypted.
    """
    address = urlsplit(values["api_url"])
    if address.scheme == "http" and not is_loopback(address.hostname or "") and not values["allow_http"]:
        raise SettingsError(
            f"api_url: {values['api_url']} would carry the access key unencrypted to another machine; use https://,"
            " or allow it with --allow-http"
        )
    keys = values.key_ring
    for workspace_id in sorted(workspaces):
        keys.key_for(workspace_id)


@asynccontextmanager
async def _embedded_sandbox(
    desired: Iterable[Desired], file: Path
) -> AsyncIterator[tuple[str, str, Callable[[Iterable[Desired]], None]]]:
    from reconciler.providers import DEFAULT_KEY, SandboxServer, SeedRecording

    world = _load_world(file)

    def seed(documents: Iterable[Desired]) -> None:
        world.seed(SeedRecording(document.key) for document in documents)

    seed(desired)

    unsaved = False

    def save() -> None:
        nonlocal unsaved
        try:
            make_state_folder(file.parent)
            write_whole(file, json.dumps(world.dump()).encode(), mode=0o600)
        except OSError as error:
            # The work goes on: what a simulated API holds is nothing that anybody would miss.
            if not unsaved:
                click.echo(f"Warning: the sandbox's recordings cannot be kept in {file}: {error.strerror}", err=True)
            unsaved = True

    async def keep_saving() -> None:
        while True:
            await asyncio.sleep(_SANDBOX_SAVE_SECONDS)
            await asyncio.to_thread(save)

    async with SandboxServer(world) as server:
        click.echo(f"Using the embedded sandbox at {server.url}; its recordings are kept in {file}.", err=True)
        saving = asyncio.create_task(keep_saving())
        try:
            yield server.url, DEFAULT_KEY, seed
        finally:
            saving.cancel()
            await asyncio.gather(saving, return_exceptions=True)
            save()


def _load_world(file: Path) -> World:
    from reconciler.providers import World

    try:
        return World.load(json.loads(read_regular(file, _SANDBOX_BYTES)))
    except FileNotFoundError:
        return World()
    except (OSError, ValueError) as error:
        raise SettingsError(f"the sandbox's recordings in {file} cannot be read; remove the file: {error}") from error


def standard_error() -> Outlet | TextIO:
    """Return standard error for logs and progress: neither may wait for whoever reads them."""
    if _outlets and _outlets[-1].stream is sys.stderr:
        return _outlets[-1]
    try:
        _outlets[:] = [Outlet(sys.stderr)]
    except (OSError, ValueError):  # it is no file: a test reads it
        return sys.stderr
    return _outlets[-1]


def drain_standard_error() -> None:
    """Let what was written there come out, for a second at most; call it before anything else writes there."""
    for outlet in _outlets:
        outlet.drain()


#: The one that is in use, once there is one.
_outlets: list[Outlet] = []


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


async def observe(
    desired: Sequence[Desired],
    applied: Mapping[RecordingKey, Record],
    settings: Values,
    *,
    sandbox: bool,
    state: str,
) -> Observed:
    """Look at the live state of every document's recording, for a plan that nothing follows."""
    from reconciler.providers import refuse_writes

    clock = system_clock()
    rate = reading_rate(settings["rate_limit"], state)
    reading = bird(settings, desired, sandbox=sandbox, state=state, before_write=refuse_writes, rate=rate)
    async with reading as (api, _):
        return await look(desired, applied, settings, api, Observer(api, clock.now), clock)


async def look(
    desired: Sequence[Desired],
    applied: Mapping[RecordingKey, Record],
    settings: Values,
    api: Bird,
    observer: Observer,
    clock: Clock,
) -> Observed:
    """Look at the live state of every document's recording. Whoever asks to stop meanwhile breaks it off.

    What contradicts a record of a moment ago is looked at twice.
    """
    keys = [document.key for document in desired]
    observed = await _look_at(keys, settings, api, observer, clock)
    doubted = doubtful(desired, applied, observed.live)
    if doubted:
        await asyncio.sleep(CONTRADICTED_SECONDS)
        again = await _look_at(doubted, settings, api, observer, clock)
        observed.doubted = {key: observed.live.pop(key) for key in doubted}
        observed.live |= again.live
        observed.failures |= again.failures
    return observed


async def _look_at(
    keys: Collection[RecordingKey], settings: Values, api: Bird, observer: Observer, clock: Clock
) -> Observed:
    with progress("Reading calls", len({key.call for key in keys})) as tick:
        return await observe_all(
            keys,
            api,
            observer,
            clock=clock,
            concurrency=settings["concurrency"],
            give_up_seconds=settings["give_up_seconds"],
            progress=tick,
            stop=asyncio.Event(),
        )
