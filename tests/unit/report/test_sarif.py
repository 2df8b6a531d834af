"""Problems as SARIF: the parts that a code-scanning page needs, by the names and types of the standard."""

from __future__ import annotations

import json

from reconciler import __version__
from reconciler.model.documents import Problem
from reconciler.report.sarif_log import MOST_RESULTS, Result, problems_as_sarif, write_sarif

PROBLEMS = [
    Problem("desired_state/a b#1.yaml", 3, 7, "`stopped` is no status", "/spec/status", "did you mean `paused`?"),
    Problem("desired_state/c.yaml", 1, 1, "the file is not UTF-8", rule="encoding"),
    Problem("/srv/d.yaml", 9, 2, "`name` is there twice", rule="duplicate-key"),
    Problem("desired_state/c.yaml", 2, 1, "unknown field `x`"),
]


def test_each_problem_is_a_result_with_its_place() -> None:
    (run,) = json.loads(problems_as_sarif(PROBLEMS))["runs"]
    found = [
        (
            result["ruleId"],
            result["level"],
            result["message"]["text"],
            result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
            result["locations"][0]["physicalLocation"]["region"],
        )
        for result in run["results"]
    ]
    assert found == [
        (
            "schema",
            "error",
            "`stopped` is no status, did you mean `paused`?",
            "desired_state/a%20b%231.yaml",
            {"startLine": 3, "startColumn": 7},
        ),
        ("encoding", "error", "the file is not UTF-8", "desired_state/c.yaml", {"startLine": 1, "startColumn": 1}),
        ("duplicate-key", "error", "`name` is there twice", "file:///srv/d.yaml", {"startLine": 9, "startColumn": 2}),
        ("schema", "error", "unknown field `x`", "desired_state/c.yaml", {"startLine": 2, "startColumn": 1}),
    ]


def test_each_rule_is_declared_once_and_results_point_to_it() -> None:
    (run,) = json.loads(problems_as_sarif(PROBLEMS))["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["duplicate-key", "encoding", "schema"]
    assert all(rule["shortDescription"]["text"] for rule in rules)
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])


def test_the_document_names_its_version_and_its_tool() -> None:
    document = json.loads(problems_as_sarif(PROBLEMS))
    assert (document["version"], document["$schema"]) == (
        "2.1.0",
        "https://json.schemastore.org/sarif-2.1.0.json",
    )
    driver = document["runs"][0]["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("reconciler", __version__)
    assert document["runs"][0]["columnKind"] == "unicodeCodePoints"


def test_no_problem_is_a_run_without_results() -> None:
    (run,) = json.loads(problems_as_sarif([]))["runs"]
    assert (run["results"], run["tool"]["driver"]["rules"]) == ([], [])


def test_more_results_than_code_scanning_takes_are_cut_with_a_word_and_each_has_a_place() -> None:
    results = [Result("edit", "note", f"card-{number}", "a.yaml", number + 1) for number in range(MOST_RESULTS + 5)]
    (run,) = json.loads(write_sarif(results, {}))["runs"]
    assert len(run["results"]) == MOST_RESULTS
    assert all(result["locations"] for result in run["results"])
    assert run["results"][-1]["message"]["text"].startswith("6 more are not shown")
    (whole,) = json.loads(write_sarif(results[:MOST_RESULTS], {}))["runs"]
    assert [result["ruleId"] for result in whole["results"]] == ["edit"] * MOST_RESULTS


def test_a_mark_that_turns_the_direction_of_text_is_made_visible() -> None:
    (run,) = json.loads(write_sarif([Result("edit", "note", "a\u202eb", "a.yaml", 1)], {}))["runs"]
    assert run["results"][0]["message"]["text"] == "a\\u202eb"
