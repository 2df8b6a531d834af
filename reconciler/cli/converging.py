"""`run --once`: one convergence, told in the log, for a pipeline rather than for a person."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial

from reconciler.cli.compose import pace
from reconciler.cli.ending import conclude
from reconciler.cli.exits import DONE, ERROR
from reconciler.cli.options import command_limits
from reconciler.cli.process import stop_on_signals
from reconciler.cli.running import Documents, Parts, log_circuit, make_guards, make_reconciler, open_api
from reconciler.cli.terminal import converging, reading_calls
from reconciler.controller import Agreed, Observed, Wanted, converge
from reconciler.model import Action, CredentialRefused, RecordingKey
from reconciler.plan import Plan, Window
from reconciler.reconcile import LiveState, Reconciler
from reconciler.telemetry import Log, Sparing


async def run_once(parts: Parts, documents: Documents) -> int:
    """Give every recording turns until nothing is left to wait for; return the exit code."""
    declared, settings = documents.catalog.desired, parts.settings
    run = parts.run
    covers = documents.follower.covers
    records = {
        record.key: record for record in parts.store.all() if record.key in declared or covers(record.file, record.base)
    }
    wanted = Wanted(tuple(declared.values()), records, command_limits(settings.limits), settings.pace.call_seconds)
    with ExitStack() as sending:
        async with open_api(parts, documents, patient=True, on_circuit=partial(log_circuit, run.sparing)) as (api, _):

            def reconciler(live_state: LiveState, expected: Mapping[RecordingKey, Action] | None) -> Reconciler:
                window = Window(command_limits(settings.limits))
                guards = make_guards(
                    parts, documents, api, window, authorized_again=lambda _workspace_id: None, expected=expected
                )
                return make_reconciler(parts, documents, live_state, guards, parts.writer, watches=False)

            operator = _Pipeline(run.log, run.sparing, sending)
            ended = await converge(wanted, api, operator, reconciler, clock=run.clock, pace=pace(settings.pace))
        run.sparing.end()
        code = conclude(ended)
    branch = documents.branch
    behind = branch is not None and bool(branch.state.error or branch.state.refused)
    return ERROR if code == DONE and (documents.catalog.invalid or behind) else code


class _Pipeline:
    """Has agreed to whatever the limits let pass, and reads the log."""

    def __init__(self, log: Log, sparing: Sparing, sending: ExitStack) -> None:
        self._log = log
        self._sparing = sparing
        #: Holds what ends only once everything has been sent and the API client is closed: the care of signals.
        self._sending = sending

    reading = staticmethod(reading_calls)
    converging = staticmethod(converging)

    async def review(self, plan: Plan, observed: Observed) -> Agreed:
        """Say what could not be read and what the limits refuse; send the rest."""
        self._say_unread(observed)
        for refusal in plan.refusals:
            self._log.error("limit_refused", **refusal.as_log())
        return Agreed(plan, self._sending.enter_context(stop_on_signals()))

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
