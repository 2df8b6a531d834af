"""How files of documents are named, and how paths lie in one another. Text alone: nothing is looked up on any disk."""

from __future__ import annotations

import unicodedata
from typing import Final

SUFFIXES: Final = (".yaml", ".yml")
#: Said of a file whose name looks like that of a document, and is none.
WRONG_CASE: Final = "not read, since only .yaml and .yml in small letters are endings of documents: rename it"


def beginning_of(folder: str) -> str:
    """Return what the paths of all that is in a folder begin with."""
    return folder if folder.endswith("/") else f"{folder}/"


def is_within(path: str, folder: str) -> bool:
    """Whether a path is that of a folder or of something below it."""
    return path == folder or path.startswith(beginning_of(folder))


def join_shown(folder: str, name: str) -> str:
    """Return how a name in a folder is shown, where the folder is shown so."""
    return name if folder == "." else f"{beginning_of(folder)}{name}"


def is_nameable(name: str) -> bool:
    """Whether a name can stand in one line of text: no control characters, no line ends, only UTF-8."""
    return name.isprintable() or not any(
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name
    )


def differs_in_case(name: str) -> bool:
    """Whether a name ends as that of a document does, but for the case of its letters."""
    return not name.endswith(SUFFIXES) and name.lower().endswith(SUFFIXES)
