"""`reconciler init`: write a commented sample."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.options import COMMON, setting_options
from reconciler.documents import sample_text
from reconciler.errors import ReconcilerError


@click.command("init")
@click.argument("folder", metavar="[DIR]", default="desired_state", type=click.Path(file_okay=False))
@setting_options(*COMMON)
def command(folder: str) -> None:
    """Write a commented sample document into DIR (default: desired_state). Nothing is overwritten."""
    file = Path(folder) / "sample.yaml"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as opened:
            opened.write(sample_text())
    except FileExistsError:
        raise ReconcilerError(f"{file} is already there, and nothing is overwritten; name another folder") from None
    except OSError as error:
        raise ReconcilerError(f"{file} cannot be written: {error.strerror}") from error
    click.echo(f"Wrote {file}. Put your own IDs in, then: reconciler validate {folder}", err=True)
