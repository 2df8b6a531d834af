"""`reconciler approve`: lift, once, what a safety limit refuses as a whole."""

from __future__ import annotations

import re

import click

from reconciler.cli.asking import ask, check_reason
from reconciler.cli.exits import DONE, ERROR
from reconciler.cli.looking import open_existing
from reconciler.cli.options import COMMON, given_settings, setting_options, state_url
from reconciler.plan import NAME_DIGITS
from reconciler.report import refusal_line
from reconciler.settings import Settings
from reconciler.telemetry import visible


@click.command("approve")
@click.argument("name", required=False)
@click.option("--reason", help="Why; kept in the history with who approved it.")
@click.option("--sandbox", is_flag=True, help="The state of runs against the embedded sandbox.")
@setting_options(*COMMON)
@click.pass_context
def command(context: click.Context, name: str | None, reason: str | None, sandbox: bool) -> None:
    """Have the running daemon send, once, what a safety limit refuses under NAME; without NAME list what is refused.

    A name stands for exact content: once the documents change again, what is refused then has another name.
    """
    settings = given_settings()
    if name is None:
        if reason is not None:
            raise click.UsageError("--reason belongs to a NAME; without one, what is refused is listed")
        _list(settings, sandbox=sandbox)
        return
    if reason is None:
        raise click.UsageError("say why with --reason TEXT; it stands in the history beside what was approved")
    if re.fullmatch(rf"[0-9a-f]{{{NAME_DIGITS}}}", name) is None:
        raise click.UsageError(f"NAME has {NAME_DIGITS} digits, 0 to 9 and a to f; `reconciler approve` lists them")
    answer = ask(state_url(settings, sandbox=sandbox), "approve", {"name": name}, check_reason(reason))
    click.echo(answer.text if answer.done else f"Error: {answer.text}", err=not answer.done)
    context.exit(DONE if answer.done else ERROR)


def _list(settings: Settings, *, sandbox: bool) -> None:
    store, path = open_existing(settings, sandbox=sandbox)
    with store:
        refusals, writer = store.refusals(), store.writer()
    if not refusals:
        click.echo("Nothing is refused.")
    for refused in refusals:
        click.echo(refusal_line(refused))
    if writer is None or not writer.alive:
        click.echo(f"No daemon is alive at {visible(str(path))}: this is what the last one left.", err=True)
