"""What tells whether a file changed, without reading it.

What must never happen in this module: equal stamps pass for equal bytes while a later change may not show in them yet.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

#: How far a file's times must lie in the past before an equal stamp proves equal content (Git's "racy" rule). Two
#: seconds is the coarsest clock of a file system in use (FAT); local ones tick every few milliseconds.
CONCLUSIVE_NS: Final = 2_000_000_000


class FileStamp(NamedTuple):
    """What tells whether a file changed, without reading it. A tuple, because hundreds of thousands are kept."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int
    #: The wall clock when the stamp was taken, in nanoseconds; not part of what is compared.
    read_at_ns: int

    @classmethod
    def of(cls, status: os.stat_result, read_at_ns: int) -> FileStamp:
        mtime_ns = status.st_mtime_ns
        ctime_ns = status.st_ctime_ns
        if ctime_ns == mtime_ns:
            ctime_ns = mtime_ns  # one number in memory instead of two equal ones, for most files there are
        return cls(status.st_size, mtime_ns, ctime_ns, status.st_ino, status.st_dev, read_at_ns)

    @property
    def is_conclusive(self) -> bool:
        """Whether the file's last change is old enough that a later one must show in its times."""
        return self.read_at_ns - max(self.mtime_ns, self.ctime_ns) > CONCLUSIVE_NS

    def proves_unchanged_since(self, earlier: FileStamp) -> bool:
        """Whether a file that was read just after `earlier` was taken surely holds the same bytes now.

        False is no proof of a change: it means that the file has to be read again and its stamp replaced by this one.
        """
        return self[:5] == earlier[:5] and earlier.is_conclusive
