"""`reconciler state`: a copy of the state, and whether it is whole."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.exits import DONE, ERROR
from reconciler.cli.options import COMMON, given_settings, setting_options, state_url
from reconciler.model import ReconcilerError
from reconciler.report import byte_count
from reconciler.state import Health, back_up, examine
from reconciler.telemetry import visible


@click.group("state")
def command() -> None:
    """Back up the state, or check that it is whole."""


@command.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace a file of that name.")
@click.option("--sandbox", is_flag=True, help="The state of runs against the embedded sandbox.")
@setting_options(*COMMON)
@click.pass_context
def backup(context: click.Context, file: Path, force: bool, sandbox: bool) -> None:
    """Copy the state to FILE, whole and consistent, beside a running daemon too.

    A state is restored by putting the copy in its place while nothing writes it. What its records say of pauses is then
    not relied on until a look has shown it: a pause that may be anybody's is reported, and not resumed.
    """
    made = back_up(state_url(given_settings(), sandbox=sandbox), file.absolute(), force=force)
    click.echo(
        f"Wrote {visible(str(file))}: {made.recordings} recordings and {made.events} events, {byte_count(made.bytes)}."
    )
    context.exit(DONE)


@command.command("check")
@click.option("--sandbox", is_flag=True, help="The state of runs against the embedded sandbox.")
@setting_options(*COMMON)
@click.pass_context
def check(context: click.Context, sandbox: bool) -> None:
    """Read the whole state and say whether it is whole, of which layout, and what it holds. Changes nothing."""
    health = examine(state_url(given_settings(), sandbox=sandbox))
    if health.size_bytes is None:
        raise ReconcilerError(f"there is no state at {visible(str(health.path))}")
    for line in _lines(health):
        click.echo(line)
    for fault in health.faults:
        click.echo(f"Error: {visible(fault)}", err=True)
    if health.faults:
        click.echo(
            "Error: the state is damaged. Stop what writes it, move it aside with its -wal and -shm files, and put a"
            " backup in its place; without one, start again: live state is then read afresh.",
            err=True,
        )
    context.exit(ERROR if health.faults else DONE)


def _lines(health: Health) -> list[str]:
    size = "" if health.size_bytes is None else f", {byte_count(health.size_bytes)}"
    older = "" if health.layout == health.newest_layout else f"; the next writer brings it to {health.newest_layout}"
    found = "damaged" if health.faults else "whole"
    return [
        f"{visible(str(health.path))}: {found}{size}",
        f"layout {health.layout}{older}",
        f"{health.recordings} recordings, {health.last_applied} of them applied; {health.events} events",
        f"held by {visible(health.holder)}" if health.holder else "held by nobody",
    ]
