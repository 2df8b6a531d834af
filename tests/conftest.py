"""What every test stands on: none of the developer's settings, keys or proxies, and no clock in judgement."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from reconciler.cli import main
from tests.world.foreign_api import ForeignApi, running
from tests.world.shell import KEY, Done, Shell

# A test must never use a real key, nor a setting that only this machine has; all its traffic stays on loopback.
for name in list(os.environ):
    if name.startswith(("RECONCILER_", "BIRD_ACCESS_KEY")) or name.lower().endswith("_proxy"):
        del os.environ[name]

# No deadline: under coverage, on shared cores, a slow example says nothing about the claim. The rest stays as
# hypothesis chooses it, which is another profile where CI is set.
CHOSEN = settings.get_profile(settings.get_current_profile_name())
settings.register_profile("unhurried", parent=CHOSEN, deadline=None)
settings.load_profile("unhurried")


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
