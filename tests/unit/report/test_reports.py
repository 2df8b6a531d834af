"""Reports for reviewers and machines: golden files of each form, their public schemas, hostile words in all of them.

Aspects: what each form shows and in which order, validity, bounds, injection. The text and JSON forms without a change
are in `test_report`; who writes which report where is at the end here, through the command.
"""

from __future__ import annotations

import json
import re
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from markdown_it import MarkdownIt

from reconciler.cli.places import Places
from reconciler.model.documents import Problem, Suspend
from reconciler.model.statuses import Drift, Phase, Status
from reconciler.plan.data import as_json
from reconciler.plan.limits import Limits
from reconciler.plan.plan import Plan, make_change_plan, make_plan
from reconciler.report.annotations import as_annotations, problems_as_annotations
from reconciler.report.code_quality import as_code_quality, problems_as_code_quality
from reconciler.report.junit import as_junit, problems_as_junit
from reconciler.report.markdown import MARKER, as_markdown, problems_as_markdown
from reconciler.report.page import as_html
from reconciler.report.sarif import as_sarif
from reconciler.report.sarif_log import problems_as_sarif
from reconciler.report.text import as_text
from tests.world.documents import document as yaml_document
from tests.world.nouns import NOW, document, key, look, record
from tests.world.places import DATA
from tests.world.shell import COMMAND, Shell

#: The standard's own schema, as the SARIF SDK ships it.
SARIF = Draft202012Validator(json.loads((DATA / "sarif-2.1.0.schema.json").read_text()))
#: What GitLab says that a finding must have.
CODE_QUALITY = Draft202012Validator(
    {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["description", "check_name", "fingerprint", "severity", "location"],
            "properties": {
                "description": {"type": "string", "minLength": 1},
                "check_name": {"type": "string", "minLength": 1},
                "fingerprint": {"type": "string", "minLength": 32},
                "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
                "location": {
                    "type": "object",
                    "required": ["path", "lines"],
                    "properties": {
                        "path": {"type": "string", "pattern": r"^(?!\./)"},
                        "lines": {"type": "object", "required": ["begin"]},
                    },
                },
            },
        },
    }
)


