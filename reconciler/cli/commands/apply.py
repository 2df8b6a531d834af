"""`reconciler apply`: send, confirm, record."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial

import click

from reconciler.cli.compose import bird, new_run_id, pace, retention, system_clock
from reconciler.cli.ending import conclude
from reconciler.cli.loading import index_for, load_or_exit, refuse_empty
from reconciler.cli.options import (
    CACHE,
    COMMON,
    DOCUMENTS,
    LIMITS,
    REACH,
    WRITING,
    api_name,
    command_limits,
    given_settings,
    in_color,
    painter,
    paths_argument,
    paths_or_default,
    setting_options,
    state_url,
)
from reconciler.cli.process import run_async, stop_on_signals
from reconciler.cli.recorded import records_of, revisions_of
from reconciler.cli.reports import say_unread
from reconciler.cli.running import log_circuit
from reconciler.cli.streams import lost
from reconciler.cli.terminal import confirm, converging, open_log, reading_calls
from reconciler.controller import Agreed, Observed, Wanted, converge
from reconciler.desired import Loaded, Revisions, Source
from reconciler.model import (
    Action,
    ActionKind,
    ReconcilerError,
    RecordingKey,
)
from reconciler.plan import (
    Plan,
    SavedPlan,
    Window,
    check_approved,
    check_fits,
    check_place,
    hold_against,
    load_saved,
    narrow,
)
from reconciler.reconcile import (
    Desires,
    Guards,
    LiveState,
    NoMeters,
    Reconciler,
    RefusedKeys,
    Run,
    State,
    TurnSettings,
    check_lease,
)
from reconciler.report import as_text
from reconciler.settings import Settings
from reconciler.state import Store, Writer, open_store, open_writer
from reconciler.telemetry import Sparing


@dataclass(frozen=True, slots=True)
class _Request:
    """What the command was asked for."""

    paths: tuple[str, ...]
    saved: SavedPlan | None
    yes: bool
    sandbox: bool
    state: str
    settings: Settings


@click.command("apply")
@paths_argument
@click.option("--plan", "plan_file", type=click.Path(dir_okay=False), help="Send exactly this saved plan.")
@click.option(
    "--expect-digest",
    metavar="sha256:...",
    help="Send the saved plan only if it has this digest: the one that somebody approved.",
)
@click.option("--yes", "-y", is_flag=True, envvar="RECONCILER_YES", help="Do not ask.")
@click.option("--sandbox", is_flag=True, help="Use an embedded sandbox in place of the API.")
@setting_options(*COMMON, *DOCUMENTS, *CACHE, *REACH, *LIMITS, *WRITING)
@click.pass_context
def command(
    context: click.Context,
    paths: tuple[str, ...],
    plan_file: str | None,
    expect_digest: str | None,
    yes: bool,
    sandbox: bool,
) -> None:
    """Bring the recordings to what the documents in PATH... (default: desired_state) declare."""
    settings = given_settings()
    if plan_file is not None and paths:
        raise click.UsageError("--plan knows its own paths; give either --plan FILE or PATH...")
    if expect_digest is not None:
        _check_digest(expect_digest, plan_file)
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask on; give --yes to send without being asked")
    saved = None if plan_file is None else load_saved(plan_file)
    if saved is not None and expect_digest is not None:
        check_approved(saved, expect_digest)
    if saved is not None:
        check_place(saved, api_name(settings, sandbox=sandbox))
    paths = paths_or_default(paths) if saved is None else saved.paths
    state = state_url(settings, sandbox=sandbox)
    loaded = load_or_exit(context, paths, settings, index_for(paths, settings, state))
    refuse_empty(len(loaded.columns), paths, settings.limits.allow_empty)
    revisions = revisions_of(paths, loaded, Source(paths, max_file_bytes=settings.documents.max_file_bytes).read)
    request = _Request(paths, saved, yes, sandbox, state, settings)
    with (
        open_writer(
            request.state,
            holder="reconciler apply",
            wait_seconds=settings.store.wait_seconds,
            on_wait=say_once,
            retention=retention(settings),
        ) as writer,
        open_store(request.state, must_exist=True) as store,
    ):
        context.exit(run_async(_apply(request, loaded, revisions, store, writer)))


@cache
def say_once(holder: str) -> None:
    """Say whom the command waits for."""
    click.echo(f"Waiting: the state is held by {holder}.", err=True)


def _check_digest(digest: str, plan_file: str | None) -> None:
    if plan_file is None:
        raise click.UsageError("--expect-digest speaks of a saved plan; give --plan FILE too")
    if re.fullmatch(r"sha256:[0-9a-f]{64}", digest) is None:
        raise click.UsageError("--expect-digest takes the digest of a plan: `sha256:` and 64 hexadecimal digits")


async def _apply(request: _Request, loaded: Loaded, revisions: Revisions, store: Store, writer: Writer) -> int:
    settings, clock = request.settings, system_clock()
    desired = loaded.desired
    documents = {document.key: document for document in desired}
    records = records_of(store, loaded, request.paths)
    managed = store.count_last_applied()
    run_id = new_run_id()
    log = open_log(settings, run_id)
    sparing = Sparing(log, clock.monotonic)
    with ExitStack() as sending:
        operator = _Operator(request, revisions, managed, writer, sending)
        client = bird(
            settings,
            desired,
            sandbox=request.sandbox,
            state=request.state,
            before_write=partial(check_lease, writer),
            on_circuit=partial(log_circuit, sparing),
        )
        async with client as (api, _):

            def reconciler(live_state: LiveState, expected: Mapping[RecordingKey, Action] | None) -> Reconciler:
                return Reconciler(
                    Desires(
                        base=Source(request.paths, max_file_bytes=1).base,
                        document_of=documents.get,
                        revision_of=lambda key: revisions.of((documents.get(key) or records[key]).file),
                        newest_revision=lambda: None,
                    ),
                    State(writer.load(documents), writer),
                    live_state,
                    Guards(
                        window=Window(command_limits(settings.limits)),
                        managed=lambda: managed,
                        postponed=api.postponed,
                        refused_keys=RefusedKeys(
                            clock, sparing, settings.keys.fingerprint, authorized_again=lambda _workspace_id: None
                        ),
                        expected=expected,
                    ),
                    TurnSettings(settings.pace.confirm_seconds, settings.pace.call_seconds, watches=False),
                    Run(clock, log, sparing, NoMeters(), run_id, command="apply"),
                )

            wanted = Wanted(
                desired, records, command_limits(settings.limits), settings.pace.call_seconds, revisions.whole
            )
            ended = await converge(wanted, api, operator, reconciler, clock=clock, pace=pace(settings.pace))
        sparing.end()
        return conclude(ended)


class _Operator:
    """The person at the terminal, or the pipeline, that is shown the plan and has said or says yes."""

    def __init__(
        self, request: _Request, revisions: Revisions, managed: int, writer: Writer, sending: ExitStack
    ) -> None:
        self._request = request
        self._revisions = revisions
        self._managed = managed
        self._writer = writer
        #: Holds what ends only once everything has been sent and the API client is closed: the care of signals.
        self._sending = sending

    reading = staticmethod(reading_calls)
    converging = staticmethod(converging)

    async def review(self, plan: Plan, observed: Observed) -> Agreed | None:
        """Show the plan and ask; of a saved plan only what it holds is left.

        Raises:
            ReconcilerError: the saved plan does not fit any more, or the plan could not be shown.
        """
        settings, saved = self._request.settings, self._request.saved
        if (whose := self._revisions.describe()) is not None:
            self._writer.describe(whose)
        if observed.failures:
            say_unread(list(observed.failures.values()))
        if saved is not None:
            check_fits(saved, plan)
            # What is in sync is recorded as well: nothing is sent for it, and drift is known from then on.
            plan = hold_against(narrow(plan, saved.keys), command_limits(settings.limits), self._managed)
        click.echo(as_text(plan, paint=painter(in_color(settings.log))), nl=False)
        if why := lost():
            raise ReconcilerError(f"standard output cannot be written: {why}; the plan was not shown, nothing was sent")
        # Until here a signal ends the program wherever it is; from here on, what is under way ends in order.
        stop = self._sending.enter_context(stop_on_signals())
        if not await _agreed(plan, self._request, stop):
            return None
        return Agreed(plan, stop, None if saved is None else {action.key: action for action in plan.actions})


async def _agreed(plan: Plan, request: _Request, stop: asyncio.Event) -> bool:
    """Ask, where something would be sent or released and nobody has said yes beforehand.

    What waits may be sent as well, should it be found or become controllable meanwhile.
    """
    acts = any(action.kind in (ActionKind.RELEASE, ActionKind.WAIT) for action in plan.actions)
    if request.yes or not (plan.patches or acts):
        return True
    return await confirm("Apply this plan?", stop)
