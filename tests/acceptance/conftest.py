"""What the tests of the installed command stand on beside the shell, the API and the scene."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.world.git_scene import GitScene, Team, isolate
from tests.world.scene import Scene


@pytest.fixture
def world(sandbox: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitScene:
    """People who push to a branch, the shared sandbox, and a state of the test's own."""
    isolate(monkeypatch, tmp_path / "home")
    return GitScene(sandbox.at(tmp_path), Team(tmp_path))
