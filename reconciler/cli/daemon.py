"""`run`: the daemon put together, and handed to the page for as long as it works."""

from __future__ import annotations

import signal
from functools import partial

from reconciler.cli.branch import figures_of, status_of
from reconciler.cli.exits import DONE
from reconciler.cli.heap import spare_what_is_loaded
from reconciler.cli.options import daemon_limits
from reconciler.cli.process import stop_on_signals
from reconciler.cli.running import Documents, Parts, log_circuit, make_guards, make_reconciler, open_api
from reconciler.controller import Conduct, Daemon, Following, Memory, Reach, Run, Standings, Wakes
from reconciler.model import Rule
from reconciler.plan import Window
from reconciler.providers import turns_at_once
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
    wakes = Wakes()
    wakes.circuit_changed.listen(partial(log_circuit, run.sparing))
    if branch is not None:
        wakes.on_everything(branch.nudge)
    memory = Memory(parts.store, documents.records, parts.writer, Standings(), _window(parts))
    with stop_on_signals((signal.SIGHUP, wakes.look_at_everything)) as stop:
        async with open_api(parts, documents, patient=False, on_circuit=wakes.circuit_changed) as (api, seed):
            guards = make_guards(parts, documents, api, memory.window, authorized_again=wakes.key_taken, expected=None)
            live_state = LiveState(Observer(api, run.clock.now), api, {})
            writer = memory.standings.watch(parts.writer)
            reconciler = make_reconciler(parts, documents, live_state, guards, writer, watches=True)
            if branch is not None:
                parts.metrics.watch_source(lambda: figures_of(branch.state, run.clock.now()))
            parts.metrics.watch_api(lambda: ApiState(api.least_rate, api.open_circuits, api.in_flight))
            daemon = Daemon(
                Following(
                    documents.catalog,
                    documents.follower,
                    declared=seed,
                    source=lambda: None if branch is None else status_of(branch.state),
                ),
                memory,
                reconciler,
                Reach(api.probe, api.rest_seconds),
                wakes,
                Run(run.clock, run.log, run.run_id, parts.metrics),
                Conduct(
                    settings.daemon.resync_seconds,
                    settings.daemon.poll_seconds,
                    settings.daemon.health_seconds,
                    turns_at_once(settings.pace.concurrency, settings.pace.rate_limit),
                    settings.limits.override_limits,
                ),
            )
            nudge = None if branch is None else branch.nudge
            front.attach(Answers(daemon.healthy, daemon.ready, parts.metrics.render, daemon.status), nudge)
            spare_what_is_loaded()
            try:
                await daemon.run(stop)
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
