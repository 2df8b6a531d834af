"""A canary key, phone number and link on every way that a failure can take: nothing that we write shows them.

The independent API quotes the presented key, a phone number and a pre-signed link in every error, call and recording.
Each test ends with a search of all that the commands wrote: output, logs, reports, plans, and the bytes of the state.
Documents lie outside of the searched folder, since some hold the canaries themselves.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.documents import Problem
from reconciler.model.errors import SettingsError
from reconciler.settings.keys import read_token
from reconciler.telemetry.logs import make_log
from reconciler.telemetry.scrubbing import hide, scrub, scrubbed
from reconciler.web.address import bind, is_exposed
from tests.world.documents import document
from tests.world.foreign_api import CANARY_LINK, CANARY_PHONE, ForeignApi
from tests.world.front import FAULTS, get
from tests.world.ids import RECORDING, WORKSPACE, numbered, recording
from tests.world.shell import KEY, Shell
from tests.world.started import Started, eventually

#: The number as people write it where a document wants text.
BARE_PHONE = CANARY_PHONE.removeprefix("+")
TOKEN = "canary-token-of-sixteen-and-more"


class Searched(Shell):
    """A shell whose folder is searched to the last byte, with the documents elsewhere."""

    def __init__(self, folder: Path, documents: Path) -> None:
        super().__init__(folder)
        self.documents = str(documents)

    def declare(self, name: str, text: str) -> None:
        path = Path(self.documents, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def found(self) -> list[str]:
        """Return where a canary is, of all that was written."""
        texts = {f"output {number}": text.encode() for number, text in enumerate(self.written)}
        files = {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        secrets = (KEY, "AccessKey", CANARY_PHONE, BARE_PHONE, "canarylink", TOKEN, "Traceback", "canary-word")
        return [
            f"{secret} in {place}: {content[max(0, content.index(secret.encode()) - 300) :][:600]!r}"
            for place, content in {**texts, **files}.items()
            for secret in secrets
            if secret.encode() in content
        ]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Searched]:
    folder = tmp_path / "work"
    folder.mkdir()
    shell = Searched(folder, tmp_path / "documents")
    yield shell
    assert shell.found() == []


def many_faults(shell: Searched, api: ForeignApi) -> None:
    """One recording for each fault that the acceptance tests know, and some with worse bodies."""
    leaky = json.dumps({"code": f"Call{BARE_PHONE}", "message": f"AccessKey {KEY} {CANARY_PHONE} {CANARY_LINK}"})
    faults = [fault for fault, _ in FAULTS.values()]
    faults += [
        {"action": "answer", "method": "PATCH", "status": status, "times": -1} for status in (400, 404, 422, 301)
    ]
    faults += [
        {"action": "answer", "method": method, "status": status, "body": leaky, "headers": headers}
        for method in ("GET", "PATCH")
        for status, headers in (
            (503, {"Retry-After": "0"}),
            (400, {"Deprecation": f"AccessKey {KEY}", "Sunset": CANARY_PHONE}),
            (302, {"Location": CANARY_LINK}),
            (200, {"Content-Type": "text/html"}),
            (202, {}),
        )
    ]
    for number, fault in enumerate(faults):
        call, item = numbered(number), numbered(100 + number)
        shell.declare(f"{number}.yaml", document(name=f"f-{number}", call=call, recording=item))
        api.seed([recording(call=call, recording_id=item)])
        api.fault(**{**fault, "path": call})
    # What the API says where no error is: a status word, and a call that ended, with its number and its link.
    for number, word in ((300, f"AccessKey {KEY}"), (301, f"call {CANARY_PHONE}"), (302, CANARY_LINK)):
        shell.declare(f"{number}.yaml", document(name=f"w-{number}", call=numbered(number), recording=numbered(number)))
        api.seed([recording(word, call=numbered(number), recording_id=numbered(number))])
    api.seed([recording(call=numbered(310), recording_id=numbered(310))])
    shell.declare("310.yaml", document(name="ended", call=numbered(310), recording=numbered(310)))
    api.end_call(numbered(310), "failed")


def reach(api: ForeignApi) -> tuple[str, ...]:
    return ("--api-url", api.url, "--rate-limit", "0", "--give-up-seconds", "1", "--confirm-seconds", "1")


COMMANDS = {
    "plan": ("--report", "json", "--report", "markdown=plan.md", "--report", "text=plan.txt", "--out", "plan.json"),
    "apply": ("--yes", "--log-level", "debug", "--log-format", "json"),
    "run": ("--once", "--log-level", "debug", "--log-format", "text"),
}


@pytest.mark.parametrize("commands", [("plan", "apply"), ("run",)])
def test_no_answer_of_the_api_is_repeated(shell: Searched, api: ForeignApi, commands: tuple[str, ...]) -> None:
    for command in commands:
        many_faults(shell, api)
        shell(command, shell.documents, *reach(api), *COMMANDS[command])
    for words in (("status",), ("history", "--limit", "10000")):
        assert "f-1" in shell(*words).out
        assert "f-1" in shell(*words, "--format", "json").out
    assert any(entry["method"] == "PATCH" for entry in api.requests())


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_not_repeated(shell: Searched, api: ForeignApi, status: int) -> None:
    shell.declare("one.yaml", document())
    api.seed([recording()])
    for method in ("PATCH", "GET"):
        api.fault("answer", method=method, status=status, times=-1)
        for command in (("plan",), ("apply", "--yes"), ("run", "--once")):
            done = shell(*command, shell.documents, *reach(api))
            assert done.code == (0 if (method, command[0]) == ("PATCH", "plan") else 7), done.err
    assert f"{status}" in shell("history").out


DOCUMENTS = {
    "label": document().replace("name: one", f"name: one\n  labels: {{caller: {BARE_PHONE}}}"),
    "label-with-plus": document().replace("name: one", f"name: one\n  labels: {{caller: {CANARY_PHONE}}}"),
    "label-name": document().replace("name: one", f"name: one\n  labels: {{{BARE_PHONE}: 1}}"),
    "annotation": document().replace("name: one", f"name: one\n  annotations: {{caller: {BARE_PHONE}}}"),
    "status": document().replace("status: paused", f"status: {BARE_PHONE}"),
    "quoted": document().replace("status: paused", f"status: 'of {CANARY_PHONE}'"),
    "link": document().replace("status: paused", f"status: '{CANARY_LINK}'"),
    "key": document().replace("status: paused", f"status: '{KEY}'"),
    "header": document().replace("status: paused", f"status: 'AccessKey {KEY}'"),
    "field": document().replace("status: paused", f"'{KEY}': paused"),
    "id": document().replace(RECORDING, f"'{CANARY_PHONE}'"),
    "date": document() + f"  suspend: {{reason: r, until: '{CANARY_PHONE}'}}\n",
    "tag": document().replace("status: paused", f"status: !{KEY} paused"),
    "alias": document().replace("status: paused", f"status: *{KEY}"),
    "broken": f"caller: '{CANARY_PHONE}\n  {{{KEY}",
}


def test_what_stands_in_invalid_documents_stays_there(shell: Searched, api: ForeignApi) -> None:
    labelled = document(name="valid", recording=numbered(1)).replace(
        "name: valid", f"name: valid\n  labels: {{caller: '{CANARY_PHONE}'}}\n  annotations: {{key: '{KEY}'}}"
    )
    shell.declare("valid.yaml", labelled)
    suspended = document(name="held", recording=numbered(2))
    shell.declare("held.yaml", f"{suspended}  suspend: {{reason: 'for {CANARY_PHONE}', until: 2999-01-01T00:00:00Z}}\n")
    for name, text in DOCUMENTS.items():
        shell.declare(f"{name}.yaml", text)
    api.seed([recording(recording_id=numbered(1)), recording(recording_id=numbered(2))])
    options = ("--listen", "127.0.0.1:0", "--log-format", "json", "--log-level", "debug")
    with shell.start("run", shell.documents, *reach(api), *options) as daemon:
        daemon.wait_for("document_invalid", count=len(DOCUMENTS))
        daemon.wait_for("applied", name="valid")
        daemon.wait_for("suspended")
        told = daemon.events("document_invalid")
        # Place and rule are still there for whoever has to mend it.
        assert {Path(each["file"]).stem for each in told} == DOCUMENTS.keys()
        assert all(each["rule"] and each["first"].startswith(f"{each['file']}:") for each in told)
        for page in ("/status", "/metrics", "/healthz", "/readyz"):
            shell.written.append(get(daemon, page)[1])
        assert len(json.loads(get(daemon, "/status")[1])["invalidFiles"]) == len(DOCUMENTS)
    for command in (("status", "--format", "json"), ("history", "--format", "json"), ("status",), ("history",)):
        assert "held" in shell(*command).out


SETTINGS = {
    "the key in place of its variable": (f"workspaces: {{{WORKSPACE}: {{access_key_env: {KEY}}}}}", ()),
    "the key in place of its file": (f"workspaces: {{{WORKSPACE}: {{access_key_file: {KEY}}}}}", ()),
    "the key by value": (f"workspaces: {{{WORKSPACE}: {KEY}}}", ()),
    "the key as a workspace": (f"workspaces: {{{KEY}: {{access_key_env: X}}}}", ()),
    "the key as a setting": (f"{KEY}: 1", ()),
    "the key as a number": (f"rate_limit: {KEY}", ()),
    "the key as a choice": (f"log_level: {KEY}", ()),
    "the key in a broken file": (f"rate_limit: [{KEY}", ()),
    "the key as an option": ("", ("--rate-limit", KEY)),
    "the key as another option": ("", (f"--{KEY}",)),
    "the key as a path": ("", (KEY,)),
    "the key as an address": ("", ("--api-url", KEY)),
    "the key in an address": ("", ("--api-url", f"http://canary-word:{KEY}@192.0.2.1")),
    "a password in an address": ("", ("--api-url", "http://canary-word:canary-word@192.0.2.1")),
    "a password in another address": ("", ("--api-url", "ftp://canary-word:canary-word@192.0.2.1")),
    "the key as a state": ("", ("--state", f"postgres://canary-word:{KEY}@host/db")),
    "the key as a place to listen": ("", ("--listen", KEY)),
    "the key as a token's file": ("", ("--token-file", KEY)),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_key_in_the_wrong_place_of_the_settings_is_not_shown(shell: Searched, case: str) -> None:
    content, options = SETTINGS[case]
    shell.declare("one.yaml", document())
    settings = Path(shell.documents).with_name("settings.yaml")
    settings.write_text(content)
    done = shell("run", *(options or (shell.documents,)), "--config", str(settings))
    assert done.code in (1, 64)
    assert done.err.strip()


BROKEN = """
import asyncio, sys
from reconciler.cli.program import main

