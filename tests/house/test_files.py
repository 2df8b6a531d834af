"""Who opens files, and through which gates everything passes that a person reads."""

from __future__ import annotations

import ast
import re

import pytest

from tests.house.source import TREES, room_of

#: Who opens files, and why it need not be `reconciler.settings.files`. Each reads or writes what no stranger has
#: named, or guards itself. A module that is added here answers the same question.
OPENERS = {
    "reconciler.settings.files": "the reader and the writers of all others",
    "reconciler.desired.rewrite": "replaces a file by one that mkstemp made, after it has read it by `files`",
    "reconciler.cli.streams": "the standard streams of this process, and /dev/null",
    "reconciler.cli.checks": "the kernel's limits, at fixed places below /proc",
    "reconciler.desired.index.file": "its own file, with O_EXCL or O_NONBLOCK, and O_NOFOLLOW",
    "reconciler.git.ask": "temporary files without a name",
    "reconciler.git.mirror.signatures": "a signature for ssh-keygen, in a temporary file",
    "reconciler.desired.shipped": "the schemas and the sample, which ship with the program",
    "reconciler.desired.sources.folder": "documents, with a guard of its own against what is no regular file",
    "reconciler.desired.sources.walk": "folders of documents, with O_DIRECTORY",
    "reconciler.state.sqlite.backup": "a copy of the state, with O_EXCL and O_NOFOLLOW, and its folder",
    "reconciler.state.sqlite.connection": "the state's own file, with O_EXCL, and its folder",
    "reconciler.state.sqlite.lease": "what tells whether a process lives, at fixed places below /proc",
    "reconciler.state.sqlite.schema": "a copy of the state, with O_EXCL",
}


#: Methods of paths that open what they are called on, by whatever name it was given.
OPENING_METHODS = {
    "read_text",
    "read_bytes",
    "write_text",
    "write_bytes",
    "touch",
    "symlink_to",
    "hardlink_to",
}


#: Functions that open, make or copy a file, by the module that they come from.
OPENING_FUNCTIONS = {
    "os": {"open", "fdopen", "popen", "mkfifo", "mknod", "link", "symlink", "truncate"},
    "io": {"open", "open_code", "FileIO"},
    "codecs": {"open"},
    "shutil": {"copy", "copy2", "copyfile", "copytree", "move"},
    "tempfile": {"mkstemp", "mktemp", "NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile"},
}


def opens(node: ast.Call) -> bool:
    """Whether a call opens a file by its name: by a function, by a method of a path, or by `open` with a mode."""
    match node.func:
        case ast.Name(id="open"):
            return True
        case ast.Attribute(value=ast.Name(id=module), attr=name) if name in OPENING_FUNCTIONS.get(module, set()):
            return True
        case ast.Attribute(attr=name) if name in OPENING_METHODS:
            return True
        case ast.Attribute(attr="open"):
            modes = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
            return any(
                isinstance(mode, ast.Constant)
                and isinstance(mode.value, str)
                and re.fullmatch("[rwxabt+]+", mode.value)
                for mode in modes
            )
    return False


def test_files_are_read_and_written_by_one_reader_and_one_writer() -> None:
    """A path may have been chosen by a stranger: a FIFO holds the loop up, a link redirects a write."""
    opening = {
        f"{module}:{node.lineno}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and opens(node) and module not in OPENERS
    }
    assert not opening, "use reconciler.settings.files, or say in OPENERS why not:\n" + "\n".join(sorted(opening))
    used = {module for module in OPENERS if any(isinstance(n, ast.Call) and opens(n) for n in ast.walk(TREES[module]))}
    assert used == OPENERS.keys(), f"they open nothing any more: {OPENERS.keys() - used}"


@pytest.mark.parametrize(
    "written",
    [
        "open(path)",
        "path.open('w')",
        "path.open(mode='rb')",
        "Path(path).read_text(encoding='utf-8')",
        "Path(path).write_bytes(b'')",
        "Path(path).touch()",
        "os.open(path, os.O_CREAT)",
        "shutil.copy(a, b)",
        "io.open(path)",
        "tempfile.mkstemp()",
    ],
)
def test_the_check_of_openers_finds_each_way_to_open(written: str) -> None:
    assert [node for node in ast.walk(ast.parse(written)) if isinstance(node, ast.Call) and opens(node)]
    assert not opens(ast.parse("store.open()").body[0].value)  # type: ignore[attr-defined]


def test_what_a_person_reads_passes_one_of_two_gates() -> None:
    """The standard streams make each line visible, and so does the log; nobody may write around them."""
    around = []
    for module, tree in TREES.items():
        if module == "reconciler.cli.streams":
            continue
        for node in ast.walk(tree):
            match node:
                case ast.Attribute(value=ast.Name(id="sys"), attr="__stdout__" | "__stderr__"):
                    around.append(f"{module}:{node.lineno} takes the interpreter's own stream")
                case ast.Attribute(value=ast.Attribute(attr="stdout" | "stderr"), attr="buffer"):
                    around.append(f"{module}:{node.lineno} writes bytes to a standard stream")
                case ast.Call(func=ast.Attribute(value=ast.Name(id="os"), attr="write" | "writev")):
                    # The log's own thread, which gets lines that the log has made visible.
                    if module != "reconciler.telemetry.outlet":
                        around.append(f"{module}:{node.lineno} writes to a descriptor")
    assert not around, "\n".join(around)
    calls = {
        module
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "visible_lines"
    }
    assert calls == {"reconciler.cli.streams", "reconciler.telemetry.logs"}


def test_only_the_command_line_prints() -> None:
    prints = [
        f"{module}:{node.lineno}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == "print" and room_of(module) != "cli"
    ]
    assert not prints, "\n".join(prints)
