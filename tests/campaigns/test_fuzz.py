"""Hostile input is bounded in time and memory: it is refused in few words, by a process that may use little of both.

What any bytes at all may not do is a property in `test_documents.py`; `fuzz_documents.py` looks for more of them.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.desired.documents.parse import parse_documents
from tests.campaigns import fuzz_documents
from tests.campaigns.fuzz_documents import SEEDS, check
from tests.world.documents import document
from tests.world.shell import COMMAND, KEY, Shell

#: As large as makes a cost that grows with the square of it impossible to miss.
SIZE = 1 << 19
SET = """\
apiVersion: reconciler/v1
kind: CallRecordingSet
metadata: {name: s}
spec:
  workspaceId: 5f4f2f2e-6c0e-4c57-9f65-2f6cf0a1d7a1
  channelId: 0b6b0f5e-7d5a-4c55-8f0e-6f2a4cf5b9b7
  recordings:
"""
HOSTILE: dict[str, Callable[[], str]] = {
    "deep-lists": lambda: "[" * SIZE,
    "deep-mappings": lambda: "{a: " * (SIZE // 4),
    "deep-items": lambda: "- " * (SIZE // 2),
    "deep-keys": lambda: "? " * (SIZE // 2),
    "deep-blocks": lambda: "".join(" " * depth + "a:\n" for depth in range(1400)),
    "closed-before-opened": lambda: "]" * SIZE,
    "wide-mapping": lambda: "".join(f"k{number}: 1\n" for number in range(SIZE // 9)),
    "one-key": lambda: "a: 1\n" * (SIZE // 5),
    "wide-list": lambda: "[" + "1," * (SIZE // 2) + "]",
    "wide-set": lambda: SET + "    - {name: x}\n" * (SIZE // 16),
    "laughs": lambda: (
        "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
    ),
    "aliases": lambda: "a: &a x\nb: [" + "*a, " * (SIZE // 4) + "]",
    "anchors": lambda: "".join(f"- &a{number} x\n" for number in range(SIZE // 12)),
    "merges": lambda: "a: &a {x: 1}\nb: {" + "<<: *a, " * (SIZE // 8) + "}",
    "itself": lambda: "&a [*a]",
    "large": lambda: " " * (33 << 20),
    "long-text": lambda: document().replace("paused", "x" * SIZE),
    "long-number": lambda: document().replace("paused", "1" * SIZE),
    "large-number": lambda: document().replace("paused", "1e999999999"),
    "long-name": lambda: document(name="9" * SIZE),
    "long-id": lambda: document(recording="-" * SIZE),
    "documents": lambda: "--- x\n" * (SIZE // 6),
    "mistakes": lambda: "---\n".join([document("bad")] * (SIZE // 250)),
    "open-quote": lambda: '"' + "x\n" * (SIZE // 2),
    "escapes": lambda: 'a: "' + "\\u0041" * (SIZE // 6) + '"',
    "half-characters": lambda: 'a: "' + "\\ud800" * (SIZE // 6) + '"',
    "long-anchor": lambda: "&" + "a" * SIZE + " x",
    "long-tag": lambda: "!" + "a" * SIZE + " x",
    "directives": lambda: "".join(f"%TAG !t{number}! tag:x,{number}\n" for number in range(SIZE // 4)) + "--- x\n",
    "tabs": lambda: "\t" * SIZE,
    "colons": lambda: ": " * (SIZE // 2),
    "bars": lambda: "|\n" * (SIZE // 2),
    "long-key": lambda: "{" + "a" * SIZE + ": 1}",
    "nothing": lambda: "\0" * SIZE,
}


def bounded() -> None:
    """Take from a process what it needs to do harm: a tenth of a minute for each file, and a gigabyte and a half."""
    resource.setrlimit(resource.RLIMIT_CPU, (6 * len(HOSTILE), 6 * len(HOSTILE)))
    resource.setrlimit(resource.RLIMIT_AS, (3 << 29, 3 << 29))


def test_hostile_files_are_refused_in_bounded_time_and_memory_and_in_few_words(tmp_path: Path) -> None:
    folder = tmp_path / "desired_state"
    folder.mkdir()
    for name, text in HOSTILE.items():
        (folder / f"{name}.yaml").write_text(text())
    (folder / "valid.yaml").write_text(document())
    (folder / "zeros.yaml").symlink_to("/dev/zero")
    (folder / "outside.yaml").symlink_to("/proc/self/environ")
    (folder / "around").symlink_to(folder)
    os.mkfifo(folder / "fifo.yaml")
    done = subprocess.run(
        [COMMAND, "validate"],
        cwd=tmp_path,
        env={**os.environ, "BIRD_ACCESS_KEY": KEY},
        preexec_fn=bounded,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 1, done.stderr[-2000:]
    said = {Path(line.partition(":")[0]).stem for line in done.stdout.splitlines()}
    assert said == {*HOSTILE, "zeros", "outside", "around"}
    assert "fifo.yaml" in done.stderr
    assert len(done.stdout) < 4 << 20
    assert max(map(len, done.stdout.splitlines())) < 1000
    assert "a fault of this program" not in done.stdout
    assert KEY not in done.stdout + done.stderr


def test_a_hostile_file_does_not_hold_up_the_daemon(shell: Shell) -> None:
    """It is read beside the loop, so that edits and probes go on meanwhile."""
    shell.write("desired_state/one.yaml", document())
    options = ("--sandbox", "--listen", "off", "--log-format", "json")
    with shell.start("run", *options) as daemon:
        daemon.wait_for("applied")
        shell.write("desired_state/hostile.yaml", HOSTILE["wide-mapping"]())
        shell.write("desired_state/one.yaml", document("ongoing"))
        daemon.wait_for("applied", count=2)
        assert daemon.wait_for("document_invalid")["file"] == "desired_state/hostile.yaml"
    assert shell.leaks() == []


def test_declaring_tags_is_refused_before_it_costs_anything_and_speaking_of_them_is_not() -> None:
    [problem] = parse_documents(b"%TAG ! tag:x,1\n" * 65 + b"--- x", "f.yaml").problems
    assert (problem.rule, problem.line) == ("too-many-directives", 1)
    text = document().replace("metadata:", f"metadata:\n  annotations: {{about: '{'%TAG ' * 64}'}}")
    assert parse_documents(text.encode(), "f.yaml").problems == ()


@pytest.mark.parametrize("number", range(len(SEEDS)))
def test_the_seeds_of_the_fuzzer_hold(number: int) -> None:
    check(SEEDS[number])


@given(st.sampled_from(SEEDS), st.data())
def test_no_damage_to_a_document_makes_the_reader_fail(seed: bytes, data: st.DataObject) -> None:
    """What a fuzzer does: cut, repeat, turn bytes."""
    damaged = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged)))
        piece = data.draw(
            st.one_of(st.binary(max_size=4), st.sampled_from([b"\n", b": ", b"- ", b"{", b"]", b"'", b"&a ", b"*a"]))
        )
        damaged[at : at + data.draw(st.integers(0, 8))] = piece
    check(bytes(damaged))


def test_the_fuzzer_says_what_it_needs_where_it_cannot_run() -> None:
    script = fuzz_documents.__file__
    without = "import runpy, sys; sys.modules['atheris'] = None; runpy.run_path(sys.argv[1], run_name='__main__')"
    command = [sys.executable, "-c", without, script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "fuzz_documents: needs atheris: pip install atheris\n"
