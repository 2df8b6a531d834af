"""A plan for whoever reads it: people at a terminal, reviewers of a pull request, programs, dashboards. Pure.

One module a form; `words` is what they share. Each returns a string and prints nothing. What a report shows is chosen
field by field, so that nothing that was not meant to be shown can be: no label, no annotation, no reason of a document.
"""

from __future__ import annotations

from reconciler.report.data import as_data, as_json
from reconciler.report.text import Paint, as_text, outline_as_text, plain
from reconciler.report.words import REASONS, instant, summary_line

__all__ = ["REASONS", "Paint", "as_data", "as_json", "as_text", "instant", "outline_as_text", "plain", "summary_line"]