@pytest.fixture
def plan() -> Plan:
    """One recording for each thing that a report about a change can say."""
    before = [document(number) for number in (1, 2, 3, 6, 8, 9, 10, 12, 20)]
    before += [document(4, "ongoing"), document(5), document(7, "ongoing")]
    desired = [
        document(1, "completed"),
        document(2),
        document(3),
        document(4, "ongoing"),
        document(5, "ongoing", name="evening-shift/a-5"),
        document(6, suspend=Suspend("incident 4411", NOW + timedelta(hours=1))),
        document(7, "ongoing"),
        document(8, drift=Drift.REPORT),
        document(9),
        document(10),
        document(11, "ongoing"),
        document(12),
    ]
    paused = {"last_applied": Status.PAUSED, "phase": Phase.APPLIED}
    records = [
        record(1, **paused),
        record(2, **paused),
        record(4, "ongoing", **paused),
        record(7, "ongoing", last_applied=Status.ONGOING),
        record(8, **paused),
        record(9, **paused),
        record(12, **paused),
        record(20, name="taken-away", **paused),
    ]
    words = ["paused", "ongoing", "accepted", "paused", "paused", "ongoing"]
    words += ["paused", "ongoing", "completed", "gone", "paused", "paused"]
    live = {key(number): look(word) for number, word in enumerate(words, start=1)}
    live[key(10)] = look("gone", detail="the call has ended", ended=True)
    return make_change_plan(
        desired,
        before,
        {each.key: each for each in records},
        live,
        base="1e9a9cb1d7f1a9a1d25fa0d0d0bd7c5fd9a2b7aa",
        now=NOW,
        limits=Limits(max_resumes=1),
        revision="4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    )


@pytest.fixture
def simple() -> Plan:
    """A plan about no change, with live state that could not be read in part."""
    return make_plan(
        [document(), document(2), document(3)],
        {key(): record()},
        {key(): look("ongoing"), key(2): look("paused")},
        now=NOW,
        limits=Limits(),
        unread=frozenset({key(3)}),
    )


PROBLEMS = [
    Problem("desired_state/a,b:c.yaml", 3, 7, "`stopped` is no status", "/spec/status", "did you mean `paused`?"),
    Problem("desired_state/c.yaml", 1, 1, "the file is not UTF-8", rule="encoding"),
]

FORMS: dict[str, Callable[[Plan], str]] = {
    "change.txt": as_text,
    "change.json": as_json,
    "change.md": as_markdown,
    "change.html": as_html,
    "change.github.txt": as_annotations,
    "change.gitlab.json": as_code_quality,
    "change.junit.xml": as_junit,
    "change.sarif": as_sarif,
}
PROBLEM_FORMS: dict[str, Callable[[list[Problem]], str]] = {
    "problems.md": problems_as_markdown,
    "problems.github.txt": problems_as_annotations,
    "problems.gitlab.json": problems_as_code_quality,
    "problems.junit.xml": lambda problems: problems_as_junit(problems, NOW),
    "problems.sarif": problems_as_sarif,
}


def golden(name: str, text: str) -> None:
    """Compare with the golden file; where it is missing it is written, to be read and kept by a person."""
    path = DATA / name
    if not path.exists():
        path.write_text(text)
        pytest.fail(f"{path.name} was missing and has been written: read it, and run again")
    # The version of the program is in SARIF, and no part of the claim.
    version = r'"version": "\d+\.\d+\.\d+[^"]*",\n( +)"rules"'
    assert re.sub(version, r'"version": "0.0.0",\n\1"rules"', text) == re.sub(
        version, r'"version": "0.0.0",\n\1"rules"', path.read_text()
    )


@pytest.mark.parametrize("name", FORMS)
def test_each_form_of_a_plan_is_as_its_golden_file(plan: Plan, name: str) -> None:
    golden(name, FORMS[name](plan))


@pytest.mark.parametrize("name", PROBLEM_FORMS)
def test_each_form_of_mistakes_is_as_its_golden_file(name: str) -> None:
    golden(name, PROBLEM_FORMS[name](PROBLEMS))


# Schemas.


@pytest.mark.parametrize("which", ["plan", "simple"])
def test_sarif_fits_the_standard(which: str, request: pytest.FixtureRequest) -> None:
    found: Plan = request.getfixturevalue(which)
    for text in (as_sarif(found), as_sarif(found, show_all=True), problems_as_sarif(PROBLEMS), problems_as_sarif([])):
        assert [error.message for error in SARIF.iter_errors(json.loads(text))] == []
    assert list(SARIF.iter_errors({"version": "2.1.0", "runs": [{}]})), "the schema is in force"


@pytest.mark.parametrize("which", ["plan", "simple"])
def test_code_quality_fits_what_gitlab_reads(which: str, request: pytest.FixtureRequest) -> None:
    found: Plan = request.getfixturevalue(which)
    for text in (as_code_quality(found), problems_as_code_quality(PROBLEMS)):
        findings = json.loads(text)
        assert [error.message for error in CODE_QUALITY.iter_errors(findings)] == []
        assert len({finding["fingerprint"] for finding in findings}) == len(findings)


#: What the strictest published schema asks of each element: its required attributes and its children in order.
JUNIT: dict[str, tuple[set[str], str]] = {
    "testsuites": (set(), r"(testsuite )*"),
    "testsuite": (
        {"package", "id", "name", "timestamp", "hostname", "tests", "failures", "errors", "time"},
        r"properties (testcase )*system-out system-err ",
    ),
    "properties": (set(), ""),
    "testcase": ({"name", "classname", "time"}, r"((skipped|error|failure) )?"),
    "skipped": (set(), ""),
    "failure": ({"type"}, ""),
    "error": ({"type"}, ""),
    "system-out": (set(), ""),
    "system-err": (set(), ""),
}


def check_junit(text: str) -> ET.Element:
    root = ET.fromstring(text)
    for element in root.iter():
        needed, children = JUNIT[element.tag]
        assert needed <= element.attrib.keys(), element.tag
        assert re.fullmatch(children, "".join(f"{child.tag} " for child in element)), element.tag
    for suite in root:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
        for name, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.attrib[name]) == len(list(suite.iter(tag))), name
    return root


def test_junit_is_what_its_readers_take(plan: Plan, simple: Plan) -> None:
    for found in (plan, simple):
        assert len(list(check_junit(as_junit(found)).iter("testcase"))) == len(found.actions) + bool(found.unread)
    check_junit(problems_as_junit(PROBLEMS, NOW))


