"""The pages and the program name the same commands."""

from __future__ import annotations

import re
import shlex
from itertools import dropwhile
from pathlib import Path

import click
import pytest

from tests.house.pages import PAGES, prose, quoted
from tests.house.shown import check_usage, command_group, shown_commands
from tests.world.places import CHECKOUT


def test_every_shown_command_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    group = command_group()
    wrong, seen = [], 0
    for shown in (words for text in PAGES.values() for words in shown_commands(text)):
        words = list(dropwhile(re.compile(r"[A-Z_]+=.*|(.*/)?python[\d.]*|-m|exec|env|time").fullmatch, shown))
        if words and words[0] == "make":
            wrong += [
                f"{shown}: no {word}" for word in words[1:] if re.fullmatch(r"[a-z-]+", word) and word not in targets
            ]
        elif words and Path(words[0]).name == "reconciler":
            seen += 1
            try:
                check_usage(group, words[1:])
            except click.UsageError as error:
                wrong.append(f"{shown}: {error.format_message()}")
    assert not wrong, "\n".join(wrong)
    assert seen, "no page shows a command in a block marked sh or console"


def test_every_command_within_a_sentence_exists() -> None:
    group = command_group()
    wrong, seen = [], 0
    for page in PAGES:
        for words in (
            shlex.split(code) for code in quoted(prose(page)) if re.match(r"([A-Z_]+=\S+\s+)?reconciler\s", code)
        ):
            seen += 1
            try:
                check_usage(group, words[words.index("reconciler") + 1 :])
            except click.UsageError as error:
                wrong.append(f"{page}: {words}: {error.format_message()}")
    assert not wrong, "\n".join(wrong)
    assert seen > 20


def test_every_command_is_shown() -> None:
    group = command_group()
    typed = {words[1] for text in PAGES.values() for words in shown_commands(text) if words[0] == "reconciler"}
    missing = [name for name in group.list_commands(click.Context(group)) if name not in typed]
    assert not missing, f"no page shows: {missing}"


def test_the_check_of_shown_commands_finds_what_is_wrong() -> None:
    typed = "$ X=1 reconciler plan a \\\n  --out b | cat  # don't\nreconciler said so\n"
    shown = f"```console\n{typed}```\n```yaml\nreconciler plan\n```\n"
    assert list(shown_commands(shown)) == [["X=1", "reconciler", "plan", "a", "--out", "b"], ["cat"]]
    plan = click.Command("plan", params=[click.Option(["--out"]), click.Argument(["paths"], nargs=-1)])
    group = click.Group(commands={"plan": plan})
    check_usage(group, ["plan", "a", "--out", "b"])
    for words in (["plann"], ["plan", "--outt", "b"], ["--out", "b", "plan"], ["plan", "--out"]):
        with pytest.raises(click.UsageError):
            check_usage(group, words)
