"""Findings as SARIF 2.1.0, for code-scanning pages. Pure.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from reconciler import __version__
from reconciler.model import Problem


@dataclass(frozen=True, slots=True)
class Result:
    """One finding."""

    rule: str
    #: `error`, `warning` or `note`.
    level: str
    message: str
    #: The path as it is shown, and the place in it; empty and 0 for what has none.
    file: str = ""
    line: int = 0
    column: int = 0
    #: What stays the same for as long as the finding does; empty where the page shall find its own.
    fingerprint: str = ""


def as_sarif(problems: Sequence[Problem]) -> str:
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


def write_sarif(results: Sequence[Result], descriptions: Mapping[str, str]) -> str:
    """Return a document with one run.

    Args:
        results: in the order in which they shall be shown.
        descriptions: words for each rule that has better ones than its name.
    """
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
    written: dict[str, Any] = {
        "ruleId": result.rule,
        "ruleIndex": number,
        "level": result.level,
        "message": {"text": result.message},
    }
    if result.file:
        region = {"startLine": result.line, **({"startColumn": result.column} if result.column else {})}
        place = {"artifactLocation": {"uri": quote(result.file, errors="backslashreplace")}, "region": region}
        written["locations"] = [{"physicalLocation": place}]
    if result.fingerprint:
        written["partialFingerprints"] = {"recording/v1": result.fingerprint}
    return written
