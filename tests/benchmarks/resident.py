"""The daemon as a process of its own: started, asked whether it is ready, and watched from the outside."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .fast_bird import FastBird
from .measure import COMMAND, environment
from .scene import DOCUMENTS

#: How long anything is waited for; every wait ends as soon as what it waits for is there.
PATIENCE_SECONDS: Final = 300.0
#: How long nothing must come until all is over.
QUIET_SECONDS: Final = 2.0
LOG: Final = "daemon.log"
#: A year: a resync is spread over its period, and of a million recordings in a day there would be two calls a second.
RESYNC_SECONDS: Final = "31536000"


@dataclass(frozen=True, slots=True)
class Resident:
    """A daemon that is ready. What is read of it comes from `/proc`."""

    pid: int
    #: From its start until `/readyz` said so.
    ready_seconds: float
    #: What that took of a core, which is the same on a busy machine.
    ready_cpu_seconds: float

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)

    def resident_bytes(self) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


@contextmanager
def daemon(folder: Path, url: str, *options: str, ready_every: float = 0.02) -> Iterator[Resident]:
    """Run the daemon on the documents of a folder until the block ends.

    It has no request budget and next to no resync: what is measured is the rest. Every `ready_every` seconds it is
    asked whether it is ready.
    """
    if not Path("/proc/self/status").exists():
        raise RuntimeError("memory and CPU of a process are read from /proc, which this system does not have")
    given = ["--api-url", url, "--listen", "127.0.0.1:0", "--rate-limit", "0", "--resync-seconds", RESYNC_SECONDS]
    log = folder / LOG
    began = time.perf_counter()
    with (
        log.open("wb") as written,
        subprocess.Popen(
            [COMMAND, "run", DOCUMENTS, *given, "--log-format", "json", *options],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
        ) as process,
    ):
        try:

            def alive() -> bool:
                if process.poll() is not None:
                    raise RuntimeError(f"the daemon ended with {process.returncode}\n{log.read_text()[-2000:]}")
                return True

            wait_for(lambda: alive() and _address(log) is not None, "the daemon listens", every=0.02)
            address = _address(log)
            wait_for(lambda: alive() and _is_ready(address), "the daemon is ready", every=ready_every)
            took = time.perf_counter() - began
            yield Resident(process.pid, took, cpu_seconds(process.pid))
        finally:
            process.terminate()
            process.wait(60)


def cpu_seconds(pid: int) -> float:
    """Return the user and system seconds that a process has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for(condition: Callable[[], bool], what: str, *, every: float = 0.05) -> None:
    """Ask again and again until it is so.

    Raises:
        TimeoutError: it never was.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"waited {PATIENCE_SECONDS:.0f} s in vain: {what}")
        time.sleep(every)  # a look in between, until it holds


def wait_for_first_looks(folder: Path, api: FastBird) -> None:
    """Wait until a daemon that has become ready has looked at everything once, and the API hears nothing any more."""
    log = folder / LOG
    wait_for(lambda: '"resync_done"' in log.read_text(), "the daemon has looked at everything", every=0.1)
    wait_until_quiet(lambda: sum(api.counts().values()))


def wait_until_quiet(count: Callable[[], int]) -> None:
    """Wait until a count has not moved for so long that nothing more is to come."""
    last, since = count(), time.monotonic()
    while time.monotonic() - since < QUIET_SECONDS:
        time.sleep(0.1)  # a look in between, until it holds
        if (now := count()) != last:
            last, since = now, time.monotonic()


def _address(log: Path) -> tuple[str, int] | None:
    """Return where the daemon listens, once its log says so."""
    for line in log.read_text().splitlines():
        if '"listening"' in line:
            host, _, port = json.loads(line)["address"].rpartition(":")
            return host, int(port)
    return None


def _is_ready(address: tuple[str, int] | None) -> bool:
    if address is None:
        return False
    connection = http.client.HTTPConnection(*address, timeout=10)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
