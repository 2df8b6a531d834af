"""Where things are, for tests that read the project itself: nothing else asks where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).parents[2]
SCHEMAS: Final = CHECKOUT / "schemas"
DATA: Final = CHECKOUT / "tests" / "data"
#: What earlier versions of the program left behind.
WRITTEN_BY: Final = DATA / "written_by"
