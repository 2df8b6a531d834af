"""`reconciler plan`: show what would be sent, and write nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from reconciler.cli.exits import CHANGES_PRESENT, DONE, ERROR, UNAUTHORIZED
from reconciler.cli.options import (
    COMMON,
    DOCUMENTS,
    LIMITS,
    REACH,
    Values,
    painter,
    paths_argument,
    paths_or_default,
    setting_options,
    state_url,
    values,
)
from reconciler.cli.validate import show_problems, warn
from reconciler.errors import BirdError, BirdUnauthorized, ReconcilerError
from reconciler.model import Desired
from reconciler.plan import Plan, make_plan
from reconciler.report import as_data, as_json, as_text
from reconciler.revision import revision_of
from reconciler.source import Source, load_documents
from reconciler.store import open_store

_FORMATS = ("text", "json")


@dataclass(frozen=True, slots=True)
class _Report:
    format: str
    file: str | None


class _ReportType(click.ParamType[_Report]):
    name = "FORMAT[=FILE]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> _Report:
        if isinstance(value, _Report):
            return value
        name, _, file = str(value).partition("=")
        if name not in _FORMATS:
            self.fail(f"{name!r} is not one of {', '.join(_FORMATS)}", param, ctx)
        return _Report(name, file or None)


@click.command("plan")
@paths_argument
@click.option("--no-refresh", is_flag=True, help="Compare with last-applied alone; needs neither key nor network.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when there are changes.")
@click.option(
    "--report",
    "reports",
    type=_ReportType(),
    multiple=True,
    default=("text",),
    show_default=True,
    help="text or json, to standard output or to a file; repeatable.",
)
@click.option("--all", "show_all", is_flag=True, help="List what is in sync as well.")
@click.option("--out", type=click.Path(dir_okay=False), help="Save the plan for `apply --plan`.")
@click.option("--sandbox", is_flag=True, help="Use an embedded sandbox in place of the API.")
@setting_options(*COMMON, *DOCUMENTS, *REACH, *LIMITS)
@click.pass_context
def command(
    context: click.Context,
    paths: tuple[str, ...],
    no_refresh: bool,
    detailed_exitcode: bool,
    reports: tuple[_Report, ...],
    show_all: bool,
    out: str | None,
    sandbox: bool,
) -> None:
    """Show what would be sent for the documents in PATH... (default: desired_state)."""
    settings = values()
    paths = paths_or_default(paths)
    desired = load_or_exit(context, paths, settings)
    plan, failures = _make(desired, paths, settings, refresh=not no_refresh, sandbox=sandbox)
    if failures:
        say_unread(failures)
    for report in reports:
        text = (
            as_json(plan, show_all=show_all)
            if report.format == "json"
            else as_text(plan, show_all=show_all, paint=painter(settings.color and report.file is None))
        )
        if report.file is None:
            click.echo(text, nl=False)
        else:
            write_file(report.file, text)
    if out is not None:
        write_file(out, json.dumps({**as_data(plan), "paths": list(paths)}, indent=2) + "\n")
    if failures:
        refused = any(isinstance(error, BirdUnauthorized) for error in failures)
        context.exit(UNAUTHORIZED if refused else ERROR)
    context.exit(CHANGES_PRESENT if detailed_exitcode and plan.summary.changes else DONE)


def load_or_exit(context: click.Context, paths: Sequence[str], settings: Values) -> tuple[Desired, ...]:
    """Return every document, or name every mistake and end the command."""
    source = Source(paths, max_file_bytes=settings["max_file_bytes"])
    loaded = load_documents(source, settings.document_limits)
    warn(loaded)
    if loaded.problems:
        show_problems(loaded.problems, source, sys.stderr.isatty(), err=True)
        click.echo("The documents are invalid; nothing was done.", err=True)
        context.exit(ERROR)
    return loaded.desired


def _make(
    desired: tuple[Desired, ...], paths: Sequence[str], settings: Values, *, refresh: bool, sandbox: bool
) -> tuple[Plan, list[BirdError]]:
    state = state_url(settings, sandbox=sandbox)
    with open_store(state) as store:
        applied = {record.key: record for record in store.all()}
    observed = None
    if refresh:
        from reconciler.cli.parts import observe, run_async  # the HTTP client, which an offline plan does without

        observed = run_async(observe(desired, settings, sandbox=sandbox, state=state))
    plan = make_plan(
        desired,
        applied,
        None if observed is None else observed.live,
        now=datetime.now(UTC),
        limits=settings.limits,
        revision=revision_of(paths),
        unread=frozenset() if observed is None else observed.unread(item.key for item in desired),
    )
    return plan, [] if observed is None else list(observed.failures.values())


def say_unread(failures: Sequence[BirdError]) -> None:
    """Say which calls could not be read, each reason once."""
    reasons = sorted({str(error) for error in failures})
    calls = "1 call" if len(failures) == 1 else f"{len(failures)} calls"
    click.echo(f"Error: {calls} could not be read; the plan leaves their recordings out:", err=True)
    for reason in reasons[:5]:
        click.echo(f"  {reason}", err=True)


def write_file(name: str, text: str) -> None:
    """Write a report or a plan, whole or not at all."""
    path = Path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_name(f".{path.name}.new")
        written.write_text(text, encoding="utf-8")
        written.replace(path)
    except OSError as error:
        raise ReconcilerError(f"{name} cannot be written: {error.strerror}") from error
