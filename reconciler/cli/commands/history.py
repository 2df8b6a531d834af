"""`reconciler history`: what happened, newest first, and what a recording was seen to be at any time."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

import click

from reconciler.cli.exits import DONE
from reconciler.cli.looking import Moment, columns, format_option, open_existing, say_note, select
from reconciler.cli.options import COMMON, given_settings, label_option, setting_options
from reconciler.desired import matches
from reconciler.model import Line, ReconcilerError, RecordingKey, Revision
from reconciler.plan import Look, apart_from_steps, looks_of, moment, step_of, stretches
from reconciler.report import (
    FORMAT,
    Subject,
    Then,
    event_data,
    event_line,
    stretch_data,
    stretch_lines,
    then_data,
    then_line,
    wrapped,
)
from reconciler.state import EventQuery, Store
from reconciler.telemetry import visible


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the command was asked for."""

    words: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    since: datetime | None
    until: datetime | None
    #: None for no bound.
    limit: int | None
    json: bool


@click.command("history")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@label_option("Only recordings whose document has this label now.")
@click.option("--since", type=Moment(), metavar="TIME", help="Only what happened then or later: RFC 3339, a date, 2h.")
@click.option("--until", type=Moment(), metavar="TIME", help="Only what happened before.")
@click.option("--at", type=Moment(), metavar="TIME", help="What each recording was then, and from when to when.")
@click.option("--intervals", is_flag=True, help="In which stretches of time each recording was seen to be what.")
@format_option
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    help="At most so many events, the newest; 0 for all.",
)
@click.option("--sandbox", is_flag=True, help="The state of runs against the embedded sandbox.")
@setting_options(*COMMON)
@click.pass_context
def command(
    context: click.Context,
    names: tuple[str, ...],
    labels: tuple[tuple[str, str], ...],
    since: datetime | None,
    until: datetime | None,
    at: datetime | None,
    intervals: bool,
    output: str,
    limit: int,
    sandbox: bool,
) -> None:
    """Show what happened to the recordings that NAME is about, or to all, newest first.

    NAME is a full name, a glob over names, a recording's ID or a call's ID. Times without an offset are UTC.
    """
    if at is not None and (intervals or since is not None or until is not None):
        raise click.UsageError("--at asks for one moment; --intervals, --since and --until for a time")
    if (at is not None or intervals) and not (names or labels):
        raise click.UsageError("--at and --intervals need a NAME or a --label: whose evidence shall it be?")
    if since is not None and until is not None and since >= until:
        raise click.UsageError("--since must come before --until")
    asked = _Asked(names, labels, since, until, limit or None, output == "json")
    store, path = open_existing(given_settings(), sandbox=sandbox)
    with store:
        wanted = _wanted(store, asked, str(path))
        if at is not None:
            _show_moment(store, asked, wanted, at)
        elif intervals:
            _show_stretches(store, asked, wanted)
        else:
            _show_events(store, asked, wanted)
        say_note(store)
    context.exit(DONE)


def _wanted(store: Store, asked: _Asked, path: str) -> frozenset[RecordingKey] | None:
    """Return the recordings that the labels choose; None where no label was given.

    Raises:
        ReconcilerError: a word or the labels are about nothing that the state knows.
    """
    unknown = [word for word in asked.words if next(store.events(EventQuery((word,), limit=1)), None) is None]
    if unknown:
        unknown = select(store.all(), unknown)[1]  # a record may have no event yet
    if unknown:
        raise ReconcilerError(
            f"the state {visible(path)} knows no recording or call {', '.join(map(visible, unknown))}, and its history"
            " holds nothing of them"
        )
    if not asked.labels:
        return None
    wanted = frozenset(record.key for record in store.all() if matches(record.labels, asked.labels))
    if not wanted:
        raise ReconcilerError(f"the state {visible(path)} knows no recording with these labels")
    return wanted


