"""Who starts a program, with which guards, and who hears signals."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

from tests.house.source import TREES, foreign_imports

#: The one module that may start a program: git, and the programs by which git checks signatures.
STARTERS = {"reconciler.git.ask"}


#: What starts a program, by its name in `os` or `asyncio`.
STARTING = re.compile(r"(exec|spawn|posix_spawn)[lvpe]*|system|popen|fork(pty)?|create_subprocess_(exec|shell)")


def test_only_the_named_modules_start_a_program() -> None:
    found = {module for module in TREES if "subprocess" in foreign_imports(module)}
    assert found == STARTERS, "see STARTERS; git is asked by `reconciler.git`"
    others = [
        f"{module}:{node.lineno}: {node.attr}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("os", "asyncio", "pty", "multiprocessing")
        and STARTING.fullmatch(node.attr)
    ]
    assert not others, "\n".join(others)


def test_git_is_never_started_without_its_guards() -> None:
    from reconciler.git.ask import GUARDS, REACHING_GUARDS

    for guards in (GUARDS, REACHING_GUARDS):
        assert "safe.bareRepository=explicit" in guards, "else a folder of the content can be the repository"
    unguarded = []
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            # A command is a list or a tuple that begins with its program.
            if not isinstance(node, ast.List | ast.Tuple) or len(node.elts) < 2:
                continue
            first, second = node.elts[:2]
            if isinstance(first, ast.Constant) and Path(str(first.value)).name == "git":
                guard = second.value if isinstance(second, ast.Starred) else None
                guarded = isinstance(guard, ast.Name) and guard.id in ("GUARDS", "REACHING_GUARDS")
                if not guarded and module != "reconciler.cli.options":
                    unguarded.append(f"{module}:{node.lineno}")
    assert not unguarded, "a git that is started without GUARDS of reconciler.git.ask:\n" + "\n".join(unguarded)


def test_every_variable_that_speaks_of_one_repository_is_handled() -> None:
    from reconciler.git.ask import LOCAL_VARIABLES

    said = subprocess.run(["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=True).stdout
    # Settings that a person gives for one command stay, as `safe.directory` may be; the guards come after them.
    assert set(said.split()) - LOCAL_VARIABLES == {"GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT"}


#: A handler of signals set elsewhere would take a stop away from whoever counts on it.
SIGNALS = {"reconciler.cli.stops", "reconciler.cli.process", "reconciler.providers.bird.sandbox.server"}


#: These ask in the middle of the event loop, which then hears no signal.
QUESTIONS = {"confirm", "prompt", "getchar", "pause"}


def test_signals_have_their_owners_and_no_question_stops_the_loop() -> None:
    found = []
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name | ast.Call):
                continue
            whose = ast.unparse(node.value)
            sets = node.attr == "add_signal_handler" or (whose, node.attr) == ("signal", "signal")
            if (sets and module not in SIGNALS) or (whose == "click" and node.attr in QUESTIONS):
                found.append(f"{module}:{node.lineno}: {whose}.{node.attr}")
    assert not found, "\n".join(found)
