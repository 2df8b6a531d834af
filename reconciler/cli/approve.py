"""`reconciler approve`: lift, once, what a safety limit refuses as a whole."""

from __future__ import annotations

import re

import click

from reconciler.cli.asking import ask, check_reason
from reconciler.cli.exits import DONE, ERROR
from reconciler.cli.options import COMMON, setting_options, state_url, values
from reconciler.limits import NAME_DIGITS
from reconciler.report.refusals import refusal_line
from reconciler.store import open_store


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
    state = state_url(values(), sandbox=sandbox)
    if name is None:
        if reason is not None:
            raise click.UsageError("--reason belongs to a NAME; without one, what is refused is listed")
        _list(state)
        return
    if reason is None:
        raise click.UsageError("say why with --reason TEXT; it stands in the history beside what was approved")
    if re.fullmatch(rf"[0-9a-f]{{{NAME_DIGITS}}}", name) is None:
        raise click.UsageError(f"NAME has {NAME_DIGITS} digits, 0 to 9 and a to f; `reconciler approve` lists them")
    answer = ask(state, "approve", {"name": name}, check_reason(reason))
    click.echo(answer.text if answer.done else f"Error: {answer.text}", err=not answer.done)
    context.exit(DONE if answer.done else ERROR)


def _list(state: str) -> None:
    with open_store(state) as store:
        refusals = store.refusals()
    if not refusals:
        click.echo("Nothing is refused.")
    for refused in refusals:
        click.echo(refusal_line(refused))