def _show_events(store: Store, asked: _Asked, wanted: frozenset[RecordingKey] | None) -> None:
    query = EventQuery(asked.words, asked.since, asked.until, asked.limit if wanted is None else None)
    lines: Iterable[Line] = store.events(query)
    if wanted is not None:
        lines = islice((line for line in lines if line.event.key in wanted), asked.limit)
    known = _Commits(store)
    if asked.json:
        _write_json("events", (event_data(line, known.of(line)) for line in lines))
        return
    width, empty = columns(), True
    for line in lines:
        empty = False
        click.echo(_fitted(event_line(line.event, known.of(line)), width))
    if empty:
        when = " in that time" if asked.since or asked.until else " yet"
        click.echo(f"Nothing has happened{when}.")


class _Commits:
    """What is known of commits, asked for once each: many events name few."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Revision] = {}
        self._asked: set[str] = set()

    def of(self, line: Line) -> dict[str, Revision]:
        revision = line.event.revision
        if revision is not None and revision not in self._asked:
            self._asked.add(revision)
            self._known.update(self._store.revisions({revision}))
        return self._known


def _evidence(
    store: Store, asked: _Asked, wanted: frozenset[RecordingKey] | None
) -> Iterator[tuple[Subject, list[Look]]]:
    """Yield each recording that is asked about, with all looks at it that are known."""
    # What is about no recording has an empty name.
    steps = [step for line in store.events(EventQuery(("",))) if (step := step_of(line.event)) is not None]
    for subject in _subjects(store, asked, wanted):
        looks: list[Look] = []
        # By its ID, since it may have had other names.
        for line in store.events(EventQuery((subject.key.recording_id,))):
            if line.event.key == subject.key:
                looks.extend(looks_of(line.event))
        record = store.get(subject.key)
        if record is not None and record.live is not None and record.observed_at is not None:
            looks.append(Look(record.observed_at, record.live))
        yield subject, apart_from_steps(looks, steps)


def _subjects(store: Store, asked: _Asked, wanted: frozenset[RecordingKey] | None) -> list[Subject]:
    names: dict[RecordingKey, str] = {}
    for record in select(store.all(), asked.words)[0]:
        names[record.key] = record.name
    if asked.words:
        for line in store.events(EventQuery(asked.words)):
            names.setdefault(line.event.key, line.event.name)
    subjects = [Subject(key, name) for key, name in names.items() if wanted is None or key in wanted]
    return sorted(subjects, key=lambda subject: (subject.name, subject.key))


def _show_moment(store: Store, asked: _Asked, wanted: frozenset[RecordingKey] | None, at: datetime) -> None:
    found = (Then(subject, at, *moment(looks, at)) for subject, looks in _evidence(store, asked, wanted))
    if asked.json:
        _write_json("at", map(then_data, found))
        return
    for then in found:
        click.echo(_fitted(then_line(then), columns()))


def _show_stretches(store: Store, asked: _Asked, wanted: frozenset[RecordingKey] | None) -> None:
    until = asked.until or datetime.now(UTC)
    found = (
        (subject, stretches(looks, asked.since or min((look.at for look in looks), default=until), until))
        for subject, looks in _evidence(store, asked, wanted)
    )
    if asked.json:
        _write_json("intervals", (stretch_data(subject, each) for subject, parts in found for each in parts))
        return
    for subject, parts in found:
        for line in stretch_lines(subject, parts):
            click.echo(_fitted(line, columns()))


def _fitted(line: str, width: int) -> str:
    """Return a line as it is, or where the terminal is narrower as several, the later ones indented."""
    if len(line) <= width:
        return line
    first, *rest = wrapped(line, width, "")
    return "\n".join([first, *wrapped(" ".join(rest), width)])


def _write_json(key: str, items: Iterable[dict[str, object]]) -> None:
    """Write the document item by item: a history of years is in memory at no moment."""
    click.echo(f'{{\n  "format": "{FORMAT}",\n  "{key}": [', nl=False)
    separator = "\n"
    for item in items:
        click.echo(separator + textwrap.indent(json.dumps(item, indent=2), "    "), nl=False)
        separator = ",\n"
    click.echo("]\n}" if separator == "\n" else "\n  ]\n}")
