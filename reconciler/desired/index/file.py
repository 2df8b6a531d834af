"""The index on disk: written whole into the folder for caches, read whole, believed only where all about it fits.

What must never happen in this room: an index that is wrong, old, foreign or cut short becomes an error or an answer; a
file that others may have written is believed; anything but plain values is read out of it.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import json
import os
import stat
import struct
import sys
import time
from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple
from datetime import datetime
from itertools import repeat
from operator import itemgetter
from pathlib import Path
from typing import Final, NamedTuple

from reconciler import __version__
from reconciler.desired.documents.limits import DocumentLimits
from reconciler.desired.index.columns import DRIFTS, Columns
from reconciler.desired.shipped import read_schema
from reconciler.desired.sources.stamps import FileStamp
from reconciler.git import DIGEST_BYTES
from reconciler.model import ReconcilerError, Status, Suspend
from reconciler.settings import make_state_folder, working_folder

_MAGIC: Final = b"reconciler index 3\n"
_SUFFIX: Final = ".index"
#: Types of the columns of stamps: size, times, inode and device.
_STAMP: Final = "QqqQQ"
#: Stands for the stamp of a file that proves nothing: no file has this size.
_UNPROVEN: Final = (2**64 - 1, 0, 0, 0, 0)
#: Of the index itself.
_SEAL_BYTES: Final = 32
#: How many indexes stay in a folder, each that of some given paths; more are of paths that nobody gives any more.
_KEPT: Final = 8
#: What a writer left behind that was killed; none takes as long.
_ABANDONED_SECONDS: Final = 600
#: What reads documents, by whose change a file may come to mean something else.
_READERS: Final = ("yaml", "jsonschema_rs")
_OWN_READERS: Final = ("documents", "index")
_PARTS: Final = 15
#: Git lets the owner write whatever it checks out, under any usual umask: so none that came with a commit is believed.
_MODE: Final = 0o400


class Indexed(NamedTuple):
    """What an index holds."""

    columns: Columns
    #: A column each for the size, the times, the inode and the device that the files had just before they were read.
    stamps: Sequence[array[int]]
    #: The digests of the files' bytes, one after the other.
    digests: bytes

    def proven(self, read_at_ns: int) -> dict[str, tuple[int, ...]]:
        """Return for each file the stamp, taken at a given moment, that would prove that its bytes are as they were."""
        return dict(zip(self.columns.files, zip(*self.stamps, repeat(read_at_ns), strict=False), strict=True))

    def proves(self, files: Mapping[str, FileStamp]) -> bool:
        """Return whether there are these files and no others, and all have the stamps that prove their bytes."""
        try:
            found = list(map(files.__getitem__, self.columns.files))
            # Column by column: a hundred thousand comparisons in C, and no tuple is made for them.
            return len(found) == len(files) and all(
                array(kind, column) == stamps
                for kind, column, stamps in zip(_STAMP, zip(*found, strict=True), self.stamps, strict=False)
            )
        except (KeyError, OverflowError):
            return False

    def digest(self, place: int) -> bytes:
        """Return the digest of one file's bytes."""
        return self.digests[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]


