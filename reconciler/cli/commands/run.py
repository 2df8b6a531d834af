"""`reconciler run`: the daemon."""

from __future__ import annotations

import os
from contextlib import ExitStack

import click

from reconciler import __version__
from reconciler.cli.asking import DAEMON
from reconciler.cli.branch import check_git_settings
from reconciler.cli.compose import new_run_id, retention, system_clock
from reconciler.cli.converging import run_once
from reconciler.cli.daemon import run_daemon
from reconciler.cli.heap import give_large_blocks_back
from reconciler.cli.options import (
    CACHE,
    COMMON,
    DOCUMENTS,
    LIMITS,
    REACH,
    WRITING,
    given_settings,
    paths_argument,
    paths_or_default,
    setting_options,
    state_url,
)
from reconciler.cli.page import Standby, open_page
from reconciler.cli.process import raise_descriptor_limit, run_async
from reconciler.cli.running import Parts, load
from reconciler.cli.terminal import drain_standard_error, open_log
from reconciler.model import SettingsError
from reconciler.reconcile import Run
from reconciler.settings import (
    DaemonSettings,
    HookSettings,
    PageSettings,
    SignatureSettings,
    SourceSettings,
    cache_folder,
    exposed_folder,
    state_folder,
)
from reconciler.state import open_store, open_writer
from reconciler.telemetry import Metrics, Sparing, adopt_libraries

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
    log = open_log(settings, run_id)
    adopt_libraries(log)
    if why := exposed_folder(state_folder(state)):
        log.warning("state_exposed", folder=str(state_folder(state)), why=why)
    cache = cache_folder(settings.store.cache_dir, state)
    if cache != state_folder(state) and (why := exposed_folder(cache)):
        log.warning("cache_exposed", folder=str(cache), why=why)
    metrics = Metrics(__version__)
    with ExitStack() as opened:
        opened.callback(drain_standard_error)
        front = opened.enter_context(open_page(settings, metrics, clock, log, serve=not once))
        standby = Standby(front, clock, log)
        writer = opened.enter_context(
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
        store = opened.enter_context(open_store(state, must_exist=True))
        run = Run(clock, log, Sparing(log, clock.monotonic), metrics, run_id, command="run")
        parts = Parts(settings, state, store, writer, run, metrics, sandbox)
        documents = load(parts, paths)
        context.exit(run_async(run_once(parts, documents) if once else run_daemon(parts, documents, front)))
