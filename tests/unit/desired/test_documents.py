"""Documents: what is accepted, what is refused and in which words, and what must hold for any bytes at all.

The lines that malformed inputs give stand in `data/malformed.txt`, so that a change of wording is seen and meant. What
is left out: files, folders and links, which are the source's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from yaml.reader import ReaderError

from reconciler.desired.documents import nodes, schema, yaml_events
from reconciler.desired.documents.conflicts import FileDocuments, cross_check
from reconciler.desired.documents.convert import is_date_time, parse_date_time
from reconciler.desired.documents.excerpt import Lines, explain
from reconciler.desired.documents.limits import DEFAULT_LIMITS, EXPLAINING_SECONDS, DocumentLimits, Patience
from reconciler.desired.documents.nodes import Enough, ProblemList
from reconciler.desired.documents.parse import Refused, parse_documents, parse_quickly
from reconciler.desired.documents.plain import load_plain
from reconciler.desired.documents.wording import nearest
from reconciler.desired.shipped import sample_text
from reconciler.model.documents import Problem, Suspend
from reconciler.model.errors import DesiredStateError, SettingsError
from reconciler.model.keys import RecordingKey
from reconciler.model.statuses import Drift, Status
from tests.world.places import DATA

GOOD = """apiVersion: reconciler/v1
kind: CallRecording
metadata:
  name: card-payment-7781
  labels: {team: billing}
spec:
  workspaceId: 5f4f2f2e-6c0e-4c57-9f65-2f6cf0a1d7a1
  channelId: 0b6b0f5e-7d5a-4c55-8f0e-6f2a4cf5b9b7
  callId: 9a0a4c3c-58a1-4a5e-b7de-3f1ab0a3d1c2
  recordingId: 3fa85f64-5717-4562-b3fc-2c963f66afa6
  status: paused
"""
SET = """apiVersion: reconciler/v1
kind: CallRecordingSet
metadata: {name: evening-shift}
spec:
  workspaceId: 5f4f2f2e-6c0e-4c57-9f65-2f6cf0a1d7a1
  channelId: 0b6b0f5e-7d5a-4c55-8f0e-6f2a4cf5b9b7
  recordings:
    - name: a-1
      callId: 9a0a4c3c-58a1-4a5e-b7de-3f1ab0a3d1c2
      recordingId: 3fa85f64-5717-4562-b3fc-2c963f66afa6
      status: ongoing
    - {name: a-2, callId: 9a0a4c3c-58a1-4a5e-b7de-3f1ab0a3d1c2,
       recordingId: 6f1d2f0b-8c3e-4a7d-b5a9-0e4c7d2b9f31, status: paused}
"""
KEY = RecordingKey(
    "5f4f2f2e-6c0e-4c57-9f65-2f6cf0a1d7a1",
    "0b6b0f5e-7d5a-4c55-8f0e-6f2a4cf5b9b7",
    "9a0a4c3c-58a1-4a5e-b7de-3f1ab0a3d1c2",
    "3fa85f64-5717-4562-b3fc-2c963f66afa6",
)


def one(old: str, new: str) -> str:
    """A valid document with one thing changed."""
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


def many(old: str, new: str) -> str:
    """A valid set with one thing changed."""
    assert SET.count(old) == 1
    return SET.replace(old, new)


def plus(text: str) -> str:
    """A valid document with something after it."""
    return GOOD + text


def as_bytes(content: str | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.encode()


def parse(content: str | bytes, file: str = "f.yaml", limits: DocumentLimits = DEFAULT_LIMITS) -> FileDocuments:
    return parse_documents(as_bytes(content), file, limits)


def labels(text: str) -> object:
    """Return the labels of a document that holds no mistake, as they are read."""
    assert parse(text).problems == ()
    (document,) = yaml_events.read_documents(text.encode(), DEFAULT_LIMITS)
    return cast("dict[str, Any]", document.value)["metadata"]["labels"]


def lines(content: str | bytes, limits: DocumentLimits = DEFAULT_LIMITS) -> list[str]:
    """The problems of a file as lines, without the file's name."""
    return [str(problem).removeprefix("f.yaml:") for problem in parse(content, limits=limits).problems]


