"""Labels by which people find documents, and how some are selected by them.

Pure. What must never happen in this room: a selection that is not understood selects everything, or nothing; what
people write into labels that is to be kept nowhere, such as the number of a caller, gets into the index or the state.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Final

from reconciler.model import Labels
from reconciler.telemetry import scrub

#: How many different sets of labels are remembered for sharing: people group by a few words, while a program that
#: numbers its calls in a label must not fill the memory of a daemon that runs for months.
_REMEMBERED: Final = 4096


@functools.lru_cache(maxsize=_REMEMBERED)
def labels_of(written: Labels) -> Labels:
    """Return labels as they are kept: sorted, without numbers of callers and keys; equal ones share one value.

    Args:
        written: names and texts, as the document has them.
    """
    return _shared(tuple(sorted((scrub(name), scrub(text)) for name, text in written)))


@functools.lru_cache(maxsize=_REMEMBERED)
def _shared(labels: Labels) -> Labels:
    return labels


def parse_label(text: str) -> tuple[str, str]:
    """Read `team=billing`: the label's name, and the text that it must have, which may be empty.

    Only the first `=` parts the two, so that a value may hold more.

    Raises:
        ValueError: there is no `=`, or nothing before it.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"{text[:100]!r} is no label: write name=value, such as team=billing")
    return name, value


def matches(labels: Labels, wanted: Iterable[tuple[str, str]]) -> bool:
    """Return whether all wanted labels are there; none wanted is a match."""
    return all(label in labels for label in wanted)
