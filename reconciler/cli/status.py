"""`reconciler status`: what the state knows of each recording."""

from __future__ import annotations

import json

import click

from reconciler.cli.exits import DONE, ERROR
from reconciler.cli.options import COMMON, painter, setting_options, state_url, values
from reconciler.errors import ReconcilerError
from reconciler.model import Applied, Phase
from reconciler.report import instant
from reconciler.store import open_store


@click.command("status")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--format",
    "output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How it is written.",
)
@click.option("--sandbox", is_flag=True, help="The state of runs against the embedded sandbox.")
@setting_options(*COMMON)
@click.pass_context
def command(context: click.Context, names: tuple[str, ...], output: str, sandbox: bool) -> None:
    """Show what the state knows of each recording, or of those named. Reads the state alone, never the API."""
    settings = values()
    with open_store(state_url(settings, sandbox=sandbox)) as store:
        records = sorted(store.all(), key=lambda record: record.name)
    if names:
        records = [record for record in records if record.name in names]
        missing = sorted(set(names) - {record.name for record in records})
        if missing:
            raise ReconcilerError(
                f"the state knows no recording named {', '.join(missing)}; `reconciler status` lists all it knows"
            )
    if output == "json":
        document = {"format": "reconciler.status/v1", "recordings": [_data(record) for record in records]}
        click.echo(json.dumps(document, indent=2))
    else:
        _show(records, settings.color)
    context.exit(DONE if records or not names else ERROR)


def _show(records: list[Applied], color: bool) -> None:
    if not records:
        click.echo("No recordings are known yet: nothing has been applied.")
        return
    paint = painter(color)
    heading = ("NAME", "DESIRED", "LAST APPLIED", "LIVE", "PHASE", "SEEN", "WHERE")
    rows = [
        (
            record.name,
            record.desired.value,
            record.last_applied or "-",
            record.live or "-",
            record.phase.value,
            "-" if record.observed_at is None else instant(record.observed_at),
            f"{record.file}:{record.line}",
        )
        for record in records
    ]
    widths = [max(len(row[column]) for row in (heading, *rows)) for column in range(len(heading))]
    click.echo(paint(_row(heading, widths), "heading"))
    for record, row in zip(records, rows, strict=True):
        role = "" if record.phase is Phase.APPLIED else "change"
        text = _row(row, widths)
        click.echo(paint(text, role) if role else text)
        if record.error:
            click.echo(paint(f"    {record.error}", "danger"))


def _row(cells: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _data(record: Applied) -> dict[str, object]:
    def moment(name: str) -> str | None:
        at = getattr(record, name)
        return None if at is None else instant(at)

    return {
        "name": record.name,
        "workspaceId": record.key.workspace_id,
        "channelId": record.key.channel_id,
        "callId": record.key.call_id,
        "recordingId": record.key.recording_id,
        "desired": record.desired.value,
        "lastApplied": record.last_applied,
        "appliedAt": moment("applied_at"),
        "sent": record.sent,
        "sentAt": moment("sent_at"),
        "acceptedAt": moment("accepted_at"),
        "confirmBy": moment("confirm_by"),
        "live": record.live,
        "observedAt": moment("observed_at"),
        "phase": record.phase.value,
        "attempts": record.attempts,
        "dueAt": moment("due_at"),
        "error": record.error,
        "file": record.file,
        "line": record.line,
        "revision": record.revision,
    }