# Order and bounds.


def test_what_cannot_be_undone_comes_first_then_resumes(plan: Plan) -> None:
    rows = [line for line in as_markdown(plan).splitlines() if line.startswith("| ")][1:]
    assert "IRREVERSIBLE" in rows[0]
    assert ["RESUMES" in row for row in rows].index(False) == 0
    resumes = ["RESUMES" in row for row in rows[1:]]
    assert resumes == sorted(resumes, reverse=True)
    assert as_annotations(plan).splitlines()[0].startswith("::error title=Safety limit::")


def big_plan(count: int) -> Plan:
    desired = [document(number, "completed" if number % 3 == 0 else "paused") for number in range(count)]
    return make_plan(desired, {}, {each.key: look("ongoing") for each in desired}, now=NOW, limits=Limits())


def test_a_long_plan_is_cut_below_the_bound_with_a_note() -> None:
    cut = as_markdown(big_plan(3000))
    assert 60_000 < len(cut.encode()) < 65_536
    rows = sum(line.startswith("| \N{OCTAGONAL SIGN}") for line in cut.splitlines())
    (note,) = [line for line in cut.splitlines() if "left out" in line]
    assert note.startswith(f"_{3000 - rows} more are left out here: {3000 - rows} to patch._")
    assert f"{1000 - rows} of them are irreversible" in note
    assert "sha256:" in cut.splitlines()[-1], "what stands below the table stays"


def test_many_mistakes_are_cut_below_the_bound_with_a_note() -> None:
    many = [replace(PROBLEMS[0], line=number, message="\N{SNOWMAN}" * 50) for number in range(1, 2000)]
    cut = problems_as_markdown(many)
    assert 60_000 < len(cut.encode()) < 65_536
    assert "more are left out" in cut


@given(st.integers(0, 40), st.text(max_size=2000))
def test_the_bound_holds_for_any_words(count: int, words: str) -> None:
    desired = [document(number, file=words) for number in range(count)]
    live = {each.key: look("gone", detail=words) for each in desired}
    assert len(as_markdown(make_plan(desired, {}, live, now=NOW, limits=Limits())).encode()) < 65_536


def test_the_same_plan_made_later_is_the_same_comment(plan: Plan) -> None:
    assert as_markdown(replace(plan, created_at=NOW + timedelta(hours=1))) == as_markdown(plan)
    assert as_markdown(plan).startswith(f"{MARKER}\n")
    assert problems_as_markdown(PROBLEMS).startswith(f"{MARKER}\n")


def test_the_fingerprints_of_findings_do_not_move_with_their_lines(plan: Plan) -> None:
    moved = replace(
        plan, actions=tuple(action._replace(line=action.line + 9, file="m.yaml") for action in plan.actions)
    )
    for form, name in ((as_code_quality, '"fingerprint"'), (as_sarif, '"recording/v1"')):
        told = [[line for line in form(each).splitlines() if name in line] for each in (plan, moved)]
        assert told[0] == told[1] != []


# Hostile words.

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</code></td></table><script>alert(1)</script>",
    "`| a | b |`",
    "--> <!-- ",
    "@everyone #1 !2 www.evil.example https://evil.example [x](https://evil.example) ![x](//e.example/i.png)",
    "a\n\n# heading\r\n| x |",
    "a\n::error::b%0A::stop-commands::x",
    "]]></failure><failure>",
    "\N{RIGHT-TO-LEFT OVERRIDE}yaml.\x1b[31m\x00\ud800",
    "*bold* _it_ ~~x~~ $x$ \\",
    "&lt;b&gt;&amp;",
]


def hostile(words: str) -> Plan:
    """A plan with the words wherever text from outside may stand."""
    desired = [document(1, name=words, file=words), document(2, file=words)]
    live = {key(1): look(words), key(2): look("gone", detail=words, ended=True)}
    made = make_change_plan(desired, [], {}, live, base=None, now=NOW, limits=Limits())
    return replace(made, unread=frozenset({key(3)}))