class Index:
    """The index of some given paths in a folder."""

    def __init__(self, folder: Path, paths: Iterable[str], limits: DocumentLimits) -> None:
        """Take part in nothing yet: the file is opened by `read`, and made by `write`.

        Args:
            folder: the one for caches, there or not.
            paths: as they were given, since files are shown by them.
            limits: an index of files that were read under other limits does not count.
        """
        self._folder = folder
        self._limits = limits
        about = json.dumps([working_folder(), *paths])
        self._path = (
            folder / f"documents-{hashlib.sha256(about.encode(errors='surrogatepass')).hexdigest()[:16]}{_SUFFIX}"
        )

    def exists(self) -> bool:
        """Return whether somebody has written an index of these paths, whatever it is worth now."""
        return self._path.exists()

    def read(self) -> Indexed | None:
        """Return what the index holds; None where there is none that can be believed."""
        try:
            data = self._bytes()
            return None if data is None else _decode(data, self._key())
        except (OSError, ReconcilerError, ValueError, KeyError, TypeError, IndexError, struct.error, RecursionError):
            return None

    def write(self, columns: Columns, stamps: Iterable[FileStamp | None], digests: bytes) -> None:
        """Put an index in the place of the old one, whole; where that cannot be, leave everything as it is.

        Args:
            columns: what the files declare.
            stamps: for each file the stamp that it had just before it was read, taken long enough after its last change
                for an equal one to prove equal bytes; None for one that proves nothing.
            digests: those of the files' bytes, one after the other.
        """
        try:
            parts = _encode(columns, stamps, digests, self._key())
            make_state_folder(self._folder)
            written = self._path.with_name(f".{self._path.name}.{os.urandom(8).hex()}")
            try:
                opened = os.open(written, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
                with os.fdopen(opened, "wb") as file:
                    os.fchmod(opened, _MODE)  # whatever the umask took away
                    file.writelines(parts)
                # Not flushed to the disk: what a power cut leaves of it has another digest.
                written.replace(self._path)
            finally:
                with suppress(OSError):
                    written.unlink()
            self._tidy()
        except (OSError, ReconcilerError, ValueError, OverflowError, struct.error):
            pass

    def _bytes(self) -> memoryview | None:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            own = status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == _MODE
            if not own or not stat.S_ISREG(status.st_mode):
                return None
            data = file.read()
        begin = len(_MAGIC) + _SEAL_BYTES
        body = memoryview(data)[begin:]
        if data[:begin] != _MAGIC + hashlib.sha256(body).digest():
            return None
        return body

    def _key(self) -> bytes:
        """Return what an index must have been made under: program, schemas, limits and the code that reads."""
        parts = [__version__, sys.version, sys.byteorder, *map(str, astuple(self._limits))]
        parts += [read_schema(f"{name}.schema.json") for name in ("call-recording", "call-recording-set")]
        folders = [Path(__file__).parent.parent / name for name in _OWN_READERS]
        for name in _READERS:
            # Found, and not imported: where the index knows everything, nobody needs them.
            found = importlib.machinery.PathFinder.find_spec(name)
            folders += map(Path, (found.submodule_search_locations if found else None) or ())
        for folder in folders:
            for file in sorted(folder.iterdir()):
                if file.suffix in (".py", ".so"):
                    status = file.stat()
                    parts.append(f"{file.name} {status.st_size} {status.st_mtime_ns}")
        return hashlib.sha256(json.dumps(parts).encode()).digest()

    def _tidy(self) -> None:
        """Remove the indexes of paths that were given longest ago, and what a writer that was killed left behind."""
        found = [(entry.stat().st_mtime, entry) for entry in self._folder.glob(f"documents-*{_SUFFIX}")]
        for _, entry in sorted(found, reverse=True)[_KEPT:]:
            entry.unlink()
        for entry in self._folder.glob(f".documents-*{_SUFFIX}.*"):
            if time.time() - entry.stat().st_mtime > _ABANDONED_SECONDS:
                entry.unlink()


def _encode(columns: Columns, stamps: Iterable[FileStamp | None], digests: bytes, key: bytes) -> list[bytes]:
    proofs = [_UNPROVEN if stamp is None else stamp[:5] for stamp in stamps]
    suspends = [[row, each.reason, each.until.isoformat()] for row, each in columns.suspends.items()]
    texts = (
        key,
        "\n".join(columns.files).encode(),
        b"".join(array(kind, map(itemgetter(at), proofs)).tobytes() for at, kind in enumerate(_STAMP)),
        digests,
        columns.counts.tobytes(),
        "\n".join(columns.lines).encode(),
        "\n".join(columns.names).encode(),
        columns.places.tobytes(),
        bytes(columns.drifts),
        json.dumps(suspends).encode(),
        json.dumps(columns.sets).encode(),
        b"unambiguous" if columns.unambiguous else b"",
        columns.begins.tobytes(),
        columns.labelled.tobytes(),
        json.dumps(columns.label_sets).encode(),
    )
    lengths = struct.pack(f"<{_PARTS}Q", *map(len, texts))
    digest = hashlib.sha256(lengths)
    for text in texts:
        digest.update(text)
    return [_MAGIC, digest.digest(), lengths, *texts]


def _decode(body: memoryview, key: bytes) -> Indexed | None:
    lengths = struct.unpack_from(f"<{_PARTS}Q", body)
    at = struct.calcsize(f"<{_PARTS}Q")
    parts = []
    for length in lengths:
        parts.append(body[at : at + length])
        at += length
    if parts[0] != key or at != len(body):
        return None
    columns = Columns(
        files=_texts(parts[1]),
        counts=_numbers(parts[4]),
        lines=_texts(parts[5]),
        names=_texts(parts[6]),
        places=_numbers(parts[7]),
        drifts=bytearray(parts[8]),
        suspends={
            row: Suspend(reason, datetime.fromisoformat(until)) for row, reason, until in json.loads(bytes(parts[9]))
        },
        sets=[(place, name, line) for place, name, line in json.loads(bytes(parts[10]))],
        unambiguous=bool(parts[11]),
        begins=_numbers(parts[12]),
        labelled=_numbers(parts[13]),
        label_sets=[tuple((name, value) for name, value in labels) for labels in json.loads(bytes(parts[14]))],
    )
    size = 8 * len(columns.files)
    stamps = [_numbers(parts[2][at * size : (at + 1) * size], kind) for at, kind in enumerate(_STAMP)]
    indexed = Indexed(columns, stamps, bytes(parts[3]))
    return indexed if len(parts[2]) == size * len(_STAMP) and _fits(indexed) else None


def _texts(part: memoryview) -> list[str]:
    return str(part, "utf-8").split("\n") if part else []


def _numbers(part: memoryview, kind: str = "I") -> array[int]:
    numbers: array[int] = array(kind)
    numbers.frombytes(part)
    return numbers


def _fits(indexed: Indexed) -> bool:
    """Return whether the columns are of one length, and what they refer to is there."""
    columns, files = indexed.columns, len(indexed.columns.files)
    by_row = (columns.names, columns.places, columns.begins, columns.drifts, columns.labelled)
    return (
        len(columns.counts) == files
        and len(indexed.digests) == files * DIGEST_BYTES
        and all(len(column) == len(columns) for column in by_row)
        and sum(columns.counts) == len(columns)
        and not columns.drifts.strip(bytes(range(len(DRIFTS))))
        and set(columns.statuses()) <= {status.value for status in Status}
        and max(columns.labelled, default=0) < len(columns.label_sets)
        and all(isinstance(text, str) for labels in columns.label_sets for label in labels for text in label)
        and all(0 <= row < len(columns) for row in columns.suspends)
        and all(0 <= place < files and isinstance(name, str) for place, name, _ in columns.sets)
        and all(isinstance(each.reason, str) for each in columns.suspends.values())
    )
