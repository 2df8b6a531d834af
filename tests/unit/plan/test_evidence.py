"""What looks prove, as properties: the whole time is told, nothing is claimed that two looks do not enclose."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.looking import parse_moment
from reconciler.model.keys import NO_RECORDING, RecordingKey
from reconciler.model.records import Event
from reconciler.plan.evidence import (
    Look,
    Stretch,
    apart_from_steps,
    looks_of,
    moment,
    step_of,
    stretches,
    what_happened,
)

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
KEY = RecordingKey("w", "c", "k", "r")

seconds = st.integers(-100, 100).map(lambda number: NOON + timedelta(seconds=number))
looks = st.lists(
    st.builds(Look, seconds, st.none() | st.sampled_from(["paused", "ongoing", "completed"])),
    max_size=12,
    unique_by=lambda look: look.at,
)


@given(looks, seconds, seconds)
def test_the_whole_time_is_told_once_and_without_a_break(seen: list[Look], since: datetime, until: datetime) -> None:
    found = stretches(seen, since, until)
    if since >= until:
        assert found == []
        return
    assert (found[0].start, found[-1].end) == (since, until)
    assert all(one.end == other.start for one, other in pairwise(found))
    assert all(one.start <= one.end for one in found)
    assert all(one.status is not None or other.status is not None for one, other in pairwise(found))


@given(looks, seconds, seconds)
def test_what_is_proven_lies_between_looks_that_agree_with_none_between_that_does_not(
    seen: list[Look], since: datetime, until: datetime
) -> None:
    for stretch in stretches(seen, since, until):
        inside = {look.status for look in seen if stretch.start < look.at < stretch.end}
        if stretch.status is None:
            assert inside <= {None}
            continue
        assert inside <= {stretch.status}
        assert any(look.status == stretch.status and look.at <= stretch.start for look in seen)
        assert any(look.status == stretch.status and look.at >= stretch.end for look in seen)


@given(looks, seconds, seconds, st.randoms(use_true_random=False))
def test_the_order_in_which_looks_are_found_does_not_matter(
    seen: list[Look], since: datetime, until: datetime, chance: object
) -> None:
    mixed = list(seen)
    chance.shuffle(mixed)  # type: ignore[attr-defined]  # a `random.Random`
    assert stretches(mixed, since, until) == stretches(seen, since, until)


@given(looks, seconds)
def test_a_moment_and_the_stretches_around_it_say_the_same(seen: list[Look], at: datetime) -> None:
    stretch, before, after = moment(seen, at)
    around = [each for each in stretches(seen, at - timedelta(1), at + timedelta(1)) if each.start <= at <= each.end]
    proven = [each.status for each in around if each.status is not None]
    assert (stretch is None) == (not proven)
    if stretch is not None:
        assert stretch.status in proven
        assert stretch.start <= at <= stretch.end
    assert before is None or before.at <= at
    assert after is None or after.at > at


def at(second: float) -> datetime:
    return NOON + timedelta(seconds=second)


def test_a_pause_that_an_agent_resumed_is_proven_to_the_last_look_that_showed_it() -> None:
    events = [
        Event(at(0), "applied", KEY, "x", from_status="ongoing", to_status="paused", reason="confirm"),
        Event(
            *(at(31), "drift_detected", KEY, "x"),
            from_status="paused",
            to_status="ongoing",
            reason="drift",
            last_seen="paused",
            last_seen_at=at(20),
        ),
        Event(at(32), "applied", KEY, "x", from_status="ongoing", to_status="paused", reason="confirm"),
    ]
    seen = [look for event in events for look in looks_of(event)]
    assert stretches(seen, at(5), at(40)) == [
        Stretch("paused", at(5), at(20)),
        Stretch(None, at(20), at(31)),
        Stretch("ongoing", at(31), at(31)),
        Stretch(None, at(31), at(32)),
        Stretch("paused", at(32), at(32)),
        Stretch(None, at(32), at(40)),
    ]


@pytest.mark.parametrize("back", [True, False])
def test_looks_on_either_side_of_a_step_of_the_clock_prove_nothing_of_what_is_between(back: bool) -> None:
    old, new = (at(7200), at(0)) if back else (at(0), at(7200))
    event = Event(
        *(new, "clock_stepped", NO_RECORDING, ""), from_status=old.isoformat(), to_status=new.isoformat(), detail="set"
    )
    step = step_of(event)
    assert step == (at(-5), at(7200)), "a step back is noticed after it, and looks have the new clock at once"
    # Before the step by the old clock, after it by the new one, and of both kinds some within the doubtful time.
    seen = [Look(at(second), "paused") for second in (-60, -20, -1, 20, 60, 7100, 7180, 7220, 7260)]
    assert stretches(apart_from_steps(seen, [step]), at(-60), at(7260)) == [
        Stretch("paused", at(-60), at(-20)),
        Stretch(None, at(-20), at(7220)),
        Stretch("paused", at(7220), at(7260)),
    ]
    assert step_of(event._replace(event="applied")) is None


def test_reports_of_earlier_versions_are_told_as_what_was_seen() -> None:
    old = Event(at(0), "drift_detected", KEY, "x", from_status="paused", to_status="ongoing", cause="foreign_pause")
    assert what_happened(old) == (None, "paused")
    assert looks_of(old) == [Look(at(0), "paused")]
    new = old._replace(from_status="ongoing", to_status="paused", reason="foreign_pause", by_kind="somebody")
    assert what_happened(new) == ("ongoing", "paused")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-26T10:02:00Z", datetime(2026, 11, 26, 10, 2, tzinfo=UTC)),
        ("2026-11-26T12:02:00.5+02:00", datetime(2026, 11, 26, 10, 2, 0, 500_000, tzinfo=UTC)),
        ("2026-11-26 10:02", datetime(2026, 11, 26, 10, 2, tzinfo=UTC)),
        ("2026-11-25", datetime(2026, 11, 25, tzinfo=UTC)),
        ("10:02", datetime(2026, 11, 26, 10, 2, tzinfo=UTC)),
        ("10:02:07", datetime(2026, 11, 26, 10, 2, 7, tzinfo=UTC)),
        ("90s", NOON - timedelta(seconds=90)),
        ("2h", NOON - timedelta(hours=2)),
        ("400d", NOON - timedelta(days=400)),
        (" 1w ", NOON - timedelta(days=7)),
        *(
            (text, None)
            for text in ("", "2", "h", "2 h", "-2h", "yesterday", "2026-13-01", "25:00", "999999w", "\uff11h")
        ),
        *((text, None) for text in ("2026-11-26T10:02:00ZZ", "0001-01-01T00:00:00+23:00", "\0")),
    ],
)
def test_moments_are_read_as_people_write_them(text: str, moment: datetime | None) -> None:
    assert parse_moment(text, NOON) == moment


def test_a_time_in_which_nobody_looked_is_not_proven_by_what_was_seen_before_and_after() -> None:
    again = Event(at(900), "seen_again", KEY, "x", from_status="paused", to_status="paused", reason="in_sync")
    seen = [
        *looks_of(again._replace(last_seen="paused", last_seen_at=at(299.999))),
        # The event is later than the look that it tells of, which is the last one before that time.
        *looks_of(Event(at(300), "applied", KEY, "x", from_status="ongoing", to_status="paused", reason="in_sync")),
        Look(at(1200), "paused"),
    ]
    assert stretches(seen, at(0), at(1200)) == [
        Stretch(None, at(0), at(299.999)),
        Stretch("paused", at(299.999), at(300)),
        Stretch(None, at(300), at(900)),
        Stretch("paused", at(900), at(1200)),
    ]
