"""What the tests of a turn stand on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """The real store, observer and turns on a world in memory, whose time passes when a test says so."""
    bench = Bench(tmp_path)
    yield bench
    bench.close()
