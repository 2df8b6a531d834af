"""How much one file may ask of this program.

The figures bound time and memory for hostile input; each is a setting, and every refusal names it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from reconciler.model import SettingsError

#: Each level costs a few frames of Python's stack here and in the validators; 200 stays far from its end.
_DEEPEST: Final = 200
#: The shortest valid item of a set takes twenty bytes for each value: no file of recordings comes near this.
BYTES_PER_VALUE: Final = 16
#: What all aliases of one file may stand for together, in values. 64 aliases of a `suspend` are a few hundred.
ALIASED_VALUES: Final = 100_000
#: A text counts as one value more for so many characters: a long one behind an alias is copied whenever it is checked.
ALIASED_CHARACTERS: Final = 256
#: How much time of the processor the explanation of one file may take. Five megabytes of ordinary items need four times
#: as much; of what is not reached the fast reader still knows the line.
EXPLAINING_SECONDS: Final = 1.0
#: The same for all files that one command or one start reads.
EXPLAINING_SECONDS_FOR_ALL: Final = 10.0


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """The limits that one file of documents must keep.

    Raises:
        SettingsError: a limit is out of its own bounds.
    """

    #: Bytes in a file.
    max_file_bytes: int = 32 * 1024 * 1024
    #: Mappings and lists inside one another; the document itself is the first.
    max_depth: int = 32
    #: Uses of an anchor (`*name`) in a file.
    max_aliases: int = 64
    #: Documents in a file, the empty ones too.
    max_documents: int = 200_000
    #: Keys in one mapping.
    max_keys: int = 10_000

    def __post_init__(self) -> None:
        if self.max_file_bytes < 1:
            raise SettingsError(f"max_file_bytes must be at least 1, found {self.max_file_bytes}")
        if not 1 <= self.max_depth <= _DEEPEST:
            raise SettingsError(f"max_depth must be from 1 to {_DEEPEST}, found {self.max_depth}")
        if self.max_aliases < 0:
            raise SettingsError(f"max_aliases must not be negative, found {self.max_aliases}")
        if self.max_documents < 1:
            raise SettingsError(f"max_documents must be at least 1, found {self.max_documents}")
        if self.max_keys < 1:
            raise SettingsError(f"max_keys must be at least 1, found {self.max_keys}")

    @property
    def max_values(self) -> int:
        """How many values a file may hold: bounds the memory that a small file of tiny values could take."""
        return max(1024, self.max_file_bytes // BYTES_PER_VALUE)


class Patience:
    """The time that is left for explaining what is wrong with files; of what is not explained the line is told."""

    def __init__(self, seconds: float = EXPLAINING_SECONDS_FOR_ALL) -> None:
        self._left = seconds
        self._begun = 0.0

    def begin(self) -> float:
        """Begin with a file; return how many seconds of the processor it may take."""
        self._begun = time.thread_time()
        return max(0.0, min(EXPLAINING_SECONDS, self._left))

    def end(self) -> None:
        """Be done with the file that was begun, in the same thread."""
        self._left -= time.thread_time() - self._begun


DEFAULT_LIMITS: Final = DocumentLimits()
