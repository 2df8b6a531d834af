"""Few lines about what meets very many: none is left out without being counted."""

from __future__ import annotations

from reconciler.telemetry.alarm import COUNTED_SECONDS, TOLD_FIRST, Sparing
from tests.world.bench import Lines


class Time:
    """A monotonic clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_lines_of_a_word_are_told_and_the_others_of_its_minute_counted() -> None:
    log, time = Lines(), Time()
    sparing = Sparing(log, time)
    for number in range(60):
        sparing.say("error", "circuit_opened", workspace_id=number)
    sparing.say("info", "circuit_closed", workspace_id=1)
    assert [line.values.get("workspace_id") for line in log if line.event == "circuit_opened"] == [*range(TOLD_FIRST)]
    assert log.words[-1] == "circuit_closed", "each word has a count of its own"
    sparing.look()
    assert len(log) == TOLD_FIRST + 1
    time.now += COUNTED_SECONDS
    sparing.look()
    assert log[-1].event == "circuit_opened"
    assert log[-1].values == {"more": 60 - TOLD_FIRST, "within_seconds": COUNTED_SECONDS}
    sparing.say("error", "circuit_opened", workspace_id=7)
    assert log[-1].values == {"workspace_id": 7}, "a new minute begins anew"


def test_what_was_counted_is_told_before_the_end() -> None:
    log = Lines()
    sparing = Sparing(log, Time())
    for _ in range(TOLD_FIRST + 3):
        sparing.say("warning", "retry_scheduled")
    sparing.end()
    sparing.end()
    assert [line.values.get("more") for line in log] == [None] * TOLD_FIRST + [3]