secret = "AccessKey canary-key-4f1b9c27 for +31612345678 at https://media.example/recording.mp3?X-Amz-Signature=canarylink"

class Unforeseen(Exception):
    pass

def fail(*_arguments, **_more):
    local = secret
    raise Unforeseen(local)

async def fail_later(*_arguments, **_more):
    fail()

place = sys.argv[1]
if place == "command":
    import reconciler.cli.commands.run as room
    room.given_settings = fail
elif place == "start":
    import reconciler.desired.follow as room
    room.Follower.load = fail
elif place == "task":
    import reconciler.controller.intake as room
    room.Intake.follow = fail_later
elif place == "group":
    import reconciler.controller.beat as room
    async def group(*_arguments):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail_later())
            tasks.create_task(asyncio.sleep(1000))
    room.Beat.work = group
elif place == "turn":
    import reconciler.reconcile.turn as room
    room.decide = fail
elif place == "writer":
    import reconciler.state.sqlite.statements as room
    room.inserts = fail
elif place == "documents":
    import reconciler.desired.documents.parse as room
    room._read_valid = fail
elif place == "page":
    import reconciler.controller.daemon as room
    room.Daemon.status = fail
elif place == "unraised":
    import reconciler.controller.daemon as room
    begin = room.take_over
    def take_over(*parts, **more):
        asyncio.get_running_loop().create_future().set_exception(Unforeseen(secret))
        begin(*parts, **more)
    room.take_over = take_over
