"""Guards of the house: which way imports run, who owns which package, and whether what we ship and show is true.

The source is read, not imported, so that a broken room cannot hide which rule it broke.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from itertools import dropwhile
from pathlib import Path

import click
import pytest
import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import LONG
from tests.world.places import CHECKOUT

PACKAGE = CHECKOUT / "reconciler"

#: The rooms by floor, from the top. A room imports from the floors below its own; on its own floor it may import from
#: another as long as no circle arises. There are no rooms beside these, and nothing else at the package's root.
FLOORS = {
    "cli": 7,
    "controller": 6,
    "reconcile": 5,
    "desired": 5,
    "report": 4,
    "web": 4,
    "providers": 4,
    "state": 4,
    "git": 4,
    "plan": 3,
    "work": 3,
    "settings": 3,
    "telemetry": 3,
    "model": 2,
}
ROOT = {"__init__.py", "__main__.py", "py.typed"}
#: Modules that import less than their floor allows: the named rooms and no others.
ONLY_FROM = {"providers.bird.sandbox": {"model"}}
#: What computes: values in, values out, time passed in. A whole room, or one module of it.
PURE = {
    "desired.catalog",
    "desired.edit",
    "desired.export",
    "model",
    "plan.decision",
    "plan.evidence",
    "plan.limits",
    "plan.outline",
    "plan.plan",
    "plan.window",
    "reconcile.record",
    "report",
    "telemetry.scrubbing",
    "work.backoff",
}
IMPURE = {"asyncio", "logging", "os", "pathlib", "socket", "subprocess", "tempfile", "threading", "time"}
#: Which rooms may import a package: every third-party one, and sqlite3.
OWNERS = {
    "aiohttp": {"providers"},
    "click": {"cli"},
    "httpx": {"providers"},
    "httpx_aiohttp": {"providers"},
    "jsonschema": {"desired"},
    "jsonschema_rs": {"desired"},
    "prometheus_client": {"telemetry"},
    "sqlite3": {"state"},
    "starlette": {"providers", "web"},
    "structlog": {"telemetry"},
    "uvicorn": {"providers", "web"},
    "uvloop": {"cli"},
    "watchfiles": {"desired"},
    "yaml": {"desired"},
}
#: Too slow to import for a command that needs neither the API nor the daemon, nor has a mistake to explain.
HEAVY = {
    "aiohttp",
    "asyncio",
    "concurrent",
    "difflib",
    "httpx",
    "jsonschema",
    "logging",
    "prometheus_client",
    "ssl",
    "starlette",
    "structlog",
    "traceback",
    "uvicorn",
    "watchfiles",
}


def name_of(path: Path) -> str:
    """The dotted name of a module, such as `reconciler.state.sqlite.writer`."""
    parts = path.relative_to(CHECKOUT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


TREES = {name_of(path): ast.parse(path.read_bytes()) for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(module: str) -> str:
    return module.split(".")[1]


def imported_names(module: str) -> Iterator[str]:
    """Every dotted name that a module imports, in functions and for types too; `from a import b` gives `a.b`."""
    is_package = (CHECKOUT / Path(*module.split("."))).is_dir()
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def own_imports(module: str) -> set[str]:
    """The modules of ours that a module imports."""
    found = set()
    for imported in imported_names(module):
        if imported.split(".")[0] != "reconciler":
            continue
        parts = imported.split(".")
        while len(parts) > 1 and ".".join(parts) not in TREES:
            parts.pop()
        found.add(".".join(parts) if len(parts) > 1 else "reconciler.__init__")
    return found


def foreign_imports(module: str) -> set[str]:
    """The top-level names of all else that a module imports."""
    return {imported.split(".")[0] for imported in imported_names(module)} - {"reconciler"}


def is_face(module: str) -> bool:
    return module.count(".") == 1 and module != "reconciler.__main__"


def test_the_root_holds_the_rooms_and_nothing_else() -> None:
    found = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert found == ROOT | FLOORS.keys(), "a new module goes into a room; see FLOORS"


def test_imports_run_downward_and_in_no_circle() -> None:
    upward = []
    rooms: dict[str, set[str]] = {}
    for module in TREES:
        if (room := room_of(module)) not in FLOORS:
            continue
        few = next((few for name, few in ONLY_FROM.items() if f"{module}.".startswith(f"reconciler.{name}.")), None)
        for imported in sorted(own_imports(module)):
            other = room_of(imported)
            if other in (room, "__init__"):
                continue
            rooms.setdefault(room, set()).add(other)
            if FLOORS[other] > FLOORS[room] or (few is not None and other not in few):
                upward.append(f"{module} imports {imported}")
    assert not upward, "not downward by FLOORS and ONLY_FROM:\n" + "\n".join(upward)
    TopologicalSorter(rooms).prepare()  # raises CycleError, which names the circle


def test_no_import_circle_within_a_room() -> None:
    graph = {module: {other for other in own_imports(module) if room_of(other) == room_of(module)} for module in TREES}
    faced = [module for module, others in graph.items() if f"reconciler.{room_of(module)}" in others - {module}]
    assert not faced, f"{faced}: inside of its room a module is imported by its own name, not through the face"
    TopologicalSorter({module: others - {module} for module, others in graph.items()}).prepare()


def test_rooms_meet_through_their_faces_alone() -> None:
    around = [
        f"{module} imports {imported}"
        for module in TREES
        for imported in sorted(own_imports(module))
        if room_of(imported) in FLOORS.keys() - {room_of(module)} and not is_face(imported)
    ]
    assert not around, "import it from the room:\n" + "\n".join(around)


@pytest.mark.parametrize("room", sorted(FLOORS))
def test_a_face_gives_what_it_declares_and_somebody_uses_each_of_it(room: str) -> None:
    """The type checker reads one list and the interpreter the other."""
    module = f"reconciler.{room}"
    declared = {
        (node.module, alias.name)
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{module}.")
        for alias in node.names
    }
    call = next(node for node in ast.walk(TREES[module]) if isinstance(node, ast.Call))
    given = ast.literal_eval(call.args[1])
    assert {(f"{module}.{owner}", name) for owner, names in given.items() for name in names} == declared
    used = {imported for other in TREES if room_of(other) != room for imported in imported_names(other)}
    unused = sorted(name for _, name in declared if f"{module}.{name}" not in used)
    assert not unused, f"no other room asks for {unused}"
    face = importlib.import_module(module)
    assert all(getattr(face, name) is not None for _, name in declared)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = face.nothing


def test_each_package_has_its_owner() -> None:
    strangers = [
        f"{module} imports {imported}"
        for module in TREES
        for imported in sorted(foreign_imports(module))
        if (imported in OWNERS or imported not in sys.stdlib_module_names)
        and room_of(module) not in OWNERS.get(imported, set())
    ]
    assert not strangers, f"not theirs by OWNERS in {Path(__file__).name}:\n" + "\n".join(strangers)


def test_the_pure_core_reads_no_clock_and_touches_nothing() -> None:
    impure = []
    assert {f"reconciler.{name}" for name in PURE} <= TREES.keys()
    pure = [module for module in TREES if any(f"{module}.".startswith(f"reconciler.{name}.") for name in PURE)]
    for module in pure:
        impure += [f"{module} imports {name}" for name in sorted(foreign_imports(module) & (IMPURE | set(OWNERS)))]
        for node in ast.walk(TREES[module]):
            if isinstance(node, ast.AsyncFunctionDef | ast.AsyncWith | ast.AsyncFor):
                impure.append(f"{module}:{node.lineno} is async")
            if isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today"):
                impure.append(f"{module}:{node.lineno} reads the clock")
    assert not impure, "\n".join(impure)


def test_no_test_counts_from_the_moment_of_its_import() -> None:
    """The last of many tests runs long after all were imported: what was seven minutes ago is half an hour ago then."""
    early = []
    for path in sorted((CHECKOUT / "tests").rglob("*.py")):
        waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today", "time", "monotonic"):
                early.append(f"{path.relative_to(CHECKOUT)}:{node.lineno} reads the clock at its import")
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                waiting += [*node.args.defaults, *(each for each in node.args.kw_defaults if each)]
                waiting += [] if isinstance(node, ast.Lambda) else node.decorator_list
            else:
                waiting += ast.iter_child_nodes(node)
    assert not early, "\n".join(early)


def test_the_tests_that_a_run_begins_with_are_there() -> None:
    assert {f"test_{name}" for name in LONG} <= {path.stem for path in (CHECKOUT / "tests").rglob("test_*.py")}


#: Who opens files, and why it need not be `reconciler.settings.files`. Each reads or writes what no stranger has
#: named, or guards itself. A module that is added here answers the same question.
OPENERS = {
    "reconciler.settings.files": "the reader and the writers of all others",
    "reconciler.desired.rewrite": "replaces a file by one that mkstemp made, after it has read it by `files`",
    "reconciler.cli.streams": "the standard streams of this process, and /dev/null",
    "reconciler.desired.documents": "the sample, which ships with the program",
    "reconciler.cli.checks": "the kernel's limits, at fixed places below /proc",
    "reconciler.desired.index.file": "its own file, with O_EXCL or O_NONBLOCK, and O_NOFOLLOW",
    "reconciler.git.mirror.command": "temporary files without a name",
    "reconciler.git.mirror.signatures": "a signature for ssh-keygen, in a temporary file",
    "reconciler.desired.shipped": "the schemas, which ship with the program",
    "reconciler.desired.sources.files": "documents, with a guard of its own against what is no regular file",
    "reconciler.desired.sources.tree": "folders of documents, with O_DIRECTORY",
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


#: Which modules may start a program, and which of them starts what.
STARTERS = {
    "reconciler.git.commit",
    "reconciler.git.command",
    "reconciler.git.mirror.command",
    "reconciler.git.mirror.objects",
    "reconciler.git.mirror.signatures",
}
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
    from reconciler.git.command import GUARDS, REACHING_GUARDS

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
    assert not unguarded, "a git that is started without GUARDS of reconciler.git.command:\n" + "\n".join(unguarded)


def test_every_variable_that_speaks_of_one_repository_is_handled() -> None:
    from reconciler.git.command import LOCAL_VARIABLES

    said = subprocess.run(["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=True).stdout
    # Settings that a person gives for one command stay, as `safe.directory` may be; the guards come after them.
    assert set(said.split()) - LOCAL_VARIABLES == {"GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT"}


#: A handler of signals set elsewhere would take a stop away from whoever counts on it.
SIGNALS = {"reconciler.cli.stops", "reconciler.cli.compose", "reconciler.providers.bird.sandbox.server"}
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


def test_every_schema_is_valid() -> None:
    json_schemas = sorted((CHECKOUT / "schemas").glob("*.json"))
    for path in json_schemas:
        schema = json.loads(path.read_text())
        assert schema.get("$schema") == "https://json-schema.org/draft/2020-12/schema", path.name
        Draft202012Validator.check_schema(schema)
    interfaces = sorted((CHECKOUT / "schemas").glob("*.openapi.yaml"))
    for path in interfaces:
        OpenAPIV31SpecValidator(yaml.safe_load(path.read_text())).validate()
    assert {path.name for path in [*json_schemas, *interfaces]} == {
        path.name for path in (CHECKOUT / "schemas").iterdir()
    }
    assert json_schemas
    assert interfaces


def test_every_sample_is_valid() -> None:
    from reconciler.desired.documents import cross_check, parse_documents

    paths = sorted((CHECKOUT / "desired_state").rglob("*.y*ml"))
    files = [parse_documents(path.read_bytes(), str(path.relative_to(CHECKOUT))) for path in paths]
    assert [str(problem) for file in files for problem in file.problems] == []
    assert [str(problem) for problem in cross_check(files)] == []
    assert all(file.desired for file in files)
    assert files


#: The same for one that looks at a single file, and for one that only says something about itself.
HEAVY_FOR_ONE_FILE = {*HEAVY, "sqlite3", "subprocess"}
HEAVY_FOR_HELP = {*HEAVY_FOR_ONE_FILE, "dataclasses", "hashlib", "jsonschema_rs", "json", "yaml"}


def imports_of(arguments: list[str], folder: Path) -> set[str]:
    """Every module that one run of the program imports, by its dotted name."""
    shutil.copytree(CHECKOUT / "desired_state", folder / "desired_state")
    command = [sys.executable, "-X", "importtime", "-m", "reconciler", *arguments]
    # What measures the tests imports modules of its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert done.returncode == 0, [line for line in done.stderr.splitlines() if line not in lines]
    return {line.rpartition("|")[2].strip() for line in lines}


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["validate", "desired_state"], HEAVY),
        (["validate", "desired_state/card-payments.yaml"], HEAVY_FOR_ONE_FILE),
        (["plan", "--no-refresh", "desired_state"], {*HEAVY, "shlex", "shutil", "tempfile", "textwrap"}),
        (["schema"], HEAVY_FOR_ONE_FILE),
    ],
    ids=["validate", "validate-one-file", "plan", "schema"],
)
def test_light_commands_import_nothing_heavy(arguments: list[str], heavy: set[str], tmp_path: Path) -> None:
    imported = {module.partition(".")[0] for module in imports_of(arguments, tmp_path)}
    assert "reconciler" in imported
    assert imported & heavy == set()


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_what_is_said_about_the_program_itself_needs_no_room_below(option: str, tmp_path: Path) -> None:
    imported = imports_of([option], tmp_path)
    ours = {module for module in imported if module.startswith("reconciler.")}
    assert ours == {"reconciler.cli", "reconciler.cli.program", "reconciler.cli.streams", "reconciler.cli.stops"}
    assert imported & HEAVY_FOR_HELP == set()


def pins(lock: str) -> dict[str, str]:
    """The version of each package that a lock names, with its extras or without."""
    pin = r"^([a-z0-9-]+)(?:\[[a-z0-9,-]+\])?==([^\s;]+)"
    return dict(re.findall(pin, (CHECKOUT / lock).read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_names_no_address_and_hashes_every_pin(lock: str) -> None:
    text = (CHECKOUT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash=sha256:[0-9a-f]{64}\b)", text, re.MULTILINE)
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins(lock)) > 0
    assert [entry for entry in entries if "--hash=" not in entry] == []


def test_the_locks_agree_with_each_other_and_with_the_project() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    build = project["build-system"]["requires"]
    assert build == project["dependency-groups"]["build"]
    extras = [item for extra in project["project"]["optional-dependencies"].values() for item in extra]
    run, everything = pins("requirements.lock"), pins("requirements-dev.lock")
    assert run.items() <= everything.items()
    for pinned, requirements in (
        (run, [*project["project"]["dependencies"], *build]),
        (everything, extras),
    ):
        for requirement in map(Requirement, requirements):
            version = pinned.get(canonicalize_name(requirement.name))
            assert version in requirement.specifier if version else False, f"{requirement}: run `make lock`"


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


def test_every_command_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    group = command_group()
    wrong, seen = [], 0
    for shown in shown_commands((CHECKOUT / "README.md").read_text()):
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
    assert seen, "README.md shows no command in a block marked sh or console"


def test_every_command_is_in_the_readme() -> None:
    text = (CHECKOUT / "README.md").read_text()
    group = command_group()
    missing = [name for name in group.list_commands(click.Context(group)) if f"reconciler {name}" not in text]
    assert not missing, f"README.md does not show: {missing}"


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
