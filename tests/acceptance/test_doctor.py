"""`doctor`: each finding is right, has its remedy, and was found without changing anything.

Aspects: rights proven and missing, key, reach, clock, state file, limits of the system, settings and where they came
from, exit codes. Every request that it makes is held to be a read by the independent API's own log.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli import checks as doctor
from reconciler.cli.checks import Level, check_address, check_clock, check_open_files, check_watching
from reconciler.providers.bird import Route
from reconciler.providers.bird.dates import _surely_ahead
from reconciler.settings.table import SETTINGS
from tests.world.documents import document
from tests.world.foreign_api import ForeignApi, running
from tests.world.ids import WORKSPACE, numbered, recording
from tests.world.shell import KEY, Shell

NOW = datetime(2026, 11, 22, 18, tzinfo=UTC)


@pytest.fixture
def shell(shell: Shell) -> Shell:
    shell.write("desired_state/one.yaml", document("ongoing"))
    return shell


@pytest.fixture
def api(api: ForeignApi) -> Iterator[ForeignApi]:
    yield api
    assert {entry["method"] for entry in api.requests()} <= {"GET"}


class Answered:
    """What `doctor --format json` said."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        assert document["format"] == "reconciler.doctor/v1"

    def levels(self, check: str) -> list[str]:
        return [finding["level"] for finding in self.document["findings"] if finding["check"] == check]

    def messages(self, check: str) -> str:
        return "\n".join(finding["message"] for finding in self.document["findings"] if finding["check"] == check)


def ask(shell: Shell, *arguments: str, **environment: str) -> Answered:
    done = shell("doctor", "--format", "json", *arguments, **environment)
    answered = Answered(done.json())
    findings = answered.document["findings"]
    assert done.code == (1 if any(finding["level"] == "failure" for finding in findings) else 0)
    assert answered.document["healthy"] is (done.code == 0)
    assert [finding for finding in findings if finding["level"] != "ok" and not finding["remedy"]] == []
    return answered


def test_every_right_to_read_is_proven_by_reads_alone(shell: Shell, api: ForeignApi):
    api.seed([recording("ongoing"), recording("paused", recording_id=numbered(2))])
    found = ask(shell, "--api-url", api.url)
    assert found.document["healthy"]
    proven = re.findall(r"View on (\S+) is proven", found.messages("rights"))
    assert sorted(proven) == sorted(re.sub(r"\{[^w]\}", "*", route).replace("{w}", "{ws}") for route in Route)
    # The right that would let the key hang up callers is warned about, and nobody has tried it.
    assert found.levels("update") == ["warning"]
    assert "must not be granted" in found.messages("update")
    assert api.violations() == []
    text = shell("doctor", "--api-url", api.url)
    assert text.code == 0
    assert re.search(r"^ok +rights +workspace .* is proven$", text.out, re.MULTILINE)
    assert re.search(r"^Doctor: \d+ ok, \d+ warnings, 0 failures\.$", text.out, re.MULTILINE)


def test_what_no_read_can_prove_is_said_and_fails_nothing(shell: Shell, api: ForeignApi):
    found = ask(shell, "--api-url", api.url)
    assert found.document["healthy"]
    assert "calls/*/recordings/* is not proven: 404" in found.messages("rights")
    assert found.levels("rights").count("warning") == 3


def test_a_missing_right_and_a_refused_key_fail(shell: Shell, api: ForeignApi):
    api.seed([recording("ongoing")])
    api.fault("answer", path="/recordings", status=403, times=-1)
    found = ask(shell, "--api-url", api.url)
    assert found.levels("rights").count("failure") == 3
    api.mend()
    # Rights that `import` alone needs do not fail.
    api.fault("answer", path="/calls[?]", status=403, times=-1)
    assert ask(shell, "--api-url", api.url).levels("rights").count("warning") == 2
    api.mend()
    refused = ask(shell, "--api-url", api.url, BIRD_ACCESS_KEY="another-key-1234")
    assert refused.levels("rights") == ["failure"]
    assert "401" in refused.messages("rights")
    missing = ask(shell, "--api-url", api.url, BIRD_ACCESS_KEY="")
    assert (missing.levels("key"), missing.levels("rights")) == (["failure"], [])


def test_an_api_out_of_reach_fails_once(shell: Shell):
    with running(key=KEY) as api:
        url = api.url
    found = ask(shell, "--api-url", url, "--workspace", numbered(7))
    assert found.levels("reach") == ["failure"]
    assert found.levels("clock") == []


def test_settings_are_shown_with_where_they_came_from_and_without_secrets(shell: Shell):
    shell.write("reconciler.yaml", "rate_limit: 7\nstate: sqlite:///here.db\n")
    found = ask(
        shell,
        "--concurrency",
        "9",
        "--config",
        "reconciler.yaml",
        "--api-url",
        "http://user:password@bird.example",
        RECONCILER_POLL_SECONDS="11",
        RECONCILER_TOKEN_FILE=f"/run/{KEY}",
    )
    settings = {setting["name"]: (setting["value"], setting["source"]) for setting in found.document["settings"]}
    assert settings["concurrency"] == ("9", "--concurrency")
    assert settings["poll_seconds"] == ("11.0", "RECONCILER_POLL_SECONDS")
    assert settings["rate_limit"] == ("7.0", "settings file")
    assert settings["resync_seconds"] == ("300.0", "default")
    assert settings["api_url"] == ("http://<user>@bird.example", "--api-url")
    assert settings["token_file"] == ("/run/<key>", "RECONCILER_TOKEN_FILE")
    # The key must not travel in the clear, so nothing was asked.
    assert (found.levels("api_url"), found.levels("rights")) == (["failure"], [])


