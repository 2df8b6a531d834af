"""Look for bytes that break the reader of documents, with atheris, which is no part of the lock.

    pip install atheris
    python tests/campaigns/fuzz_documents.py -max_total_time=60

Arguments are libFuzzer's. At the first input that breaks a claim of `check` it keeps that input and ends with an error.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, Final

from reconciler.desired.documents.limits import DocumentLimits
from reconciler.desired.documents.parse import parse_documents
from reconciler.telemetry.scrubbing import scrubbed

CORPUS: Final = Path(__file__).parents[2] / ".hypothesis" / "fuzz" / "documents"
LIMITS: Final = DocumentLimits(max_file_bytes=1 << 16)
_IDS: Final = (
    b"workspaceId: 5f4f2f2e-6c0e-4c57-9f65-2f6cf0a1d7a1\n  channelId: 0b6b0f5e-7d5a-4c55-8f0e-6f2a4cf5b9b7\n  "
)
_PAIR: Final = b"callId: 9a0a4c3c-58a1-4a5e-b7de-3f1ab0a3d1c2, recordingId: 3fa85f64-5717-4562-b3fc-2c963f66afa6"
#: What to begin from: a document of each kind, and the beginnings of the mistakes that people make.
SEEDS: Final = (
    b"apiVersion: reconciler/v1\nkind: CallRecording\nmetadata: {name: one, labels: {a: 'b'}}\nspec:\n  "
    + _IDS
    + _PAIR.replace(b", ", b"\n  ")
    + b"\n  status: paused\n  suspend: {reason: r, until: 2026-12-01T00:00:00Z}\n",
    b"apiVersion: reconciler/v1\nkind: CallRecordingSet\nmetadata: {name: set}\nspec:\n  "
    + _IDS
    + b"drift: heal\n  recordings:\n    - &a {name: x, status: ongoing, "
    + _PAIR
    + b"}\n    - *a\n",
    b"\xef\xbb\xbf--- # nothing\r\n...\n---\n? [a]\n: |2-\n   b\n",
    b"{'a': \"\\u0041\\x00\", b: !!str 010, <<: *none}",
    b"",
)


def check(data: bytes) -> None:
    """Hold the reader to what it claims of any bytes: an answer, one line a problem, each within the file."""
    read = parse_documents(data, "f.yaml", LIMITS)
    assert not (read.desired and read.problems)
    lines = data.count(b"\n") + data.count(b"\r") + 1
    for problem in read.problems:
        assert problem.rule != "unforeseen", problem
        assert 1 <= problem.line <= lines, problem
        assert problem.column >= 1, problem
        for shown in (str(problem), str(scrubbed(problem))):
            assert len(shown.splitlines()) == 1, shown


def main() -> None:
    """Run until libFuzzer's arguments say that it is enough."""
    try:
        # By name, since a type checker knows it no more than the lock does.
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        sys.exit("fuzz_documents: needs atheris: pip install atheris")
    atheris.instrument_all()
    # Kept, so that the next run begins with what this one finds.
    CORPUS.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS):
        (CORPUS / f"seed-{number}").write_bytes(seed)
    atheris.Setup([*sys.argv, str(CORPUS), f"-artifact_prefix={CORPUS.parent}/"], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
