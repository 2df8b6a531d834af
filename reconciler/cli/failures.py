"""What a command ended with, in words and as an exit code. Nothing that is shown here may hold a key."""

from __future__ import annotations

import io
import os

import click
from click.core import ParameterSource

from reconciler.cli.exits import ERROR, INTERRUPTED, USAGE, exit_code
from reconciler.model import ReconcilerError
from reconciler.settings import NO_WORKING_DIRECTORY, SETTINGS_PATH, KeyRing, has_working_directory
from reconciler.telemetry import frames, hide


def conclude(error: BaseException) -> int | str | None:
    """Say what ended the command, and return its exit code.

    What is shown of it holds no key and no traceback: both quote what they should not.
    """
    error = _cause(error)
    match error:
        case SystemExit():
            return error.code
        case click.BadParameter() if (place := _place_of_setting(error)) is not None:
            click.echo(hide(f"Error: {place}: {error.message}", _secrets()), err=True)
            return ERROR
        case click.UsageError():
            _show(error)
            return USAGE
        case click.Abort() | KeyboardInterrupt():
            click.echo("Interrupted.", err=True)
            return INTERRUPTED
        case click.ClickException():
            _show(error)
            return ERROR
        case ReconcilerError():
            click.echo(hide(f"Error: {error}", _secrets()), err=True)
            return exit_code(error)
        case OSError() if not has_working_directory():
            click.echo(f"Error: {NO_WORKING_DIRECTORY}", err=True)
            return ERROR
        case OSError(strerror=str() as words):
            click.echo(f"Error: {words} (at {frames(error)})", err=True)
            return ERROR
        case _:
            place = frames(error, count=8)
            click.echo(f"Error: unforeseen {type(error).__name__} at {place}. Please report this line.", err=True)
            return ERROR


def _cause(error: BaseException) -> BaseException:
    """Return what ended tasks that ran side by side: a failure that we know, if there is one among theirs."""
    while isinstance(error, BaseExceptionGroup):
        known, others = error.split((ReconcilerError, KeyboardInterrupt))
        error = (known or others or error).exceptions[0]
    return error


def _show(error: click.ClickException) -> None:
    """Show what click has to say: it quotes bad values, and one of them may be a key in the wrong place."""
    text = io.StringIO()
    error.show(text)
    click.echo(hide(text.getvalue(), _secrets()), err=True, nl=False)


def _secrets() -> list[str]:
    return KeyRing(os.environ).secrets()


def _place_of_setting(error: click.BadParameter) -> str | None:
    """Return where a bad value was set, if that was not the command line: a mistake there is no wrong usage."""
    if error.ctx is None or error.param is None or error.param.name is None:
        return None
    match error.ctx.get_parameter_source(error.param.name):
        case ParameterSource.ENVIRONMENT:
            return str(error.param.envvar)
        case ParameterSource.DEFAULT_MAP:
            return f"{error.ctx.meta.get(SETTINGS_PATH)}: {error.param.name}"
        case _:
            return None
