"""Labels by which people find documents, and how some are selected by them.

Pure. What must never happen in this room: a selection that is not understood selects everything, or nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Final

from reconciler.model import Labels

#: How many different sets of labels are remembered for sharing: people group by a few words, while a program that
#: numbers its calls in a label must not fill the memory of a daemon that runs for months.
_REMEMBERED: Final = 4096


def labels_of(texts: Mapping[str, str]) -> Labels:
    """Return a document's labels, sorted by their names; documents with equal ones share one value."""
    return shared(tuple(sorted(texts.items())))


@functools.lru_cache(maxsize=_REMEMBERED)
def shared(labels: Labels) -> Labels:
    """Return the first value given that equals this one, as long as that is remembered."""
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
