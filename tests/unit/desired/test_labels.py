"""Labels: how a selection is read, what it selects, and that equal ones take no memory."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from reconciler.cli.options import label_option
from reconciler.desired.labels import labels_of, matches, parse_label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("team=billing", ("team", "billing")),
        ("team=", ("team", "")),
        ("query=a=b", ("query", "a=b")),
        ("two words=in a value", ("two words", "in a value")),
    ],
)
def test_a_label_is_parted_at_its_first_equals_sign(text: str, label: tuple[str, str]) -> None:
    assert parse_label(text) == label


@pytest.mark.parametrize("text", ["team", "", "=billing", "!team"])
def test_what_is_no_label_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="is no label: write name=value, such as team=billing"):
        parse_label(text)


def test_all_wanted_labels_must_be_there() -> None:
    labels = labels_of((("team", "billing"), ("channel", "support")))
    assert labels == (("channel", "support"), ("team", "billing"))
    assert matches(labels, [])
    assert matches(labels, [("team", "billing")])
    assert matches(labels, [("team", "billing"), ("channel", "support")])
    assert not matches(labels, [("team", "billing"), ("channel", "sales")])
    assert not matches(labels, [("team", "billin")])
    assert not matches((), [("team", "billing")])


def test_documents_with_equal_labels_share_one_value() -> None:
    assert labels_of((("a", "1"), ("b", "2"))) is labels_of((("b", "2"), ("a", "1")))


def test_numbers_of_callers_and_keys_are_kept_in_no_label() -> None:
    written = (("caller", "0031612345678"), ("0031612345679", "x"), ("key", "AccessKey abcdefgh"), ("team", "billing"))
    kept = labels_of(written)
    assert ("team", "billing") in kept
    assert not any(word in repr(kept) for word in ("5678", "5679", "abcdefgh"))


def test_the_option_hands_on_pairs_and_refuses_the_rest_as_wrong_usage() -> None:
    @click.command()
    @label_option("Only these.")
    def command(labels: tuple[tuple[str, str], ...]) -> None:
        click.echo(repr(labels))

    done = CliRunner().invoke(command, ["--label", "a=1", "--label", "b=x y"])
    assert done.output == "(('a', '1'), ('b', 'x y'))\n"
    refused = CliRunner().invoke(command, ["--label", "team"])
    assert refused.exit_code == 2
    assert "is no label: write name=value" in refused.output
    by_variable = CliRunner().invoke(command, [], default_map={"labels": ["a=1"]})
    assert by_variable.output == "(('a', '1'),)\n"
