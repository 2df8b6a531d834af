"""`reconciler sync`: have the running daemon look at everything now."""

from __future__ import annotations

import click

from reconciler.cli.asking import NobodyToAsk, ask, check_daemon
from reconciler.cli.exits import DONE, ERROR
from reconciler.cli.options import COMMON, given_settings, setting_options, state_url
from reconciler.state import open_asker


@click.command("sync")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--sandbox", is_flag=True, help="The state of runs against the embedded sandbox.")
@setting_options(*COMMON)
@click.pass_context
def command(context: click.Context, names: tuple[str, ...], sandbox: bool) -> None:
    """Have the running daemon look at all recordings now, or at those of the documents NAME..."""
    state = state_url(given_settings(), sandbox=sandbox)
    try:
        check_daemon(open_asker(state))
    except NobodyToAsk as error:
        raise click.UsageError(
            f"{error}; without one, `reconciler apply` brings recordings to what is declared"
        ) from error
    answer = ask(state, "sync", {"names": list(names)})
    click.echo(answer.text if answer.done else f"Error: {answer.text}", err=not answer.done)
    context.exit(DONE if answer.done else ERROR)