MALFORMED: list[tuple[str, str | bytes]] = [
    ("status-misspelled", one("status: paused", "status: puased")),
    ("status-in-capitals", one("status: paused", "status: Paused")),
    ("status-of-another-product", one("status: paused", "status: stopped")),
    ("status-is-a-number", one("status: paused", "status: 5")),
    ("status-is-a-boolean", one("status: paused", "status: true")),
    ("status-is-null", one("status: paused", "status: null")),
    ("status-is-empty", one("status: paused", "status:")),
    ("status-is-a-list", one("status: paused", "status: [paused]")),
    ("field-misspelled", one("recordingId", "recordingID")),
    ("field-unknown", plus("  colour: red\n")),
    ("field-missing", one("  callId: 9a0a4c3c-58a1-4a5e-b7de-3f1ab0a3d1c2\n", "")),
    ("spec-missing", GOOD[: GOOD.index("spec:")]),
    ("metadata-missing", one("metadata:\n  name: card-payment-7781\n  labels: {team: billing}\n", "")),
    ("name-missing", one("  name: card-payment-7781\n", "")),
    ("kind-misspelled", one("kind: CallRecording", "kind: CallRecordings")),
    ("kind-in-lower-case", one("kind: CallRecording", "kind: callrecording")),
    ("kind-unknown", one("kind: CallRecording", "kind: Pod")),
    ("kind-missing", one("kind: CallRecording\n", "")),
    ("kind-field-misspelled", one("kind:", "Kind:")),
    ("kind-is-a-number", one("kind: CallRecording", "kind: 3")),
    ("version-of-the-future", one("reconciler/v1", "reconciler/v2")),
    ("version-of-another-product", one("reconciler/v1", "apps/v1")),
    ("version-missing", one("apiVersion: reconciler/v1\n", "")),
    ("foreign-document", "version: 3\nservices: {}\n"),
    ("empty-mapping", "{}\n"),
    ("top-is-a-list", "- a\n- b\n"),
    ("top-is-text", "hello\n"),
    ("top-is-a-number", "42\n"),
    ("top-is-null", "null\n"),
    ("uuid-short", one("9a0a4c3c-58a1-4a5e-b7de-3f1ab0a3d1c2", "9a0a4c3c")),
    ("uuid-without-dashes", one("9a0a4c3c-58a1-4a5e-b7de-3f1ab0a3d1c2", "9a0a4c3c58a14a5eb7de3f1ab0a3d1c2")),
    ("uuid-in-braces", one("9a0a4c3c-58a1-4a5e-b7de-3f1ab0a3d1c2", "'{9a0a4c3c-58a1-4a5e-b7de-3f1ab0a3d1c2}'")),
    ("uuid-with-line-break", one("9a0a4c3c-58a1-4a5e-b7de-3f1ab0a3d1c2", '"9a0a4c3c-58a1-4a5e-b7de-3f1ab0a3d1c2\\n"')),
    ("name-in-capitals", one("card-payment-7781", "Card_Payment 7781")),
    ("name-too-long", one("card-payment-7781", "a" * 300)),
    ("name-empty", one("card-payment-7781", "''")),
    ("name-is-a-number", one("card-payment-7781", "7781")),
    ("label-is-a-number", one("team: billing", "team: 8")),
    ("label-is-a-boolean", one("team: billing", "team: true")),
    ("label-without-a-space", one("team: billing", "team:")),
    ("label-key-is-a-number", one("team: billing", "8: x")),
    ("label-is-a-mapping", one("team: billing", "team: {a: b}")),
    ("labels-are-text", one("{team: billing}", "billing")),
    ("duplicate-key", plus("  status: ongoing\n")),
    ("duplicate-label", one("labels: {team: billing}", "labels: {team: billing, team: x}")),
    ("tag-of-yaml", one("status: paused", "status: !!str paused")),
    ("tag-of-python", one("status: paused", "status: !python/object:os.system x")),
    ("tag-on-a-mapping", one("spec:\n", "spec: !!map\n")),
    ("tag-without-handle", one("status: paused", "status: !e!x paused")),
    ("alias-undefined", one("status: paused", "status: *stat")),
    ("alias-misspelled", one("team: billing", "team: &staff billing").replace("status: paused", "status: *stuff")),
    ("alias-of-itself", one("{team: billing}", "&l {team: *l}")),
    ("merge-key", one("spec:\n", "spec:\n  <<: {drift: safe}\n")),
    ("merge-of-an-anchor", one("labels: {team: billing}", "labels: &b {team: billing}\n  annotations: {<<: *b}")),
    ("too-deep", one("{team: billing}", "{team: " + "[" * 40 + "]" * 40 + "}")),
    ("too-many-aliases", one("{team: billing}", "{a: &a x, " + ", ".join(f"k{i}: *a" for i in range(65)) + "}")),
    (
        "anchor-bomb",
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 8)}]\n" for i in range(8)),
    ),
    ("until-no-such-month", plus("  suspend: {reason: x, until: 2026-13-45T00:00:00Z}\n")),
    ("until-without-time", plus("  suspend: {reason: x, until: 2026-12-01}\n")),
    ("until-without-zone", plus("  suspend: {reason: x, until: 2026-12-01T00:00:00}\n")),
    ("until-with-a-space", plus("  suspend: {reason: x, until: 2026-12-01 00:00:00Z}\n")),
    ("until-missing", plus("  suspend: {reason: x}\n")),
    ("suspend-empty", plus("  suspend:\n")),
    ("reason-empty", plus("  suspend: {reason: '', until: 2026-12-01T00:00:00Z}\n")),
    ("drift-misspelled", plus("  drift: heel\n")),
    ("item-status-misspelled", many("status: ongoing", "status: onging")),
    ("item-field-missing", many("      callId: 9a0a4c3c-58a1-4a5e-b7de-3f1ab0a3d1c2\n", "")),
    ("item-field-unknown", many("status: ongoing", "status: ongoing\n      labels: {a: b}")),
    (
        "item-is-text",
        many(
            SET[SET.index("    - name: a-1") : SET.index("    - {name")],
            "    - a-1\n",
        ),
    ),
    ("set-with-a-status", many("  recordings:", "  status: paused\n  recordings:")),
    ("set-without-recordings", SET[: SET.index("  recordings:")]),
    ("recordings-are-a-mapping", SET[: SET.index("  recordings:")] + "  recordings: {}\n"),
    ("quote-not-closed", plus("  drift: 'safe\n")),
    ("indentation", plus(" drift: safe\n")),
    ("tab", plus("\tdrift: safe\n")),
    ("colon-out-of-place", plus("  drift: a: b\n")),
    ("bracket-not-closed", plus("  drift: [safe\n")),
    ("colon-missing", plus("  drift safe\n")),
    ("reserved-character", plus("  drift: @safe\n")),
    ("escape-unknown", plus('  drift: "s\\qfe"\n')),
    ("list-in-a-mapping", plus("- x\n")),
    ("text-after-a-quote", plus("  drift: 'safe' x\n")),
    ("yaml-of-the-future", "%YAML 3.0\n---\n" + GOOD),
    ("dash-out-of-place", plus("  drift: - safe\n")),
    ("block-header", plus("  drift: |x\n")),
    ("brace-not-closed", one("labels: {team: billing}", "labels: {team: billing")),
    ("document-end", plus("...\nfoo: bar\n")),
    ("escape-names-no-character", plus('  drift: "\\ud800"\n')),
    ("brace-not-opened", plus("}\n")),
    ("nul-byte", plus("  drift: \0safe\n")),
    ("control-character", plus("  drift: \x1bsafe\n")),
    ("latin-1", GOOD.encode() + b"  # caf\xe9\n"),
    ("utf-16", GOOD.encode("utf-16")),
    ("hidden-line-break", plus("  # a\u2028b\n")),
    ("key-is-a-number", plus("  5: x\n")),
    ("key-is-a-list", plus("  ? [a]\n  : x\n")),
    ("key-is-empty", plus("  : x\n")),
    ("key-is-an-alias", one("team: billing", "&t team: billing") + "  *t : x\n"),
    ("key-is-a-boolean", plus("  true: x\n")),
    ("long-value-is-cut", one("status: paused", "status: " + "p" * 500)),
    ("control-characters-are-escaped", one("status: paused", 'status: "a\\nb\\e[31m"')),
    ("tag-on-a-key", one("status: paused", "!!str status: paused")),
    ("tag-not-closed", one("status: paused", "status: !<x paused")),
    ("alias-without-a-name", plus("  drift: * safe\n")),
    ("escape-without-digits", plus('  drift: "\\x4"\n')),
    ("directive-unknown", "%FOO x\n---\n" + GOOD),
    ("quote-runs-into-the-next-document", plus("  drift: 'safe\n---\n" + GOOD)),
    ("comma-without-a-value", one("team: billing", ", team: billing")),
]
EXPECTED = dict(line.split("  ", 1) for line in (DATA / "malformed.txt").read_text("utf-8").splitlines())


