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


FLOORS: dict[str, Callable[..., tuple[float, float]]] = {"load": load, "walk": walk}

if __name__ == "__main__":
    print(json.dumps(FLOORS[sys.argv[1]](*sys.argv[2:])))
