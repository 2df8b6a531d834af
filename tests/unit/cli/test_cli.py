"""The front door: each command of the installed program as a process, its options, its output and its exit code.

Aspects: commands and options, settings and their precedence, exit codes that need no API, what is written where,
mistakes in documents. What needs an API is in `test_the_whole.py`, except for the cheapest cases.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable

import click
import jsonschema
import pytest
import yaml

from reconciler.cli.loading import SHOWN_ON_A_TERMINAL, show_problems
from reconciler.cli.program import HABITS, cli
from reconciler.desired.sources.tree import Tree
from reconciler.model.documents import Problem
from reconciler.settings.sections import HookSettings, SignatureSettings, SourceSettings
from tests.world.documents import document
from tests.world.foreign_api import ForeignApi
from tests.world.ids import WORKSPACE, numbered, recording
from tests.world.mistakes import MISTAKES
from tests.world.places import CHECKOUT
from tests.world.shell import COMMAND, KEY, Done, Shell
from tests.world.started import eventually

# Commands.

COMMANDS = ("validate", "plan", "apply", "run", "status", "history", "schema", "init", "sandbox")


def test_the_help_names_every_command_and_every_exit_code(shell: Shell) -> None:
    done = shell("--help")
    assert done.code == 0
    for word in COMMANDS:
        assert re.search(rf"^  {word} ", done.out, re.MULTILINE), word
    for code in ("0", "1", "2", "3", "4", "5", "6", "7", "64", "130"):
        assert re.search(rf"\b{code}\b", done.out), code


def test_the_module_is_the_command_too() -> None:
    version = [subprocess.check_output([*command, "--version"], text=True) for command in ([COMMAND], MODULE)]
    assert version[0] == version[1]
    assert re.fullmatch(r"reconciler \d+\.\d+\.\d+\n", version[0])


MODULE = [sys.executable, "-m", "reconciler"]

WRONG_USAGE: dict[str, tuple[str, ...]] = {
    "no such command": ("aply",),
    "no such option": ("plan", "--force"),
    "a number that is none": ("plan", "--rate-limit", "fast"),
    "a number out of bounds": ("apply", "--concurrency", "0"),
    "a choice that is none": ("validate", "--format", "yaml"),
    "a report that is none": ("plan", "--report", "pdf"),
    "yes is missing": ("apply",),
    "a plan and paths": ("apply", "--plan", "plan.json", "desired_state", "--yes"),
}


@pytest.mark.parametrize("case", WRONG_USAGE)
def test_wrong_usage_exits_64_and_says_what_is_wrong(shell: Shell, front_door: Callable[..., Done], case: str) -> None:
    shell.write("desired_state/one.yaml", document())
    done = front_door(*WRONG_USAGE[case])
    assert (done.code, done.out) == (64, "")
    assert "Error: " in done.err
    assert "apply`" in done.err or case != "no such command"
    assert "--yes" in done.err or case != "yes is missing"


def test_a_sample_is_written_once_and_is_valid(shell: Shell) -> None:
    assert shell("init").code == 0
    assert shell("validate").code == 0
    again = shell("init")
    assert (again.code, "already there" in again.err) == (1, True)
    assert shell("init", "other/folder").code == 0
    assert shell("validate", "other").code == 0


@pytest.mark.parametrize("kind", [None, "CallRecording", "CallRecordingSet", "Plan"])
def test_a_printed_schema_is_the_schema_of_its_kind(front_door: Callable[..., Done], kind: str | None) -> None:
    schema = front_door("schema", *([kind] if kind else [])).json()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert {"title", "description", "$schema"} <= schema.keys()
    valid = yaml.safe_load(document())
    accepted = not list(jsonschema.Draft202012Validator(schema).iter_errors(valid))
    assert accepted is (kind in (None, "CallRecording"))


def test_an_unknown_kind_has_no_schema(shell: Shell) -> None:
    done = shell("schema", "CallRecordng")
    assert (done.code, done.out) == (64, "") or (done.code, done.out) == (1, "")
    assert "CallRecording" in done.err


def test_status_and_history_of_no_state_name_the_place_where_there_is_none(shell: Shell) -> None:
    for command in ("status", "history"):
        for more in ((), ("--format", "json"), ("nobody",)):
            done = shell(command, *more)
            assert (done.code, done.out) == (1, "")
            assert f"there is no state at {shell.folder}/.reconciler/state.db" in done.err
    assert not (shell.folder / ".reconciler").exists()


def test_status_and_history_tell_what_happened(shell: Shell, api: ForeignApi) -> None:
    shell.write("desired_state/one.yaml", document())
    api.seed([recording()])
    assert shell("apply", "--yes", "--api-url", api.url).code == 0
    text = shell("status")
    assert re.search(r"^one +paused +paused +paused +applied .*desired_state/one.yaml:10$", text.out, re.MULTILINE)
    assert text.out.startswith(f"State: {shell.folder}/.reconciler/state.db (")
    assert "No daemon is alive" in text.out
    events = shell("history", "one", "--format", "json").json()["events"]
    assert [event["event"] for event in events] == ["applied", "patch_accepted", "patch_sent"]
    assert [event["answer"] for event in events] == [None, "202", None]
    assert {(event["from"], event["to"]) for event in events[1:]} == {("ongoing", "paused")}
    assert len(shell("history", "--limit", "1").out.splitlines()) == 1


# What is written where.


def test_a_report_goes_where_it_is_sent_and_is_as_its_schema_says(shell: Shell) -> None:
    shell.write("desired_state/one.yaml", document())
    (shell.folder / "deep").mkdir()
    done = shell("plan", "--no-refresh", "--report", "json=deep/plan.json", "--report", "text")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1].startswith("Plan: 1 to patch (0 drift), ")
    plan = json.loads((shell.folder / "deep/plan.json").read_text())
    schema = json.loads((CHECKOUT / "schemas/plan.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(plan)
    both = shell("plan", "--no-refresh", "--report", "json", "--report", "text=plan.txt", "--out", "saved.json")
    saved = json.loads((shell.folder / "saved.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(saved)
    assert both.json()["digest"] == plan["digest"] == saved["digest"]
    assert (shell.folder / "plan.txt").read_text() == done.out


def test_colour_is_for_terminals_only_and_can_be_refused(shell: Shell) -> None:
    shell.write("desired_state/one.yaml", document("completed"))
    plan = ("plan", "--no-refresh")
    assert "\x1b[" in shell.terminal(*plan).out
    assert "\x1b[" not in shell.terminal(*plan, "--no-color").out
    assert "\x1b[" not in shell.terminal(*plan, NO_COLOR="1").out
    assert "\x1b[" not in shell.terminal(*plan, RECONCILER_NO_COLOR="true").out
    assert "\x1b[" not in shell(*plan).out


def test_on_a_terminal_a_mistake_is_shown_in_its_line(shell: Shell) -> None:
    shell.write("desired_state/one.yaml", document("pausd"))
    lines = shell.terminal("validate", "--no-color").out.splitlines()
    at = next(number for number, line in enumerate(lines) if "one.yaml:10:11: " in line)
    assert "status: pausd" in lines[at + 1]
    assert lines[at + 2].index("^") == lines[at + 1].index("pausd")


def test_each_format_of_validate_tells_the_same_mistake(shell: Shell) -> None:
    shell.write("desired_state/one.yaml", document("pausd"))
    text, data, annotations, sarif = (
        shell("validate", "--format", word) for word in ("text", "json", "github", "sarif")
    )
    assert {text.code, data.code, annotations.code, sarif.code} == {1}
    assert text.out.startswith("desired_state/one.yaml:10:11: ")
    problem = data.json()["problems"][0]
    assert (problem["line"], problem["column"], problem["pointer"]) == (10, 11, "/spec/status")
    assert annotations.out.startswith("::error file=desired_state/one.yaml,line=10,col=11::")
    place = sarif.json()["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert (place["region"]["startLine"], place["region"]["startColumn"]) == (10, 11)


def test_a_reader_that_has_seen_enough_is_no_error_to_speak_of(shell: Shell) -> None:
    shell.write("desired_state/one.yaml", document())
    ended = subprocess.run(
        f"{COMMAND} schema Plan | head -c 1",
        shell=True,
        cwd=shell.folder,
        env=shell.environment({}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (ended.stdout, ended.stderr) == ("{", "")


# Settings.


def test_flag_beats_environment_beats_file_beats_default(shell: Shell) -> None:
    shell.write("desired_state/one.yaml", document())  # nested two deep
    variable = {"RECONCILER_MAX_DEPTH": "9"}
    assert shell("validate").code == 0
    shell.write("reconciler.yaml", "max_depth: 1\n")
    assert shell("validate").code == 1
    assert shell("validate", **variable).code == 0
    assert shell("validate", "--max-depth", "1", **variable).code == 1
    other = shell.write("other.yaml", "max-depth: 9\n")
    assert shell("validate", "--config", str(other)).code == 0
    assert shell("validate", RECONCILER_CONFIG="other.yaml").code == 0


WRONG_SETTINGS: dict[str, tuple[str, str, str]] = {
    # What stands in the file, in a variable, and what the message must name.
    "an unknown name": ("rate_limits: 4\n", "", "rate_limit`"),
    "a word for a number": ("rate_limit: fast\n", "", "rate"),
    "out of bounds": ("concurrency: 0\n", "", "concurrency"),
    "a list": ("state: [a]\n", "", "state"),
    "a key by value": (f"access_key: {KEY[:6]}\n", "", "access_key"),
    "a workspace's key by value": (f"workspaces: {{{WORKSPACE}: {{key: {KEY[:6]}}}}}\n", "", "access_key_env"),
    "a workspace that is no UUID": ("workspaces: {one: {access_key_env: A}}\n", "", "one"),
    "no mapping": ("- a\n", "", "reconciler.yaml"),
    "no YAML": ("a: [\n", "", "reconciler.yaml:"),
    "a wrong variable": ("", "many", "RECONCILER_CONCURRENCY"),
}


@pytest.mark.parametrize("case", WRONG_SETTINGS)
def test_a_wrong_setting_exits_1_and_names_itself_and_its_place(
    shell: Shell, front_door: Callable[..., Done], case: str
) -> None:
    content, variable, word = WRONG_SETTINGS[case]
    shell.write("desired_state/one.yaml", document())
    if content:
        shell.write("reconciler.yaml", content)
    environment = {"RECONCILER_CONCURRENCY": variable} if variable else {"RECONCILER_CONFIG": "reconciler.yaml"}
    done = front_door("plan", "--no-refresh", **environment)
    assert (done.code, done.out) == (1, ""), done.err
    assert word in done.err
    assert KEY[:6] not in done.err
    assert "reconciler.yaml" in done.err or not content


#: A value for each setting that means nothing without `git`.
OF_GIT = {
    "branch": "main",
    "path": "docs",
    "git_interval": "5",
    "git_depth": "256",
    "git_timeout_seconds": "5",
    "git_token_file": "token",
    "verify": "enforce",
    "verify_scope": "tip",
    "allowed_signers": "signers",
    "gpg_keyring": "keyring",
    "hook_secret_file": "secret",
    "hook_max_bytes": "2048",
    "hook_seconds": "5",
    "hook_at_once": "2",
    "hook_limit": "5",
}


def test_the_table_of_what_means_nothing_without_git_is_whole() -> None:
    sections = (SourceSettings, SignatureSettings, HookSettings)
    assert {"git", *OF_GIT} == {setting.name for section in sections for setting in section.settings}


@pytest.mark.parametrize("name", OF_GIT)
@pytest.mark.parametrize("command", ["run", "doctor"])
def test_what_speaks_of_a_git_source_is_refused_where_there_is_none(
    shell: Shell, front_door: Callable[..., Done], command: str, name: str
) -> None:
    option, variable = f"--{name.replace('_', '-')}", f"RECONCILER_{name.upper()}"
    done = front_door(command, option, OF_GIT[name])
    assert (done.code, done.out) == (64, "")
    assert f"'{option}'" in done.err
    assert "name one with --git" in done.err
    done = front_door(command, **{variable: OF_GIT[name]})
    assert (done.code, done.out) == (1, "")
    assert f"{variable}: " in done.err
    shell.write("reconciler.yaml", f"{name}: {OF_GIT[name]}\n")
    done = front_door(command, "--config", "reconciler.yaml")
    assert (done.code, done.out) == (1, "")
    assert f"reconciler.yaml: {name}: " in done.err


def test_an_empty_git_of_one_run_overrules_a_file_but_drops_no_safety(
    shell: Shell, front_door: Callable[..., Done]
) -> None:
    shell.env["RECONCILER_CONFIG"] = "reconciler.yaml"
    source = "git: /srv/recordings.git\nbranch: main\ngit_interval: 5\n"
    shell.write("reconciler.yaml", source)
    assert "desired_state: no such file or folder" in front_door("run", "--git", "").err
    shell.write("reconciler.yaml", f"{source}verify: enforce\n")
    assert "reconciler.yaml: verify: " in front_door("run", "--git", "").err
    assert "desired_state: no such file or folder" in front_door("run", "--git", "", "--verify", "off").err
    assert front_door("run", "--git", "", "--branch", "main").code == 64


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("verify_scope", "--verify"),
        ("allowed_signers", "--verify"),
        ("gpg_keyring", "--verify"),
        ("hook_max_bytes", "--hook-secret-file"),
        ("hook_seconds", "--hook-secret-file"),
        ("hook_at_once", "--hook-secret-file"),
        ("hook_limit", "--hook-secret-file"),
    ],
)
@pytest.mark.parametrize("command", ["run", "doctor"])
def test_what_names_keys_or_limits_is_refused_where_nothing_would_ask_for_them(
    front_door: Callable[..., Done], command: str, name: str, needed: str
) -> None:
    option = f"--{name.replace('_', '-')}"
    done = front_door(command, "--git", "/srv/nowhere.git", option, OF_GIT[name])
    assert (done.code, done.out) == (64, "")
    assert f"'{option}'" in done.err
    assert f"{needed} " in done.err or done.err.endswith(f"{needed}\n")


def test_signatures_that_are_said_to_be_off_are_off_for_one_run(shell: Shell, front_door: Callable[..., Done]) -> None:
    shell.env["RECONCILER_CONFIG"] = "reconciler.yaml"
    shell.write("reconciler.yaml", "git: /srv/nowhere.git\nallowed_signers: signers\n")
    assert "reconciler.yaml: allowed_signers: signatures are not looked at" in front_door("run").err
    assert "signatures" not in front_door("run", "--once", "--verify", "off", BIRD_ACCESS_KEY="k").err


def test_a_variable_that_kubernetes_sets_for_a_service_is_not_read_and_named(shell: Shell) -> None:
    links = {"RECONCILER_PORT": "tcp://10.96.1.2:8420", "RECONCILER_SERVICE_HOST": "10.96.1.2"}
    with shell.start("sandbox", "--port", "0", **links) as sandbox:
        eventually(lambda: "http://127.0.0.1:" in sandbox.text, lambda: sandbox.text)
        assert "Warning: RECONCILER_PORT is not read" in sandbox.text
    assert shell("schema", **links).err == "", "nobody would have read it"
    assert shell("sandbox", RECONCILER_PORT="many").code == 1


HABITS_SHOWN = {
    ("diff",): "reconciler plan",
    ("diff", "desired_state", "--base", "main"): "reconciler plan",
    ("dump",): "reconciler import",
    ("export", "--all"): "reconciler import",
    ("lint", "."): "reconciler validate",
    ("get", "recordings"): "reconciler status",
    ("logs", "-f"): "reconciler history",
    ("pause", "card-payment-7781"): "reconciler set",
    ("ls",): "reconciler status",
    ("check", "desired_state"): "reconciler validate",
    ("apply", "--dry-run"): "reconciler plan",
    ("apply", "--yes", "--dry-run", "desired_state"): "reconciler plan",
    ("run", "--once", "--dry-run"): "reconciler plan",
}


@pytest.mark.parametrize("words", HABITS_SHOWN, ids=" ".join)
def test_a_habit_of_another_tool_is_answered_by_the_right_command(
    front_door: Callable[..., Done], words: tuple[str, ...]
) -> None:
    done = front_door(*words)
    assert (done.code, done.out, len(done.err.splitlines())) == (64, "", 1)
    assert f"use: {HABITS_SHOWN[words]} " in done.err


def test_each_command_that_a_habit_is_answered_with_is_one() -> None:
    assert {answer.split()[1] for answer in HABITS.values()} <= set(cli.list_commands(click.Context(cli)))
    assert not HABITS.keys() & set(cli.list_commands(click.Context(cli)))


WRONG_KEYS = {
    "none": ("", "BIRD_ACCESS_KEY"),
    "one of another platform": ("bk_something", "bk_"),
    "one with a line in it": ("one\ntwo", "BIRD_ACCESS_KEY"),
}


@pytest.mark.parametrize("case", WRONG_KEYS)
def test_a_key_that_is_none_exits_1_and_says_where_to_put_one(
    shell: Shell, front_door: Callable[..., Done], case: str
) -> None:
    key, word = WRONG_KEYS[case]
    shell.write("desired_state/one.yaml", document())
    done = front_door("plan", "--api-url", "http://127.0.0.1:1", BIRD_ACCESS_KEY=key)
    assert (done.code, word in done.err) == (1, True), done.err


def test_a_key_is_read_from_the_file_that_is_named(shell: Shell, api: ForeignApi) -> None:
    shell.write("desired_state/one.yaml", document())
    api.seed([recording("paused")])
    file = shell.folder.parent / "key"
    file.write_text(f"{KEY}\n")
    plan = ("plan", "--api-url", api.url)
    assert shell(*plan, BIRD_ACCESS_KEY="", BIRD_ACCESS_KEY_FILE=str(file)).code == 0
    shell.write("reconciler.yaml", f"workspaces:\n  {WORKSPACE.upper()}:\n    access_key_env: MINE\n")
    assert shell(*plan, "--config", "reconciler.yaml", BIRD_ACCESS_KEY="wrong", MINE=KEY).code == 0
    missing = shell(*plan, "--config", "reconciler.yaml", BIRD_ACCESS_KEY="", BIRD_ACCESS_KEY_FILE="nowhere")
    assert (missing.code, WORKSPACE in missing.err) == (1, True)


STATES = {
    "corrupt": (b"this is no database, but it is long enough to be one " * 40, "sqlite:///state.db", "state.db"),
    "a folder": (None, "sqlite:///desired_state", "desired_state"),
    "of an unknown kind": (None, "mysql://there/state", "mysql"),
    "below a file": (None, "sqlite:///desired_state/one.yaml/state.db", "one.yaml"),
}


@pytest.mark.parametrize("case", STATES)
def test_a_state_that_cannot_be_used_exits_1_with_a_reason(shell: Shell, case: str) -> None:
    content, url, word = STATES[case]
    shell.write("desired_state/one.yaml", document())
    if content is not None:
        shell.write("state.db", content)
    done = shell("apply", "--yes", "--api-url", "http://127.0.0.1:1", "--state", url)
    assert (done.code, done.out) == (1, ""), done.err
    assert word in done.err
    assert len(done.err.splitlines()) == 1


# The sandbox as a command.


def test_the_sandbox_serves_what_it_is_seeded_with(shell: Shell) -> None:
    shell.write("desired_state/one.yaml", document())
    with shell.start("sandbox", "--port", "0", "--seed", "desired_state", "--settle-ms", "1") as sandbox:
        eventually(lambda: "http://127.0.0.1:" in sandbox.text, lambda: sandbox.text)
        found = re.search(r"http://127\.0\.0\.1:\d+", sandbox.text)
        assert found is not None
        variables = {"RECONCILER_API_URL": found[0]}
        assert shell("plan", "--detailed-exitcode", **variables).code == 2
        assert shell("apply", "--yes", **variables).code == 0
        assert shell("plan", "--detailed-exitcode", **variables).code == 0
        assert shell("plan", **variables, BIRD_ACCESS_KEY="another").code == 7
        sandbox.signal(signal.SIGINT)
        assert sandbox.ended() in (0, 130)


# Mistakes in documents.


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_with_its_place_and_a_word_that_helps(
    shell: Shell, front_door: Callable[..., Done], case: str
) -> None:
    content, place, word = MISTAKES[case]
    shell.write("desired_state/good.yaml", document(name="good", recording=numbered(9)))
    shell.write("desired_state/one.yaml", content)
    done = front_door("validate")
    assert done.code == 1
    out = done.out
    lines = [line for line in out.splitlines() if word in line]
    assert lines, out
    assert re.match(rf"desired_state/one\.yaml:{place}\d*", lines[0]), out
    assert re.fullmatch(r"desired_state/one\.yaml:\d+:\d+: .+?( \[/.*\])?", lines[0])
    assert len(out.splitlines()) <= 2


def test_mistakes_change_nothing_and_ask_nobody(shell: Shell, api: ForeignApi) -> None:
    for number, (content, _, _) in enumerate(MISTAKES.values()):
        shell.write(f"desired_state/{number}.yaml", content)
    shell.write("desired_state/good.yaml", document(name="good", recording=numbered(9)))
    reported = shell("validate", "--format", "json").json()["problems"]
    # The last ones are at odds with each other's names rather than by themselves.
    assert {problem["file"] for problem in reported} >= {f"desired_state/{number}.yaml" for number in range(40)}
    for command in (("plan", "--detailed-exitcode"), ("apply", "--yes")):
        done = shell(*command, "--api-url", api.url)
        assert (done.code, done.out) == (1, "")
        assert len(done.err.splitlines()) > len(MISTAKES)
    assert api.requests() == []
    done = shell("status")
    assert (done.code, "there is no state" in done.err or "No recordings are known" in done.out) in (
        (1, True),
        (0, True),
    )


def test_what_is_no_plain_file_is_refused_or_skipped(shell: Shell) -> None:
    shell.write("desired_state/one.yaml", document())
    outside = shell.write("outside.yaml", document(name="outside"))
    links = {"away": str(outside), "cycle": ".", "nothing": "nowhere.yaml"}
    for name, target in links.items():
        (shell.folder / f"desired_state/{name}.yaml").symlink_to(target)
    os.mkfifo(shell.folder / "desired_state/pipe.yaml")
    (shell.folder / "desired_state/inside.yaml").symlink_to("one.yaml")
    done = shell("validate")
    assert done.code == 1
    assert [line.partition(":")[0] for line in done.out.splitlines()] == [
        f"desired_state/{name}.yaml" for name in links
    ]
    assert "pipe.yaml" in done.err
    for name in links:
        (shell.folder / f"desired_state/{name}.yaml").unlink()
    assert shell("validate").code == 0
    assert shell("validate", "--max-file-bytes", "100").out.startswith("desired_state/")


def test_a_path_that_is_not_there_is_an_error(shell: Shell) -> None:
    shell.write("desired_state/one.yaml", document())
    for command in (("validate",), ("plan", "--no-refresh"), ("apply", "--yes"), ("run", "--listen", "off")):
        done = shell(*command, "desired_state", "nowhere")
        assert (done.code, "nowhere" in done.out + done.err) == (1, True)


def test_validate_of_nothing_warns_and_fails_where_documents_are_required(shell: Shell) -> None:
    (shell.folder / "empty").mkdir()
    done = shell("validate", "empty")
    assert done.code == 0
    assert "Warning: no document was found in empty" in done.err
    refused = shell("validate", "empty", "--require-documents")
    assert refused.code == 1
    assert "Error: no document was found in empty" in refused.err
    shell.write("desired_state/one.yaml", document())
    assert shell("validate", "--require-documents").code == 0


def test_a_terminal_is_shown_some_problems_and_how_many_more_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    class Counted:
        read_count = 0

        def walk(self) -> Tree:
            raise NotImplementedError

        def read(self, _file: str) -> bytes:
            self.read_count += 1
            return b"line\n" * 1000

    source = Counted()
    problems = [Problem(__file__, number + 1, 2, "m") for number in range(500)]
    show_problems(problems, source, terminal=True)
    shown = capsys.readouterr().out
    assert source.read_count == 1
    assert shown.count("  line\n") == SHOWN_ON_A_TERMINAL == 200
    assert shown.endswith("... and 300 more problems; a file or a pipe gets all of them\n")
    show_problems(problems, source, terminal=False)
    assert len(capsys.readouterr().out.splitlines()) == 500


def test_a_plan_can_be_looked_at_by_label(shell: Shell) -> None:
    labelled = document().replace("name: one", "name: one\n  labels: {team: billing, floor: '2'}")
    shell.write("desired_state/one.yaml", labelled)
    shell.write("desired_state/two.yaml", document(name="two", recording=numbered(2)))
    chosen = shell("plan", "--no-refresh", "--label", "team=billing", "--label", "floor=2")
    assert chosen.code == 0
    assert "two" not in chosen.out
    assert "Plan: 1 to patch" in chosen.out
    assert "Only what is labelled team=billing, floor=2 is shown: 1 of 2 recordings." in chosen.err
    none = shell("plan", "--no-refresh", "--detailed-exitcode", "--label", "team=sales")
    assert none.code == 0
    assert "Plan: 0 to patch" in none.out
    assert shell("plan", "--no-refresh", "--label", "team").code == 64
    assert shell("plan", "--no-refresh", "--label", "team=billing", "--out", "x.json").code == 64
