"""README.md is true: what it shows is run, what it lists is compared with the source that it lists.

Aspects: commands and their outputs, examples of documents, settings, hooks and pipelines, tables, links. A section's
commands are one session of a shell, in a folder of its own with the samples; a block that is not run says why in a
comment above it. That each command and option exists is held in `test_commands.py`.
"""

from __future__ import annotations

import ast
import difflib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from reconciler.cli import exits
from reconciler.cli.program import cli
from reconciler.cli.reports import FORMATS
from reconciler.desired.documents.parse import parse_documents
from reconciler.desired.documents.plain import load_plain
from reconciler.model.statuses import Phase
from reconciler.plan.plan import Cause
from reconciler.providers.bird.guard import Route
from reconciler.settings.content import read_settings
from reconciler.settings.setting import Setting
from reconciler.settings.table import SETTINGS
from reconciler.telemetry.metrics import Metrics
from tests.house.rooms import FLOORS, PURE
from tests.house.shown import check_usage
from tests.world.places import CHECKOUT

README = (CHECKOUT / "README.md").read_text()
#: The page without its blocks.
PROSE = re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE)
#: The folder and the ports that the page shows; a test has others.
SHOWN_HOME = "/home/you/recordings"
DAEMON_PORT, SANDBOX_PORT = "8420", "8421"
#: What differs from run to run.
VARYING = {
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00| UTC)": "<time>",
    r"127\.0\.0\.1:\d+": "<address>",
    r'"run_id": "[0-9a-f]{12}"': '"run_id": "<run>"',
    r'"took_ms": [\d.]+': '"took_ms": <ms>',
    r"\bin \d+ ms\b": "in <ms>",
    r"\b\d+\.\d KiB": "<size>",
    # Ages, with what a longer one takes of the space after it; how many days a disk has room is another matter.
    r"(?<= )\d+[sm] +": "<age> ",
    r"process \d+ on \S+,": "process <process>,",
    r"sha256:[0-9a-f]{64}": "<digest>",
    r"commit [0-9a-f]{12}\b": "commit <id>",
}
SHELLS = {"console", "sh", "bash", "zsh", "fish"}
#: The options of curl that the page uses, for machines that have no curl.
CURL = """\
import argparse, sys, urllib.request
options = argparse.ArgumentParser()
for name in "-s", "-f":
    options.add_argument(name, action="store_true")
for name in "-d", "-o", "url":
    options.add_argument(name)
options.add_argument("-H", action="append", default=[])
given = options.parse_args()
headers = dict(header.split(": ", 1) for header in given.H)
request = urllib.request.Request(given.url, given.d and given.d.encode(), headers)
try:
    with urllib.request.urlopen(request, timeout=10) as answer:
        body = answer.read().decode()
except OSError:
    sys.exit(22)
if given.o != "/dev/null":
    print(body, end="")
"""


@dataclass(frozen=True)
class Block:
    """A fenced block, the section it stands in, and the comment right above it."""

    line: int
    section: str
    language: str
    text: str
    comment: str

    @property
    def is_run(self) -> bool:
        return self.language in SHELLS and not self.comment

    def commands(self) -> Iterator[tuple[int, str, str]]:
        """Each command with its line in the page and the output that is shown below it."""
        lines = self.text.splitlines()
        starts = [number for number, line in enumerate(lines) if self.language != "console" or line.startswith("$ ")]
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            command = lines[start].removeprefix("$ ")
            yield self.line + 1 + start, command, "".join(f"{line}\n" for line in lines[start + 1 : end])


def read_blocks(page: str) -> list[Block]:
    section, comment, blocks = "", "", []
    lines = iter(enumerate(page.splitlines(), 1))
    for number, line in lines:
        if line.startswith("#"):
            section = line.lstrip("# ")
        if line.startswith("```"):
            inside = []
            for _, each in lines:
                if each == "```":
                    break
                inside.append(each)
            blocks.append(Block(number, section, line.strip("`"), "\n".join(inside), comment))
        found = re.fullmatch(r"<!-- (.+) -->", line)
        comment = found[1] if found else ""
    return blocks


BLOCKS = read_blocks(README)
SESSIONS = {
    section: list(blocks) for section, blocks in groupby(filter(lambda b: b.is_run, BLOCKS), lambda b: b.section)
}


