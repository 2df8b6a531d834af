"""The GitHub Action: its shell steps run one after the other, as a runner would run them, with a stand-in for `gh`.

A runner fills in the expressions of `env`, starts `bash --noprofile --norc -eo pipefail` on each step, and reads what
it puts out from files. The stand-in keeps what it is asked and holds comments in a file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.world.documents import item
from tests.world.git import commit_all, git
from tests.world.places import CHECKOUT
from tests.world.shell import COMMAND, Shell

ACTION = yaml.safe_load((CHECKOUT / "action.yml").read_text())
#: Answers as the platform's command does, out of the file `comments`: the calls that the action makes, no more.
GH = """\
#!/usr/bin/env python3
import json, os, sys
from pathlib import Path
home = Path(__file__).parent.parent
words = sys.argv[1:]
with (home / "asked").open("a") as asked:
    asked.write(json.dumps({"words": words, "token": os.environ.get("GH_TOKEN", "")}) + "\\n")
if (home / "refuse").exists():
    sys.exit("gh: Resource not accessible by integration (HTTP 403)")
comments = json.loads((home / "comments").read_text())
assert words[0] == "api", words
if "--method" not in words:
    assert words[1:3] == ["--paginate", "repos/bird/recordings/issues/7/comments"], words
    assert words[3] == "--jq" and 'startswith("<!-- reconciler:plan -->")' in words[4] and '"Bot"' in words[4], words
    for comment in comments:
        if comment["user"]["type"] == "Bot" and comment["body"].startswith("<!-- reconciler:plan -->"):
            print(comment["id"])
    sys.exit()
method, path = words[2], words[3]
assert words[4] == "--field" and words[5].startswith("body=@"), words
body = Path(words[5].removeprefix("body=@")).read_text()
if method == "POST":
    assert path == "repos/bird/recordings/issues/7/comments", path
    comments.append({"id": 100 + len(comments), "user": {"type": "Bot"}, "body": body})
else:
    assert method == "PATCH", method
    (found,) = [each for each in comments if path == f"repos/bird/recordings/issues/comments/{each['id']}"]
    found["body"] = body
