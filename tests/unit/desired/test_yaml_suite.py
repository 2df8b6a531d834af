"""The public YAML test suite against our readers: what is taken is what YAML 1.2 means, and nothing crashes.

Source: https://github.com/yaml/yaml-test-suite (MIT licence, beside the cases in `data/yaml_test_suite`).
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.desired.documents import misread, yaml_events
from reconciler.desired.documents.limits import DEFAULT_LIMITS
from reconciler.desired.documents.parse import parse_documents
from reconciler.desired.documents.plain import load_plain
from reconciler.desired.documents.suspects import is_suspect
from reconciler.model.errors import DesiredStateError
from tests.world.places import DATA

FOLDER = DATA / "yaml_test_suite"
CASES: list[dict[str, Any]] = json.loads((FOLDER / "cases.json").read_text())
#: Its kind, its anchor, its tag, and the rest.
_EVENT = re.compile(r"(=VAL|\+MAP|\+SEQ|=ALI)(?: (?:\{\}|\[\]))?(?: &(\S+))?(?: (<[^>]*>))?(?: (.*))?$", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "b": "\b", "r": "\r", "\\": "\\"}

#: Valid YAML that libyaml does not take, or that it would read otherwise, so that we refuse it: keys without values and
#: colons on lines of their own in brackets, tabs, anchors and directives of unusual form, documents without `---`.
REFUSED_ON_PURPOSE = frozenset(
    {
        "2LFX",
        "2SXE",
        "4ABK",
        "4MUZ-0",
        "4MUZ-1",
        "4MUZ-2",
        "58MP",
        "5MUD",
        "5T43",
        "652Z",
        "6BCT",
        "6CA3",
        "6LVF",
        "7Z25",
        "8XYN",
        "96NN-0",
        "96NN-1",
        "9SA2",
        "A2M4",
        "BEC7",
        "DBG4",
        "DK3J",
        "DK95-0",
        "DK95-3",
        "DK95-4",
        "FP8R",
        "HM87-0",
        "HM87-1",
        "HWV9",
        "JEF9-2",
        "K3WX",
        "L24T-1",
        "M7A3",
        "MUS6-5",
        "MUS6-6",
        "NJ66",
        "Q5MG",
        "QT73",
        "R4YG",
        "UT92",
        "VJP3-1",
        "W4TN",
        "W5VH",
        "Y2GN",
        "Y79Y-1",
        "Y79Y-10",
    }
)
#: What the suite calls an error and we take: nothing is lost of it, and it means what it looks like.
TAKEN_ON_PURPOSE = {
    "9C9N": "not indented, and read as it looks",
    "DK95-1": "a tab for indentation inside of quotes",
    "EB22": "a directive without the end of the document before it",
    "G5U8": "dashes, which become texts",
    "MUS6-0": "a directive with a comment that touches it",
    "MUS6-1": "a directive without the end of the document before it",
    "QB6E": "not indented, and read as it looks",
    "RHX7": "a directive without the end of the document before it",
    "S98Z": "blank lines that are indented deeper than what follows",
    "Y79Y-3": "a tab for indentation inside of brackets",
    "YJV2": "a dash, which becomes a text",
}
CASES_BY_ID = {case["id"]: case for case in CASES}


class Refused(Exception):
    """What YAML allows and we do not: tags, merge keys, keys that are no text, a key given twice."""


def meant(tree: str) -> list[object]:
    """Return the documents that the suite's events stand for, by the rules of the core schema, but for empty ones."""
    lines = iter([line.strip() if not line.strip().startswith("=VAL") else line.lstrip() for line in tree.split("\n")])
    anchors: dict[str, object] = {}

    def value(line: str) -> object:
        match = re.match(
            r"(=VAL|\+MAP|\+SEQ|=ALI)(?: (?:\{\}|\[\]))?(?: &(\S+))?(?: (<[^>]*>))?(?: (.*))?$", line, re.DOTALL
        )
        assert match, line
        kind, anchor, tag, rest = match.groups()
        if kind == "=ALI":
            return anchors[rest[1:]]
        if tag:
            raise Refused("tag")
        found: object
        if kind == "=VAL":
            style, text = rest[0], re.sub(r"\\(.)", lambda escape: _ESCAPES[escape[1]], rest[1:])
            found = yaml_events.resolve(text) if style == ":" else text
            if style == ":" and text == "<<":
                raise Refused("merge key")
        elif kind == "+SEQ":
            items: list[object] = []
            while (line := next(lines)) != "-SEQ":
                items.append(value(line))
            found = items
        else:
            parts: dict[str, object] = {}
            while (line := next(lines)) != "-MAP":
                if line.startswith("=ALI"):
                    raise Refused("alias as a key")
                name = value(line)
                if not isinstance(name, str) or name in parts:
                    raise Refused("key")
                parts[name] = value(next(lines))
            found = parts
        if anchor:
            anchors[anchor] = found
        return found

    documents: list[object] = []
    for line in lines:
        if line.startswith("+DOC"):
            anchors.clear()
            first = next(lines)
            found = value(first)
            if found is not None or first.rstrip() != "=VAL :":
                documents.append(found)
    return documents


def read(text: str) -> list[object] | None:
    """Return what the fast reader takes; None where it refuses."""
    try:
        return [document.value for document in yaml_events.read_documents(text.encode(), DEFAULT_LIMITS)]
    except yaml_events.Irregular:
        return None