def section(title: str) -> str:
    """The text of one section, up to the next heading of any level."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", PROSE, re.DOTALL | re.MULTILINE)
    assert found, f"README.md has no section {title}"
    return found[1]


def rows(title: str) -> list[list[str]]:
    """The cells of every table row of a section, headings and rulers left out."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    rulers = {number for number, row in enumerate(cells) if set("".join(row)) <= {"-"}}
    return [row for number, row in enumerate(cells) if not {number, number + 1} & rulers]


def quoted(text: str) -> list[str]:
    """What stands between backquotes."""
    return re.findall(r"`([^`]+)`", text)


def free_port() -> str:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return str(opened.getsockname()[1])


def environment(home: Path) -> dict[str, str]:
    """The environment of a reader who has installed the program, and curl."""
    folders = [str(Path(sys.executable).parent), os.environ["PATH"]]
    if shutil.which("curl") is None:
        (home / "bin").mkdir(exist_ok=True)
        (home / "bin" / "curl").write_text(f"#!{sys.executable}\n{CURL}")
        (home / "bin" / "curl").chmod(0o700)
        folders.append(str(home / "bin"))
    return {**os.environ, "HOME": str(home), "PATH": os.pathsep.join(folders)}


def plain(text: str) -> str:
    for pattern, word in VARYING.items():
        text = re.sub(pattern, word, text)
    return text


def agree(shown: str, written: str) -> bool:
    """Whether an output is as shown; a line `...` stands for any number of lines."""
    parts = [re.escape(plain(part)) for part in re.split(r"^\.\.\.\n", shown, flags=re.MULTILINE)]
    return re.fullmatch("(?:.*\n)*".join(parts), plain(written)) is not None


