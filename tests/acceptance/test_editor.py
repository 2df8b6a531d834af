"""Editors that know the YAML language server: what the printed schemas make of it, asked of the real server.

The server is a package of npm's, installed for the test in a folder of its own; without npm or its registry there is
nothing to ask, and the tests say so. What the schemas promise by themselves is held in `test_schemas.py`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from tests.world.documents import document
from tests.world.places import CHECKOUT

SERVER = "yaml-language-server@1.25.0"
MODELINE = "# yaml-language-server: $schema=../schemas/desired-state.schema.json\n"
SECONDS = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Install the language server and return the path of its program."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("npm and node are not installed, so there is no YAML language server to ask")
    folder = tmp_path_factory.mktemp("server")
    install = [npm, "install", "--prefix", str(folder), "--no-fund", "--no-audit", "--ignore-scripts", SERVER]
    try:
        done = subprocess.run(install, capture_output=True, text=True, timeout=100, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm's registry does not answer, so there is no YAML language server to ask")
    if done.returncode != 0:
        pytest.skip(f"npm cannot install {SERVER}, so there is nothing to ask: {done.stderr[-300:]}")
    return str(folder / "node_modules/.bin/yaml-language-server")


class Editor:
    """As much of an editor as it takes to open a document and ask about it."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._count = 0
        self._answers: dict[int, Queue[Any]] = {}
        self._diagnostics: dict[str, Queue[list[dict[str, Any]]]] = {}
        threading.Thread(target=self._listen, daemon=True).start()
        self.ask("initialize", {"processId": None, "rootUri": folder.as_uri(), "capabilities": {}})
        self._send({"method": "initialized", "params": {}})
        settings = {"yaml": {"schemaStore": {"enable": False}, "hover": True, "completion": True, "validate": True}}
        self._send({"method": "workspace/didChangeConfiguration", "params": {"settings": settings}})

    def open(self, name: str, text: str) -> list[dict[str, Any]]:
        """Open a document and return what the server finds wrong in it."""
        uri = (self._folder / name).as_uri()
        self._diagnostics[uri] = Queue()
        item = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": item}})
        return self._diagnostics[uri].get(timeout=SECONDS)

    def at(self, method: str, name: str, text: str, place: str) -> Any:
        """Ask about the end of the first occurrence of some words."""
        before = text[: text.index(place) + len(place)]
        position = {"line": before.count("\n"), "character": len(before) - before.rfind("\n") - 1}
        uri = (self._folder / name).as_uri()
        return self.ask(f"textDocument/{method}", {"textDocument": {"uri": uri}, "position": position})

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        self._count += 1
        queue = self._answers[self._count] = Queue()
        self._send({"id": self._count, "method": method, "params": params})
        return queue.get(timeout=SECONDS)

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self._process.stdin.flush()

    def _listen(self) -> None:
        out = self._process.stdout
        assert out is not None
        while head := out.readline():
            length = int(head.partition(b":")[2])
            while out.readline().strip():
                pass
            message = json.loads(out.read(length))
            if message.get("method") == "textDocument/publishDiagnostics":
                queue = self._diagnostics.get(message["params"]["uri"])
                if queue is not None:
                    queue.put(message["params"]["diagnostics"])
            elif "method" in message and "id" in message:
                self._send({"id": message["id"], "result": None})
            elif message.get("id") in self._answers:
                self._answers[message["id"]].put(message.get("result"))


@pytest.fixture
def editor(server: str, tmp_path: Path) -> Iterator[Editor]:
    """An editor in a folder with the printed schemas and the samples, as a user would have it."""
    for kind, file in ((), "desired-state"), (("CallRecording",), "call-recording"):
        printed = subprocess.check_output([sys.executable, "-m", "reconciler", "schema", *kind], cwd=CHECKOUT)
        path = tmp_path / "schemas" / f"{file}.schema.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(printed)
    shutil.copytree(CHECKOUT / "desired_state", tmp_path / "desired_state")
    with subprocess.Popen([server, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Editor(process, tmp_path)
        finally:
            process.kill()


def test_a_status_is_completed(editor: Editor):
    text = MODELINE + document("")
    editor.open("desired_state/one.yaml", text)
    answer = editor.at("completion", "desired_state/one.yaml", text, "status: ")
    offered = {item["label"] for item in answer["items"]}
    assert {"ongoing", "paused", "completed"} <= offered


def test_a_field_is_completed(editor: Editor):
    text = MODELINE + document() + "  \n"
    editor.open("desired_state/one.yaml", text)
    answer = editor.at("completion", "desired_state/one.yaml", text, "status: paused\n  ")
    assert {"drift", "suspend"} <= {item["label"] for item in answer["items"]}


def test_hovering_says_what_a_field_is(editor: Editor):
    text = MODELINE + document()
    editor.open("desired_state/one.yaml", text)
    answer = editor.at("hover", "desired_state/one.yaml", text, "  stat")
    assert "ends the recording for good" in json.dumps(answer["contents"])


def test_a_wrong_field_and_a_wrong_word_are_errors_where_they_stand(editor: Editor):
    text = MODELINE + document("pausd") + "  drifft: safe\n"
    found = editor.open("desired_state/one.yaml", text)
    at = {each["range"]["start"]["line"]: each for each in found}
    lines = text.splitlines()
    assert sorted(lines[line].strip() for line in at) == ["drifft: safe", "status: pausd"]
    assert {each["severity"] for each in found} == {1}


def test_nothing_is_wrong_with_the_samples(editor: Editor):
    names = sorted(path.name for path in (CHECKOUT / "desired_state").iterdir())
    assert names
    for name in names:
        text = (CHECKOUT / "desired_state" / name).read_text()
        assert text.startswith(MODELINE)
        assert editor.open(f"desired_state/{name}", text) == []
