"""The least that work of a kind can take, measured around the work alone: what ratios are told against.

Each is run as a process of its own, and prints wall and CPU seconds as a JSON list.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path


def load(root: str) -> tuple[float, float]:
    """Load all documents of a tree with PyYAML's fast stock loader, keeping none; reading the files is not counted."""
    import yaml

    loader = yaml.CSafeLoader
    wall = cpu = 0.0
    for path in sorted(Path(root).rglob("*.yaml")):
        data = path.read_bytes()
        began, busy = time.perf_counter(), time.process_time()
        for _ in yaml.load_all(data, loader):
            pass
        wall += time.perf_counter() - began
        cpu += time.process_time() - busy
    return wall, cpu


def walk(root: str) -> tuple[float, float]:
    """Walk a tree and stat each file."""
    began, busy = time.perf_counter(), time.process_time()
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
    return time.perf_counter() - began, time.process_time() - busy


def patch(addresses: str, concurrency: str) -> tuple[float, float]:
    """PATCH every address of a file with an ordinary client on the transport that the program uses."""
    import asyncio

    import aiohttp
    import httpx
    from httpx_aiohttp import AiohttpTransport

    waiting = iter(Path(addresses).read_text().splitlines())
    headers = {"Authorization": "AccessKey benchmark", "Content-Type": "application/json"}

    def session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=int(concurrency)))

    async def work(client: httpx.AsyncClient) -> None:
        for address in waiting:
            answer = await client.patch(address, content=b'{"status":"paused"}', headers=headers)
            answer.raise_for_status()

    async def main() -> tuple[float, float]:
        async with httpx.AsyncClient(transport=AiohttpTransport(client=session), trust_env=False) as client:
            began, busy = time.perf_counter(), time.process_time()
            await asyncio.gather(*(work(client) for _ in range(int(concurrency))))
            return time.perf_counter() - began, time.process_time() - busy

    try:
        from uvloop import new_event_loop  # where the program has it, this has it too
    except ImportError:
        return asyncio.run(main())
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main())


FLOORS: dict[str, Callable[..., tuple[float, float]]] = {"load": load, "walk": walk, "patch": patch}

if __name__ == "__main__":
    print(json.dumps(FLOORS[sys.argv[1]](*sys.argv[2:])))
