"""`reconciler run`: the daemon."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import click

from reconciler import __version__
from reconciler.cli.asking import DAEMON
from reconciler.cli.branch import check_git_settings, figures_of, open_branch, status_of
from reconciler.cli.compose import bird, look, new_run_id, retention, system_clock
from reconciler.cli.ending import Tally, conclude
from reconciler.cli.exits import DONE, ERROR
from reconciler.cli.heap import give_large_blocks_back, spare_what_is_loaded
from reconciler.cli.loading import index_for, refuse_empty
from reconciler.cli.options import (
    CACHE,
    COMMON,
    DOCUMENTS,
    LIMITS,
    REACH,
    WRITING,
    command_limits,
    daemon_limits,
    document_limits,
    given_settings,
    in_color,
    paths_argument,
    paths_or_default,
    setting_options,
    state_url,
)
from reconciler.cli.page import Standby, open_page
from reconciler.cli.process import raise_descriptor_limit, run_async, stop_on_signals
from reconciler.cli.terminal import drain_standard_error, progress, standard_error
from reconciler.controller import Daemon, Observed, Reach, Standings, Timing, converge
from reconciler.desired import Catalog, Checkout, Follower
from reconciler.model import Clock, CredentialRefused, Desired, Live, RecordingKey, Rule, SettingsError
from reconciler.plan import Window, make_plan
from reconciler.providers import turns_at_once
from reconciler.reconcile import (
    Desires,
    Guards,
    LiveState,
    Observer,
    Reconciler,
    RefusedKeys,
    Run,
    Sender,
    State,
    TurnSettings,
    check_lease,
)
from reconciler.settings import (
    DaemonSettings,
    HookSettings,
    PageSettings,
    Settings,
    SignatureSettings,
    SourceSettings,
    cache_folder,
    exposed_folder,
    state_folder,
)
from reconciler.state import Store, Writer, open_store, open_writer
from reconciler.telemetry import ApiState, Log, Metrics, Sparing, adopt_libraries, make_log
from reconciler.web import Answers, Front

if TYPE_CHECKING:
    from reconciler.providers import Bird, CircuitChange, RequestMetric

#: What holds the state, as others are told: one that takes requests, and one that does not.
ONE_RUN = "reconciler run --once"


@click.command("run")
@paths_argument
@click.option("--once", is_flag=True, help="Converge, then end.")
@click.option("--sandbox", is_flag=True, help="Use an embedded sandbox in place of the API.")
@setting_options(
    *COMMON,
    *DOCUMENTS,
    *CACHE,
    *REACH,
    *LIMITS,
    *WRITING,
    *DaemonSettings.settings,
    *PageSettings.settings,
    *SourceSettings.settings,
    *SignatureSettings.settings,
    *HookSettings.settings,
)
@click.pass_context
def command(context: click.Context, paths: tuple[str, ...], once: bool, sandbox: bool) -> None:
    """Keep recordings as the documents in PATH... (default: desired_state) declare, or those of a branch (--git)."""
    settings = given_settings()
    check_git_settings(settings, paths)
    if not settings.source.git:
        paths = paths_or_default(paths)
        for path in paths:
            if not os.path.lexists(path):
                raise SettingsError(f"{path}: no such file or folder")
    state = state_url(settings, sandbox=sandbox)
    give_large_blocks_back()
    raise_descriptor_limit()
    run_id, clock = new_run_id(), system_clock()
    log = make_log(
        settings.log.log_format,
        settings.log.log_level,
        run_id=run_id,
        stream=standard_error(),
        color=in_color(settings.log),
        secrets=settings.keys.secrets,
    )
    adopt_libraries(log)
    if why := exposed_folder(state_folder(state)):
        log.warning("state_exposed", folder=str(state_folder(state)), why=why)
    cache = cache_folder(settings.store.cache_dir, state)
    if cache != state_folder(state) and (why := exposed_folder(cache)):
        log.warning("cache_exposed", folder=str(cache), why=why)
    metrics = Metrics(__version__)
    with ExitStack() as parts:
        parts.callback(drain_standard_error)
        front = parts.enter_context(open_page(settings, metrics, clock, log, serve=not once))
        standby = Standby(front, clock, log)
        writer = parts.enter_context(
            open_writer(
                state,
                holder=ONE_RUN if once else DAEMON,
                wait_seconds=settings.store.wait_seconds,
                on_wait=standby.waits_for,
                on_commit=metrics.committed,
                retention=retention(settings),
            )
        )
        standby.over()
        store = parts.enter_context(open_store(state, must_exist=True))
        run = _Run(paths, settings, store, writer, _Own(state, run_id, clock, log, metrics), sandbox=sandbox)
        context.exit(run_async(run.once() if once else run.daemon(front)))


@dataclass(frozen=True, slots=True)
class _Own:
    """What belongs to this process from its beginning."""

    state: str
    run_id: str
    clock: Clock
    log: Log
    metrics: Metrics


class _Run:
    """One run of the daemon, from its parts to its end."""

    def __init__(
        self,
        paths: tuple[str, ...],
        settings: Settings,
        store: Store,
        writer: Writer,
        own: _Own,
        *,
        sandbox: bool,
    ) -> None:
        self._settings = settings
        self._keys = settings.keys
        self._metrics = own.metrics
        self._store = store
        self._writer = writer
        self._state = state = own.state
        self._sandbox = sandbox
        self._clock = own.clock
        self._run_id = own.run_id
        self._log = own.log
        self._sparing = Sparing(own.log, own.clock.monotonic)
        self._standings = Standings()
        self._catalog = Catalog()
        self._branch = (
            open_branch(settings, state, store, writer, self._clock, self._log) if settings.source.git else None
        )
        self._follower = Follower(
            self._branch or Checkout(paths, max_file_bytes=settings.documents.max_file_bytes),
            self._catalog,
            document_limits(settings.documents),
            monotonic=self._clock.monotonic,
            log=self._log,
            allow_empty=settings.limits.allow_empty,
        )
        self._turns_at_once = turns_at_once(settings.pace.concurrency, settings.pace.rate_limit)
        # The mirror knows its files by what Git calls them: there is nothing to prove.
        self._follower.load(store.all(), None if self._branch else index_for(paths, settings, state))
        if not self._catalog.invalid:
            # With a file that is invalid there are documents: they come into force when they are mended.
            where = (self._branch.state.address,) if self._branch else paths
            refuse_empty(len(self._catalog.desired), where, settings.limits.allow_empty)

    def _window(self) -> Window:
        """Return the daemon's memory of what was sent, which begins with what earlier processes sent lately."""
        window = Window(daemon_limits(self._settings.limits))
        for patch in self._store.patches_since(self._clock.now() - Window.SPAN):
            if patch.irreversible:
                window.remember(Rule.IRREVERSIBLE, patch.key, patch.at)
            if patch.resumes_foreign:
                window.remember(Rule.RESUMES, patch.key, patch.at)
        return window

    async def daemon(self, front: Front) -> int:
        """Work until a signal comes; SIGHUP looks at everything now.

        Args:
            front: through which the page asks.
        """
        wake_all = asyncio.Event()

        def look_now() -> None:
            wake_all.set()
            if self._branch is not None:
                self._branch.nudge()

        with stop_on_signals((signal.SIGHUP, look_now)) as stop:

            def circuit_changed(change: CircuitChange) -> None:
                self._note_circuit(change)
                daemon.circuit_changed(change)

            async with self._api(patient=False, on_circuit=circuit_changed) as (api, seed):
                window = self._window()
                reconciler = self._reconciler(
                    api,
                    api,
                    window,
                    Observer(api, self._clock.now),
                    lambda workspace_id: daemon.bring_back(workspace_id),
                )
                if self._branch is not None:
                    branch = self._branch
                    self._metrics.watch_source(lambda: figures_of(branch.state, self._clock.now()))
                self._metrics.watch_api(lambda: ApiState(api.least_rate, api.open_circuits, api.in_flight))
                daemon = Daemon(
                    follower=self._follower,
                    catalog=self._catalog,
                    store=self._store,
                    writer=self._writer,
                    reconciler=reconciler,
                    window=window,
                    timing=Timing(
                        self._settings.daemon.resync_seconds,
                        self._settings.daemon.poll_seconds,
                        self._settings.daemon.health_seconds,
                    ),
                    concurrency=self._turns_at_once,
                    clock=self._clock,
                    metrics=self._metrics,
                    log=self._log,
                    run_id=self._run_id,
                    standings=self._standings,
                    reach=Reach(api.probe, api.rest_seconds),
                    declared=seed,
                    source=lambda: None if self._branch is None else status_of(self._branch.state),
                    override_limits=self._settings.limits.override_limits,
                    look_now=look_now,
                )
                nudge = None if self._branch is None else self._branch.nudge
                front.attach(Answers(daemon.healthy, daemon.ready, self._metrics.render, daemon.status), nudge)
                spare_what_is_loaded()
                try:
                    await daemon.run(stop, wake_all)
                finally:
                    front.detach()
                    self._sparing.end()
        return DONE

    async def once(self) -> int:
        """Give every recording turns until nothing is left to wait for."""
        desired = tuple(self._catalog.desired.values())
        declared = self._catalog.desired
        applied = {
            record.key: record
            for record in self._store.all()
            if record.key in declared or self._follower.covers(record.file, record.base)
        }
        with ExitStack() as sending:
            async with self._api(patient=True, on_circuit=self._note_circuit) as (api, _):
                observer = Observer(api, self._clock.now)
                observed = await look(desired, applied, self._settings, api, observer, self._clock)
                plan = make_plan(
                    desired,
                    observed.records(applied),
                    observed.live,
                    now=self._clock.now(),
                    limits=command_limits(self._settings.limits),
                    unread=observed.unread(self._catalog.desired),
                    call_seconds=self._settings.pace.call_seconds,
                )
                self._say_unread(observed)
                for refusal in plan.refusals:
                    self._log.error("limit_refused", **refusal.as_log())
                keys = [action.key for action in plan.actions if action.key not in plan.withheld]
                tally = Tally(api)
                window = Window(command_limits(self._settings.limits))
                reconciler = self._reconciler(api, tally, window, observer, lambda _workspace_id: None, observed.live)
                stop = sending.enter_context(stop_on_signals())
                spare_what_is_loaded()
                with progress("Converging", len(keys)) as tick:
                    turns = await converge(
                        keys,
                        reconciler.reconcile,
                        clock=self._clock,
                        concurrency=self._turns_at_once,
                        give_up_seconds=self._settings.pace.give_up_seconds,
                        look_again_seconds=self._settings.pace.confirm_seconds,
                        progress=tick,
                        stop=stop,
                    )
        self._sparing.end()
        code = conclude(plan, observed, turns, tally, interrupted=stop.is_set())
        behind = self._branch is not None and bool(self._branch.state.error or self._branch.state.refused)
        return ERROR if code == DONE and (self._catalog.invalid or behind) else code

    def _say_unread(self, observed: Observed) -> None:
        """Name what could not be read: a workspace that refused the key once, other calls one by one."""
        refused = {}
        for call, error in observed.failures.items():
            if isinstance(error, CredentialRefused):
                refused[call.workspace_id] = error
            else:
                where = {"workspace_id": call.workspace_id, "call_id": call.call_id}
                self._sparing.say("error", "unread", **where, error=str(error))
        for workspace_id, error in refused.items():
            self._sparing.say("error", "unauthorized", workspace_id=workspace_id, status=error.status, error=str(error))

    def _api(
        self, *, patient: bool, on_circuit: Callable[[CircuitChange], None]
    ) -> AbstractAsyncContextManager[tuple[Bird, Callable[[Iterable[Desired]], None]]]:
        return bird(
            self._settings,
            self._catalog.desired.values(),
            sandbox=self._sandbox,
            state=self._state,
            patient=patient,
            on_request=self._requested,
            on_notice=lambda header, value: self._log.warning("api_notice", header=header, value=value),
            on_circuit=on_circuit,
            before_write=partial(check_lease, self._writer),
        )

    def _note_circuit(self, change: CircuitChange) -> None:
        if change.opened:
            self._sparing.say(
                "error",
                "circuit_opened",
                workspace_id=change.workspace_id,
                requests=change.requests,
                last=change.code,
                again_seconds=round(change.seconds, 3),
            )
        else:
            self._sparing.say(
                "info",
                "circuit_closed",
                workspace_id=change.workspace_id,
                requests=change.requests,
                open_seconds=round(change.seconds, 3),
            )

    def _requested(self, request: RequestMetric) -> None:
        self._metrics.requested(request.method, request.route, str(request.status), request.seconds)

    def _reconciler(
        self,
        api: Bird,
        sender: Sender,
        window: Window,
        observer: Observer,
        authorized_again: Callable[[str], None],
        first_looks: Mapping[RecordingKey, Live] | None = None,
    ) -> Reconciler:
        return Reconciler(
            Desires(
                base=self._follower.base,
                document_of=self._catalog.desired.get,
                revision_of=self._catalog.revision_of,
                newest_revision=lambda: None if self._branch is None else self._branch.newest_revision,
            ),
            State(self._store, self._standings.watch(self._writer)),
            LiveState(observer, sender, first_looks or {}),
            Guards(
                window=window,
                managed=self._store.count_last_applied,
                postponed=api.postponed,
                refused_keys=RefusedKeys(self._clock, self._sparing, self._keys.fingerprint, authorized_again),
                expected=None,
            ),
            TurnSettings(
                self._settings.pace.confirm_seconds,
                self._settings.pace.call_seconds,
                apart_seconds=2 * self._settings.daemon.resync_seconds,
                watches=first_looks is None,
            ),
            Run(self._clock, self._log, self._sparing, self._metrics, self._run_id, command="run"),
        )
