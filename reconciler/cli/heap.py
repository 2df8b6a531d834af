"""The heap of commands that work for long: what the garbage collector is spared, what the system gets back."""

from __future__ import annotations

import ctypes
import gc
from typing import Final

#: New containers between two looks at the youngest generation. A turn makes some two hundred, of which the next turns
#: leave nothing: with the default of 700, a look finds the turns that are under way and moves them on as if they were
#: to stay, and it is their number that the full collections follow.
_YOUNG: Final = 10_000
#: glibc's M_MMAP_THRESHOLD, and the bytes from which a block shall be the system's own: far above what a turn asks for.
_MMAP_THRESHOLD: Final = -3
_LARGE: Final = 128 * 1024


def give_large_blocks_back() -> None:
    """Have memory of large blocks returned to the system when they are freed. Call it before anything is loaded.

    The C library stops to do so once it has freed a few of them: what a start takes for a moment (tables of a hundred
    thousand entries) would stay with the process for good, an eighth of what it holds. Where the C library has no such
    switch, nothing happens.
    """
    try:
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)
    except (AttributeError, OSError):
        pass


def spare_what_is_loaded() -> None:
    """Take all that exists now out of the collector's sight: it is in use until the end, or freed by its references.

    Call it when the documents are loaded and the work is about to begin. A full collection of 100,000 recordings would
    hold up an edit for some tenths of a second, again and again, and find nothing.
    """
    gc.collect(1)
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 50)
