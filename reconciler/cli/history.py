"""`reconciler history`: what happened, newest first."""

from __future__ import annotations

import json
from collections.abc import Mapping

import click

from reconciler.cli.exits import DONE
from reconciler.cli.options import COMMON, setting_options, state_url, values
from reconciler.model import Event, Revision
from reconciler.report import instant
from reconciler.store import open_store


@click.command("history")
@click.argument("name", required=False)
@click.option(
    "--format",
    "output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How it is written.",
)
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many events, the newest."
)
@click.option("--sandbox", is_flag=True, help="The state of runs against the embedded sandbox.")
@setting_options(*COMMON)
@click.pass_context
def command(context: click.Context, name: str | None, output: str, limit: int, sandbox: bool) -> None:
    """Show what happened to the recording NAME, or to all, newest first."""
    settings = values()
    with open_store(state_url(settings, sandbox=sandbox)) as store:
        events = store.history(name, limit=limit)
        known = store.revisions({event.revision for event in events if event.revision is not None})
    if output == "json":
        document = {"format": "reconciler.history/v1", "events": [_data(event, known) for event in events]}
        click.echo(json.dumps(document, indent=2))
    else:
        for event in events:
            click.echo(_line(event, known))
        if not events:
            click.echo("Nothing has happened yet." if name is None else f"Nothing is known of {name}.")
    context.exit(DONE)


def _line(event: Event, known: Mapping[str, Revision]) -> str:
    parts = [instant(event.at), f"{event.event:<14}", event.name]
    if event.event in ("released", "in_sync", "suspended"):
        parts.append(event.to_status or "")
    else:
        parts.append(f"{event.from_status or '?'} -> {event.to_status or '?'}")
    if event.cause:
        parts.append(f"({event.cause})")
    if event.answer:
        took = "" if event.request_ms is None else f" in {event.request_ms:.0f} ms"
        parts.append(f"answer {event.answer}{took}")
    if event.detail:
        parts.append(event.detail)
    if event.revision is not None:
        revision = known.get(event.revision)
        whose = "" if revision is None else f" by {revision.author}: {revision.subject}"
        parts.append(f"commit {event.revision[:12]}{whose}")
    return "  ".join(part for part in parts if part)


def _data(event: Event, known: Mapping[str, Revision]) -> dict[str, object]:
    revision = known.get(event.revision or "")
    return {
        "at": instant(event.at),
        "event": event.event,
        "name": event.name,
        "workspaceId": event.key.workspace_id,
        "channelId": event.key.channel_id,
        "callId": event.key.call_id,
        "recordingId": event.key.recording_id,
        "cause": event.cause,
        "revision": event.revision,
        "author": None if revision is None else revision.author,
        "subject": None if revision is None else revision.subject,
        "from": event.from_status,
        "to": event.to_status,
        "requestedAt": None if event.requested_at is None else instant(event.requested_at),
        "requestMs": event.request_ms,
        "answer": event.answer,
        "outcome": event.outcome,
        "irreversible": event.irreversible,
        "resumesForeign": event.resumes_foreign,
        "runId": event.run_id,
        "detail": event.detail,
    }