(home / "comments").write_text(json.dumps(comments))
"""


@dataclass(frozen=True)
class Result:
    """What a run of the action leaves."""

    code: int
    log: str
    outputs: dict[str, str]


class Runner:
    """Runs the action in a repository."""

    def __init__(self, home: Path, repository: Path) -> None:
        self.home = home
        self.repository = repository
        self.temporary = home / "temp"
        (home / "bin").mkdir()
        self.temporary.mkdir()
        (home / "comments").write_text("[]")
        (home / "bin" / "gh").write_text(GH)
        (home / "bin" / "gh").chmod(0o755)
        #: Of a pull request; taken away where there is none.
        self.github: dict[str, Any] = {"token": "token-of-the-job", "event": {"pull_request": {"number": 7}}}
        self.env = {"GITHUB_BASE_REF": "main", "GITHUB_REPOSITORY": "bird/recordings"}
        #: Where programs are found, after the stand-in for `gh`.
        self.path = [str(Path(COMMAND).parent), os.environ["PATH"]]

    def __call__(self, **inputs: str) -> Result:
        given = {name: each["default"] for name, each in ACTION["inputs"].items()}
        given |= {name.replace("_", "-"): value for name, value in inputs.items()}
        context: dict[str, Any] = {"github": {"action_path": str(CHECKOUT)} | self.github, "steps": {}}
        context["inputs"] = {name: self.filled(value, context) for name, value in given.items()}
        log, code = "", 0
        for step in ACTION["runs"]["steps"]:
            assert step["shell"] == "bash"
            assert "${{" not in step["run"], "an input in a script is a way in for whoever writes it"
            done, outputs = self.step(step["run"], self.environment(step, context))
            context["steps"][step.get("id", step["name"])] = {"outputs": outputs}
            log += done.stdout
            code = done.returncode
            if code:
                break
        outputs = {name: self.filled(each["value"], context) for name, each in ACTION["outputs"].items()}
        return Result(code, log, outputs)

    def step(self, script: str, env: dict[str, str]) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
        written = self.temporary / "step.sh"
        written.write_text(script)
        output = self.temporary / "output"
        output.write_text("")
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(written)],
            cwd=self.repository,
            env=env | {"GITHUB_OUTPUT": str(output)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done, dict(line.split("=", 1) for line in output.read_text().splitlines())

    def environment(self, step: Mapping[str, Any], context: dict[str, Any]) -> dict[str, str]:
        return {
            **os.environ,
            **self.env,
            "PATH": os.pathsep.join([str(self.home / "bin"), *self.path]),
            "RUNNER_TEMP": str(self.temporary),
            "GITHUB_PATH": str(self.temporary / "path"),
            "GITHUB_STEP_SUMMARY": str(self.temporary / "summary.md"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            **{name: self.filled(value, context) for name, value in step.get("env", {}).items()},
        }

    @staticmethod
    def filled(text: str, context: dict[str, Any]) -> str:
        """Fill in expressions of the one kind that the action uses: names with dots."""

        def value(match: re.Match[str]) -> str:
            found: Any = context
            for name in match[1].split("."):
                found = found.get(name, {})
            return "" if found == {} else str(found)

        return re.sub(r"\$\{\{ ([\w.-]+) \}\}", value, text)

    @property
    def comments(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.home / "comments").read_text())
        return found

    @property
    def asked(self) -> list[dict[str, Any]]:
        path = self.home / "asked"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """A runner in a shallow clone of a branch, as `actions/checkout` makes it: the base branch is not there."""
    origin = tmp_path / "origin"
    (origin / "desired_state").mkdir(parents=True)
    git(origin, "init", "--quiet", "--initial-branch", "main")
    for number in (1, 2):
        (origin / "desired_state" / f"{number}.yaml").write_text(item(number))
    commit_all(origin)
    git(origin, "switch", "--quiet", "--create", "branch")
    (origin / "desired_state" / "1.yaml").write_text(item(1, "completed"))
    commit_all(origin)
    git(tmp_path, "clone", "--quiet", "--depth=1", "--branch=branch", f"file://{origin}", "clone")
    home = tmp_path / "home"
    home.mkdir()
    return Runner(home, tmp_path / "clone")


def commands(log: str) -> list[str]:
    """The commands that a runner takes out of what is printed: its two forms, until they are stopped by a word.

    Source: src/Runner.Common/ActionCommand.cs and src/Runner.Worker/ActionCommandManager.cs of actions/runner.
    """
    taken, word = [], ""
    for line in log.splitlines():
        if word:
            word = "" if line.strip() == f"::{word}::" else word
        elif found := re.match(r"\s*::([a-z-]+)[^:]*::(.*)", line) or re.search(r"##\[([a-z-]+)[^\]]*\](.*)", line):
            if found[1] == "stop-commands":
                word = found[2]
            else:
                taken.append(line)
    assert not word, "commands are stopped for good"
    return taken


HOSTILE = [
    "##[stop-commands]x",
    "##[add-mask]a",
    "##[set-output name=digest]sha256:0",
    "::stop-commands::x",
    "::add-mask::a",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("command", ["plan", "validate"])
def test_a_name_of_a_file_is_never_a_command_to_the_runner(runner: Runner, command: str, name: str) -> None:
    (runner.repository / f"{name}.yaml").write_text(item(3))
    (runner.repository / f"{name} wrong.yaml").write_text(item(4, "pausd") if command == "validate" else item(4))
    result = runner(command=command, paths=".", comment="false")
    taken = commands(result.log)
    assert taken
    assert all(re.match(r"::(notice|warning|error) ", line) for line in taken), taken


@pytest.mark.parametrize("name", [*HOSTILE, "::error file=a.yaml,line=1::x"])
@pytest.mark.parametrize("command", ["validate", "plan", "apply"])
def test_nor_is_it_to_a_job_without_the_action(tmp_path: Path, command: str, name: str) -> None:
    shell = Shell(tmp_path)
    shell.write(f"{name} wrong.yaml", item(4, "pausd"))
    more = ("--sandbox", "--yes") if command == "apply" else ("--no-refresh",) if command == "plan" else ()
    done = shell(command, *more, ".")
    assert (done.code, "wrong.yaml" in done.out + done.err) == (1, True)
    assert commands(done.out + done.err) == []


#: A project of the action's form that needs no network: it builds a wheel with one program.
BACKEND = """\
import zipfile
def build_wheel(folder, *_):
    name = "reconciler-1-py3-none-any.whl"
    about = "reconciler-1.dist-info/"
    with zipfile.ZipFile(folder + "/" + name, "w") as wheel:
        wheel.writestr("tried.py", "def main(): print('the program of the action')")
        wheel.writestr(about + "METADATA", "Metadata-Version: 2.1\\nName: reconciler\\nVersion: 1\\n")
        wheel.writestr(about + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(about + "entry_points.txt", "[console_scripts]\\nreconciler = tried:main\\n")
        wheel.writestr(about + "RECORD", "")
    return name
"""


def test_nothing_in_the_checkout_is_run_by_the_installation(runner: Runner) -> None:
    source = runner.home / "action"
    source.mkdir()
    (source / "requirements.lock").write_text("")
    (source / "backend.py").write_text(BACKEND)
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    runner.github["action_path"] = str(source)
    tools = runner.home / "tools"
    tools.mkdir()
    for tool in ("python3", "git"):
        found = shutil.which(tool)
        assert found
        (tools / tool).symlink_to(found)
    runner.path = [str(runner.repository), ".", str(tools), "/usr/bin", "/bin"]
    trap = f"from pathlib import Path; Path({str(runner.home / 'sprung')!r}).touch()"
    for module in ("venv", "ensurepip", "pip", "sitecustomize", "usercustomize", "json", "subprocess"):
        (runner.repository / f"{module}.py").write_text(trap)
    (runner.repository / "pip").mkdir()
    (runner.repository / "pip" / "__main__.py").write_text(trap)
    (runner.repository / "reconciler").write_text(f"#!/bin/sh\ntouch {runner.home}/sprung\n")
    (runner.repository / "reconciler").chmod(0o755)
    result = runner(comment="false")
    assert not (runner.home / "sprung").exists(), result.log
    assert "the program of the action" in result.log


def test_a_merge_queue_is_held_against_the_commit_that_its_group_is_based_on(runner: Runner) -> None:
    base = git(runner.home.parent / "origin", "rev-parse", "main").strip()
    runner.env = {"GITHUB_REPOSITORY": "bird/recordings"}
    runner.github["event"] = {"merge_group": {"base_sha": base}}
    result = runner()
    assert result.outputs["changes"] == "true", result.log
    assert json.loads(Path(result.outputs["plan-json"]).read_text())["base"] == base


@pytest.mark.parametrize("filtered", ["blob:none", "tree:0"])
def test_a_partial_clone_gets_its_plan(runner: Runner, filtered: str) -> None:
    origin = runner.home.parent / "origin"
    git(origin, "config", "uploadpack.allowFilter", "true")
    git(origin, "config", "uploadpack.allowAnySHA1InWant", "true")
    runner.repository = runner.home.parent / "partial"
    address = f"file://{origin}"
    git(origin, "clone", "--quiet", f"--filter={filtered}", "--branch=branch", address, str(runner.repository))
    result = runner()
    assert result.outputs["changes"] == "true", result.log


def test_the_inputs_and_outputs_are_those_that_are_promised() -> None:
    assert {"command", "paths", "base", "comment", "fail-on"} <= ACTION["inputs"].keys()
    assert ACTION["outputs"].keys() == {"exit-code", "changes", "digest", "plan-json"}
    assert ACTION["runs"]["using"] == "composite"
    assert all(each["description"] for each in [*ACTION["inputs"].values(), *ACTION["outputs"].values()])


def test_a_pull_request_gets_its_plan_without_a_key(runner: Runner) -> None:
    result = runner()
    assert result.code == 0, result.log
    plan = json.loads(Path(result.outputs["plan-json"]).read_text())
    assert result.outputs | {"plan-json": ""} == {
        "exit-code": "2",
        "changes": "true",
        "digest": plan["digest"],
        "plan-json": "",
    }
    assert [(action["name"], action["cause"]) for action in plan["actions"]] == [("card-1", "change")]
    assert "::warning file=desired_state/1.yaml,line=10,title=card-1::" in result.log
    (comment,) = runner.comments
    assert comment["body"].startswith("<!-- reconciler:plan -->\n")
    assert (runner.temporary / "summary.md").read_text() == comment["body"] + "\n"
    assert {call["token"] for call in runner.asked} == {"token-of-the-job"}


def test_the_comment_is_updated_in_place_and_nobody_elses_is(runner: Runner) -> None:
    theirs = {"id": 1, "user": {"type": "User"}, "body": "<!-- reconciler:plan -->\nmine"}
    (runner.home / "comments").write_text(json.dumps([theirs]))
    assert runner().code == 0
    (runner.repository / "desired_state" / "1.yaml").write_text(item(1))
    result = runner()
    assert (result.outputs["exit-code"], result.outputs["changes"]) == ("0", "false")
    untouched, comment = runner.comments
    assert untouched == theirs
    assert "Nothing to do." in comment["body"]


def test_a_token_without_the_right_to_comment_is_a_warning(runner: Runner) -> None:
    (runner.home / "refuse").touch()
    result = runner()
    assert (result.code, result.outputs["changes"]) == (0, "true")
    assert "::warning::The comments of the pull request cannot be read" in result.log


@pytest.mark.parametrize(
    ("fail_on", "document", "exit_code", "code"),
    [
        ("error", item(1), "0", 0),
        ("error", item(1, "completed"), "2", 0),
        ("error", item(1, "pausd"), "1", 1),
        ("changes", item(1), "0", 0),
        ("changes", item(1, "completed"), "2", 2),
        ("changes", item(1, "pausd"), "1", 1),
        ("never", item(1, "pausd"), "1", 0),
        ("sometimes", item(1), "0", 64),
    ],
)
def test_the_exit_code_is_passed_on_untouched(
    runner: Runner, fail_on: str, document: str, exit_code: str, code: int
) -> None:
    (runner.repository / "desired_state" / "1.yaml").write_text(document)
    result = runner(fail_on=fail_on)
    assert (result.outputs["exit-code"], result.code) == (exit_code, code), result.log


def test_mistakes_are_in_the_comment_and_at_their_lines(runner: Runner) -> None:
    (runner.repository / "desired_state" / "1.yaml").write_text(item(1, "pausd"))
    result = runner()
    assert "::error file=desired_state/1.yaml,line=10,col=11::" in result.log
    assert "No plan: 1 mistake in the documents." in runner.comments[0]["body"]
    assert (result.outputs["plan-json"], result.outputs["digest"], result.outputs["changes"]) == ("", "", "")


def test_documents_are_validated(runner: Runner) -> None:
    assert runner(command="validate").outputs["exit-code"] == "0"
    (runner.repository / "desired_state" / "1.yaml").write_text(item(1, "pausd"))
    result = runner(command="validate")
    assert (result.code, runner.asked) == (1, [])
    assert "::error file=desired_state/1.yaml,line=10,col=11::" in result.log


def test_outside_of_a_pull_request_live_state_is_read_and_nothing_is_commented(runner: Runner) -> None:
    runner.github["event"] = {}
    runner.env = {"GITHUB_REPOSITORY": "bird/recordings"}
    result = runner()
    assert (result.code, result.outputs["exit-code"], runner.asked) == (1, "1", [])
    assert "no access key" in result.log


def test_a_base_can_be_named_or_refused(runner: Runner) -> None:
    assert runner(base="HEAD").outputs["changes"] == "false"
    assert "no access key" in runner(base="none").log
    assert "no access key" in runner(base="HEAD", refresh="true").log


def test_the_comment_can_be_refused(runner: Runner) -> None:
    assert runner(comment="false").code == 0
    assert runner.asked == []


def test_inputs_are_values_and_never_code(runner: Runner) -> None:
    trap = f"$(touch {runner.home}/sprung) `touch {runner.home}/sprung`; touch {runner.home}/sprung"
    for name in ("command", "paths", "base", "fail_on"):
        assert runner(**{name: trap}).code != 0, name
    for name in ("comment", "refresh"):
        assert runner(**{name: trap}).code == 0, name
    assert runner(base="--out=stolen").code == 1
    assert runner(paths="--out=stolen").code == 1
    assert not (runner.home / "sprung").exists()
    assert not (runner.repository / "stolen").exists()


def test_several_paths_one_a_line(runner: Runner) -> None:
    (runner.repository / "with space").mkdir()
    (runner.repository / "with space" / "3.yaml").write_text(item(3))
    result = runner(paths="desired_state/2.yaml\r\n\n  \nwith space\n")
    plan = json.loads(Path(result.outputs["plan-json"]).read_text())
    assert [action["file"] for action in plan["actions"]] == ["with space/3.yaml"]