def test_every_malformed_input_has_its_line() -> None:
    assert [name for name, _ in MALFORMED] == list(EXPECTED)
    assert len(EXPECTED) == len(MALFORMED) >= 40


@pytest.mark.parametrize(("name", "content"), MALFORMED, ids=list(EXPECTED))
def test_one_mistake_is_one_line_with_its_place_its_value_and_what_is_allowed(name: str, content: str | bytes) -> None:
    result = parse(content)
    assert [str(problem) for problem in result.problems] == [f"f.yaml:{EXPECTED[name]}"]
    assert result.desired == ()


@pytest.mark.parametrize("content", [as_bytes(content) for _, content in MALFORMED], ids=list(EXPECTED))
def test_the_pure_parser_refuses_the_same_files_in_one_line(content: bytes, pure_parser: None) -> None:
    # It looks at the major version only, and passes over directives that it does not know.
    content = content.replace(b"%YAML 3.0", b"%YAML 2.0").replace(b"%FOO x", b"%YAML 2.0")
    result = parse(content)
    assert len(result.problems) == 1
    assert "\n" not in str(result.problems[0])


@pytest.fixture
def pure_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_events, "new_parser", yaml_events.PureParser)


def test_a_document_becomes_one_desired_recording() -> None:
    text = plus("  drift: heal\n  suspend: {reason: incident 4411, until: 2026-12-01T01:00:00+01:00}\n")
    (desired,) = parse("# comment\n" + text.upper().replace(text.upper(), text)).desired
    assert desired.key == KEY
    assert desired.name == "card-payment-7781"
    assert desired.status is Status.PAUSED
    assert (desired.file, desired.line, desired.begins) == ("f.yaml", 12, 2)
    assert desired.labels == (("team", "billing"),)
    assert desired.drift is Drift.HEAL
    assert desired.suspend == Suspend("incident 4411", datetime(2026, 12, 1, tzinfo=UTC))


def test_a_set_gives_its_items_its_own_ids_and_drift() -> None:
    text = many("  recordings:", "  drift: report\n  recordings:")
    text = text.replace(
        "status: paused}", "status: paused, drift: heal, suspend: {reason: x, until: 2026-12-01T00:00:00Z}}"
    )
    result = parse(text)
    first, second = result.desired
    assert first.key == KEY
    assert (first.name, first.begins, first.line) == ("evening-shift/a-1", 9, 12)
    assert (first.drift, first.suspend) == (Drift.REPORT, None)
    assert (second.name, second.begins, second.line, second.drift) == ("evening-shift/a-2", 13, 14, Drift.HEAL)
    assert second.suspend == Suspend("x", datetime(2026, 12, 1, tzinfo=UTC))
    assert result.sets == (("evening-shift", 1),)


def test_drift_is_safe_unless_said() -> None:
    assert [desired.drift for desired in parse(GOOD + "---\n" + SET).desired] == [Drift.SAFE] * 3


def test_ids_are_compared_in_lower_case_and_workspaces_are_kept_once() -> None:
    shouted = GOOD.replace(KEY.recording_id, KEY.recording_id.upper()).replace(
        KEY.workspace_id, KEY.workspace_id.upper()
    )
    (first,) = parse(shouted).desired
    (second,) = parse(SET).desired[:1]
    assert first.key == KEY
    assert first.key.workspace_id is second.key.workspace_id


