"""Delays: they grow, they are jittered, they are capped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.work.backoff import (
    CONFIRM_FIRST_SECONDS,
    CONFIRM_LONGEST_SECONDS,
    FIRST_SECONDS,
    LONGEST_SECONDS,
    confirm_seconds_after,
    retry_seconds,
)

chance = st.floats(0, 1, exclude_max=True, allow_nan=False)


@pytest.mark.parametrize(("attempts", "ceiling"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 32.0), (8, 60.0), (10_000, 60.0)])
def test_the_ceiling_doubles_up_to_a_minute(attempts: int, ceiling: float) -> None:
    assert retry_seconds(attempts, lambda: 1.0) == pytest.approx(ceiling)
    assert retry_seconds(attempts, lambda: 0.0) == pytest.approx(ceiling / 10)


@given(st.integers(1, 10**6), chance, st.floats(0, 3600, allow_nan=False))
def test_a_retry_waits_at_least_what_was_asked_and_never_much_longer(
    attempts: int, drawn: float, at_least: float
) -> None:
    seconds = retry_seconds(attempts, lambda: drawn, at_least=at_least)
    assert at_least + FIRST_SECONDS / 10 <= seconds <= at_least + LONGEST_SECONDS


def test_those_who_were_told_the_same_moment_come_back_apart() -> None:
    assert retry_seconds(1, lambda: 0.1, at_least=5.0) != retry_seconds(1, lambda: 0.9, at_least=5.0)


@given(st.floats(0, 1e6, allow_nan=False), st.floats(0, 1e6, allow_nan=False))
def test_looks_slow_down_with_the_time_waited(earlier: float, later: float) -> None:
    earlier, later = sorted((earlier, later))
    assert CONFIRM_FIRST_SECONDS <= confirm_seconds_after(earlier) <= confirm_seconds_after(later)
    assert confirm_seconds_after(later) <= CONFIRM_LONGEST_SECONDS


def test_a_confirmation_costs_few_looks_and_starts_at_once() -> None:
    elapsed, looks = 0.0, []
    while elapsed < 30.0:
        elapsed += confirm_seconds_after(elapsed)
        looks.append(elapsed)
    assert looks[0] == pytest.approx(0.1)
    assert looks[1] == pytest.approx(0.26)
    assert len(looks) <= 16


def test_a_clock_that_went_back_does_not_hurry_the_looks() -> None:
    assert confirm_seconds_after(-60.0) == CONFIRM_FIRST_SECONDS
