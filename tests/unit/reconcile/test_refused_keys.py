"""Workspaces whose key was refused: who waits, who tries for all, and what ends the waiting.

Left out: what a turn makes of the answers (`test_reconcile`), and whose task it is to look at new keys (`test_daemon`).
"""

from __future__ import annotations

from datetime import timedelta

from reconciler.model.errors import CredentialRefused
from reconciler.model.statuses import Outcome
from reconciler.model.work import Priority
from reconciler.reconcile.accounts import UNAUTHORIZED_SECONDS, RefusedKeys
from reconciler.telemetry.alarm import Sparing
from reconciler.work.queue import Again
from tests.world.bench import Lines, Time

HERE, ELSEWHERE = "workspace-1", "workspace-2"
REST = timedelta(seconds=UNAUTHORIZED_SECONDS)


class Scene:
    """The refused keys, with a clock, a log and keys that a test changes."""

    def __init__(self) -> None:
        self.time = Time()
        self.log = Lines()
        self.fingerprints: dict[str, int] = {HERE: 1, ELSEWHERE: 1}
        self.again: list[str] = []
        self.keys = RefusedKeys(
            self.time.clock, Sparing(self.log, self.time.clock.monotonic), self.fingerprints.get, self.again.append
        )

    def refuse(self, *, reads: bool) -> None:
        error = CredentialRefused("refused", status=403, workspace_id=HERE, fingerprint=self.fingerprints[HERE])
        turn = self.keys.refuse(error, reads=reads)
        assert (turn.outcome, turn.again) == (Outcome.FAILED, Again(UNAUTHORIZED_SECONDS, Priority.RETRY))

    def rest_before_look(self, workspace_id: str = HERE) -> timedelta | None:
        return self.keys.rest_before_look(workspace_id, self.time.now())

    def rest_before_patch(self, workspace_id: str = HERE) -> timedelta | None:
        return self.keys.rest_before_patch(workspace_id, self.time.now())


def test_a_refused_look_holds_looks_and_patches_back_in_that_workspace_alone() -> None:
    scene = Scene()
    scene.refuse(reads=False)
    assert (scene.rest_before_look(), scene.rest_before_patch()) == (REST, REST)
    assert (scene.rest_before_look(ELSEWHERE), scene.rest_before_patch(ELSEWHERE)) == (None, None)
    assert scene.keys.workspaces == {HERE}


def test_a_refused_patch_lets_looks_go_on_and_they_prove_nothing() -> None:
    scene = Scene()
    scene.refuse(reads=True)
    assert (scene.rest_before_look(), scene.rest_before_patch()) == (None, REST)
    scene.keys.look_answered(HERE)
    assert scene.keys.workspaces == {HERE}
    scene.keys.taken(HERE)
    assert scene.keys.workspaces == frozenset()
    assert scene.again == [HERE]


def test_after_the_rest_one_look_finds_out_for_all_others() -> None:
    scene = Scene()
    scene.refuse(reads=False)
    scene.time.pass_by(UNAUTHORIZED_SECONDS)
    assert [scene.rest_before_look() for _ in range(3)] == [None, REST, REST]
    scene.keys.look_answered(HERE)
    assert scene.rest_before_look() is None
    assert scene.again == [HERE]


def test_after_the_rest_the_first_patch_that_leaves_finds_out_for_all_others() -> None:
    scene = Scene()
    scene.refuse(reads=True)
    scene.time.pass_by(UNAUTHORIZED_SECONDS)
    assert [scene.rest_before_patch() for _ in range(2)] == [None, None], "to be asked is not yet to leave"
    scene.keys.patch_leaves(HERE, scene.time.now())
    assert scene.rest_before_patch() == REST


def test_looks_stay_held_back_when_a_patch_is_refused_too() -> None:
    scene = Scene()
    scene.refuse(reads=False)
    scene.refuse(reads=True)
    assert scene.rest_before_look() == REST


def test_a_refusal_and_its_end_are_said_once_each() -> None:
    scene = Scene()
    for _ in range(3):
        scene.refuse(reads=False)
    for _ in range(3):
        scene.keys.taken(HERE)
    assert scene.log.words == ["unauthorized", "authorized_again"]


def test_a_changed_key_is_tried_at_once_and_the_same_one_is_not() -> None:
    scene = Scene()
    scene.refuse(reads=False)
    assert scene.keys.try_new() == []
    scene.fingerprints[HERE] = 2
    assert scene.keys.try_new() == [HERE]
    assert scene.rest_before_look() is None
    assert scene.keys.try_new() == [], "it has been tried"


def test_a_rest_from_before_the_clock_was_set_back_is_over() -> None:
    scene = Scene()
    scene.refuse(reads=False)
    before = scene.time.now() - timedelta(hours=1)
    assert scene.keys.rest_before_look(HERE, before) is None


def test_who_waits_comes_back_when_the_rest_is_over_and_not_all_in_one_moment() -> None:
    scene = Scene()
    turn = scene.keys.blocked(HERE, timedelta(seconds=12))
    assert turn.again == Again(12 + scene.time.clock.random(), Priority.RETRY)
    assert HERE in str(turn.error)
