"""What every test stands on: none of the developer's settings, keys or proxies, and no clock in judgement."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import settings

from reconciler.cli.program import main
from tests.world.foreign_api import ForeignApi, running
from tests.world.scene import Scene
from tests.world.shell import KEY, Done, Shell

# A test must never use a real key, nor a setting that only this machine has; all its traffic stays on loopback.
for name in list(os.environ):
    if name.startswith(("RECONCILER_", "BIRD_ACCESS_KEY")) or name.lower().endswith("_proxy"):
        del os.environ[name]

# Else each of the thousand commands under test would compile the whole program again, which doubles the time of a run.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# `make test VENV=...` would hand its settings to each `make` under test.
for name in ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL"):
    os.environ.pop(name, None)

# A shell that starts the tests in the background has them ignore SIGINT, and so would every command under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

#: Files with tests that take long one by one, the longest first. They begin a run: one that began at its end would be
#: waited for by all other cores.
LONG = (
    "kills",
    "benchmarks",
    "soak",
    "convergence_machine",
    "locks",
    "nights",
    "strangers",
    "fuzz",
    "two_daemons",
    "stops",
    "saved_files",
    "git_source",
    "standstill",
    "shown",
    "hostile",
    "wheel",
    "urgency",
    "approve",
)

# No deadline: under coverage, on shared cores, a slow example says nothing about the claim. The rest stays as
# hypothesis chooses it, which is another profile where CI is set.
CHOSEN = settings.get_profile(settings.get_current_profile_name())
settings.register_profile("unhurried", parent=CHOSEN, deadline=None)
settings.load_profile("unhurried")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put long files first in what each worker is given, which is at first one even part of the whole."""
    workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
    places = {f"test_{name}": place for place, name in enumerate(LONG)}
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    long = sorted((path for path in files if path.stem in places), key=lambda path: places[path.stem])
    first = [[item for path in long[worker::workers] for item in files[path]] for worker in range(workers)]
    rest = deque(item for path, those in files.items() if path.stem not in places for item in those)
    ordered: list[pytest.Item] = []
    for worker, part in enumerate(first):
        # As xdist divides: what is left, by the workers that are left.
        size = (len(items) - len(ordered)) // (workers - worker)
        ordered += part
        ordered += [rest.popleft() for _ in range(min(size - len(part), len(rest)))]
    items[:] = [*ordered, *rest]


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Take away what processes were writing about their coverage when a test killed them, before it is combined."""
    result = yield
    if not hasattr(session.config, "workerinput"):
        for part in session.config.rootpath.glob(".coverage.*"):
            try:
                with closing(sqlite3.connect(f"{part.as_uri()}?mode=ro", uri=True)) as data:
                    data.execute("SELECT version FROM coverage_schema").fetchone()
            except sqlite3.Error:
                with suppress(FileNotFoundError):
                    part.unlink()
    return result


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """The installed command in a folder of its own; nothing secret is ever found in what it wrote."""
    folder = tmp_path / "work"
    folder.mkdir()
    shell = Shell(folder)
    yield shell
    assert shell.leaks() == []


@pytest.fixture
def front_door(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """The same command in this process, for tables of cases that would else spend their time on imports."""
    monkeypatch.chdir(shell.folder)

    def run(*arguments: str, **environment: str) -> Done:
        with monkeypatch.context() as patch:
            for name, value in {**shell.env, **environment}.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main(arguments)
        captured = capsys.readouterr()
        shell.written += [captured.out, captured.err]
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def api() -> Iterator[ForeignApi]:
    """The independent API, as a process, with nothing in it; no request ever breaks its contract."""
    with running(key=KEY) as api:
        yield api
        assert api.violations() == []


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The sandbox as a process that all tests of a module share: none may count on what it holds."""
    with Scene(tmp_path_factory.mktemp("sandbox"), settle_ms=20) as scene:
        yield scene


@pytest.fixture
def scene(sandbox: Scene, tmp_path: Path) -> Scene:
    """The shared sandbox as new, with documents and a state of the test's own."""
    for what in ("state", "faults", "requests"):
        sandbox.sandbox.control("DELETE", what)
    sandbox.sandbox.control("POST", "settings", {"settle_ms": 20, "latency_ms": 0, "fault_rate": 0.0})
    return sandbox.at(tmp_path)
