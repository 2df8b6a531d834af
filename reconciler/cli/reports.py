"""Reports: which form goes where. Several in one run, each to standard output or to a file."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
from click.exceptions import Exit

from reconciler.cli.exits import CHANGES_PRESENT, DONE
from reconciler.cli.options import painter
from reconciler.cli.places import Places
from reconciler.model import Problem, ProviderError, ReconcilerError
from reconciler.plan import Outline, Plan, as_json
from reconciler.report import as_text, outline_as_text
from reconciler.settings import append_regular, write_named
from reconciler.telemetry import scrubbed, visible

FORMATS: Final = ("text", "json", "markdown", "html", "github", "gitlab", "junit", "sarif")
#: Names the file whose Markdown GitHub Actions shows on the page of a run.
_STEP_SUMMARY: Final = "GITHUB_STEP_SUMMARY"


@dataclass(frozen=True, slots=True)
class Report:
    """One `--report`: the form, and the file; standard output where there is none."""

    format: str
    file: str | None

    @property
    def lists_all(self) -> bool:
        """Whether it lists what is in sync whatever it is told."""
        return self.format == "junit"


class ReportType(click.ParamType[Report]):
    """Reads ``FORMAT`` and ``FORMAT=FILE``."""

    name = "FORMAT[=FILE]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Report:
        if isinstance(value, Report):
            return value
        name, _, file = str(value).partition("=")
        if name not in FORMATS:
            self.fail(f"{name!r} is not one of {', '.join(FORMATS)}", param, ctx)
        return Report(name, file or None)


#: Forms whose readers look for files from the root of the repository, wherever the command was started.
_FROM_THE_ROOT: Final = frozenset({"github", "gitlab", "junit", "sarif"})


@contextmanager
def nothing_stale(files: Collection[str]) -> Iterator[None]:
    """Take away what an earlier run left under these names, where this one ends without a plan to put there.

    Whoever publishes the file whatever the exit code would show a plan that nobody made of what is there now.
    """
    before = {file: _identity(file) for file in files}
    try:
        yield
    except BaseException as ending:
        if not (isinstance(ending, Exit) and ending.exit_code in (DONE, CHANGES_PRESENT)):
            for file, identity in before.items():
                if identity is not None and _identity(file) == identity:
                    with suppress(OSError):  # of a folder that cannot be written: the exit code says that it is old
                        Path(file).unlink()
                        click.echo(
                            f"{visible(file)} was of an earlier run; it was removed, since there is no plan.", err=True
                        )
        raise


def _identity(file: str) -> tuple[int, int, int] | None:
    """Return what tells a regular file from one that was written in its place; None where there is none."""
    try:
        status = os.lstat(file)
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def write_reports(plan: Plan, reports: Sequence[Report], *, show_all: bool, color: bool) -> None:
    """Write a plan in each form that was asked for."""
    for report in reports:
        if report.format == "text":
            text = as_text(plan, show_all=show_all, paint=painter(color and report.file is None))
        else:
            text = _form(_placed(plan, report.format), report.format, show_all=show_all)
        _put(report, text)
        if report.format == "github":
            _summarise(_form(plan, "markdown", show_all=show_all))


def write_outline(outline: Outline, reports: Sequence[Report], *, color: bool) -> None:
    """Write an outline as text, as often as that was asked for."""
    for report in reports:
        _put(report, outline_as_text(outline, paint=painter(color and report.file is None)))


def write_problem_reports(problems: Sequence[Problem], reports: Sequence[Report]) -> None:
    """Write why there is no plan, in those forms that can say so; what they quote may leave the author's terminal."""
    problems = [scrubbed(problem) for problem in problems]
    places = Places()
    from_the_root = [places.problem(problem) for problem in problems]
    for report in reports:
        placed = from_the_root if report.format in _FROM_THE_ROOT else problems
        text = _problem_form(placed, report.format)
        if text is not None:
            _put(report, text)
        if report.format == "github":
            _summarise(_problem_form(problems, "markdown") or "")


def _placed(plan: Plan, form: str) -> Plan:
    if form not in _FROM_THE_ROOT:
        return plan
    places = Places()
    placed = places.plan(plan)
    return places.without_what_is_gone(placed) if form == "github" else placed


def _form(plan: Plan, form: str, *, show_all: bool) -> str:
    # Each form is imported when it is asked for, so that a plan on a terminal starts at once.
    match form:
        case "markdown":
            from reconciler.report import as_markdown

            return as_markdown(plan, show_all=show_all)
        case "html":
            from reconciler.report import as_html

            return as_html(plan, show_all=show_all)
        case "github":
            from reconciler.report import as_annotations

            return as_annotations(plan, show_all=show_all)
        case "gitlab":
            from reconciler.report import as_code_quality

            return as_code_quality(plan, show_all=show_all)
        case "junit":
            from reconciler.report import as_junit

            return as_junit(plan)
        case "sarif":
            from reconciler.report import as_sarif

            return as_sarif(plan, show_all=show_all)
        case _:
            return as_json(plan, show_all=show_all)


def _problem_form(problems: Sequence[Problem], form: str) -> str | None:
    match form:
        case "markdown":
            from reconciler.report import problems_as_markdown

            return problems_as_markdown(problems)
        case "github":
            from reconciler.report import problems_as_annotations

            return problems_as_annotations(problems)
        case "gitlab":
            from reconciler.report import problems_as_code_quality

            return problems_as_code_quality(problems)
        case "junit":
            from reconciler.report import problems_as_junit

            return problems_as_junit(problems, datetime.now(UTC))
        case "sarif":
            from reconciler.report import problems_as_sarif

            return problems_as_sarif(problems)
        case _:
            return None


def _put(report: Report, text: str) -> None:
    if report.file is None:
        click.echo(text, nl=False)
    else:
        write_file(report.file, text)


def _summarise(markdown: str) -> None:
    """Add to the page of the run, where GitHub Actions has one."""
    file = os.environ.get(_STEP_SUMMARY)
    if file:
        try:
            append_regular(file, f"{markdown}\n".encode())
        except OSError as error:
            raise ReconcilerError(f"{_STEP_SUMMARY} names {file}, which cannot be written: {error.strerror}") from error


def write_file(name: str, text: str) -> None:
    """Write a report or a plan, whole or not at all."""
    try:
        write_named(name, text.encode())
    except OSError as error:
        raise ReconcilerError(f"{name} cannot be written: {error.strerror}") from error


def say_unread(failures: Sequence[ProviderError]) -> None:
    """Say which calls could not be read, each reason once."""
    reasons = sorted({str(error) for error in failures})
    calls = "1 call" if len(failures) == 1 else f"{len(failures)} calls"
    click.echo(f"Error: {calls} could not be read; the plan leaves their recordings out:", err=True)
    for reason in reasons[:5]:
        click.echo(f"  {reason}", err=True)
