"""The alerts that `docs/how-to/alerts.md` names, read from its table and held against pages of metrics.

Only the few forms that stand there are understood: a metric, or the sum of one, compared with a number; labels by `=~`.
Nobody waits for a minute in a test, so time is divided: a threshold of seconds by `faster`.
"""

from __future__ import annotations

import operator
import re
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from tests.world.places import CHECKOUT

_PAGE: Final = CHECKOUT / "docs" / "how-to" / "alerts.md"
_ROW: Final = re.compile(r"^\| `((?:sum\()?reconciler_[^`]*)` \| [^|]+ \|$", re.MULTILINE)
_RULE: Final = re.compile(r'(?:sum\((\w+)\)|(\w+)(?:\{(\w+)=~"([^"]*)"\})?) (>|<|==) (\d+)')
_COMPARE: Final = {">": operator.gt, "<": operator.lt, "==": operator.eq}


def rules() -> list[str]:
    """Return the expressions of the page's table of alerts."""
    # Within a table Markdown wants `\|` for a `|`, and shows that.
    found = [rule.replace(r"\|", "|") for rule in _ROW.findall(_PAGE.read_text())]
    assert len(found) >= 10
    assert all(_RULE.fullmatch(rule) for rule in found), found
    return found


def firing(*pages: str, faster: float = 60.0) -> set[str]:
    """Return the metrics whose alerts fire, given the pages of all daemons of a state; what no page has fires not."""
    samples = [sample for page in pages for family in text_string_to_metric_families(page) for sample in family.samples]
    fired = set()
    for rule in rules():
        matched = _RULE.fullmatch(rule)
        assert matched is not None
        summed, metric, label, words, comparison, number = matched.groups()
        name = summed or metric
        values = [
            sample.value
            for sample in samples
            if sample.name == name and (label is None or re.fullmatch(words, sample.labels[label]))
        ]
        if summed and values:
            values = [sum(values)]
        bound = float(number) / (faster if name.endswith("_seconds") else 1.0)
        if any(_COMPARE[comparison](value, bound) for value in values):
            fired.add(name)
    return fired
