"""The runner of git: what it starts ends with whoever needed it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tests.world.started import eventually

#: A stop at the moment at which git runs and the runner has not been told so yet.
STOPPED_AT_THE_START = """
import os, signal, subprocess, sys, threading, time
from reconciler.cli.stops import listen, loaded

class Popen(subprocess.Popen):
    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        print(self.pid, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)

subprocess.Popen = Popen
from reconciler.git.ask import run_attended
listen(["run"])
loaded()
run_attended(["-c", "alias.wait=!exec sleep 1000", "wait"], dict(os.environ), seconds=900, stop=threading.Event())
"""


def is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_no_git_outlives_a_stop_that_comes_as_it_is_started() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_AT_THE_START], stdout=subprocess.PIPE, text=True, check=False, timeout=60
    )
    group = int(done.stdout)
    try:
        assert done.returncode == 0
        eventually(lambda: not is_there(group))
    finally:
        if is_there(group):
            os.killpg(group, signal.SIGKILL)
