"""What the tests of git stand on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.world.git_scene import Team, isolate


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    """People who push to a branch, in an environment that holds nothing of this machine's user."""
    isolate(monkeypatch, tmp_path / "home")
    return Team(tmp_path)