def run_session(blocks: list[Block], folder: Path) -> list[tuple[int, str, str, int, str]]:
    """Run the commands of a section in one bash: line, command, shown output, exit code, written output."""
    ports = {DAEMON_PORT: free_port(), SANDBOX_PORT: free_port()}
    commands = [command for block in blocks for command in block.commands()]
    script = []
    for _, command, _ in commands:
        for shown, port in ports.items():
            command = re.sub(rf"\b{shown}\b", port, command)
        # The code is put back, for `echo $?`; the mark goes on a line of its own even where an output does not end one.
        script.append(f'{command}\n__code=$?; printf "\\n<ended %d>\\n" $__code; (exit $__code)\n')
    process = subprocess.Popen(
        ["bash", "-c", "".join(script)],
        cwd=folder,
        env={**environment(folder.parent), "RECONCILER_LISTEN": f"127.0.0.1:{ports[DAEMON_PORT]}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            written = process.communicate(timeout=90)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            # The command that goes on; those after it were not run.
            written = f"{process.communicate()[0]}\n<ended 124>\n"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # whatever it left in the background
    outputs = re.findall(r"(.*?)\n<ended (\d+)>\n", written.replace(str(folder), SHOWN_HOME), re.DOTALL)
    return [
        (line, command, shown, int(code), f"{output}\n" if output and not output.endswith("\n") else output)
        for (line, command, shown), (output, code) in zip(commands, outputs, strict=False)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as a reader of the page has it."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    shutil.copytree(CHECKOUT / "desired_state", folder / "desired_state")
    return folder


@pytest.mark.parametrize("title", SESSIONS)
def test_shown_commands_do_what_is_shown(title: str, folder: Path) -> None:
    session = run_session(SESSIONS[title], folder)
    wrong = []
    for (line, command, shown, code, written), following in zip(session, [*session[1:], None], strict=True):
        # A code other than 0 has to be shown, by `echo $?`.
        if code and (following is None or following[1] != "echo $?"):
            wrong.append(f"README.md:{line}: $ {command}\nexit code {code}\n{written}")
        elif not agree(shown, written):
            lines = difflib.ndiff(plain(shown).splitlines(keepends=True), plain(written).splitlines(keepends=True))
            wrong.append(f"README.md:{line}: $ {command}\n{''.join(lines)}")
    logs = [f"{log.name}:\n{log.read_text()}" for log in sorted(folder.glob("*.log"))]
    assert not wrong, "\n".join([*wrong, *logs])


def test_a_block_that_is_not_checked_says_why() -> None:
    assert SESSIONS
    checked = SHELLS | {"yaml", "text"}
    silent = [f"README.md:{block.line}" for block in BLOCKS if block.language not in checked and not block.comment]
    assert not silent, f"no comment above that says why they are not run: {silent}"
    reasons = [block.comment for block in BLOCKS if block.comment]
    assert [reason for reason in reasons if not re.match(r"not run by the tests: \w.{10,}", reason)] == []


def test_make_run_starts_the_daemon_on_the_samples(folder: Path) -> None:
    assert any(block.text == "make run" for block in BLOCKS)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(CHECKOUT / name, folder)
    # An environment that is set up already: its packages are those of this one, and nothing is installed.
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    for mark in (".created", ".run"):
        (folder / ".venv" / mark).touch()
    port = free_port()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["make", "run"],
            cwd=folder,
            env={**environment(folder.parent), "RECONCILER_LISTEN": f"127.0.0.1:{port}"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        assert answered(f"http://127.0.0.1:{port}/readyz", process) == "ok\n", (folder / "log").read_text()
        status = json.loads(answered(f"http://127.0.0.1:{port}/status", process))
        assert status["managed"] == 8
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        process.wait(30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert '"stopping"' in (folder / "log").read_text()


def answered(url: str, process: subprocess.Popen[bytes]) -> str:
    """Ask until there is an answer, or the process has ended, or a minute has passed; then the answer is empty."""
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        ask = [sys.executable, "-c", CURL, "-sf", url]
        asked = subprocess.run(ask, capture_output=True, text=True, timeout=30, check=False)
        if asked.returncode == 0:
            return asked.stdout
        time.sleep(0.05)  # until the daemon answers; the loop has its own end
    return ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shown_completion_is_there(shell: str) -> None:
    shown = [block.text for block in BLOCKS if block.section == "Shell completion" and block.language == shell]
    assert len(shown) == 1
    assert f"_RECONCILER_COMPLETE={shell}_source reconciler" in shown[0]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("reconciler"))],
        env={**os.environ, "_RECONCILER_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "reconciler" in done.stdout


def examples(section: str) -> list[Block]:
    """The YAML of a section."""
    return [block for block in BLOCKS if block.language == "yaml" and block.section == section]


def test_shown_documents_are_valid() -> None:
    assert len(examples("Documents")) == 2
    for block in examples("Documents"):
        parsed = parse_documents(block.text.encode(), f"README.md:{block.line}")
        assert [str(problem) for problem in parsed.problems] == []
        assert parsed.desired


def test_shown_settings_are_known() -> None:
    (block,) = examples("Settings")
    where = f"README.md:{block.line}"
    assert read_settings(load_plain(block.text.encode(), where), where).values


def test_shown_hooks_exist() -> None:
    shipped = {hook["id"] for hook in yaml.safe_load((CHECKOUT / ".pre-commit-hooks.yaml").read_text())}
    (block,) = examples("pre-commit")
    (repository,) = yaml.safe_load(block.text)["repos"]
    assert {hook["id"] for hook in repository["hooks"]} == shipped
    assert {word for word in quoted(section("pre-commit")) if word.startswith("reconciler-")} == shipped


def test_the_shown_action_has_its_inputs_and_outputs() -> None:
    action = yaml.safe_load((CHECKOUT / "action.yml").read_text())
    explained = {quoted(row[0])[0]: row for row in rows("GitHub Actions")}
    assert explained.keys() == action["inputs"].keys() | action["outputs"].keys()
    for name, given in action["inputs"].items():
        for default in quoted(explained[name][1]):
            assert default == given["default"]
    (block,) = examples("GitHub Actions")
    (job,) = yaml.safe_load(block.text)["jobs"].values()
    (step,) = (step for step in job["steps"] if "id" in step)
    assert step["with"].keys() <= action["inputs"].keys()
    used = re.findall(rf"steps\.{step['id']}\.outputs\.([\w-]+)", block.text)
    assert used
    assert set(used) <= action["outputs"].keys()


def test_the_shown_pipeline_keeps_the_reports_that_it_asks_for() -> None:
    (block,) = examples("GitLab CI")
    (job,) = yaml.safe_load(block.text).values()
    (words,) = (shlex.split(line)[1:] for line in job["script"] if line.startswith("reconciler "))
    check_usage(cli, words)
    written = {word.partition("=")[2] for word in words if "=" in word}
    assert {*job["artifacts"]["paths"], *job["artifacts"]["reports"].values()} == written


def test_no_example_is_left_unchecked() -> None:
    checked = {"Documents", "Settings", "pre-commit", "GitHub Actions", "GitLab CI"}
    assert {block.section for block in BLOCKS if block.language == "yaml"} == checked


def test_every_report_is_explained() -> None:
    assert [quoted(cell)[0] for cell, *_ in rows("Reports")] == list(FORMATS)


def test_every_field_is_in_the_reference() -> None:
    def fields(schema: dict[str, Any], pointer: str, definitions: dict[str, Any]) -> Iterator[str]:
        schema = {**definitions.get(str(schema.get("$ref", "")).rpartition("/")[2], {}), **schema}
        for name, value in schema.get("properties", {}).items():
            yield f"{pointer}{name}"
            yield from fields(value, f"{pointer}{name}.", definitions)
        if "items" in schema:
            yield from fields(schema["items"], f"{pointer.removesuffix('.')}[].", definitions)

    explained: set[str] = set()
    for cell, *_ in rows("Documents"):
        first, *others = quoted(cell)
        explained |= {first, *(first.rpartition(".")[0] + other for other in others)}
    declared = set()
    for name in ("call-recording", "call-recording-set"):
        schema = json.loads((CHECKOUT / "schemas" / f"{name}.schema.json").read_text())
        declared |= set(fields(schema, "", schema["$defs"]))
    # Two that only hold others, and an item's suspension, whose fields are those of a document's.
    declared = {field for field in declared - {"metadata", "spec"} if "[].suspend." not in field}
    assert explained == declared


def shown_setting(setting: Setting[Any]) -> list[str]:
    """The row of one setting."""
    value = setting.default
    default = (
        f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
    )
    shown = f"`{default}`" if default else "none"
    return [f"`{setting.name}`", f"`{setting.option}`", f"`{setting.variable}`", shown, setting.help]


def test_the_table_of_settings_is_that_of_the_source() -> None:
    expected = [shown_setting(setting) for setting in SETTINGS.values()]
    table = "".join(f"| {' | '.join(row)} |\n" for row in expected)
    assert rows("Settings") == expected, f"the table should be\n{table}"


def test_each_command_has_its_options() -> None:
    context = click.Context(cli)
    common = {option for option in quoted(section("Commands")) if option.startswith("--")} - {"--help", "--version"}
    wrong: list[str] = []
    settings: set[str] = set()
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        each = getattr(command, "commands", {"": command})  # a group has the options of its commands
        options = [one for part in each.values() for one in part.params if isinstance(one, click.Option)]
        declared = {word for option in options for word in (*option.opts, *option.secondary_opts)}
        table = {option.split()[0] for cell, *_ in rows(f"reconciler {name}") for option in quoted(cell)}
        table = {word for word in table if word.startswith("-")}
        listed = re.search(r"^Settings: (those of)?(.*?\.)$", section(f"reconciler {name}"), re.DOTALL | re.MULTILINE)
        # "Those of" the command before.
        inherited = settings if listed and listed[1] else set()
        settings = inherited | {word for word in quoted(listed[2]) if word.startswith("--")} if listed else set()
        if shown := (table | settings | common) ^ declared:
            wrong.append(f"{name}: {sorted(shown)} are shown or declared alone")
    assert not wrong, "\n".join(wrong)


def test_the_exit_codes_are_those_of_the_source() -> None:
    codes = sorted(value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int))
    assert [int(code) for code, _ in rows("Exit codes")] == codes


def test_every_phase_is_explained() -> None:
    shown = [word for cell, *_ in rows("Words") for word in quoted(cell)]
    assert shown == [phase.value for phase in Phase]


def test_every_cause_is_explained() -> None:
    cells = [quoted(cell)[0] for cell, *_ in rows("reconciler plan")]
    assert [cell for cell in cells if not cell.startswith("-")] == [cause.value for cause in Cause]


def test_every_metric_is_explained() -> None:
    page = Metrics("0").render().decode()
    families = text_string_to_metric_families(page)
    named = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    assert {quoted(cell)[0] for cell, *_ in rows("Metrics")} == {
        name for name in named if not name.endswith("_created")
    }


def test_every_log_event_is_explained() -> None:
    """Events are constant words: an argument of a call on a log, or one of the words chosen between."""
    words: set[str] = set()
    for path in (CHECKOUT / "reconciler").rglob("*.py"):
        if "sandbox" in path.parts:
            continue
        for function in ast.walk(ast.parse(path.read_bytes())):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            chosen = {
                target.id: [each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant)]
                for node in ast.walk(function)
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.IfExp)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call) and node.args):
                name = ast.unparse(call.func)
                if name == "Alarm":
                    words.update(str(word.value) for word in call.args if isinstance(word, ast.Constant))
                elif re.fullmatch(r"(self\.)?_?(log(\.(debug|info|warning|error))?|sparing\.say)", name):
                    event = call.args[name.endswith(".say")]
                    if isinstance(event, ast.Constant):
                        words.add(str(event.value))
                    elif path.stem != "alarm":  # which says the words that it is given
                        assert isinstance(event, ast.Name), f"{path}:{call.lineno}: an event that is no constant word"
                        words.update(str(word) for word in chosen[event.id])
    assert {quoted(cell)[0] for cell, *_ in rows("Logs")} == words


