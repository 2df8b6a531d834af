"""The commands that a page shows, and whether the program has them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click


def shown_commands(text: str) -> Iterator[list[str]]:
    """The words of every command in the shell blocks of a Markdown text, up to a pipe or a redirection.

    Where a block marks what is typed by `$ `, the rest of it is output.
    """
    for block in re.findall(r"^```(?:sh|bash|zsh|fish|shell|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        lines = block.replace("\\\n", " ").splitlines()
        for line in [line[2:] for line in lines if line.startswith("$ ")] or lines:
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if word.strip("();<>|&"):
                    words.append(word)
                elif words:
                    yield words
                    words = []


def command_group() -> click.Group:
    from reconciler.cli import program

    return next(value for value in vars(program).values() if isinstance(value, click.Group))


def check_usage(group: click.Group, words: list[str]) -> None:
    """Hold the words after `reconciler` to the options and arguments that its commands declare.

    Raises:
        click.UsageError: there is no such command or option, or an option lacks its value.
    """
    context = click.Context(group, info_name="reconciler")
    rest = group.make_parser(context).parse_args(list(words))[1]
    if rest:
        command = group.resolve_command(context, rest)[1]
        assert command is not None
        command.make_parser(click.Context(command, parent=context)).parse_args(rest[1:])