@pytest.mark.parametrize(
    "written",
    ["no", "yes", "on", "1:30", "010", "-007", "2026-12-01", "2026-12-01T00:00:00Z", "1_000", "0o8", "1e", "1.2.3"],
)
def test_what_is_text_in_yaml_1_2_stays_as_it_was_written(written: str) -> None:
    assert labels(one("team: billing", f"team: {written}")) == {"team": written}


@pytest.mark.parametrize(
    "written",
    [
        "8",
        "-8",
        "+31",
        "0",
        "1.10",
        ".5",
        "5.",
        "1e3",
        "0o17",
        "0xfF",
        ".inf",
        "-.INF",
        ".nan",
        "9" * 5000,
        "true",
        "False",
        "TRUE",
        "null",
        "Null",
        "~",
        "0x" + "f" * 5000,
    ],
)
def test_what_is_no_text_must_be_quoted(written: str) -> None:
    (line,) = lines(one("team: billing", f"team: {written}"))
    assert "must be a string, found" in line
    assert "quote it:" in line
    assert labels(one("team: billing", f"team: '{written}'")) == {"team": written}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"# nothing\n",
        b"---\n",
        b"---\n---\n# x\n...\n",
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbf# x\r\n",
        b"%YAML 1.2\n---\n",
    ],
)
def test_files_without_documents_are_accepted(content: bytes) -> None:
    assert parse(content) == FileDocuments("f.yaml", (), ())


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace("\n", "\r\n").encode(),
        GOOD.replace("\n", "\r").encode(),
        b"%YAML 1.2\n---\n" + GOOD.encode(),
        b"---\n" + GOOD.encode() + b"---\n...\n",
        json.dumps(yaml.safe_load(GOOD)).encode(),
    ],
    ids=["bom", "crlf", "cr", "directive", "empty-beside", "json"],
)
def test_the_same_document_in_other_clothes(content: bytes) -> None:
    (desired,) = parse(content).desired
    assert desired.key == KEY


def test_columns_are_counted_behind_a_byte_order_mark() -> None:
    assert lines(b"\xef\xbb\xbfkind: Pod\napiVersion: x\n")[2].startswith("1:7: ")


def test_columns_are_characters_not_bytes() -> None:
    assert lines(one("{team: billing}", "{team: süß 💡, size: 8}"))[0].startswith("5:31: ")


def test_anchors_and_aliases_within_the_limits_expand() -> None:
    text = many("status: ongoing", "status: &s ongoing\n      suspend: &p {reason: &r x, until: 2026-12-01T00:00:00Z}")
    text = text.replace("status: paused}", "status: *s, suspend: *p}")
    first, second = parse(text).desired
    assert first.status is second.status is Status.ONGOING
    assert first.suspend is not None
    assert first.suspend == second.suspend
    text = one("{team: billing}", "{&k team: &a x, b: *a}")
    assert labels(text) == {"team": "x", "b": "x"}


def test_an_item_by_alias_has_the_line_of_its_place() -> None:
    text = many("    - name: a-1\n", "    - &a\n      name: a-1\n").replace(
        "    - {name: a-2", "    - *a\n    - {name: a-2"
    )
    found = parse(text).desired
    assert [desired.begins for desired in found] == [8, 13, 14]
    # The status that an edit would change is that of the anchor.
    assert [desired.line for desired in found] == [12, 12, 15]


def test_the_place_of_a_recording_is_its_status() -> None:
    assert [desired.line for desired in parse(GOOD).desired] == [11]
    flow = "{apiVersion: reconciler/v1, kind: CallRecording,\nmetadata: {name: a, annotations: {status: x}},\nspec: {"
    spec = GOOD.partition("spec:\n")[2].strip().replace("\n ", ",")
    (desired,) = parse(f"{flow}{spec}}}}}\n").desired
    assert (desired.begins, desired.line) == (1, 3)


def test_the_items_of_a_set_have_the_labels_of_the_set() -> None:
    labelled = SET.replace("name: evening-shift", "name: evening-shift, labels: {team: billing, a: b}")
    first, second = parse(labelled).desired
    assert first.labels == second.labels == (("a", "b"), ("team", "billing"))
    assert first.labels is second.labels


def test_a_mistake_behind_an_alias_is_told_once() -> None:
    text = many("status: ongoing", "status: ongoing\n      suspend: &p {reason: '', until: 2026-12-01T00:00:00Z}")
    text = text.replace("status: paused}", "status: paused, suspend: *p}")
    assert lines(text) == [
        "12:28: `spec.recordings[0].suspend.reason` must not be empty [/spec/recordings/0/suspend/reason]"
    ]


def test_an_anchor_counts_from_its_document_only() -> None:
    text = GOOD.replace("team: billing", "team: &a x") + "---\n" + GOOD.replace("team: billing", "team: *a")
    assert lines(text) == ["17:18: the alias *a is not defined, nothing before it is marked &a [/metadata/labels/team]"]


def test_all_mistakes_of_a_file_are_told_in_order_of_line() -> None:
    text = one("status: paused", "status: puased\n  drift: heel\n  colour: red").replace(
        "kind: CallRecording", "kind: CallRecordin"
    )
    text += "---\n" + SET.replace("status: ongoing", "status: gone") + "---\n- 1\n---\nkind: [\n"
    places = [line.split(" ")[0] for line in lines(text)]
    assert places == ["2:7:", "11:11:", "12:10:", "13:3:", "25:15:", "29:1:", "32:1:"]