def test_the_policy_grants_what_is_asked_and_no_more() -> None:
    granted: dict[str, set[str]] = {"View": set(), "Update": set()}
    action = ""
    for _, named, resource in rows("A real key, safely"):
        action = named or action
        granted[action] |= set(quoted(resource))
    routes = {re.sub(r"\{[^w]\}", "*", route).replace("{w}", "{ws}") for route in Route}
    assert granted == {"View": routes, "Update": {"/workspaces/{ws}/channels/*/calls/*/recordings/*"}}


def test_the_layout_names_every_room_from_the_top() -> None:
    shown = [(int(floor), *quoted(room)) for floor, room, _ in rows("Layout")]
    assert sorted((room, floor) for floor, room in shown) == sorted(FLOORS.items())
    assert [floor for floor, _ in shown] == sorted(FLOORS.values(), reverse=True)
    pure = re.search(r"^Pure, .*?\.$", section("Layout"), re.DOTALL | re.MULTILINE)
    assert pure
    assert set(quoted(pure[0])) == PURE


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    text = section("Decisions")
    names = [re.split(r"[^\w-]", dependency)[0] for dependency in project["dependencies"]]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_make_target_is_explained() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    shown = [quoted(cell)[0].removeprefix("make ") for cell, *_ in rows("Development")]
    assert sorted(shown) == sorted(set(targets) - {"help", "venv"})


