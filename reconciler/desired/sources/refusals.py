"""Why a file, a folder or a link is not read, in words; and which errors say nothing of it at all.

What must never happen in this room: too few descriptors, or a disk that does not answer, become a mistake of a file.
"""

from __future__ import annotations

import errno
import sys
from typing import Final

from reconciler.desired.sources.names import is_nameable
from reconciler.model import Problem, ResourceFault


def unnameable(path: str) -> Problem:
    shown = path.encode("unicode_escape").decode("ascii")
    reading = sys.getfilesystemencoding()
    try:
        told = path.encode(reading, sys.getfilesystemencodeerrors()).decode("utf-8")
    except UnicodeError:
        told = ""
    if told != path and is_nameable(told) and told:
        # The name is a good one, but not by the locale, in which each of its bytes became a character of its own.
        message = f"the name is UTF-8, and this process reads names as {reading}, by its locale"
        return Problem(told, 1, 1, message, hint="set LC_ALL=C.UTF-8, or PYTHONUTF8=1", rule="file-name")
    return Problem(shown, 1, 1, "the name holds control characters or is not UTF-8", rule="file-name")


def not_regular(file: str) -> Problem:
    return Problem(file, 1, 1, "not a regular file", rule="not-a-file")


#: What says something of the system and nothing of the file: too few descriptors, too little memory ...
_SCARCE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN})
#: ... and a disk or a mount that does not answer, which may be so for one folder while all others can be walked.
_BROKEN: Final = frozenset({errno.EIO, errno.ETIMEDOUT, errno.ESTALE, errno.EHOSTDOWN, errno.ENOTCONN})


def raise_fault(file: str, error: OSError) -> None:
    """Raise what kept a file from being read as a fault of the system, where it is one.

    Raises:
        ResourceFault: nothing is known of the file.
    """
    if error.errno in _SCARCE or error.errno in _BROKEN:
        raise _fault(file, error) from error


def _fault(file: str, error: OSError) -> ResourceFault:
    advice = ""
    if error.errno == errno.EMFILE:
        advice = ": this process may have no more open at once, raise the limit with `ulimit -n` or LimitNOFILE="
    elif error.errno == errno.ENFILE:
        advice = ": the whole system may have no more open at once, raise fs.file-max with sysctl"
    return ResourceFault(f"{file[:500]} cannot be read now: {error.strerror or error}{advice}")


def unreadable(file: str, error: OSError) -> Problem:
    """Word why a file or folder cannot be read.

    Raises:
        ResourceFault: there is too little of something, which says nothing of the file.
    """
    if error.errno in _SCARCE:
        raise _fault(file, error) from error
    if error.errno == errno.ELOOP:
        return cycle(file)
    return Problem(file, 1, 1, f"cannot be read: {error.strerror or error}", rule="unreadable")


def cycle(file: str) -> Problem:
    return Problem(file, 1, 1, "symbolic link that leads back to itself", rule="link-cycle")


def nowhere(file: str) -> Problem:
    return Problem(file, 1, 1, "symbolic link to nothing", rule="link-to-nothing")


def leaves(file: str, target: str, root: str = "the given folders") -> Problem:
    return Problem(file, 1, 1, f"symbolic link leaves {root}: it leads to {target[:200]!r}", rule="link-outside")
