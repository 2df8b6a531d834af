"""Run one command and say what it took, from a process so small that its own memory cannot be taken for the command's.

A new process inherits the peak of the one that starts it; a benchmark that has built a tree would lend it hundreds of
megabytes.

    python -I -S launch.py FILE COMMAND...

runs the command and writes wall and CPU seconds, peak resident bytes and exit code to the file.
"""

import os
import sys
import time

began = time.perf_counter()
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
wall = time.perf_counter() - began
# The kernel counts kilobytes, but on macOS, which counts bytes.
unit = 1 if sys.platform == "darwin" else 1024
with open(sys.argv[1], "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib is a third of this process's memory
    print(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit, os.waitstatus_to_exitcode(status), file=file)
