"""`reconciler status`: what the state knows of each recording."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import PurePath

import click

from reconciler.cli.exits import DONE
from reconciler.cli.looking import columns, format_option, is_glob, open_existing, say_note, select
from reconciler.cli.options import COMMON, given_settings, in_color, label_option, painter, setting_options
from reconciler.desired import matches
from reconciler.model import Phase, ReconcilerError, Record, as_seen
from reconciler.report import StateSeen, current, in_order, status_data, status_text
from reconciler.settings import state_address
from reconciler.telemetry import visible


@click.command("status")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--phase", "phases", type=click.Choice([phase.value for phase in Phase]), multiple=True, help="Only those in it."
)
@click.option("--live", "lives", multiple=True, metavar="STATUS", help="Only those last seen in it, in Bird's word.")
@label_option("Only those whose document has this label.")
@click.option("--file", "files", multiple=True, metavar="PATH", help="Only those of a file, a folder or a glob.")
@click.option("--all", "show_all", is_flag=True, help="Also those whose calls ended by themselves over an hour ago.")
@format_option
@click.option("--sandbox", is_flag=True, help="The state of runs against the embedded sandbox.")
@setting_options(*COMMON)
@click.pass_context
def command(
    context: click.Context,
    names: tuple[str, ...],
    phases: tuple[str, ...],
    lives: tuple[str, ...],
    labels: tuple[tuple[str, str], ...],
    files: tuple[str, ...],
    show_all: bool,
    output: str,
    sandbox: bool,
) -> None:
    """Show what the state knows of each recording, or of those that NAME is about, the most urgent first.

    NAME is a full name, a glob over names, a recording's ID or a call's ID. Reads the state alone, never the API.
    """
    settings = given_settings()
    now = datetime.now(UTC)
    store, path = open_existing(settings, sandbox=sandbox)
    with store:
        selected, unknown = select(store.all(), names)
        if unknown:
            raise ReconcilerError(
                f"the state {visible(str(path))} knows no recording or call {', '.join(map(visible, unknown))};"
                " `reconciler status --all` lists all it knows, `reconciler history` also what it no longer keeps"
            )
        state = StateSeen(
            state_address(path), str(path), store.writer(), store.size(now), store.resting(), now, store.refusals()
        )
        blind = state.blind
        found = [
            record
            for record in (as_seen(each, blind) for each in selected)
            if (not phases or record.phase in phases)
            and (not lives or record.live in lives)
            and matches(record.labels, labels)
            and (not files or _is_of(record, files))
        ]
        # Whoever names one, or asks for what has ended, wants to see it.
        shown = found if show_all or names or Phase.ENDED in phases else current(found, now)
        revisions = store.revisions({record.revision for record in shown if record.revision is not None})
        say_note(store)
    shown = in_order(shown)
    left_out = len(found) - len(shown)
    if output == "json":
        click.echo(json.dumps(status_data(state, shown, revisions, left_out), indent=2))
    else:
        narrowed = bool(phases or lives or labels or files) and not found
        text = status_text(
            state,
            shown,
            revisions,
            left_out=left_out,
            width=columns(),
            paint=painter(in_color(settings.log)),
            narrowed=narrowed,
        )
        click.echo(text, nl=False)
    context.exit(DONE)


def _is_of(record: Record, files: Sequence[str]) -> bool:
    """Return whether a record's file is one of these, lies in one of these folders, or matches one of these globs."""
    return any(_leads_to(file, record) for file in files)


def _leads_to(given: str, record: Record) -> bool:
    names = _names(record)
    if is_glob(given):
        return any(fnmatchcase(name, given) for name in names)
    wanted = PurePath(given)
    return any(wanted == place or wanted in place.parents for place in map(PurePath, names))


def _names(record: Record) -> Iterable[str]:
    """Return what a record's file is called: as it was given, and from the root where that is known."""
    yield record.file
    if record.base.startswith("/"):
        yield str(PurePath(record.base, record.file))