def wanted(case: dict[str, Any]) -> list[object] | None:
    """Return what a case means; None where it is an error, or what we allow nobody."""
    if case["tree"] is None:
        return None
    try:
        return meant(case["tree"])
    except Refused:
        return None


def test_the_suite_is_whole() -> None:
    assert len(CASES_BY_ID) == len(CASES) == 402
    assert CASES_BY_ID.keys() >= REFUSED_ON_PURPOSE | TAKEN_ON_PURPOSE.keys()


@pytest.mark.parametrize("parser", ["fast", "pure"])
def test_what_is_taken_is_what_yaml_means(parser: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if parser == "pure":
        monkeypatch.setattr(yaml_events, "new_parser", yaml_events.PureParser)
    refused: set[str] = set()
    taken: set[str] = set()
    otherwise = {}
    for case in CASES:
        found, right = read(case["yaml"]), wanted(case)
        if repr(found) == repr(right):
            continue
        if found is None:
            refused.add(case["id"])
        elif right is None:
            taken.add(case["id"])
        else:
            otherwise[case["id"]] = found, right
    assert otherwise == {}
    if parser == "fast":
        assert refused == REFUSED_ON_PURPOSE
        assert taken == TAKEN_ON_PURPOSE.keys()
    else:  # PyYAML's own is stricter in places and laxer in others; what it takes, it must not read otherwise
        assert len(refused) < 2 * len(REFUSED_ON_PURPOSE)


def test_every_case_is_explained_or_taken_and_nothing_crashes() -> None:
    for case in CASES:
        explained = parse_documents(case["yaml"].encode(), case["id"])
        assert not [problem for problem in explained.problems if problem.rule in ("unforeseen", "unexplained")]
        if read(case["yaml"]) is None:
            assert explained.problems, case["id"]
            with pytest.raises(DesiredStateError):
                load_plain(case["yaml"].encode(), case["id"])


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("{?foo: bar}", "1:2: the `?` at the begin of this text would be lost"),
        ("[?x]", "1:2: the `?` at the begin of this text would be lost"),
        ("a: &an:chor value", "1:4: the name of an anchor ends before `:`"),
        ("a: [1,#2\n 3]", "1:7: a `#` here would drop the rest of the line"),
        ("a: 'b'#c", "1:7: a `#` here would drop the rest of the line"),
        ('a: "b"#c', "1:7: a `#` here would drop the rest of the line"),
        ("a: [b]#c", "1:7: a `#` here would drop the rest of the line"),
        ("a: {b: c}#c", "1:10: a `#` here would drop the rest of the line"),
        ("a: |#c\n  b\n", "1:5: a `#` here would drop the rest of the line"),
        ("a: >-#c\n  b\n", "1:6: a `#` here would drop the rest of the line"),
        ("a: |\n  b\n   ", "3:1: a line of spaces at the end of a block text is lost"),
    ],
)
def test_what_would_be_read_otherwise_is_refused_with_its_place(text: str, place: str) -> None:
    assert read(text) is None
    with pytest.raises(DesiredStateError) as refused:
        load_plain(text.encode(), "f")
    assert str(refused.value.problems[0]).startswith(f"f:{place}")


@pytest.mark.parametrize(
    "text",
    [
        "a: 'b,#c'",
        'a: "[?x] &a:b |#"',
        "a: b,#c",
        "a: http://x/?a=1&b:c=2#d",
        "# a,#b &c:d [?x]\na: b",
        "a: b  # [?x], 'c'#d",
        "a: |\n  b,#c\n  [?x]\n  &a:b\nc: d\n",
        "a: &b 'c,#d'",
        "a: b\n   ",
        "a: what ?b",
        "a: |\n  b\n   \n",
    ],
)
def test_text_that_only_looks_like_it_is_taken(text: str) -> None:
    assert read(text) is not None
    assert load_plain(text.encode(), "f") is not None


@pytest.mark.parametrize(
    "text",
    [
        "# The payment desk (#4411), see PAY#12 [?] &a:b\na: b # since (#4412)\n",
        "a: https://runbooks.example/pause?team=desk&x=1#undo\n",
        "a: |\n  text (#4411) # and 1#2\n",
        "# it's (a quote)\na: b\n",
        "",
    ],
)
def test_comments_and_addresses_are_not_read_a_second_time(text: str) -> None:
    assert not is_suspect(text.encode())


#: What begins, ends and hides such places, and little else.
PARTS = st.sampled_from([*"#?&'\" \n\t,:[]{}|>-+1ab", " #", "a: ", "\n  ", "&a:", "|#", "\n# "])


@given(st.lists(PARTS, max_size=30).map("".join))
def test_what_is_not_suspect_holds_nothing_that_would_be_read_otherwise(text: str) -> None:
    data = text.encode()
    if is_suspect(data):
        return
    try:
        list(yaml.parse(text, yaml.CSafeLoader))
    except yaml.YAMLError:
        return  # refused whatever it holds
    assert list(misread.find_misread(text, yaml_events.new_parser(data).get_event)) == []


@pytest.mark.parametrize("text", ["1-2-3", "---", "-1e-5-", "00000000-0000-4000-8000-000000000001", "null--- "])
def test_what_has_more_hyphens_than_a_number_is_text(text: str) -> None:
    assert yaml_events.resolve(text) == text
