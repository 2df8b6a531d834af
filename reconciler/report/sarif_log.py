"""Findings as SARIF 2.1.0, for code-scanning pages. Pure.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from reconciler import __version__
from reconciler.model import Problem
from reconciler.telemetry import visible


@dataclass(frozen=True, slots=True)
class Result:
    """One finding."""

    rule: str
    #: `error`, `warning` or `note`.
    level: str
    message: str
    #: The path, and the place in it; column 0 where that is not known. Code scanning refuses a whole document in which
    #: one result has no place.
    file: str
    line: int
    column: int = 0
    #: What stays the same for as long as the finding does; empty where the page shall find its own.
    fingerprint: str = ""


def problems_as_sarif(problems: Sequence[Problem]) -> str:
    """Return one run with a result for each problem."""
    results = [
        Result(
            problem.rule,
            "error",
            f"{problem.message}, {problem.hint}" if problem.hint else problem.message,
            problem.file,
            problem.line,
            problem.column,
        )
        for problem in problems
    ]
    return write_sarif(results, {})


#: Code scanning refuses a run of more results.
#: Source: https://docs.github.com/en/code-security/code-scanning/troubleshooting-sarif-uploads/results-exceed-limit
MOST_RESULTS: Final = 25_000
_CUT: Final = "not-all-shown"


def write_sarif(results: Sequence[Result], descriptions: Mapping[str, str]) -> str:
    """Return a document with one run, of which the last result says how many more there are where there are too many.

    Args:
        results: in the order in which they shall be shown.
        descriptions: words for each rule that has better ones than its name.
    """
    if len(results) > MOST_RESULTS:
        shown = results[: MOST_RESULTS - 1]
        last = shown[-1]
        cut = f"{len(results) - len(shown):,} more are not shown: a run of code scanning holds {MOST_RESULTS:,}"
        results = [*shown, Result(_CUT, "warning", cut, last.file, last.line)]
    rules = sorted({result.rule for result in results})
    numbers = {rule: number for number, rule in enumerate(rules)}
    driver = {
        "name": "reconciler",
        "version": __version__,
        "rules": [
            {"id": rule, "shortDescription": {"text": descriptions.get(rule, rule.replace("-", " "))}} for rule in rules
        ],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(result, numbers[result.rule]) for result in results],
    }
    document = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=2) + "\n"


def _result(result: Result, number: int) -> dict[str, Any]:
    region = {"startLine": result.line, **({"startColumn": result.column} if result.column else {})}
    uri = quote(result.file, errors="backslashreplace")
    # A relative reference must not begin like a scheme, and an absolute path is one of this machine's files.
    uri = f"file://{uri}" if uri.startswith("/") else uri
    written: dict[str, Any] = {
        "ruleId": result.rule,
        "ruleIndex": number,
        "level": result.level,
        "message": {"text": visible(result.message)},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}],
    }
    if result.fingerprint:
        written["partialFingerprints"] = {"recording/v1": result.fingerprint}
    return written
