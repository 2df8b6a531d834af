"""The user's own git, asked and never told: which repository a path is in, what a commit or the index holds.

What must never happen in this room: anything is written, to the work tree, the index or the repository.
"""

from reconciler.git.command import (
    REACHING_GUARDS,
    WITHHELD,
    GitError,
    LacksObjects,
    Location,
    Repository,
    check_version,
    command_line,
    locate,
    locations,
    reason_of,
)
from reconciler.git.content import (
    Entry,
    describe,
    index_of,
    is_unborn,
    list_addable,
    list_index,
    list_raw,
    list_tree,
    list_unwatched,
    may_leave_out,
    merge_base,
    read_blobs,
    resolve,
    sizes,
)

__all__ = [
    "REACHING_GUARDS",
    "WITHHELD",
    "Entry",
    "GitError",
    "LacksObjects",
    "Location",
    "Repository",
    "check_version",
    "command_line",
    "describe",
    "index_of",
    "is_unborn",
    "list_addable",
    "list_index",
    "list_raw",
    "list_tree",
    "list_unwatched",
    "locate",
    "locations",
    "may_leave_out",
    "merge_base",
    "read_blobs",
    "reason_of",
    "resolve",
    "sizes",
]