def test_links_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", PROSE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    targets = re.findall(r"\]\(([^)]+)\)", README)
    dead = [target for target in targets if target.startswith("#") and target[1:] not in anchors]
    dead += [
        target
        for target in targets
        if "://" not in target and not target.startswith("#") and not (CHECKOUT / target).exists()
    ]
    assert not dead
    assert targets


def test_the_comparison_sees_what_differs() -> None:
    shown = "at 2026-11-22T18:00:00Z\n...\nend\n"
    assert agree(shown, "at 2027-01-01T00:00:00.123Z\none\ntwo\nend\n")
    assert agree(shown, "at 2027-01-01T00:00:00.123Z\nend\n")
    for written in ("at noon\nend\n", "at 2027-01-01T00:00:00Z\none\nEND\n", "at 2027-01-01T00:00:00Z\n", ""):
        assert not agree(shown, written)
    page = "# A\n<!-- not run by the tests: for a reason -->\n```sh\nb\n```\n```console\n$ c\nd\n\n$ e\n```\n"
    unrun, run = read_blocks(page)
    assert (unrun.section, unrun.is_run, unrun.comment) == ("A", False, "not run by the tests: for a reason")
    assert run.is_run
    assert list(run.commands()) == [(7, "c", "d\n\n"), (10, "e", "")]
