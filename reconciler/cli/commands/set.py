"""`reconciler set`: change the status that one document declares, in place."""

from __future__ import annotations

from functools import partial

import click

from reconciler.cli.editing import edit_document, editing_options
from reconciler.cli.options import COMMON, DOCUMENTS, given_settings, paths_argument, setting_options
from reconciler.desired import DocumentLimits, set_status
from reconciler.model import Status


@click.command("set")
@click.argument("name")
@click.argument("status", metavar="STATUS", type=click.Choice([status.value for status in Status]))
@paths_argument
@editing_options
@setting_options(*COMMON, *DOCUMENTS)
def command(name: str, status: str, paths: tuple[str, ...], commit: bool, message: str | None) -> None:
    """Let the document NAME, found in PATH... (default: desired_state), declare STATUS: ongoing, paused or completed.

    Only that word changes in its file. Nothing is sent: `apply` or the daemon brings it about.
    """
    edit_document(
        name,
        paths,
        given_settings(),
        partial(_edit, Status(status)),
        done=f"Set {name} to {status}",
        unchanged=f"{name} is set to {status} already",
        commit=commit,
        message=message,
    )


def _edit(status: Status, data: bytes, file: str, name: str, limits: DocumentLimits) -> bytes:
    return set_status(data, file, name, status, limits)
