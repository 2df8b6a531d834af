"""The embedded sandbox of one command: it listens on loopback, and its recordings outlive the command in a file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import click

from reconciler.model import Desired, SettingsError
from reconciler.providers import DEFAULT_KEY, SandboxServer, SeedRecording, World
from reconciler.settings import make_state_folder, read_regular, write_whole

SANDBOX_FILE: Final = "sandbox.json"
_SAVE_SECONDS: Final = 5.0
#: The largest such file that is read, in bytes: a million recordings have less than half of this.
_FILE_BYTES: Final = 1024 * 1024 * 1024


@asynccontextmanager
async def embedded_sandbox(
    desired: Iterable[Desired], file: Path
) -> AsyncIterator[tuple[str, str, Callable[[Iterable[Desired]], None]]]:
    world = _load_world(file)

    def seed(documents: Iterable[Desired]) -> None:
        world.seed(SeedRecording(document.key) for document in documents)

    seed(desired)
    unsaved = False

    def save() -> None:
        nonlocal unsaved
        try:
            make_state_folder(file.parent)
            write_whole(file, json.dumps(world.dump()).encode(), mode=0o600)
        except OSError as error:
            # The work goes on: what a simulated API holds is nothing that anybody would miss.
            if not unsaved:
                click.echo(f"Warning: the sandbox's recordings cannot be kept in {file}: {error.strerror}", err=True)
            unsaved = True

    async def keep_saving() -> None:
        while True:
            await asyncio.sleep(_SAVE_SECONDS)
            await asyncio.to_thread(save)

    async with SandboxServer(world) as server:
        click.echo(f"Using the embedded sandbox at {server.url}; its recordings are kept in {file}.", err=True)
        saving = asyncio.create_task(keep_saving())
        try:
            yield server.url, DEFAULT_KEY, seed
        finally:
            saving.cancel()
            await asyncio.gather(saving, return_exceptions=True)
            save()


def _load_world(file: Path) -> World:
    try:
        return World.load(json.loads(read_regular(file, _FILE_BYTES)))
    except FileNotFoundError:
        return World()
    except (OSError, ValueError) as error:
        raise SettingsError(f"the sandbox's recordings in {file} cannot be read; remove the file: {error}") from error
