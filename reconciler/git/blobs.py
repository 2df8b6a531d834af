"""The IDs by which Git knows a file's content, and by which its bytes are known again.

Pure. What must never happen in this room: two contents count as the same that a reader could tell apart.
"""

from __future__ import annotations

import hashlib
from typing import Final

#: Of a digest: its parts, the blob's ID in a repository of SHA-256 and in one of SHA-1.
WIDE_BYTES: Final = 32
NARROW_BYTES: Final = 20
DIGEST_BYTES: Final = WIDE_BYTES + NARROW_BYTES


def content_digest(data: bytes) -> bytes:
    """Return the digest by which a file's bytes are known again: its blob's IDs in both kinds of repository."""
    head = b"blob %d\0" % len(data)
    return hashlib.sha256(head + data).digest() + hashlib.sha1(head + data, usedforsecurity=False).digest()


def blob_of(digest: bytes, *, wide: bool) -> bytes:
    """Return the ID of the blob in a digest.

    Args:
        digest: of `content_digest`.
        wide: whether the repository's IDs are SHA-256, and not SHA-1.
    """
    return digest[:WIDE_BYTES] if wide else digest[WIDE_BYTES:]


def is_same(data: bytes, identifier: str) -> bool:
    """Return whether a file's bytes are those of a blob, or differ from it in nothing but line ends.

    Git writes CRLF for LF where somebody's settings say so; that changes no document.

    Args:
        data: the file's content.
        identifier: the blob's, hexadecimal.
    """
    wide = len(identifier) == 2 * WIDE_BYTES
    if blob_of(content_digest(data), wide=wide).hex() == identifier:
        return True
    return b"\r\n" in data and blob_of(content_digest(data.replace(b"\r\n", b"\n")), wide=wide).hex() == identifier
