"""`reconciler init`: write a commented sample."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.options import COMMON, setting_options
from reconciler.desired import sample_text
from reconciler.model import ReconcilerError
from reconciler.settings import check_inside, has_working_directory, write_new


@click.command("init")
@click.argument("folder", metavar="[DIR]", default="desired_state", type=click.Path(file_okay=False))
@setting_options(*COMMON)
def command(folder: str) -> None:
    """Write a commented sample document into DIR (default: desired_state). Nothing is overwritten."""
    file = Path(folder) / "sample.yaml"
    try:
        check_inside(file.parent)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_new(file, sample_text().encode())
    except FileExistsError:
        raise ReconcilerError(f"{file} is already there, and nothing is overwritten; name another folder") from None
    except OSError as error:
        if not has_working_directory():
            raise
        raise ReconcilerError(f"{file} cannot be written: {error.strerror}") from error
    click.echo(f"Wrote {file}. Put your own IDs in, then: reconciler validate {folder}", err=True)