def test_a_broken_tail_does_not_hide_what_stands_before_it() -> None:
    assert [line[:5] for line in lines(one("team: billing", "team: !!str x") + "  drift: [\n")] == ["5:18:", "13:1:"]


def test_mistakes_below_a_tag_or_in_a_document_with_one_are_not_guessed_at() -> None:
    assert lines("!!map {a: 1}") == ["1:1: the tag !!map is not allowed, write the value without it"]


def test_a_rejected_key_does_not_hide_mistakes_in_its_value() -> None:
    found = lines(plus("  5: {a: *b}\n"))
    assert [line.split(": ", 1)[1] for line in found] == [
        'a key must be a string, found the number 5, quote it: "5" [/spec]',
        "the alias *b is not defined, nothing before it is marked &b [/spec/5/a]",
    ]


def test_half_a_surrogate_pair_is_no_character_to_the_pure_parser_either(pure_parser: None) -> None:
    assert lines(plus('  drift: "\\ud800"\n')) == ["12:10: an escape in double quotes names no character [/spec/drift]"]


def test_limits_are_kept_and_named() -> None:
    small = DocumentLimits(max_file_bytes=10, max_depth=2, max_aliases=0)
    assert lines(GOOD, small) == [f"1:1: the file has {len(GOOD):,} bytes, more than max_file_bytes allows (10)"]
    limits = DocumentLimits(max_depth=2, max_aliases=0)
    assert lines(GOOD, limits) == ["5:11: nested deeper than max_depth allows (2) [/metadata/labels]"]
    assert parse(one("\n  labels: {team: billing}", ""), limits=limits).problems == ()
    assert lines(one("{team: billing}", "&a {x: *a}"), DocumentLimits(max_aliases=0)) == [
        "5:18: more aliases than max_aliases allows (0) [/metadata/labels/x]"
    ]


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: DocumentLimits(max_file_bytes=0), "max_file_bytes"),
        (lambda: DocumentLimits(max_depth=0), "max_depth"),
        (lambda: DocumentLimits(max_depth=201), "max_depth"),
        (lambda: DocumentLimits(max_aliases=-1), "max_aliases"),
    ],
)
def test_a_limit_out_of_its_bounds_is_refused(build: Callable[[], DocumentLimits], name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        build()


@pytest.mark.parametrize(
    "content", [b"[" + b"a," * 2000, b"{a: [" + b"a," * 2000, b"---\n" * 2000, b"a: x\n" + b"b: [[]]\n--- {}\n" * 700]
)
def test_more_values_than_a_file_of_that_size_can_need_are_refused(content: bytes) -> None:
    limits = DocumentLimits(max_file_bytes=len(content))
    values = limits.max_values
    assert values < 2000
    found = lines(content, limits)
    assert found
    if content.startswith(b"[") or b"{a: [" in content:
        assert f"the file holds more than {values:,} values, one for 16 bytes of max_file_bytes" in found[0]


def test_the_deepest_allowed_nesting_is_explained_without_a_crash() -> None:
    content = "kind: CallRecording\nspec: " + "[" * 199 + "]" * 199
    assert any(
        "`spec` must be a mapping, found a list" in line for line in lines(content, DocumentLimits(max_depth=200))
    )


def test_a_file_with_countless_mistakes_is_cut_off() -> None:
    found = parse("- 1\n---\n" * (nodes.MAX_PROBLEMS + 5)).problems
    assert len(found) == nodes.MAX_PROBLEMS + 1
    assert "only some problems are explained: there are more than 1,000 in this file" in str(found[-1])


def test_a_refusal_that_cannot_be_explained_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "mistakes", lambda *_: iter(()))
    assert lines(one("status: paused", "status: x")) == [
        "1:1: the file is refused, and the reason could not be determined"
    ]


def test_a_parser_with_its_own_idea_of_a_character_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(stream: bytes) -> yaml_events.EventParser:
        raise ReaderError("<file>", 14, 0x61, "utf-8", "not\nallowed")

    monkeypatch.setattr(yaml_events, "new_parser", broken)
    (line,) = lines("apiVersion: a\nb: c\n")
    assert line.startswith("2:1: not valid YAML: ")
    assert "\n" not in line


def test_without_libyaml_the_pure_parser_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml._yaml", None)
    assert yaml_events._fastest_parser() is yaml_events.PureParser


def test_valid_documents_import_no_slow_library() -> None:
    program = (
        "import sys; from reconciler.desired.documents.parse import parse_documents;"
        "before = 'jsonschema_rs' in sys.modules;"
        "r = parse_documents(sys.stdin.buffer.read(), 'f'); assert r.desired and not r.problems;"
        "print(before, sorted({'jsonschema', 'difflib', 'reconciler.desired.documents.problems'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=GOOD + "---\n" + SET, text=True, capture_output=True, check=True
    )
    assert done.stdout == "False []\n"


