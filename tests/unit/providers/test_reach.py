"""Where a key may go unencrypted and by no proxy: to this machine, and to nothing that only looks like it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from reconciler.providers.reach import is_loopback
from tests.world.documents import document
from tests.world.places import CHECKOUT
from tests.world.shell import Shell

HERE = ["localhost", "LOCALHOST", "127.0.0.1", "127.255.0.9", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1"]
ELSEWHERE = [
    "127.evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "evil.localhost.example",
    "127.1",
    "127.0.0.1.",
    "0x7f.0.0.1",
    "2130706433",
    "0.0.0.0",
    "::",
    "::2",
    "fe80::1",
    "10.0.0.1",
    "",
]


@pytest.mark.parametrize("host", HERE)
def test_this_machine_is_known_by_its_name_and_its_numbers(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ELSEWHERE)
def test_what_only_looks_like_this_machine_is_another(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["127.evil.example", "127.0.0.1.nip.example", "2130706433", "localhost.example"])
def test_no_command_sends_a_key_in_the_clear_to_a_host_that_looks_like_this_machine(tmp_path: Path, host: str) -> None:
    shell = Shell(tmp_path)
    shell.write("desired_state/one.yaml", document())
    done = shell("plan", "--api-url", f"http://{host}:1")
    assert (done.code, "would carry the access key unencrypted to another machine" in done.err) == (1, True), done.err
    findings = shell("doctor", "--format", "json", "--api-url", f"http://{host}:1").json()["findings"]
    assert [finding["level"] for finding in findings if finding["check"] == "api_url"] == ["failure"]
    assert shell.leaks() == []


def test_nobody_else_decides_what_this_machine_is() -> None:
    strangers = []
    for path in sorted((CHECKOUT / "reconciler").rglob("*.py")):
        if path.name == "reach.py" or path.parent.name == "sandbox":  # which stands alone
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            compared = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if compared and re.fullmatch(r"127\.?|::1", str(node.value)):  # type: ignore[attr-defined]
                strangers.append(f"{path.name}:{node.lineno}")  # type: ignore[attr-defined]
    assert strangers == [], "use reconciler.providers.reach.is_loopback"
