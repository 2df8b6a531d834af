"""What the garbage collector is spared by the commands that work for long on a heap that hardly changes."""

from __future__ import annotations

import gc
from typing import Final

#: New containers between two looks at the youngest generation. A turn makes some two hundred, of which the next turns
#: leave nothing: with the default of 700, a look finds the turns that are under way and moves them on as if they were
#: to stay, and it is their number that the full collections follow.
_YOUNG: Final = 10_000


def spare_what_is_loaded() -> None:
    """Take all that exists now out of the collector's sight: it is in use until the end, or freed by its references.

    Call it when the documents are loaded and the work is about to begin. A full collection of 100,000 recordings would
    hold up an edit for some tenths of a second, again and again, and find nothing.
    """
    gc.collect(1)
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 50)