# -- dates


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-12-01T00:00:00Z", datetime(2026, 12, 1, tzinfo=UTC)),
        ("2026-12-01t01:30:00.5+01:30", datetime(2026, 12, 1, 0, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-30T22:00:00.123456789-02:00", datetime(2026, 12, 1, 0, 0, 0, 123_456, tzinfo=UTC)),
        ("2028-02-29T00:00:00z", datetime(2028, 2, 29, tzinfo=UTC)),
    ],
)
def test_dates_become_utc(text: str, moment: datetime) -> None:
    assert parse_date_time(text) == moment
    assert parse_date_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-29T00:00:00Z",
        "2026-12-01T24:00:00Z",
        "2026-12-01T00:00:60Z",
        "0000-01-01T00:00:00Z",
        "2026-12-01T00:00:00+24:00",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2026-12-01T00:00:00+01:60",
        "2026-12-01T00:00:00Z\n",
        "",
        "x",
        "٢٠٢٦-12-01T00:00:00Z",
        "2026-12-01T00:00Z",
        "20261201T000000Z",
    ],
)
def test_what_no_calendar_holds_is_no_date(text: str) -> None:
    assert not is_date_time(text)
    assert len(lines(plus(f"  suspend: {{reason: x, until: {json.dumps(text)}}}\n"))) == 1


# -- over all files


def test_names_and_recordings_are_unique_over_all_files() -> None:
    other = GOOD.replace("3fa85f64", "4fa85f64")
    files = [
        parse(GOOD, "a.yaml"),
        parse("---\n" + other, "b.yaml"),
        parse("\n" + GOOD.replace("7781", "7782"), "c.yaml"),
        parse(GOOD, "d.yaml"),
    ]
    same_name = "duplicate name `card-payment-7781`, also given in a.yaml:1, names are unique over all documents"
    same_name += ": if one is a copy of the other, rename or delete the copy"
    same_recording = f"duplicate recording {KEY.recording_id}, also declared in a.yaml:1, keep one of the two"
    expected = [
        f"b.yaml:2:1: {same_name} [/metadata/name]",
        f"c.yaml:2:1: {same_recording} [/spec/recordingId]",
        f"d.yaml:1:1: {same_name} [/metadata/name]",
    ]
    assert [str(problem) for problem in cross_check(files)] == expected
    assert [str(problem) for problem in cross_check(reversed(files))] == expected


def test_one_document_may_repeat_two_others() -> None:
    second = GOOD.replace("7781", "7782").replace("3fa85f64", "4fa85f64")
    third = GOOD.replace("3fa85f64", "4fa85f64")
    problems = cross_check([parse(GOOD + "---\n" + second + "---\n" + third)])
    assert [(problem.line, problem.rule) for problem in problems] == [
        (25, "duplicate-name"),
        (25, "duplicate-recording"),
    ]


def test_items_and_names_of_sets_are_unique() -> None:
    twice = parse(SET.replace("a-2", "a-1"), "twice.yaml")
    (problem,) = cross_check([twice])
    assert str(problem).startswith("twice.yaml:12:1: duplicate name `evening-shift/a-1`, also given in twice.yaml:8, ")
    assert problem.pointer == "/spec/recordings/1/name"
    empty = "apiVersion: reconciler/v1\nkind: CallRecordingSet\nmetadata: {name: evening-shift}\nspec:\n"
    empty += f"  workspaceId: {KEY.workspace_id}\n  channelId: {KEY.channel_id}\n  recordings: []\n"
    problems = cross_check([parse(SET, "a.yaml"), parse(empty, "b.yaml")])
    assert [(problem.file, problem.line, problem.rule) for problem in problems] == [("b.yaml", 1, "duplicate-name")]


def test_the_same_call_in_another_workspace_is_another_recording() -> None:
    other = GOOD.replace("7781", "7782").replace("5f4f2f2e", "6f4f2f2e")
    assert cross_check([parse(GOOD + "---\n" + other)]) == []


# -- words


def test_a_terminal_sees_the_source_line_with_a_caret() -> None:
    content = one("status: paused", "status: puased").encode()
    (problem,) = parse(content).problems
    assert explain(problem, Lines(as_bytes(content))) == f"{problem}\n    status: puased\n            ^"
    assert explain(problem, None) == str(problem)


@pytest.mark.parametrize(
    ("content", "line", "column", "shown"),
    [
        (b"\tab\n", 1, 3, "  \tab\n  \t ^"),
        ("日本x".encode(), 1, 3, "  日本x\n      ^"),
        ("e\u0301x".encode(), 1, 3, "  e\u0301x\n   ^"),
        (b"\x1b[31mred", 1, 1, "  ·[31mred\n  ^"),
        (b"caf\xe9\n", 1, 4, "  caf\ufffd\n     ^"),
        (b"\xef\xbb\xbfab\r\ncd\r", 2, 2, "  cd\n   ^"),
        (b"x" * 500, 1, 300, "  " + "x" * 100 + "\n  " + " " * 60 + "^"),
        (b"ab", 1, 99, "  ab\n    ^"),
        (b"ab\n", 2, 1, ""),
        (b"ab\n", 9, 1, ""),
    ],
)
def test_the_caret_stands_below_the_column(content: bytes, line: int, column: int, shown: str) -> None:
    problem = Problem("f.yaml", line, column, "m")
    assert explain(problem, Lines(as_bytes(content))) == (f"{problem}\n{shown}" if shown else str(problem))


def test_the_nearest_word_disregards_case() -> None:
    assert nearest("PUASED", ["ongoing", "paused"]) == "paused"
    assert nearest("zzz", ["ongoing", "paused"]) is None
    assert nearest("x" * 1_000_000, ["x" * 60]) == "x" * 60


def test_odd_keys_are_named_in_one_line() -> None:
    (line,) = lines(one("{team: billing}", '{"a/b~c\\n": 8}'))
    assert line.startswith("5:23: `metadata.labels['a/b~c\\n']` must be a string, found the number 8, ")
    assert line.endswith(" [/metadata/labels/a~1b~0c\\n]")


