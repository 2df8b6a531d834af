"""The circuits of workspaces, by a clock that is turned by hand.

Aspects: when one opens, how long it rests, who finds out, what closes it, that reads and writes fail apart, and that
workspaces are apart. A property holds an arbitrary course of events to the promise that nothing leaves a workspace that
rests. That the client obeys is held in `test_bird` and `test_api_faults`.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.errors import CircuitOpen
from reconciler.providers.bird import CircuitChange, Circuits
from reconciler.providers.gate.circuit import FAILURES, FIRST_SECONDS, LONGEST_SECONDS, Trial

ONE, OTHER = "workspace-1", "workspace-2"


class Scene:
    """Circuits on a clock that a test turns, and what they told."""

    def __init__(self, *, chance: float = 1.0) -> None:
        self.now = 100.0
        self.told: list[CircuitChange] = []
        self.circuits = Circuits(now=lambda: self.now, chance=lambda: chance, on_change=self.told.append)

    def enter(self, workspace: str = ONE, *, write: bool = False) -> Trial:
        return self.circuits.enter(workspace, write=write)

    def fail(self, times: int = FAILURES, workspace: str = ONE, *, write: bool = False) -> None:
        for _ in range(times):
            self.enter(workspace, write=write).failed("http_503")

    def refused(self, workspace: str = ONE, *, write: bool = False) -> CircuitOpen:
        """Ask, and return the refusal that must come."""
        with pytest.raises(CircuitOpen) as caught:
            self.enter(workspace, write=write)
        assert caught.value.code == "circuit_open"
        assert self.circuits.postponed(workspace, write=write) is not None
        return caught.value

    def leaves(self, workspace: str = ONE, *, write: bool = False) -> bool:
        return self.circuits.postponed(workspace, write=write) is None


def test_so_many_failures_in_a_row_open_it_and_one_fewer_do_not():
    scene = Scene()
    scene.fail(FAILURES - 1)
    assert scene.leaves()
    scene.fail(1)
    assert not scene.leaves()
    assert not scene.leaves(write=True), "without a look nothing can be decided"
    assert scene.told == [CircuitChange(ONE, "all", True, "http_503", FIRST_SECONDS)]
    assert scene.circuits.open == 1


def test_an_answer_between_failures_begins_the_row_anew():
    scene = Scene()
    scene.fail(FAILURES - 1)
    scene.enter().succeeded()
    scene.fail(FAILURES - 1)
    assert scene.leaves()


def test_another_workspace_is_untouched():
    scene = Scene()
    scene.fail()
    scene.refused()
    assert scene.leaves(OTHER)
    scene.fail(FAILURES - 1, OTHER)
    assert scene.leaves(OTHER)
    assert scene.circuits.open == 1


def test_after_its_rest_one_request_finds_out_and_the_others_wait():
    scene = Scene()
    scene.fail()
    assert scene.refused().retry_after == 2 * FIRST_SECONDS
    scene.now += FIRST_SECONDS
    trial = scene.enter()
    assert scene.refused().retry_after == 2 * FIRST_SECONDS
    trial.succeeded()
    assert scene.leaves()
    assert scene.leaves(write=True)
    assert scene.told[1:] == [CircuitChange(ONE, "all", False, seconds=FIRST_SECONDS)]
    assert scene.circuits.open == 0


def test_each_failure_to_find_out_lengthens_the_rest_up_to_a_limit_and_is_not_told():
    scene = Scene()
    scene.fail()
    rests = []
    for _ in range(7):
        began = scene.now
        while not scene.leaves():
            scene.now += 0.25
        rests.append(scene.now - began)
        scene.enter().failed("timeout")
    assert rests == [1.0, 2.0, 4.0, 8.0, LONGEST_SECONDS, LONGEST_SECONDS, LONGEST_SECONDS]
    assert len(scene.told) == 1


def test_chance_shortens_a_rest_by_half_at_most():
    scene = Scene(chance=0.0)
    scene.fail()
    scene.now += FIRST_SECONDS / 2
    assert scene.leaves()


def test_an_api_that_is_well_for_a_moment_only_goes_on_resting_where_it_was():
    scene = Scene()
    scene.fail()
    scene.now += FIRST_SECONDS
    scene.enter().failed("timeout")
    scene.now += 2 * FIRST_SECONDS
    scene.enter().succeeded()
    scene.now += 1.0
    scene.fail()
    assert scene.told[-1].seconds == 4 * FIRST_SECONDS
    scene.now += 4 * FIRST_SECONDS
    scene.enter().succeeded()
    scene.now += LONGEST_SECONDS + 1
    scene.fail()
    assert scene.told[-1].seconds == FIRST_SECONDS, "it had been well for long"


def test_one_that_was_to_find_out_and_was_given_up_leaves_it_to_the_next():
    scene = Scene()
    scene.fail()
    scene.now += FIRST_SECONDS
    scene.enter().abandoned()
    assert scene.leaves()


def test_answers_to_what_left_before_it_opened_are_not_heard():
    scene = Scene()
    early = [scene.enter() for _ in range(3)]
    scene.fail()
    early[0].succeeded()
    assert not scene.leaves()
    scene.now += FIRST_SECONDS
    trial = scene.enter()
    early[1].failed("timeout")
    early[2].abandoned()
    assert not scene.leaves(), "one is on its way to find out"
    trial.succeeded()
    assert scene.leaves()


def test_while_only_writes_fail_reads_go_on_and_one_patch_finds_out():
    scene = Scene()
    for _ in range(FAILURES):
        scene.enter().succeeded()
        scene.fail(1, write=True)
    assert scene.told == [CircuitChange(ONE, "patch", True, "http_503", FIRST_SECONDS)]
    assert scene.leaves()
    assert "every PATCH" in str(scene.refused(write=True))
    scene.now += FIRST_SECONDS
    scene.enter().succeeded()
    assert scene.circuits.open == 1, "a read says nothing about writes"
    trial = scene.enter(write=True)
    scene.refused(write=True)
    trial.succeeded()
    assert scene.leaves(write=True)
    assert scene.circuits.open == 0


def test_a_patch_never_finds_out_for_the_reads():
    scene = Scene()
    scene.fail()
    scene.now += FIRST_SECONDS
    scene.refused(write=True)
    assert scene.leaves()


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["succeed", "fail", "abandon", "late", "wait"]),
        st.sampled_from([ONE, OTHER]),
        st.booleans(),
    ),
    max_size=120,
)


@given(events=EVENTS, chance=st.floats(min_value=0.0, max_value=0.99))
def test_whatever_happens_only_one_finds_out_and_the_wait_is_bounded(
    events: list[tuple[str, str, bool]], chance: float
):
    scene = Scene(chance=chance)
    under_way: list[tuple[Trial, str, bool]] = []
    for what, workspace, write in events:
        if what == "wait":
            scene.now += 0.7
            continue
        if what == "late" and under_way:
            under_way.pop(0)[0].failed("timeout")
            continue
        was_open = scene.circuits.open
        refusal = scene.circuits.postponed(workspace, write=write)
        if refusal is not None:
            assert refusal.retry_after is not None
            assert 0.0 < refusal.retry_after <= 2 * LONGEST_SECONDS
            scene.refused(workspace, write=write)
            continue
        trial = scene.enter(workspace, write=write)
        if what == "late":
            under_way.append((trial, workspace, write))
            continue
        if what == "succeed":
            trial.succeeded()
        elif what == "fail":
            trial.failed("timeout")
        else:
            trial.abandoned()
        assert abs(scene.circuits.open - was_open) <= 1
    for trial, _, _ in under_way:
        trial.abandoned()
    scene.now += LONGEST_SECONDS
    for workspace in (ONE, OTHER):
        for write in (False, True):
            scene.enter(workspace, write=write).succeeded()
    assert scene.circuits.open == 0, "once all is well, all closes"
    opened = [change for change in scene.told if change.opened]
    assert len(scene.told) == 2 * len(opened)
