"""Keys: built from text of either case, written as one text and read back from it."""

from __future__ import annotations

import pytest

from reconciler.model.keys import CallKey, RecordingKey, key_of_line, parse_uuid, status_line
from reconciler.model.statuses import Status

PARTS = tuple(f"{digit * 8}-{digit * 4}-{digit * 4}-{digit * 4}-{digit * 12}" for digit in "1aB2")
KEY = RecordingKey.of(*PARTS)


def test_a_key_is_in_lower_case_whatever_case_it_was_given_in() -> None:
    assert tuple(part.lower() for part in PARTS) == KEY
    assert KEY.call == CallKey(*KEY[:3])


def test_a_key_is_read_back_from_its_text() -> None:
    assert RecordingKey.from_text(KEY.text()) == KEY
    assert KEY.text().split(" ") == list(KEY)


@pytest.mark.parametrize("status", Status)
def test_a_line_says_a_recording_and_a_status_of_it(status: Status) -> None:
    line = status_line(KEY, status)
    assert key_of_line(line) == KEY
    assert line.rpartition(" ")[2] == status.value


def test_the_text_of_a_key_does_not_depend_on_how_long_its_parts_are() -> None:
    """Another provider's IDs are no UUIDs."""
    key = RecordingKey("acc-1", "eu", "7", "rec:99")
    assert key_of_line(status_line(key, Status.PAUSED)) == key


@pytest.mark.parametrize("text", ["", "one", f"{KEY.text()} ", " ".join(KEY[:3])])
def test_what_is_not_the_text_of_a_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the text of a key"):
        RecordingKey.from_text(text)


@pytest.mark.parametrize("text", ["", "x", PARTS[0][:-1], PARTS[0] + "0", PARTS[0].replace("-", "")])
def test_what_is_no_uuid_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a UUID"):
        parse_uuid(text)
