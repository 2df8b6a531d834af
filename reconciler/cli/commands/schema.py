"""`reconciler schema`: print a JSON Schema."""

from __future__ import annotations

import click

from reconciler.cli.options import COMMON, setting_options
from reconciler.desired import schema_text


@click.command("schema")
@click.argument("kind", required=False)
@setting_options(*COMMON)
def command(kind: str | None) -> None:
    """Print the JSON Schema of KIND: CallRecording, CallRecordingSet, Plan, Status, History, Daemon or Settings.

    Without KIND, that of any document.
    """
    click.echo(schema_text(kind), nl=False)
