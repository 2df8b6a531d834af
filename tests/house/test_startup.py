"""What a command imports before it does anything: nothing that it does not need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.rooms import HEAVY
from tests.world.places import CHECKOUT

#: The same for one that looks at a single file, and for one that only says something about itself.
HEAVY_FOR_ONE_FILE = {*HEAVY, "sqlite3", "subprocess"}


HEAVY_FOR_HELP = {*HEAVY_FOR_ONE_FILE, "dataclasses", "hashlib", "jsonschema_rs", "json", "yaml"}


def imports_of(arguments: list[str], folder: Path) -> set[str]:
    """Every module that one run of the program imports, by its dotted name."""
    shutil.copytree(CHECKOUT / "desired_state", folder / "desired_state")
    command = [sys.executable, "-X", "importtime", "-m", "reconciler", *arguments]
    # What measures the tests imports modules of its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert done.returncode == 0, [line for line in done.stderr.splitlines() if line not in lines]
    return {line.rpartition("|")[2].strip() for line in lines}


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["validate", "desired_state"], HEAVY),
        (["validate", "desired_state/card-payments.yaml"], HEAVY_FOR_ONE_FILE),
        (["plan", "--no-refresh", "desired_state"], {*HEAVY, "shlex", "shutil", "tempfile", "textwrap"}),
        (["schema"], HEAVY_FOR_ONE_FILE),
    ],
    ids=["validate", "validate-one-file", "plan", "schema"],
)
def test_light_commands_import_nothing_heavy(arguments: list[str], heavy: set[str], tmp_path: Path) -> None:
    imported = {module.partition(".")[0] for module in imports_of(arguments, tmp_path)}
    assert "reconciler" in imported
    assert imported & heavy == set()


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_what_is_said_about_the_program_itself_needs_no_room_below(option: str, tmp_path: Path) -> None:
    imported = imports_of([option], tmp_path)
    ours = {module for module in imported if module.startswith("reconciler.")}
    assert ours == {"reconciler.cli", "reconciler.cli.program", "reconciler.cli.streams", "reconciler.cli.stops"}
    assert imported & HEAVY_FOR_HELP == set()