def test_settings_are_read_by_the_same_rules() -> None:
    assert load_plain(b"a: [no, 010, 5]\n", "s.yaml") == {"a": ["no", "010", 5]}
    assert load_plain(b"# nothing\n", "s.yaml") is None


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"a: 1\na: 2\n", "s.yaml:2:1: duplicate key `a`, first given on line 1 [/a]"),
        (b"a: 1\n---\nb: 2\n", "s.yaml:3:1: a second document where only one is read"),
        (b"a: \xff\n", "s.yaml:1:4: byte 0xff is not UTF-8, save the file as UTF-8"),
        (b"a: [\n", "s.yaml:2:1: a value is missing here"),
    ],
)
def test_settings_are_refused_in_the_same_words(content: bytes, line: str) -> None:
    with pytest.raises(DesiredStateError) as caught:
        load_plain(content, "s.yaml")
    assert str(caught.value) == line


def test_the_sample_is_valid() -> None:
    result = parse(sample_text())
    assert result.problems == ()
    assert len(result.desired) == 1


# -- what holds for any bytes

PIECES = st.sampled_from(
    [
        "\n",
        "  ",
        "- ",
        ": ",
        "a: b\n",
        "{",
        "}",
        "[",
        "]",
        ",",
        "&a ",
        "*a",
        "!!str ",
        "<<: ",
        "? ",
        "'",
        '"',
        "|\n",
        "#",
        "---\n",
        "...\n",
        "\t",
        "\x00",
        "\u2028",
        "é",
        "5",
        "true",
        "~",
        "010",
        "status: ",
        "spec:\n",
        "name: x\n",
        "kind: Pod\n",
        "\\ud800",
        "%YAML 1.2\n",
        "\r\n",
    ]
)


@st.composite
def edited(draw: st.DrawFn) -> bytes:
    """A valid file after a few slips of the hand."""
    text = draw(st.sampled_from([GOOD, SET, GOOD + "---\n" + SET]))
    for _ in range(draw(st.integers(0, 4))):
        begin = draw(st.integers(0, len(text)))
        end = min(len(text), begin + draw(st.integers(0, 12)))
        text = text[:begin] + draw(PIECES) + text[end:]
    return text.encode("utf-8")


ANYTHING = st.one_of(
    st.binary(max_size=80), st.lists(PIECES, max_size=20).map(lambda parts: "".join(parts).encode()), edited()
)


def assert_places_lie_within(content: bytes, problems: tuple[Problem, ...]) -> None:
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
    source = nodes.LINE_BREAK.split(text)
    for problem in problems:
        assert 1 <= problem.line <= len(source)
        assert 1 <= problem.column <= len(source[problem.line - 1]) + 1
        assert str(problem).isprintable()
        assert explain(problem, Lines(as_bytes(content))).startswith(str(problem))


@given(ANYTHING)
@example(b"\xff\xfea\0")
@example(b"a: \xed\xa0\x80")
def test_any_bytes_give_documents_or_problems_whose_places_lie_within_the_file(content: bytes) -> None:
    result = parse(content)
    assert not (result.desired and result.problems)
    assert_places_lie_within(content, result.problems)


def read_fast(content: bytes) -> list[tuple[object, int]] | None:
    try:
        return [(value, line) for value, line, *_ in yaml_events.read_documents(content, DEFAULT_LIMITS)]
    except yaml_events.Irregular:
        return None


def read_slowly(content: bytes) -> list[tuple[object, int]] | None:
    problems = ProblemList("f.yaml")
    try:
        text = nodes.decode(content, DEFAULT_LIMITS, problems)
        if text is None:
            return None
        found = [(node.value, node.line) for node in nodes.read_nodes(text, DEFAULT_LIMITS, problems)]
    except Enough:
        assert problems
        return None
    return None if problems else found


@given(ANYTHING)
def test_the_fast_and_the_slow_reader_agree(content: bytes) -> None:
    # repr, because a NaN is not equal to itself.
    assert repr(read_fast(content)) == repr(read_slowly(content))