class Tags(HTMLParser):
    """Gathers the elements and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def tags(page: str) -> list[tuple[str, tuple[str, ...]]]:
    parser = Tags()
    parser.feed(page)
    parser.close()
    return parser.found


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_words_become_neither_markdown_nor_html_nor_mentions(words: str) -> None:
    for text, twin in (
        (as_markdown(hostile(words)), as_markdown(hostile("harmless"))),
        (
            problems_as_markdown([Problem(words, 1, 1, words, words, words)]),
            problems_as_markdown([Problem("harmless", 1, 1, "harmless", "harmless", "harmless")]),
        ),
    ):
        assert set(re.findall(r"<[^>]*>", text)) <= {MARKER, "<code>", "</code>"}
        rendered, expected = (MarkdownIt("gfm-like").disable("linkify").render(each) for each in (text, twin))
        assert [tag for tag, _ in tags(rendered)] == [tag for tag, _ in tags(expected)]
        outside = re.sub(r"<code>.*?</code>", "", rendered, flags=re.DOTALL)
        assert "everyone" not in outside
        assert "evil" not in outside


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_words_become_no_element_of_the_page(words: str) -> None:
    assert tags(as_html(hostile(words))) == tags(as_html(hostile("harmless")))


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_words_stay_in_their_line_element_or_string(words: str) -> None:
    annotations = as_annotations(hostile(words))
    assert len(annotations.splitlines()) == len(as_annotations(hostile("harmless")).splitlines())
    assert all(
        line.startswith(("::error title=", "::notice file=", "::warning file=")) for line in annotations.splitlines()
    )
    assert len(check_junit(as_junit(hostile(words))).findall(".//testcase")) == 3
    check_junit(problems_as_junit([Problem(words, 1, 1, words)], NOW))
    assert list(SARIF.iter_errors(json.loads(as_sarif(hostile(words))))) == []
    assert list(CODE_QUALITY.iter_errors(json.loads(as_code_quality(hostile(words))))) == []
    assert "\x1b" not in as_text(hostile(words))


def test_the_page_needs_nothing_beside_it_and_runs_nothing(plan: Plan) -> None:
    page = as_html(plan)
    assert not re.search(r"<(script|link|img|iframe|object|embed|form|base)\b|\son\w+=|javascript:|url\(|@import", page)
    assert not re.findall(r"https?://\S+", page)
    assert "default-src 'none'" in page
    assert "@media print" in page


def test_no_report_shows_what_documents_say_beside_their_state() -> None:
    secret = "a reason that was not meant to be shown"
    hidden = document()._replace(suspend=Suspend(secret, NOW + timedelta(hours=1)))
    shown = make_change_plan([hidden], [], {}, {key(): look("ongoing")}, base=None, now=NOW, limits=Limits())
    for form in FORMS.values():
        assert secret not in form(shown)


# The command.


@pytest.fixture
def shell(shell: Shell) -> Shell:
    shell.write("desired_state/one.yaml", yaml_document("completed"))
    return shell


OTHER = "1b2c3d4e-5f60-4718-8293-a4b5c6d7e8f9"


def every_report(folder: str) -> list[str]:
    names = ("text", "json", "markdown", "html", "github", "gitlab", "junit", "sarif")
    return [word for name in names for word in ("--report", f"{name}={folder}/{name}")]


def test_one_run_writes_every_report(shell: Shell) -> None:
    (shell.folder / "out").mkdir()
    done = shell("plan", "--no-refresh", *every_report("out"), "--report", "text", GITHUB_STEP_SUMMARY="summary.md")
    assert done.code == 0, done.err
    read: dict[str, str] = {path.name: path.read_text() for path in (shell.folder / "out").iterdir()}
    assert done.out == read["text"]
    assert read["markdown"].startswith(MARKER)
    assert read["html"].startswith("<!DOCTYPE html>")
    assert read["github"].startswith("::warning file=desired_state/one.yaml,line=10,title=one::")
    assert (shell.folder / "summary.md").read_text() == read["markdown"] + "\n"
    assert json.loads(read["json"])["summary"]["patch"] == len(json.loads(read["gitlab"])) == 1
    check_junit(read["junit"])
    assert list(SARIF.iter_errors(json.loads(read["sarif"]))) == []


def test_reports_say_what_is_wrong_with_documents_without_repeating_a_number(shell: Shell) -> None:
    (shell.folder / "out").mkdir()
    shell.write("desired_state/two.yaml", yaml_document("+31 6 1234 5678"))
    done = shell("plan", "--no-refresh", *every_report("out"), GITHUB_STEP_SUMMARY="summary.md")
    assert done.code == 1
    read: dict[str, Any] = {path.name: path.read_text() for path in (shell.folder / "out").iterdir()}
    assert read.keys() == {"markdown", "github", "gitlab", "junit", "sarif"}
    assert all("two.yaml" in text and "1234" not in text for text in read.values())
    assert "No plan: 1 mistake" in (shell.folder / "summary.md").read_text()


def test_without_a_page_for_summaries_none_is_written(shell: Shell) -> None:
    done = shell("plan", "--no-refresh", "--report", "github", GITHUB_STEP_SUMMARY="")
    assert (done.code, done.out.count("::")) == (0, 2)
    assert not (shell.folder / "summary.md").exists()
    unwritable = shell("plan", "--no-refresh", "--report", "github", GITHUB_STEP_SUMMARY="no/such/folder")
    assert (unwritable.code, "GITHUB_STEP_SUMMARY" in unwritable.err) == (1, True)


def test_reports_name_files_from_the_root_of_the_repository(shell: Shell) -> None:
    (shell.folder / ".git").mkdir()
    below = shell.folder / "infra"
    below.mkdir()
    (shell.folder / "desired_state").rename(below / "desired_state")
    shell.write("other/two.yaml", yaml_document("paused", name="two", recording=OTHER))
    inside = below / "desired_state"
    command = [COMMAND, "plan", "--no-refresh", str(inside), "../other", *every_report(str(shell.folder))]
    done = subprocess.run(command, cwd=below, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = {
        form: (shell.folder / form).read_text() for form in ("text", "github", "gitlab", "junit", "sarif")
    }
    expected = ["infra/desired_state/one.yaml", "other/two.yaml"]
    assert re.findall(r"file=([^,]*)", read["github"]) == expected
    assert [each["location"]["path"] for each in json.loads(read["gitlab"])] == expected
    assert re.findall(r'classname="([^"]*)"', read["junit"]) == expected
    (run,) = json.loads(read["sarif"])["runs"]
    places = [result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in run["results"]]
    assert places == expected
    assert "../other/two.yaml" in read["text"], "what a person reads at the terminal is as it was given"


def test_what_is_outside_of_the_repository_has_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repository")
    assert Places().of("../other/a.yaml") == f"{tmp_path}/other/a.yaml"
    assert Places().of("./a.yaml") == "a.yaml"
    monkeypatch.chdir(tmp_path)
    assert Places().of("other/a.yaml") == "other/a.yaml"


def test_every_result_of_a_refused_or_unread_plan_has_a_place(plan: Plan) -> None:
    for each in (plan, replace(plan, actions=(), unread=frozenset({key(99)}), paths=("recordings",))):
        (run,) = json.loads(as_sarif(each))["runs"]
        assert run["results"]
        assert all(result["locations"] for result in run["results"])


def test_a_document_in_a_file_that_is_gone_is_noted_at_no_line(shell: Shell) -> None:
    shell.write("desired_state/two.yaml", yaml_document("paused", name="two", recording=OTHER))
    assert shell("apply", "--sandbox", "--yes").code == 0
    (shell.folder / "desired_state" / "two.yaml").unlink()
    done = shell("plan", "--no-refresh", "--sandbox", "--report", "github")
    assert re.findall(r"^::\w+ (.*?)::two", done.out, re.MULTILINE) == ["title=two"], done.out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--no-refresh",), 1),
        (("--base", "nowhere"), 1),
        (("--api-url", "http://192.0.2.1"), 1),
    ],
    ids=["invalid documents", "no such base", "a wrong setting"],
)
def test_without_a_plan_no_older_one_stays(shell: Shell, arguments: tuple[str, ...], code: int) -> None:
    forms = [*every_report("out"), "--out", "out/plan"]
    (shell.folder / "out").mkdir()
    assert shell("plan", "--sandbox", *forms).code == 0
    assert len(list((shell.folder / "out").iterdir())) == 9
    if arguments == ("--no-refresh",):
        shell.write("desired_state/two.yaml", "kind: [")
    done = shell("plan", *arguments, *forms)
    assert done.code == code, done.err
    left = {path.name: path.read_text() for path in (shell.folder / "out").iterdir()}
    assert {"json", "html", "text", "plan"} & left.keys() == set()
    assert all("two.yaml" in text for text in left.values())
    assert "out/plan was of an earlier run; it was removed" in done.err
