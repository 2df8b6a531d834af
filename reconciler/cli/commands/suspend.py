"""`reconciler suspend`: have one recording left alone until a moment, in place."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import click

from reconciler.cli.editing import edit_document, editing_options
from reconciler.cli.options import COMMON, DOCUMENTS, given_settings, paths_argument, setting_options
from reconciler.desired import DocumentLimits, Suspension, add_suspend
from reconciler.model import ReconcilerError

_SPAN: Final = re.compile(r"([1-9][0-9]{0,4})([mhd])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


@click.command("suspend")
@click.argument("name")
@paths_argument
@click.option("--reason", required=True, help="Why; shown in plans and in the status.")
@click.option(
    "--until",
    required=True,
    metavar="MOMENT",
    help="When it is looked after again: 2026-12-01T00:00:00Z, or from now on 90m, 2h or 3d.",
)
@editing_options
@setting_options(*COMMON, *DOCUMENTS)
def command(name: str, paths: tuple[str, ...], reason: str, until: str, commit: bool, message: str | None) -> None:
    """Let the document NAME, found in PATH... (default: desired_state), be left alone until a moment.

    One that is suspended already gets the new reason and moment. Only its `suspend` changes in its file.
    """
    now = datetime.now(UTC)
    suspension = Suspension.of(reason, _moment(until, now))
    if suspension.as_read.until <= now:
        raise ReconcilerError(f"--until {until} has passed, so that nothing would be suspended")
    edit_document(
        name,
        paths,
        given_settings(),
        partial(_edit, suspension),
        done=f"Suspend {name} until {suspension.until}: {suspension.reason}",
        unchanged=f"{name} is suspended like that already",
        commit=commit,
        message=message,
    )


def _moment(until: str, now: datetime) -> str:
    """Return a moment as a document writes it; a span counts from now and is rounded up to a second."""
    span = _SPAN.fullmatch(until)
    if span is None:
        return until
    moment = now + timedelta(**{_UNITS[span[2]]: int(span[1])}, seconds=1)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _edit(suspension: Suspension, data: bytes, file: str, name: str, limits: DocumentLimits) -> bytes:
    return add_suspend(data, file, name, suspension, limits)
