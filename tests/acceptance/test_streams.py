"""Standard streams that are closed, full or without a reader, and a working directory that is gone."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest

from tests.world.documents import document
from tests.world.foreign_api import ForeignApi
from tests.world.ids import RECORDING, numbered, recording
from tests.world.shell import COMMAND, Shell, by_shell
from tests.world.started import eventually


@pytest.fixture
def shell(shell: Shell) -> Shell:
    shell.write("desired_state/one.yaml", document())
    return shell


@pytest.fixture
def api(api: ForeignApi) -> ForeignApi:
    api.seed([recording("ongoing")])
    return api


CLOSED = [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full", ">&- 2>/dev/full"]


@pytest.mark.parametrize("how", CLOSED)
@pytest.mark.parametrize(
    "command", ["validate", "schema", "status --format json", "history", "plan --no-refresh", "--help"]
)
def test_a_stream_that_is_closed_or_full_changes_no_exit_code(shell: Shell, command: str, how: str) -> None:
    code, out, err = by_shell(shell, f"$R {command} {how}")
    control, told, _ = by_shell(shell, f"$R {command}")
    assert code == control, err
    assert out in ("", told)
    assert "unforeseen" not in err
    assert by_shell(shell, f"$R validate --nope {how}")[0] == 64


@pytest.mark.parametrize("how", CLOSED)
def test_apply_without_streams_has_done_what_its_code_says(shell: Shell, api: ForeignApi, how: str) -> None:
    shell.env["RECONCILER_API_URL"] = api.url
    code, _, err = by_shell(shell, f"$R apply --yes {how}")
    assert (code, api.patches()) == (0, [(RECORDING, "paused")]), err
    assert shell("plan", "--detailed-exitcode").code == 0


def test_a_plan_that_cannot_be_shown_is_not_applied(shell: Shell, api: ForeignApi) -> None:
    shell.env["RECONCILER_API_URL"] = api.url
    code, _, err = by_shell(shell, "$R apply --yes >/dev/full")
    assert (code, api.patches()) == (1, [])
    assert "standard output cannot be written: No space left on device; the plan was not shown, nothing was sent" in err


def test_a_reader_that_has_seen_enough_changes_no_exit_code(shell: Shell, api: ForeignApi) -> None:
    shell.env["RECONCILER_API_URL"] = api.url
    for number in range(300):
        shell.write(f"desired_state/{number}.yaml", document(name=f"r-{number}", recording=numbered(100 + number)))
    api.seed([recording("ongoing"), *(recording("ongoing", recording_id=numbered(100 + n)) for n in range(300))])
    more = {"RECONCILER_MAX_CHANGE_PERCENT": "100", "RECONCILER_RATE_LIMIT": "0"}
    code, out, _ = by_shell(shell, "$R plan --detailed-exitcode | head -n 1; exit ${PIPESTATUS[0]}", **more)
    assert (code, out.count("\n")) == (2, 1)
    code, out, err = by_shell(shell, "$R apply --yes | head -n 1; exit ${PIPESTATUS[0]}", **more)
    assert (code, len(api.patches())) == (0, 301), err


@pytest.mark.parametrize("command", ["schema", "validate --format json", "--version", "plan --no-refresh"])
def test_what_only_tells_and_cannot_says_so_and_fails(shell: Shell, command: str) -> None:
    code, _, err = by_shell(shell, f"$R {command} >/dev/full")
    assert (code, err.splitlines()[-1]) == (1, "Error: standard output could not be written: No space left on device")


@pytest.mark.parametrize("how", [">&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_a_daemon_without_streams_ends_in_order(shell: Shell, api: ForeignApi, how: str) -> None:
    shell.env["RECONCILER_API_URL"] = api.url
    line = f"exec {COMMAND} run --listen off {how}"
    daemon = subprocess.Popen(["bash", "-c", line], cwd=shell.folder, env=shell.environment({}))
    try:
        eventually(lambda: api.patches() == [(RECORDING, "paused")])
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(60) == 0
    finally:
        daemon.kill()


def test_no_file_takes_the_number_of_a_closed_stream(shell: Shell, api: ForeignApi) -> None:
    shell.env["RECONCILER_API_URL"] = api.url
    assert by_shell(shell, "$R apply --yes <&- >&- 2>&-")[0] == 0
    # Had the state been opened as standard output or error, texts would have been written over it.
    assert "is whole" in "".join(
        finding["message"] for finding in shell("doctor", "--format", "json").json()["findings"]
    )


def in_removed_folder(shell: Shell, line: str) -> tuple[int, str, str]:
    return by_shell(shell, f"here=$PWD; mkdir gone; cd gone; rmdir ../gone; {line}")


def test_an_absolute_path_needs_no_working_directory(shell: Shell) -> None:
    code, _, err = in_removed_folder(shell, "$R validate $here/desired_state")
    assert (code, "all valid" in err) == (0, True), err
    code, out, err = in_removed_folder(shell, "$R plan --no-refresh --state sqlite:///$here/s.db $here/desired_state")
    assert (code, "1 to patch" in out) == (0, True), err


@pytest.mark.parametrize("command", ["validate", "plan --no-refresh", "status", "init", "apply --yes", "run --once"])
def test_a_working_directory_that_is_gone_is_said_in_words(shell: Shell, command: str) -> None:
    code, _, err = in_removed_folder(shell, f"$R {command}")
    assert code == 1
    assert "working directory" in err
    assert "removed" in err
    assert "(at " not in err
    assert len(err.splitlines()) == 1


def test_an_interruption_while_the_program_is_being_loaded_shows_no_traceback(shell: Shell) -> None:
    for delay in (0.01, 0.03, 0.05, 0.08, 0.12, 0.2):
        process = subprocess.Popen(
            [COMMAND, "validate"],
            cwd=shell.folder,
            env=shell.environment({}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # As a shell's own job has it; a test's may be ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        time.sleep(delay)  # a moment of the start, not a wait for something
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        # Before the first line of ours runs, the interpreter alone is there, and it may say what it likes.
        assert "reconciler/cli" not in err, err
        assert "reconciler/settings" not in err, err


#: Turns the direction of what follows; a name of a file may hold it.
TURNED = "\u202egpj.yaml"


def turned(shell: Shell) -> None:
    shell.write(f"desired_state/a{TURNED}", document(name="turned", recording=numbered(9)))
    shell.write(f"desired_state/b{TURNED}", "apiVersion: [\n")


@pytest.mark.parametrize(
    "command",
    [
        "validate",
        "validate --format github",
        "validate --format json",
        "validate --format sarif",
        "plan --no-refresh",
        "plan --no-refresh --report text --report markdown --report html",
        "plan --no-refresh --report github --report junit --report gitlab --report sarif",
        "set turned completed",
        "doctor",
        "$'x\u202ey'",
        "status $'x\u202ey'",
        "validate $'x\u202ey'",
    ],
)
def test_nothing_that_turns_a_line_reaches_a_terminal_or_a_log(shell: Shell, command: str) -> None:
    turned(shell)
    _, out, err = by_shell(shell, f"$R {command}", LC_ALL="C.UTF-8")
    assert "\u202e" not in out + err
    (shell.folder / f"desired_state/b{TURNED}").unlink()
    _, out, err = by_shell(shell, f"$R {command}", LC_ALL="C.UTF-8")
    assert "\u202e" not in out + err


@pytest.mark.parametrize(
    "line",
    [
        "'##[add-mask]a'",
        "plan --concurrency '##[add-mask]a'",
        "plan --config '##[add-mask]a'",
        "plan --no-refresh --state '##[add-mask]a'",
        "plan --no-refresh --out '##[add-mask]a/plan'",
        "plan --no-refresh '--report=json' desired_state",
        "plan --no-refresh '--report=html' desired_state",
        "validate desired_state --format json",
        "apply --plan '##[add-mask]a' --yes",
    ],
)
def test_no_command_of_a_runner_reaches_a_stream(shell: Shell, line: str) -> None:
    shell.write("desired_state/##[add-mask]b.yaml", document(name="b"))
    shell.write("desired_state/##[add-mask]c.yaml", "no: document\n")
    _, out, err = by_shell(shell, f"$R {line}")
    assert "##[" not in out + err
    assert r"#\u0023[add-mask]" in out + err or r"#\x23[add-mask]" in out + err


def test_json_that_holds_such_a_command_says_the_same(shell: Shell) -> None:
    shell.write("desired_state/##[add-mask]b.yaml", document(name="b", recording=numbered(2)))
    _, out, _ = by_shell(shell, "$R plan --no-refresh --report json")
    assert "##[add-mask]b.yaml" in str(json.loads(out))


def test_words_of_the_api_are_no_command_of_a_runner(shell: Shell, api: ForeignApi) -> None:
    shell.env["RECONCILER_API_URL"] = api.url
    api.seed([recording("##[add-mask]a")])
    for command in ("plan", "apply --yes --log-format json", "status", "plan --report json"):
        _, out, err = by_shell(shell, f"$R {command}")
        assert "##[" not in out + err


def test_what_was_recorded_of_such_a_file_is_shown_visibly(shell: Shell, api: ForeignApi) -> None:
    shell.env["RECONCILER_API_URL"] = api.url
    (shell.folder / "desired_state/one.yaml").unlink()
    shell.write(f"desired_state/a{TURNED}", document())
    applied = shell("apply", "--yes", "--log-format", "text")
    assert applied.code == 0
    for done in (applied, shell("status"), shell("history"), shell("plan", "--all"), shell.terminal("status")):
        assert "\u202e" not in done.out + done.err
    assert "\\u202egpj.yaml" in shell("status").out


def test_a_name_that_the_locale_cannot_read_is_blamed_on_the_locale(shell: Shell) -> None:
    shell.write("zahlungen-ü/b-ü.yaml", document(name="b"))
    strict = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for path in ("zahlungen-ü", "."):
        code, out, err = by_shell(shell, f"$R validate {path}", **strict)
        assert code == 1
        assert "this process reads names as ascii, by its locale" in out + err
        assert "LC_ALL=C.UTF-8" in out + err
        assert "not UTF-8" not in out + err
    assert by_shell(shell, "$R validate zahlungen-ü", LC_ALL="C.UTF-8")[0] == 0
