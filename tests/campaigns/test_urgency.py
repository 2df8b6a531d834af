"""Urgent first: what a person just saved goes before what is only looked at again, also when the rate limit is tight.

Aspects: edits during a resync (a short form of the campaign, and its order of requests), edits that were made while no
daemon ran. The classes themselves, ageing and the shares of the budget are in `test_workqueue.py` and `test_budget.py`.
"""

from __future__ import annotations

from pathlib import Path

from tests.campaigns.urgency import measure
from tests.world.scene import Scene, set_of, subjects
from tests.world.started import eventually


def test_an_edit_passes_a_resync_that_the_rate_limit_holds_back(tmp_path: Path) -> None:
    figures = measure(tmp_path, recordings=2000, edits=8)
    print(figures)
    # Between its look and its PATCH the budget lets at most what was being let out at that moment go first.
    assert figures.most_between_look_and_patch <= 5
    # Each tenth of a second of the pace is 4.5 requests; an edit is noticed and looked at within one or two.
    assert figures.most_before_patch < 45
    assert figures.not_looked_at > 1000
    # A net below the claims on the order, wide enough for a machine that is busy with other things.
    assert figures.most_ms < 5000


def test_an_edit_made_while_no_daemon_ran_goes_before_the_resync(tmp_path: Path) -> None:
    everything = subjects(200)
    edited = everything[-1]
    with Scene(tmp_path) as scene:
        scene.sandbox.seed(subject.seed() for subject in everything)
        scene.write("all.yaml", set_of("all", (subject.item("ongoing") for subject in everything[:-1])))
        scene.write("edited.yaml", edited.document("ongoing"))
        with scene.daemon() as daemon:
            daemon.wait_for("resync_done")
        scene.write("edited.yaml", edited.document("paused"))
        scene.sandbox.control("DELETE", "requests")
        with scene.daemon("--rate-limit", "20") as daemon:
            eventually(lambda: bool(scene.sandbox.requests("PATCH")), daemon.said)
        before = [seen.method for seen in scene.sandbox.requests()].index("PATCH")
        # Its look, its PATCH, and what the burst let out beside them: not two hundred others.
        assert before <= 5
