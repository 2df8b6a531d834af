"""The composition root: put the parts of a command together, above all the API client that it works with."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from reconciler.cli.terminal import reading_calls
from reconciler.controller import Observed, Pace, look
from reconciler.model import Clock, Desired, Record, RecordingKey, SettingsError, StoreError
from reconciler.providers import is_loopback, turns_at_once
from reconciler.reconcile import Observer
from reconciler.settings import PaceSettings, Settings, state_folder
from reconciler.state import Retention, open_store

if TYPE_CHECKING:
    from reconciler.providers import Bird, CircuitChange, RequestMetric


def system_clock() -> Clock:
    """Return the real time and real chance."""
    return Clock(lambda: datetime.now(UTC), time.monotonic, random.random)


def retention(settings: Settings) -> Retention:
    """Return how much of the history is kept."""
    return Retention(settings.store.history_days or None, settings.store.history_rows or None)


def pace(settings: PaceSettings) -> Pace:
    """Return how much a command that ends does at once, and for how long it tries what does not succeed."""
    return Pace(
        settings.concurrency,
        turns_at_once(settings.concurrency, settings.rate_limit),
        settings.give_up_seconds,
        settings.confirm_seconds,
    )


def new_run_id() -> str:
    """Return an ID for one run, to be found again on each of its lines."""
    return uuid.uuid4().hex[:12]


@asynccontextmanager
async def bird(
    settings: Settings,
    desired: Iterable[Desired],
    *,
    sandbox: bool,
    state: str,
    before_write: Callable[[], None],
    on_circuit: Callable[[CircuitChange], None],
    patient: bool = True,
    rate: float | None = None,
    on_request: Callable[[RequestMetric], None] | None = None,
    on_notice: Callable[[str, str], object] | None = None,
) -> AsyncIterator[tuple[Bird, Callable[[Iterable[Desired]], None]]]:
    """Open the API client, or one of the embedded sandbox, which then holds every recording that is declared.

    Args:
        settings: of this invocation.
        desired: what is declared.
        sandbox: whether to use the embedded sandbox.
        state: where the state is kept, and beside it the sandbox's recordings.
        before_write: asked when a PATCH is about to leave; what it raises is raised in its place.
        on_circuit: told when a workspace is left alone because it does not answer, and when that ends.
        rate: requests per second and workspace; None for what is set.
        patient: whether a request may wait for its turn for as long as it takes.
        on_request: told of every request that has ended.
        on_notice: told, once each, of a `Deprecation` or `Sunset` header of the API.

    Yields:
        The client, and what to tell of documents that are declared later: the sandbox then has their recordings too.
    """
    from reconciler.cli.embedded import SANDBOX_FILE, embedded_sandbox
    from reconciler.providers import PATIENCE_SECONDS, Bird, Budgets, Circuits, Connection, Gate, Listeners

    clock = system_clock()

    def client(api_url: str, key_for: Callable[[str], str]) -> Bird:
        return Bird(
            api_url=api_url,
            key_for=key_for,
            gate=Gate(
                Budgets(
                    settings.pace.rate_limit if rate is None else rate,
                    concurrency=settings.pace.concurrency,
                    patience_seconds=None if patient else PATIENCE_SECONDS,
                ),
                Circuits(clock.monotonic, clock.random, on_circuit),
            ),
            before_write=before_write,
            now=clock.now,
            connection=Connection(settings.api.transport),
            listeners=Listeners(on_request, on_notice),
        )

    if not sandbox:
        check_reach(settings, {document.key.workspace_id for document in desired})
        async with client(settings.api.api_url, settings.keys.key_for) as api:
            yield api, lambda _later: None
        return
    async with (
        embedded_sandbox(desired, state_folder(state) / SANDBOX_FILE) as (url, key, seed),
        client(url, lambda _workspace_id: key) as api,
    ):
        yield api, seed


def shown_by_what_is_unread(_change: CircuitChange) -> None:
    """Say nothing of a workspace that is left alone: who only looks names each call that was not answered."""


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


def check_reach(settings: Settings, workspaces: Iterable[str]) -> None:
    """Say before anything is sent what would keep every request from succeeding.

    Raises:
        SettingsError: a workspace has no usable key, or the key would leave unencrypted.
    """
    address = urlsplit(settings.api.api_url)
    if address.scheme == "http" and not is_loopback(address.hostname or "") and not settings.api.allow_http:
        raise SettingsError(
            f"api_url: {settings.api.api_url} would carry the access key unencrypted to another machine; use https://,"
            " or allow it with --allow-http"
        )
    keys = settings.keys
    for workspace_id in sorted(workspaces):
        keys.key_for(workspace_id)


async def observe(
    desired: Sequence[Desired],
    applied: Mapping[RecordingKey, Record],
    settings: Settings,
    *,
    sandbox: bool,
    state: str,
) -> Observed:
    """Look at the live state of every document's recording, for a plan that nothing follows."""
    from reconciler.providers import refuse_writes

    clock = system_clock()
    rate = reading_rate(settings.pace.rate_limit, state)
    client = bird(
        settings,
        desired,
        sandbox=sandbox,
        state=state,
        before_write=refuse_writes,
        on_circuit=shown_by_what_is_unread,
        rate=rate,
    )
    async with client as (api, _):
        observer = Observer(api, clock.now)
        return await look(desired, applied, api, observer, clock=clock, pace=pace(settings.pace), reading=reading_calls)
