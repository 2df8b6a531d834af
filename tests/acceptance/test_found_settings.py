"""A settings file that a stranger put into the working directory redirects nothing, as each command meets it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from reconciler.cli.program import COMMANDS, cli
from tests.world.documents import document
from tests.world.ids import CHANNEL, WORKSPACE
from tests.world.shell import Shell

#: How each command that reads settings is asked for something, without anything on the line that a setting could say.
ASKED: dict[str, tuple[str, ...]] = {
    "validate": (),
    "plan": ("--base", "HEAD"),
    "apply": ("--yes",),
    "run": ("--once", "--listen", "off"),
    "status": (),
    "history": (),
    "init": ("elsewhere",),
    "import": ("--workspace", WORKSPACE, "--channel", CHANNEL),
    "set": ("one", "completed"),
    "suspend": ("one", "--reason", "because", "--until", "2099-01-01T00:00:00Z"),
    "resume": ("one",),
    "doctor": (),
    "approve": ("0123456789ab", "--reason", "because"),
    "sync": (),
}


@pytest.fixture
def shell(shell: Shell) -> Shell:
    shell.write("desired_state/one.yaml", document())
    return shell


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    """A server that nobody may speak to; whoever does, waits in its queue."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server


def was_asked(server: socket.socket) -> bool:
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def redirections(server: socket.socket, outside: Path) -> dict[str, str]:
    """What a stranger would write: each line alone sends a key away, writes outside, or lifts what holds."""
    return {
        "api_url": f"http://127.0.0.1:{server.getsockname()[1]}",
        "allow_http": "true",
        "state": f"sqlite:///{outside}/state.db",
        "out": f"{outside}/out",
        "report": f"json={outside}/report",
        "workspaces": f"{{{WORKSPACE}: {{access_key_env: SOME_OTHER_SECRET}}}}",
        "refresh": "true",
        "override_limits": "true",
        "max_resumes": "1000",
    }


def test_every_command_that_reads_settings_and_an_api_or_a_file_is_asked() -> None:
    reading = set()
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        if any("--config" in parameter.opts for parameter in command.params):
            reading.add(name)
    assert reading - {"schema", "sandbox"} == ASKED.keys(), "add how the command is asked"


@pytest.mark.parametrize("command", ASKED)
def test_a_found_file_sends_no_key_and_writes_nothing_elsewhere(
    shell: Shell, stranger: socket.socket, tmp_path: Path, command: str
) -> None:
    lines = redirections(stranger, tmp_path / "outside")
    shell.write("reconciler.yaml", "".join(f"{name}: {value}\n" for name, value in lines.items()))
    before = sorted(tmp_path.rglob("*"))
    done = shell(command, *ASKED[command], SOME_OTHER_SECRET="another-secret-of-the-job")
    assert done.code == 1, done.err
    assert "reconciler.yaml: `api_url` may not be set by a settings file that was found" in done.err
    assert "--config reconciler.yaml" in done.err
    assert "another-secret-of-the-job" not in done.out + done.err
    assert not was_asked(stranger)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "name",
    ["api_url", "allow_http", "state", "out", "report", "workspaces", "refresh", "override_limits", "max_resumes"],
)
def test_each_line_alone_is_refused(shell: Shell, stranger: socket.socket, tmp_path: Path, name: str) -> None:
    shell.write("reconciler.yaml", f"{name}: {redirections(stranger, tmp_path / 'outside')[name]}\n")
    done = shell("plan")
    assert (done.code, f"reconciler.yaml: `{name}` may" in done.err) == (1, True), done.err
    assert not was_asked(stranger)


@pytest.mark.parametrize("absolute", [False, True])
def test_the_same_file_counts_where_somebody_names_it(shell: Shell, stranger: socket.socket, absolute: bool) -> None:
    address = f"http://127.0.0.1:{stranger.getsockname()[1]}"
    file = shell.write("reconciler.yaml", f"api_url: {address}\n")
    (shell.folder / "desired_state/one.yaml").unlink()
    done = shell("doctor", "--format", "json", RECONCILER_CONFIG=str(file) if absolute else file.name)
    assert {"name": "api_url", "value": address, "source": "settings file"} in done.json()["settings"]


def test_an_option_beside_a_found_file_lifts_nothing_for_it(shell: Shell, stranger: socket.socket) -> None:
    shell.write("reconciler.yaml", f"workspaces: {{{WORKSPACE}: {{access_key_env: HOME}}}}\n")
    done = shell("plan", "--api-url", f"http://127.0.0.1:{stranger.getsockname()[1]}")
    assert (done.code, "`workspaces` may not be set" in done.err) == (1, True)
    assert not was_asked(stranger)


@pytest.mark.parametrize("none", ["", "/dev/null"])
def test_a_found_file_can_be_left_unread(shell: Shell, none: str) -> None:
    shell.write("reconciler.yaml", "api_url: http://127.0.0.1:1\n")
    assert shell("validate").code == 1
    assert shell("validate", "--config", none).code == 0


def odd(shell: Shell, kind: str) -> str:
    """Put something that is no settings file in its place, and return why it is refused."""
    path = shell.folder / "reconciler.yaml"
    match kind:
        case "a FIFO":
            os.mkfifo(path)
        case "a device":
            path.symlink_to("/dev/zero")
            return "leads out of the working directory"
        case "a folder":
            path.mkdir()
        case "a link to nothing":
            path.symlink_to("nowhere")
            return "No such file or directory"
        case "a link to itself":
            path.symlink_to("reconciler.yaml")
            return "cannot be read"
        case "a link to a secret":
            secret = shell.folder.parent / "secret"
            secret.write_text("another-secret-of-the-job")
            path.symlink_to(secret)
            return "leads out of the working directory"
        case "an endless one":
            with path.open("wb") as opened:
                opened.truncate(1 << 40)
            return "it is larger than"
    return "it is not a regular file"


ODD = [
    "a FIFO",
    "a device",
    "a folder",
    "a link to nothing",
    "a link to itself",
    "a link to a secret",
    "an endless one",
]


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_settings_file_is_refused_in_words(shell: Shell, kind: str) -> None:
    why = odd(shell, kind)
    done = shell("plan", "--no-refresh")
    assert (done.code, done.out) == (1, ""), done.err
    assert "reconciler.yaml" in done.err
    assert why in done.err
    assert "another-secret" not in done.err
    if "leads out" not in why:
        named = shell("plan", "--no-refresh", "--config", "reconciler.yaml")
        assert (named.code, why in named.err) == (1, True), named.err
    if kind == "an endless one":
        (shell.folder / "reconciler.yaml").unlink()  # else it would be searched to its end, as all that is left is


def test_a_link_within_the_folder_is_a_settings_file(shell: Shell) -> None:
    shell.write("real/settings.yaml", "max_depth: 1\n")
    (shell.folder / "reconciler.yaml").symlink_to("real/settings.yaml")
    assert shell("validate").code == 1


@pytest.mark.parametrize("line", ["all: 2", "all: 1.5", "detailed_exitcode: [1]", "no_color: 7", "all: {a: b}"])
def test_a_value_that_no_flag_takes_is_refused_in_words(shell: Shell, line: str) -> None:
    shell.write("reconciler.yaml", line)
    done = shell("plan", "--no-refresh")
    assert (done.code, "reconciler.yaml: " in done.err, "unforeseen" in done.err) == (1, True, False), done.err
