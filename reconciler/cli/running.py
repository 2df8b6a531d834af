"""What both forms of `run` stand on: the documents in force, the API client, and what does the turns.

What is put together here belongs to one run, and its log and its metrics hear of every request. What must never happen
here: a PATCH that leaves without the state lease being asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from reconciler.cli.branch import open_branch
from reconciler.cli.compose import bird
from reconciler.cli.loading import index_for, refuse_empty
from reconciler.cli.options import document_limits
from reconciler.desired import Catalog, Checkout, Follower, GitSource
from reconciler.model import Action, Desired, RecordingKey
from reconciler.plan import Window
from reconciler.reconcile import (
    Desires,
    Guards,
    LiveState,
    Reconciler,
    RefusedKeys,
    Run,
    State,
    TurnSettings,
    check_lease,
)
from reconciler.reconcile import Writer as RecordWriter
from reconciler.settings import Settings
from reconciler.state import OwnRecords, Store, Writer
from reconciler.telemetry import Metrics, Sparing

if TYPE_CHECKING:
    from reconciler.providers import Bird, CircuitChange, RequestMetric


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run has from its beginning to its end."""

    settings: Settings
    #: The URL of the state, its reader, and its writer, whose lease is held.
    state: str
    store: Store
    writer: Writer
    run: Run
    metrics: Metrics
    #: Whether the embedded sandbox stands in for the API.
    sandbox: bool


@dataclass(frozen=True, slots=True)
class Documents:
    """The documents in force, where they come from, and what is on record of their recordings."""

    catalog: Catalog
    follower: Follower
    #: The Git branch that is their source; None where they are files.
    branch: GitSource | None
    #: Every record of the state, in memory, under the documents' keys.
    records: OwnRecords


def load(parts: Parts, paths: tuple[str, ...]) -> Documents:
    """Load the documents of some paths, or of the branch that the settings name.

    Raises:
        ReconcilerError: they cannot be read at all, or there is none.
    """
    settings, run = parts.settings, parts.run
    catalog = Catalog()
    branch = None
    if settings.source.git:
        branch = open_branch(settings, parts.state, parts.store, parts.writer, run.clock, run.log)
    follower = Follower(
        branch or Checkout(paths, max_file_bytes=settings.documents.max_file_bytes),
        catalog,
        document_limits(settings.documents),
        monotonic=run.clock.monotonic,
        log=run.log,
        allow_empty=settings.limits.allow_empty,
    )
    # The mirror knows its files by what Git calls them: there is nothing to prove.
    follower.load(parts.store.all(), None if branch else index_for(paths, settings, parts.state))
    if not catalog.invalid:
        # With a file that is invalid there are documents: they come into force when they are mended.
        where = (branch.state.address,) if branch else paths
        refuse_empty(len(catalog.desired), where, settings.limits.allow_empty)
    return Documents(catalog, follower, branch, parts.writer.load(catalog.desired))


def open_api(
    parts: Parts,
    documents: Documents,
    *,
    patient: bool,
    on_circuit: Callable[[CircuitChange], None],
) -> AbstractAsyncContextManager[tuple[Bird, Callable[[Iterable[Desired]], None]]]:
    """Open the API client of this run; see `compose.bird`."""

    def requested(request: RequestMetric) -> None:
        parts.metrics.requested(request.method, request.route, str(request.status), request.seconds)

    return bird(
        parts.settings,
        documents.catalog.desired.values(),
        sandbox=parts.sandbox,
        state=parts.state,
        patient=patient,
        on_request=requested,
        on_notice=lambda header, value: parts.run.log.warning("api_notice", header=header, value=value),
        on_circuit=on_circuit,
        before_write=partial(check_lease, parts.writer),
    )


def log_circuit(sparing: Sparing, change: CircuitChange) -> None:
    """Say that a workspace is left alone, since its requests fail one after the other, or that it is not any more."""
    if change.opened:
        sparing.say(
            "error",
            "circuit_opened",
            workspace_id=change.workspace_id,
            requests=change.requests,
            last=change.code,
            again_seconds=round(change.seconds, 3),
        )
    else:
        sparing.say(
            "info",
            "circuit_closed",
            workspace_id=change.workspace_id,
            requests=change.requests,
            open_seconds=round(change.seconds, 3),
        )


def make_reconciler(
    parts: Parts, documents: Documents, live_state: LiveState, guards: Guards, writer: RecordWriter, *, watches: bool
) -> Reconciler:
    """Make what does the turns of this run.

    Args:
        parts: those of the run.
        documents: the documents in force.
        live_state: who looks and who sends, and what the plan saw.
        guards: what may hold a PATCH back.
        writer: takes the records; the writer of the run, or one that hands on to it.
        watches: whether this process goes on looking after the first look.
    """
    settings, branch = parts.settings, documents.branch
    return Reconciler(
        Desires(
            base=documents.follower.base,
            document_of=documents.catalog.desired.get,
            revision_of=documents.catalog.revision_of,
            newest_revision=lambda: None if branch is None else branch.newest_revision,
        ),
        State(documents.records, writer),
        live_state,
        guards,
        TurnSettings(
            settings.pace.confirm_seconds,
            settings.pace.call_seconds,
            apart_seconds=2 * settings.daemon.resync_seconds,
            watches=watches,
        ),
        parts.run,
    )


def make_guards(
    parts: Parts,
    documents: Documents,
    api: Bird,
    window: Window,
    *,
    authorized_again: Callable[[str], None],
    expected: Mapping[RecordingKey, Action] | None,
) -> Guards:
    """Make what may hold a PATCH back.

    Args:
        parts: those of the run.
        documents: the documents in force.
        api: the API client.
        window: the safety limits and what they remember.
        authorized_again: told the workspace whose access key is taken again.
        expected: the actions that alone may be sent; None where there is no such choice.
    """
    run = parts.run
    refused_keys = RefusedKeys(run.clock, run.sparing, parts.settings.keys.fingerprint, authorized_again)
    return Guards(
        window=window,
        managed=documents.records.count_last_applied,
        postponed=api.postponed,
        refused_keys=refused_keys,
        expected=expected,
    )