elif place == "disk":
    import reconciler.desired.follow as room
    def full(*_arguments):
        raise OSError(28, "No space left on device", secret)
    room.Follower.load = full
main(sys.argv[2:])
"""
ENDING = ("command", "start", "task", "group", "disk")
GOING_ON = {
    "turn": "turn_failed",
    "writer": "state_unwritable",
    "documents": "document_invalid",
    "page": "resync_done",
    "unraised": "library_warning",
}


def broken(shell: Searched, api: ForeignApi, place: str) -> AbstractContextManager[Started]:
    """Run the daemon with an error that nobody foresaw at some place, its words full of canaries."""
    shell.declare("one.yaml", document())
    api.seed([recording()])
    options = ("--listen", "127.0.0.1:0", "--log-format", "json")
    command = (sys.executable, "-c", BROKEN, place, "run", shell.documents, *reach(api), *options, "--allow-empty")
    return shell.start_other(command)


@pytest.mark.parametrize("place", ENDING)
def test_an_error_nobody_foresaw_is_one_line_that_says_where_and_not_what(
    shell: Searched, api: ForeignApi, place: str
) -> None:
    with broken(shell, api, place) as daemon:
        assert daemon.ended() == 1
        last = daemon.text.splitlines()[-1]
    said = "Error: No space left on device (at " if place == "disk" else "Error: unforeseen Unforeseen at "
    assert last.startswith(said)
    assert "<string>:" in last


@pytest.mark.parametrize("place", GOING_ON)
def test_an_error_nobody_foresaw_in_the_midst_of_work_is_told_without_its_words(
    shell: Searched, api: ForeignApi, place: str
) -> None:
    with broken(shell, api, place) as daemon:
        daemon.wait_for(GOING_ON[place])
        for page in ("/status", "/metrics"):
            shell.written.append(get(daemon, page)[1])
        eventually(lambda: get(daemon, "/status")[0] == (500 if place == "page" else 200))
        assert daemon.process.poll() is None


# The page beyond loopback.


def test_a_page_for_other_machines_needs_a_token(shell: Searched, api: ForeignApi) -> None:
    shell.declare("one.yaml", document())
    api.seed([recording()])
    refused = shell("run", shell.documents, *reach(api), "--listen", "0.0.0.0:0")
    assert refused.code == 1
    assert "RECONCILER_TOKEN_FILE" in refused.err
    assert api.requests() == []
    token = Path(shell.documents).with_name("token")
    token.write_text(f"{TOKEN}\n")
    options = ("--listen", "0.0.0.0:0", "--log-format", "json")
    with shell.start("run", shell.documents, *reach(api), *options, RECONCILER_TOKEN_FILE=str(token)) as daemon:
        daemon.wait_for("applied")
        for page in ("/healthz", "/readyz"):
            assert get(daemon, page)[0] == 200
        assert get(daemon, "/metrics") == (401, "unauthorized\n")
        assert get(daemon, "/status") == (401, "unauthorized\n")
        for header in (f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, "Bearer", "Bearer \xe9"):
            assert ask(daemon, header)[0] == 401
        status, text = ask(daemon, f"Bearer {TOKEN}")
        assert (status, json.loads(text)["managed"]) == (200, 1)
        token.unlink()
        eventually(lambda: ask(daemon, f"Bearer {TOKEN}")[0] == 401)


@pytest.mark.parametrize("content", ["", "short", f"{TOKEN} {TOKEN}", f"{TOKEN}\u00e9", f"{TOKEN}\x01"])
def test_what_is_no_token_is_refused_and_not_shown(tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    with pytest.raises(SettingsError, match="16 or more printable characters and no space") as refused:
        read_token(str(file))
    assert not content or content not in str(refused.value)


def test_a_token_that_cannot_be_read_is_an_error_of_the_settings(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / TOKEN, "\0"):
        with pytest.raises(SettingsError, match="token_file: the file cannot be read") as refused:
            read_token(str(path))
        assert TOKEN not in str(refused.value)


@pytest.mark.parametrize(
    ("listen", "exposed"),
    [("127.0.0.1:0", False), ("127.7.7.7:0", False), ("localhost:0", False), ("0.0.0.0:0", True), ("[::]:0", True)],
)
def test_only_loopback_is_reached_from_this_machine_alone(listen: str, exposed: bool) -> None:
    opened = bind(listen)
    assert opened is not None
    with opened:
        assert is_exposed(opened) is exposed


def ask(daemon: Started, authorization: str) -> tuple[int, str]:
    import http.client

    connection = http.client.HTTPConnection(
        "127.0.0.1", int(daemon.wait_for("listening")["address"].rpartition(":")[2])
    )
    try:
        connection.request("GET", "/status", headers={"Authorization": authorization.encode("latin-1")})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


# The walls themselves.


@given(st.text(), st.text(), st.sampled_from(["{}", "0031 6 {}", "({}", "tel:{}", "{}."]))
def test_no_number_of_a_phone_gets_through_the_scrubbing(before: str, after: str, dress: str) -> None:
    # The words around it end in no digit, which would make another number of it.
    said = scrub(f"{before}# {dress.format(BARE_PHONE)} #{after}")
    assert BARE_PHONE not in said
    assert said.isprintable()


def test_a_problem_keeps_its_place_and_its_words_but_no_number() -> None:
    problem = Problem("20261122/a.yaml", 12, 3, f"labels.a: {BARE_PHONE} is no text", "/metadata/labels/a", "quote it")
    shown = scrubbed(problem)
    assert str(shown) == "20261122/a.yaml:12:3: labels.a: <number> is no text, quote it [/metadata/labels/a]"
    assert shown.rule == problem.rule


@given(st.text(), st.text(), st.sampled_from([KEY, 'has"quotes\\and\\more', "x" * 8]))
def test_the_last_wall_hides_a_secret_also_where_json_escapes_it(before: str, after: str, secret: str) -> None:
    out = io.StringIO()
    log = make_log("json", "info", run_id="run-1", stream=out, secrets=lambda: [secret])
    log.info("applied", detail=f"{before}{secret}{after}", nested={"deep": [secret]})
    line = json.loads(out.getvalue())
    assert secret not in line["detail"].replace("<key>", "")
    assert line["nested"] == {"deep": ["<key>"]}


def test_a_secret_too_short_to_be_one_makes_no_holes() -> None:
    assert hide("a plan with a key", ["a", "", "key"]) == "a plan with a key"
    assert hide("see ftp://me:word@host/x", []) == "see ftp://<user>@host/x"
