"""The files that ship with the program and are read at run time: JSON Schemas, the API description, the sample.

The schemas stand in `schemas/` beside the package in a checkout and inside the package in an installed wheel; only this
module knows that. It reads text and parses nothing, so that whoever needs one file does not import a YAML or JSON
Schema library.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from reconciler.model import ReconcilerError

_PACKAGE: Final = Path(__file__).parent.parent
#: The wheel's place first: an installed program must not pick up a folder that happens to lie beside it.
_FOLDERS: Final = (_PACKAGE / "schemas", _PACKAGE.parent / "schemas")
_SAMPLE: Final = Path(__file__).with_name("sample.yaml")


def read_schema(filename: str) -> str:
    """Return the text of one shipped schema, such as `plan.schema.json`.

    Raises:
        ReconcilerError: no such file ships with the program, or the installation is damaged.
    """
    for folder in _FOLDERS:
        try:
            return (folder / filename).read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ReconcilerError(f"the shipped file {filename} cannot be read: {error.strerror}") from error
    raise ReconcilerError(f"the shipped file schemas/{filename} is missing: install the program again")


def sample_text() -> str:
    """Return the commented document that a newcomer begins with."""
    return _SAMPLE.read_text(encoding="utf-8")
