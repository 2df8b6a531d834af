"""How a convergence ends for whoever started it: what was not brought to its status, a line of counts, an exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import click

from reconciler.cli.exits import DONE, INTERRUPTED, LIMIT_REFUSED, SOME_FAILED, STALE_PLAN, UNAUTHORIZED
from reconciler.cli.terminal import drain_standard_error
from reconciler.controller import Ended
from reconciler.model import (
    LOST,
    CredentialRefused,
    LiveStatus,
    Outcome,
    Phase,
    StalePlan,
)
from reconciler.reconcile import Turn
from reconciler.report import REASONS
from reconciler.telemetry import visible


def conclude(ended: Ended | None) -> int:
    """Say what became of a convergence, and choose the exit code.

    Args:
        ended: how it ended; None where the plan was not agreed to.
    """
    drain_standard_error()
    if ended is None:
        click.echo("Nothing was sent.", err=True)
        return DONE
    plan, turns = ended.plan, ended.turns
    outcomes = Counter(turn.outcome for turn in turns.values() if turn.outcome is not None)
    for line in _shortfalls((action.name, turns[action.key]) for action in plan.actions if action.key in turns):
        click.echo(line, err=True)
    applied, unconfirmed, rejected = (
        outcomes[outcome] for outcome in (Outcome.APPLIED, Outcome.UNCONFIRMED, Outcome.REJECTED)
    )
    # What nobody could find, or had ended before, has failed: its desired status was never seen.
    lost = sum(turn.reason in LOST and turn.outcome is None for turn in turns.values())
    failed = outcomes[Outcome.FAILED] + len(plan.unread) + lost
    skipped = outcomes[Outcome.SKIPPED] + len(plan.withheld)
    if ended.interrupted:
        confirmed = sum(key in turns and turns[key].outcome is Outcome.APPLIED for key in ended.accepted)
        click.echo(
            f"Interrupted: {len(ended.sent)} sent, {len(ended.accepted)} accepted, {confirmed} confirmed. Run it again:"
            " it looks first, and sends only what is still needed."
        )
        return INTERRUPTED
    click.echo(
        f"Applied: {applied} applied, {unconfirmed} unconfirmed, {rejected} rejected,"
        f" {failed} failed, {skipped} skipped."
    )
    looked_at = ended.observed.live.values()
    if looked_at and all(live.status is LiveStatus.GONE for live in looked_at):
        click.echo(
            "Warning: the API knows none of these recordings. If their calls are still going on, check --api-url,"
            " the IDs and the rights of the key.",
            err=True,
        )
    return _code(
        turns.values(),
        unauthorized=ended.observed.unauthorized,
        refused=bool(plan.refusals),
        failed=unconfirmed + rejected + failed > 0 or bool(ended.observed.failures),
    )


def _code(turns: Iterable[Turn], *, unauthorized: bool, refused: bool, failed: bool) -> int:
    """Return the exit code of a run; what needs a person most comes first."""
    turns = list(turns)
    if unauthorized or any(isinstance(turn.error, CredentialRefused) for turn in turns):
        return UNAUTHORIZED
    if refused or any(turn.phase is Phase.REFUSED for turn in turns):
        return LIMIT_REFUSED
    if any(isinstance(turn.error, StalePlan) for turn in turns):
        return STALE_PLAN
    return SOME_FAILED if failed else DONE


def _shortfalls(turns: Iterable[tuple[str, Turn]]) -> Iterator[str]:
    """Yield a line for each recording that was not brought to its status; what many have in common is said once."""
    found = [(name, *said) for name, turn in turns if (said := _shortfall(turn)) is not None]
    shared = {said: count for said, count in Counter((what, why) for _, what, why in found if why).items() if count > 1}
    for name, what, why in found:
        yield f"{name}: {what}" if (what, why) in shared or not why else f"{name}: {what}: {why}"
    for (what, why), count in shared.items():
        yield f"{count} recordings: {what}: {why}"


def _shortfall(turn: Turn) -> tuple[str, str] | None:
    """Return what became of a recording and why, in words; None where it was brought to its status, or had it."""
    if turn.reason in LOST and turn.outcome is not Outcome.UNCONFIRMED:
        return REASONS[turn.reason], visible(turn.detail)
    if turn.outcome in (None, Outcome.APPLIED):
        return None
    cause = turn.refusal or turn.error
    return str(turn.outcome), "" if cause is None else visible(str(cause))
