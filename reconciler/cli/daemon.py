"""`run`: the daemon put together, and handed to the page for as long as it works."""

from __future__ import annotations

import asyncio
import signal

from reconciler.cli.branch import figures_of, status_of
from reconciler.cli.exits import DONE
from reconciler.cli.heap import spare_what_is_loaded
from reconciler.cli.options import daemon_limits
from reconciler.cli.process import stop_on_signals
from reconciler.cli.running import Documents, Parts, log_circuit, make_guards, make_reconciler, open_api
from reconciler.controller import Daemon, Reach, Standings, Timing
from reconciler.model import Rule
from reconciler.plan import Window
from reconciler.providers import CircuitChange, turns_at_once
from reconciler.reconcile import LiveState, Observer
from reconciler.telemetry import ApiState
from reconciler.web import Answers, Front


async def run_daemon(parts: Parts, documents: Documents, front: Front) -> int:
    """Work until a signal comes; SIGHUP looks at everything now. Return the exit code.

    Args:
        parts: those of the run.
        documents: the documents in force.
        front: through which the page asks.
    """
    settings, run, branch = parts.settings, parts.run, documents.branch
    standings = Standings()
    wake_all = asyncio.Event()

    def look_now() -> None:
        wake_all.set()
        if branch is not None:
            branch.nudge()

    with stop_on_signals((signal.SIGHUP, look_now)) as stop:

        def circuit_changed(change: CircuitChange) -> None:
            log_circuit(run.sparing, change)
            daemon.circuit_changed(change)

        async with open_api(parts, documents, patient=False, on_circuit=circuit_changed) as (api, seed):
            window = _window(parts)
            guards = make_guards(
                parts,
                documents,
                api,
                window,
                authorized_again=lambda workspace_id: daemon.bring_back(workspace_id),
                expected=None,
            )
            live_state = LiveState(Observer(api, run.clock.now), api, {})
            writer = standings.watch(parts.writer)
            reconciler = make_reconciler(parts, documents, live_state, guards, writer, watches=True)
            if branch is not None:
                parts.metrics.watch_source(lambda: figures_of(branch.state, run.clock.now()))
            parts.metrics.watch_api(lambda: ApiState(api.least_rate, api.open_circuits, api.in_flight))
            daemon = Daemon(
                follower=documents.follower,
                catalog=documents.catalog,
                store=parts.store,
                records=documents.records,
                writer=parts.writer,
                reconciler=reconciler,
                window=window,
                timing=Timing(
                    settings.daemon.resync_seconds, settings.daemon.poll_seconds, settings.daemon.health_seconds
                ),
                concurrency=turns_at_once(settings.pace.concurrency, settings.pace.rate_limit),
                clock=run.clock,
                metrics=parts.metrics,
                log=run.log,
                run_id=run.run_id,
                standings=standings,
                reach=Reach(api.probe, api.rest_seconds),
                declared=seed,
                source=lambda: None if branch is None else status_of(branch.state),
                override_limits=settings.limits.override_limits,
                look_now=look_now,
            )
            nudge = None if branch is None else branch.nudge
            front.attach(Answers(daemon.healthy, daemon.ready, parts.metrics.render, daemon.status), nudge)
            spare_what_is_loaded()
            try:
                await daemon.run(stop, wake_all)
            finally:
                front.detach()
                run.sparing.end()
    return DONE


def _window(parts: Parts) -> Window:
    """Return the daemon's memory of what was sent, which begins with what earlier processes sent lately."""
    window = Window(daemon_limits(parts.settings.limits))
    for patch in parts.store.patches_since(parts.run.clock.now() - Window.SPAN):
        if patch.irreversible:
            window.remember(Rule.IRREVERSIBLE, patch.key, patch.at)
        if patch.resumes_foreign:
            window.remember(Rule.RESUMES, patch.key, patch.at)
    return window