@given(ANYTHING)
def test_both_parsers_agree_on_what_is_valid_to_both(content: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        c_parser = parse(content)
        patch.setattr(yaml_events, "new_parser", yaml_events.PureParser)
        pure = parse(content)
    assert_places_lie_within(content, pure.problems)
    if not c_parser.problems and not pure.problems:
        assert c_parser == pure


def names() -> st.SearchStrategy[str]:
    return st.text("abcxyz0189-.", min_size=1, max_size=253)


def documents() -> st.SearchStrategy[dict[str, Any]]:
    """Valid documents of both kinds as plain values."""
    ids = st.uuids().map(str)
    texts = st.dictionaries(
        st.text(st.characters(exclude_categories=["C", "Z"])),
        st.text(st.characters(exclude_categories=["C", "Zl", "Zp"])),
        max_size=3,
    )
    # Two days from the calendar's ends, where no time zone leads out of it.
    earliest, latest = datetime.fromisoformat("0001-01-03"), datetime.fromisoformat("9999-12-29")
    moments = st.datetimes(earliest, latest).map(lambda moment: moment.isoformat() + "Z")
    common = {
        "drift": st.sampled_from(["safe", "heal", "report"]),
        "suspend": st.fixed_dictionaries({"reason": st.text("abc :#-'\"", min_size=1), "until": moments}),
    }
    statuses = st.sampled_from(["ongoing", "paused", "completed"])
    metadata = st.fixed_dictionaries({"name": names()}, optional={"labels": texts, "annotations": texts})
    shared = {"workspaceId": ids, "channelId": ids}
    recording = {"callId": ids, "recordingId": ids, "status": statuses}
    items = st.lists(st.fixed_dictionaries({"name": names(), **recording}, optional=common), max_size=3)
    version = st.just("reconciler/v1")
    one_spec = st.fixed_dictionaries({**shared, **recording}, optional=common)
    set_spec = st.fixed_dictionaries({**shared, "recordings": items}, optional={"drift": common["drift"]})
    return st.one_of(
        st.fixed_dictionaries(
            {"apiVersion": version, "kind": st.just("CallRecording"), "metadata": metadata, "spec": one_spec}
        ),
        st.fixed_dictionaries(
            {"apiVersion": version, "kind": st.just("CallRecordingSet"), "metadata": metadata, "spec": set_spec}
        ),
    )


@given(st.lists(documents(), max_size=3), st.booleans())
def test_every_valid_document_is_read_the_same_by_both_parsers(values: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        content = "\n---\n".join(json.dumps(value, ensure_ascii=False) for value in values).encode()
    else:
        # All quoted: PyYAML writes YAML 1.1, in which `0E0` is text.
        content = yaml.safe_dump_all(values, default_style='"', allow_unicode=True).encode()
    result = parse(content)
    assert result.problems == ()
    expected = [item["status"] for value in values for item in value["spec"].get("recordings", [value["spec"]])]
    assert [desired.status.value for desired in result.desired] == expected
    assert [document.value for document in yaml_events.read_documents(content, DEFAULT_LIMITS)] == values
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml_events, "new_parser", yaml_events.PureParser)
        assert parse(content) == result


def test_a_merge_conflict_is_called_one_and_nothing_else_is_told() -> None:
    text = one("  status: paused\n", "<<<<<<< HEAD\n  status: paused\n=======\n  status: ongoing\n>>>>>>> other\n")
    assert [line.split(", ")[0] for line in lines(text)] == [
        "11:1: a merge conflict was left here (`<<<<<<<`)",
        "13:1: a merge conflict was left here (`=======`)",
        "15:1: a merge conflict was left here (`>>>>>>>`)",
    ]


def test_a_line_of_text_that_looks_like_a_conflict_is_text() -> None:
    text = plus("").replace("  labels:", "  annotations:\n    note: |\n      <<<<<<< a\n      =======\n  labels:")
    assert parse(text).problems == ()


def test_a_word_is_looked_for_among_so_many_and_no_more() -> None:
    seen = 0

    def words() -> Iterator[str]:
        nonlocal seen
        for number in range(10**9):
            seen = number
            yield f"anchor-{number:09d}"

    assert nearest("anchor-00000017", words()) is not None
    assert seen < 10_000


HOSTILE = {
    "anchors": "x: [" + ",".join(f"&a{number:06d} " for number in range(60_000)) + "]\ny: ["
    + ",".join(f"*b{number:06d}" for number in range(64)) + "]\n",
    "keys": GOOD + "".join(f"k{number}: \n" for number in range(200_000)),
    "labels": one("{team: billing}", "\n" + "".join(f"    k{number}: {number}\n" for number in range(100_000))),
    "documents": "---\n" * 400_000,
    "mistakes": (GOOD.replace("paused", "pausd") + "---\n") * 5000,
    "long texts behind aliases": "x: &x " + "y" * 500_000 + "\na: &a [" + ",".join(["*x"] * 20) + "]\nb: &b ["
    + ",".join(["*a"] * 20) + "]\nc: [" + ",".join(["*b"] * 20) + "]\n",
    "marks of conflicts": ">>>>>>> a\n" * 100_000,
    "comments that touch": "a: [" + "'b',#\n" * 100_000 + "]",
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_explaining_a_hostile_file_is_bounded(text: str) -> None:
    refused = parse_quickly(text.encode(), "f.yaml")
    assert isinstance(refused, Refused)
    before = time.thread_time()
    problems = refused.explain().problems
    # A second, what is told of lines alone, and the last piece of work that was begun; on a slow machine.
    assert time.thread_time() - before < 10 * EXPLAINING_SECONDS
    assert 0 < len(problems) <= nodes.MAX_PROBLEMS + 1


def test_what_there_is_no_time_to_explain_is_told_by_its_line() -> None:
    text = many("status: paused}", "status: pausd}")
    refused = parse_quickly(text.encode(), "f.yaml")
    assert isinstance(refused, Refused)
    for each in (refused, refused._replace(reason=None)):
        found = each.explain(Patience(0)).problems
        assert [problem.line for problem in found] == [12, 12]
        assert "'pausd' is not one of" in found[0].message
        assert found[0].pointer == "/spec/recordings/1/status"
        assert found[1].message.startswith("only some problems are explained")


def test_a_copy_of_a_large_file_costs_no_more_than_its_size() -> None:
    text = GOOD.partition("  callId")[0].replace("CallRecording", "CallRecordingSet") + "  recordings:\n"
    text += "".join(
        f"    - {{name: a-{number}, callId: {KEY.call_id}, recordingId: {number:08d}-0000-4000-8000-000000000000,"
        " status: paused}\n"
        for number in range(3000)
    )
    one_file, other = parse(text, "a.yaml"), parse(text.replace("name: card-payment", "name: other"), "b.yaml")
    found = cross_check([one_file, other])
    assert len(found) == 1001
    assert found[0].pointer == "/spec/recordings/0/recordingId"
    assert "only some problems are explained: 2,000 more conflicts" in str(found[-1])