@pytest.mark.parametrize("option", [setting.option for setting in SETTINGS.values() if setting.names_secret])
def test_a_secret_in_place_of_the_name_of_its_file_is_not_shown(shell: Shell, option: str):
    secret = "canary-0123456789-canary"
    also = ("--git", "https://127.0.0.1:1/team/repo.git") if "git" in option or "hook" in option else ()
    for form in ("text", "json"):
        done = shell("doctor", option, secret, *also, "--format", form)
        assert "(no such file)" in done.out
        assert secret not in done.out + done.err
    shell.write("secret", secret)
    assert "(no such file)" not in shell("doctor", option, "secret", *also).out


def test_the_state_file_is_looked_at_and_left_alone(shell: Shell, api: ForeignApi):
    api.seed([recording("ongoing")])
    shell.env["RECONCILER_API_URL"] = api.url
    assert shell("apply", "--yes").code == 0
    path = shell.folder / ".reconciler/state.db"
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    found = ask(shell)
    assert found.levels("state") == ["ok"]
    assert "is whole" in found.messages("state")
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
    path.chmod(0o644)
    assert ask(shell).levels("state") == ["ok", "warning"]
    # An index that has lost an entry: every row can be read, yet the file is not whole.
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = sql || ' ' WHERE type = 'table'")
        connection.execute("DELETE FROM sqlite_schema WHERE name = 'history_by_name'")
    connection.close()
    assert "failure" in ask(shell).levels("state")
    path.write_bytes(b"no database at all" * 100)
    assert ask(shell).levels("state") == ["failure"]


def test_invalid_documents_and_none_are_said(shell: Shell):
    file = shell.write("desired_state/one.yaml", document("off"))
    assert ask(shell, BIRD_ACCESS_KEY="").levels("documents") == ["failure"]
    file.unlink()
    found = ask(shell, BIRD_ACCESS_KEY="")
    assert (found.levels("documents"), found.levels("key")) == (["warning"], ["warning"])
    assert shell("doctor", "--workspace", "x").code == 64


@contextmanager
def an_api_that_is_ahead(difference: timedelta) -> Iterator[str]:
    """An API without calls, whose clock is wrong, or ours."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"results": []}'
            self.send_response_only(200)
            self.send_header("Date", format_datetime(datetime.now(UTC) + difference, usegmt=True))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the server's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("seconds", "level", "words"), [(0, "ok", "within"), (-20, "warning", "ahead of"), (3600, "failure", "behind")]
)
def test_a_clock_that_is_off_is_seen(shell: Shell, seconds: int, level: str, words: str):
    with an_api_that_is_ahead(timedelta(seconds=seconds)) as url:
        found = ask(shell, "--api-url", url)
    assert found.levels("clock") == [level]
    assert words in found.messages("clock")


@given(
    st.timedeltas(-timedelta(days=1), timedelta(days=1)),
    st.timedeltas(timedelta(), timedelta(seconds=20)),
    st.timedeltas(timedelta(), timedelta(seconds=20)),
)
def test_a_slow_answer_is_no_proof_of_a_wrong_clock(ahead: timedelta, way: timedelta, back: timedelta):
    written = (NOW + way - ahead).replace(microsecond=0)
    measured = _surely_ahead(NOW, NOW + way + back, written)
    assert abs(measured) <= abs(ahead)
    assert abs(measured - ahead) <= way + back + timedelta(seconds=1)


def test_what_the_clock_says_is_judged_by_its_size():
    for seconds, level in ((0, Level.OK), (-5, Level.OK), (6, Level.WARNING), (-61, Level.FAILURE)):
        assert check_clock(timedelta(seconds=seconds)).level is level
    assert check_clock(None).level is Level.WARNING


@pytest.mark.parametrize(
    ("url", "allowed", "level"),
    [
        ("https://api.bird.com", False, Level.OK),
        ("http://127.0.0.1:8421", False, Level.OK),
        ("http://[::1]:8421", False, Level.OK),
        ("http://bird.example", False, Level.FAILURE),
        ("http://bird.example", True, Level.WARNING),
        ("api.bird.com", False, Level.FAILURE),
    ],
)
def test_an_address_that_shows_the_key_to_others_is_no_good(url: str, allowed: bool, level: Level):
    assert check_address(url, allow_http=allowed).level is level


def test_the_limits_of_the_system_are_compared_with_the_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    limits = tmp_path / "limits"
    assert check_watching([str(tmp_path)]).level is Level.OK
    monkeypatch.setattr(doctor, "_INOTIFY", limits)
    assert check_watching([str(tmp_path)]).level is Level.OK
    limits.mkdir()
    tree = tmp_path / "tree"
    for number in range(9):
        (tree / str(number) / ".git").mkdir(parents=True)
    (limits / "max_user_instances").write_text("128\n")
    for watches, level in ((100, Level.OK), (15, Level.WARNING), (10, Level.FAILURE)):
        (limits / "max_user_watches").write_text(f"{watches}\n")
        found = check_watching([str(tree)])
        assert (found.level, "10 folders" in found.message) == (level, True)
        assert bool(found.remedy) is (level is not Level.OK)
    assert check_open_files(1024, 32).level is Level.OK
    assert check_open_files(64, 32).level is Level.WARNING


def test_a_key_file_that_others_may_read_is_warned_about(shell: Shell):
    file = shell.write("key", "a-key-in-a-file-123")
    shell.env["BIRD_ACCESS_KEY"] = ""
    for mode, level in ((0o644, "warning"), (0o600, "ok")):
        file.chmod(mode)
        found = ask(shell, "--api-url", "http://127.0.0.1:9", BIRD_ACCESS_KEY_FILE=str(file))
        assert found.levels("key") == [level]
        assert WORKSPACE in found.messages("key")
