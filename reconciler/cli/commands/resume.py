"""`reconciler resume`: end the suspension of one recording, in place."""

from __future__ import annotations

import click

from reconciler.cli.editing import edit_document, editing_options
from reconciler.cli.options import COMMON, DOCUMENTS, given_settings, paths_argument, setting_options
from reconciler.desired import remove_suspend


@click.command("resume")
@click.argument("name")
@paths_argument
@editing_options
@setting_options(*COMMON, *DOCUMENTS)
def command(name: str, paths: tuple[str, ...], commit: bool, message: str | None) -> None:
    """Let the document NAME, found in PATH... (default: desired_state), be looked after again.

    Only its `suspend` goes from its file. The recording itself resumes only where its document says `ongoing`.
    """
    edit_document(
        name,
        paths,
        given_settings(),
        remove_suspend,
        done=f"Resume {name}",
        unchanged=f"{name} is not suspended",
        commit=commit,
        message=message,
    )
