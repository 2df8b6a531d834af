"""The command line: parse, put the parts together, call, choose the exit code.

Each command has a module of its own here, imported when it is run and not before: a hook that validates one file must
not pay for the daemon's libraries, nor `--help` for any room below. Data goes to standard output, everything else to
standard error.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final, cast

import click

from reconciler import __version__
from reconciler.cli import stops
from reconciler.cli.streams import abandon, guard, lost

#: Command -> what it does, in the order of the help. The module is that of `commands`, but for `_MODULES`.
COMMANDS: Final = {
    "validate": "Check the documents offline.",
    "plan": "Show what would be sent; write nothing.",
    "apply": "Send, confirm and record.",
    "run": "Keep recordings as the documents say, as a daemon.",
    "status": "Show what the state knows of each recording.",
    "history": "Show what happened, newest first.",
    "approve": "Have the daemon send what a safety limit refused, once.",
    "sync": "Have the daemon look at everything now.",
    "state": "Back up the state, or check that it is whole.",
    "schema": "Print the JSON Schema of a kind.",
    "init": "Write a commented sample.",
    "import": "Write live recordings as documents.",
    "set": "Change the status that one document declares.",
    "suspend": "Have one recording left alone until a moment.",
    "resume": "End the suspension of one recording.",
    "doctor": "Check settings, key, rights, state and clock.",
    "sandbox": "Simulate the Bird voice API on loopback.",
}
#: Those that change something: with standard output full, they have still done it.
_ACTING: Final = frozenset({"apply", "run", "set", "suspend", "resume", "init"})
#: Habits that other tools have left: what somebody types, and the command that does it here.
HABITS: Final = {
    "check": "reconciler validate [PATH]...",
    "complete": "reconciler set NAME completed",
    "describe": "reconciler status [NAME]...",
    "diff": "reconciler plan [PATH]...",
    "dump": "reconciler import --workspace UUID",
    "export": "reconciler import --workspace UUID",
    "events": "reconciler history [NAME]...",
    "get": "reconciler status [NAME]...",
    "lint": "reconciler validate [PATH]...",
    "list": "reconciler status [NAME]...",
    "logs": "reconciler history [NAME]...",
    "ls": "reconciler status [NAME]...",
    "pause": "reconciler set NAME paused",
    "reconcile": "reconciler apply [PATH]...",
    "refresh": "reconciler sync [NAME]...",
    "show": "reconciler status [NAME]...",
}
_DRY_RUN: Final = "--dry-run"
#: Commands whose names cannot be those of modules.
_MODULES: Final = {"import": "import_"}


class _Commands(click.Group):
    """Imports a command's module when the command is asked for; the list and its help need none."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        # Now, not when it has failed: a process that is out of descriptors or memory can import nothing any more.
        importlib.import_module("reconciler.cli.failures")
        module = importlib.import_module(f"reconciler.cli.commands.{_MODULES.get(cmd_name, cmd_name)}")
        command = with_variables(cast("click.Command", module.command))
        stops.loaded()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name in HABITS and name not in COMMANDS:
            raise click.UsageError(f"there is no `{name}` here; use: {HABITS[name]}")
        if name in ("apply", "run") and _DRY_RUN in args[: args.index("--") if "--" in args else None]:
            raise click.UsageError(
                f"`{name}` has no {_DRY_RUN}; to see what it would send, use: reconciler plan [PATH]"
            )
        if name not in COMMANDS and not name.startswith("-"):
            import difflib

            close = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean `{close[0]}`?" if close else ""
            ctx.fail(f"No such command {name!r}.{hint}")
        return super().resolve_command(ctx, args)


def with_variables(command: click.Command) -> click.Command:
    """Give each option of a command that has none yet its environment variable, `RECONCILER_<NAME>`.

    A variable that an orchestrator has set for a service of its own is not read, and said so.
    """
    from reconciler.settings import ENVIRONMENT_PREFIX, is_service_link

    for below in getattr(command, "commands", {}).values():
        with_variables(below)
    for parameter in command.params:
        if not isinstance(parameter, click.Option):
            continue
        if parameter.envvar is None:
            parameter.envvar = ENVIRONMENT_PREFIX + parameter.opts[0].lstrip("-").replace("-", "_").upper()
        name = str(parameter.envvar)
        if is_service_link(name, os.environ.get(name, "")):
            parameter.envvar = None
            click.echo(
                f"Warning: {name} is not read: its value is one that Kubernetes sets for a Service of such a name;"
                f" say {parameter.opts[0]}, or set enableServiceLinks to false",
                err=True,
            )
    return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Documentation: README.md, docs/. Exit codes: 0 done, 1 error, 2 changes present (plan --detailed-exitcode),"
    " 3 some recordings failed, 4 refused by a safety limit, 5 saved plan is stale, 6 another writer holds the state,"
    " 7 the API refused the key, 64 wrong usage, 130 interrupted.",
)
@click.version_option(__version__, prog_name="reconciler", message="%(prog)s %(version)s")
def cli() -> None:
    """Keep the recordings of live phone calls at Bird in the status that documents in Git declare."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code.

    Whatever goes wrong, what is shown of it holds no key and no traceback: both quote what they should not.
    """
    stops.listen(sys.argv[1:] if arguments is None else arguments)
    try:
        guard()
        given = sys.argv[1:] if arguments is None else list(arguments)
        code = cli.main(args=given, prog_name="reconciler", standalone_mode=False)
    except BaseException as error:  # noqa: BLE001 - the last wall: what passed it would be shown as a traceback
        from reconciler.cli.failures import conclude

        code = conclude(error)
        given = []
        if isinstance(error, KeyboardInterrupt | click.Abort):
            abandon()
    code = code if isinstance(code, int) else 0
    if why := lost():
        click.echo(f"Error: standard output could not be written: {why}", err=True)
        # Of what acts, the code says what was done; of what only tells, that it could not be told.
        code = code if code or _ACTING.intersection(given[:1]) else 1
    stops.end_with(code)
    sys.exit(code)
