"""What is hidden in foreign text, and what of our own words stays: sizes and limits beside phone numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.desired.documents.limits import DocumentLimits
from reconciler.desired.documents.parse import parse_documents
from reconciler.desired.sources.folder import Source
from reconciler.model.documents import Problem
from reconciler.telemetry.scrubbing import scrub, scrubbed, visible, visible_lines
from tests.world.git_scene import Branch, Team, isolate

LIMIT = 1_000_000
#: Without a dash: what looks like a date stays.
_separators = st.text("./() ", max_size=3)


@given(digits=st.text("0123456789", min_size=7, max_size=15), data=st.data())
def test_a_number_of_seven_digits_or_more_is_hidden_however_it_is_separated(digits: str, data: st.DataObject) -> None:
    written = digits[0] + "".join(data.draw(_separators) + digit for digit in digits[1:])
    assert scrub(f"call +{written} back") == "call <number> back"


@given(st.integers(0, 2**80))
def test_a_size_in_groups_of_three_stays(size: int) -> None:
    assert scrub(f"more than {size:,} bytes") == f"more than {size:,} bytes"


def test_a_message_about_a_limit_is_the_same_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "big.yaml").write_bytes(b"x" * (LIMIT + 1))
    isolate(monkeypatch, tmp_path / "home")
    team = Team(tmp_path)
    team.publish({"docs/big.yaml": b"x" * (LIMIT + 1)})
    in_git = Branch(team, tmp_path / "state", limit=LIMIT).opened().source.read("docs/big.yaml")
    in_a_folder = Source([tmp_path], max_file_bytes=LIMIT).read(str(tmp_path / "big.yaml"))
    assert isinstance(in_git, Problem)
    assert isinstance(in_a_folder, Problem)
    small = DocumentLimits(max_file_bytes=LIMIT)
    problems = [
        in_git,
        in_a_folder,
        *parse_documents(b"x" * (LIMIT + 1), "a.yaml", small).problems,
    ]
    assert len(problems) == 3
    for problem in problems:
        assert "1,000,000" in problem.message
        assert scrubbed(problem) == problem


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("card-1", "card-1"),
        ("a::b", "a::b"),
        ("::stop-commands::x", r"\x3a:stop-commands::x"),
        ("  ::add-mask::a", r"  \x3a:add-mask::a"),
        ("a ##[add-mask]b", r"a #\x23[add-mask]b"),
        ("###[x]", r"##\x23[x]"),
        ("a\u202eb\x1b[2J", r"a\u202eb\x1b[2J"),
        ("\n::error::a", r"\n::error::a"),
    ],
)
def test_what_acts_on_a_screen_or_on_a_runner_is_made_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(alphabet="#[:] a\u202e\n\x1b"))
def test_visible_text_is_on_one_line_and_no_command(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert "##[" not in shown
    assert not shown.lstrip().startswith("::")
    assert visible(shown) == shown


@pytest.mark.parametrize(
    "command", ["::stop-commands::x", "  ::add-mask::a", "\u00a0::debug::x", "::error::x", "::group::x"]
)
def test_no_line_begins_with_a_command_but_an_annotation(command: str) -> None:
    annotation = "::error file=a.yaml,line=3,col=1::no such status\n"
    shown = visible_lines(f"{annotation}{command}\n{annotation}x{command}\n").splitlines()
    assert shown[0] == shown[2] == annotation.strip()
    assert not re.match(r"\s*::", shown[1])
    assert shown[3].lstrip("x").split("::")[-1] == command.split("::")[-1]


def test_lines_and_colours_of_our_own_stay_and_nothing_else_that_acts() -> None:
    ours = "\x1b[31m\x1b[1mfile\x1b[0m:1\tmistake\nzahlungen-ü\n"
    assert visible_lines(ours) == ours
    theirs = "\x1b[8mhidden\x1b[2Jcleared\x1b]0;title\x07 a\rb\u202ec\u200b\u2066d\u2028e\x7f\x9bf\udcffg"
    shown = visible_lines(theirs)
    assert shown.isprintable()
    for escaped in (
        r"\x1b[8m",
        r"\x1b[2J",
        r"\x07",
        r"\r",
        r"\u202e",
        r"\u200b",
        r"\u2066",
        r"\u2028",
        r"\x9b",
        r"\udcff",
    ):
        assert escaped in shown
