"""What an on-call person reads on `/metrics` of the installed daemon, parsed as Prometheus people parse it."""

from __future__ import annotations

import itertools
import platform
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from reconciler import __version__
from reconciler.model.actions import Rule
from reconciler.model.records import Event
from reconciler.model.statuses import Outcome, Phase
from reconciler.model.work import Priority
from reconciler.state.opening import open_writer
from reconciler.telemetry.metrics import Metrics
from tests.world.documents import document
from tests.world.foreign_api import ForeignApi
from tests.world.front import daemon_options, get
from tests.world.ids import CALL, numbered, recording
from tests.world.nouns import NOW, key, record
from tests.world.shell import KEY, Shell
from tests.world.started import Started, eventually

#: Every label that a series may have; none of them grows with what is managed.
LABELS = {"version", "python", "phase", "outcome", "rule", "step", "le", "method", "route", "status", "priority"}


class Page:
    """The page as it is now."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in parse(text)}

    def value(self, name: str, **labels: str) -> float:
        found = [
            sample.value
            for family in self.families.values()
            for sample in family.samples
            if (sample.name, sample.labels) == (name, labels)
        ]
        assert len(found) == 1, f"{name} {labels}: {found}"
        return float(found[0])


def page_of(daemon: Started) -> Page:
    return Page(get(daemon, "/metrics")[1])


def test_the_page_tells_how_the_recordings_are_and_what_became_of_every_patch(shell: Shell, api: ForeignApi) -> None:
    statuses = {
        # Desired, live: and what that leads to.
        "applied": ("paused", "paused"),
        "edited": ("paused", "ongoing"),
        "ended": ("paused", "failed"),
        "waiting": ("paused", "accepted"),
        "odd": ("paused", "confused"),
        "rejected": ("paused", "ongoing"),
        "unconfirmed": ("paused", "ongoing"),
        "failed": ("paused", "ongoing"),
    }
    ids = {name: numbered(number) for number, name in enumerate(statuses)}
    calls = {name: numbered(100 + number) for number, name in enumerate(statuses)}
    for name, (desired, live) in statuses.items():
        shell.write(f"desired_state/{name}.yaml", document(desired, name=name, call=calls[name], recording=ids[name]))
        api.seed([recording(live, call=calls[name], recording_id=ids[name])])
    held = document(name="held", recording=numbered(50)) + "  suspend: {reason: r, until: 2999-01-01T00:00:00Z}\n"
    shell.write("desired_state/held.yaml", held)
    shell.write("desired_state/broken.yaml", "kind: {")
    api.fault("answer", method="PATCH", path=ids["rejected"], status=422, times=-1)
    api.fault("answer", method="PATCH", path=ids["unconfirmed"], status=202, times=-1)
    api.fault("answer", method="PATCH", path=ids["failed"], status=503, times=-1)
    options = ("--listen", "127.0.0.1:0", "--confirm-seconds", "1")
    with shell.start("run", *daemon_options(api, *options)) as daemon:
        daemon.wait_for("unconfirmed")
        daemon.wait_for("rejected")
        daemon.wait_for("retry_scheduled", name="failed")
        daemon.wait_for("resync_done")
        daemon.wait_for("applied", name="edited")
        eventually(lambda: page_of(daemon).value("reconciler_recordings", phase="held") == 1)
        page = page_of(daemon)
        phases = {phase.value: page.value("reconciler_recordings", phase=phase.value) for phase in Phase}
        assert phases["applied"] == 2
        assert phases["waiting"] == 2
        assert phases["held"] == phases["rejected"] == phases["ended"] == 1
        assert phases["unconfirmed"] + phases["confirming"] + phases["sending"] + phases["failed"] == 2
        assert sum(phases.values()) == page.value("reconciler_managed_recordings") == 9
        assert page.value("reconciler_invalid_files") == 1
        assert page.value("reconciler_vanished_paths") == 0
        assert page.value("reconciler_unauthorized_workspaces") == 0
        assert page.value("reconciler_patches_total", outcome="applied") == 1
        assert page.value("reconciler_patches_total", outcome="rejected") == 1
        assert page.value("reconciler_patches_total", outcome="unconfirmed") >= 1
        assert page.value("reconciler_patches_total", outcome="failed") >= 1
        for rule in Rule:
            assert page.value("reconciler_limit_refusals_total", rule=rule.value) == 0
        assert page.value("reconciler_build_info", version=__version__, python=platform.python_version()) == 1
        assert 0 <= page.value("reconciler_resync_age_seconds") < 60
        assert page.value("reconciler_state_writable") == page.value("reconciler_ready") == 1
        assert page.value("reconciler_state_commit_seconds_count") > 0
        for priority in Priority:
            assert page.value("reconciler_queue_depth", priority=priority.name.lower()) >= 0
            assert page.value("reconciler_queue_oldest_seconds", priority=priority.name.lower()) >= 0
        shell.write(
            "desired_state/applied.yaml",
            document("ongoing", name="applied", call=calls["applied"], recording=ids["applied"]),
        )
        daemon.wait_for("applied", name="applied")
        page = page_of(daemon)
        for step in ("sent", "accepted", "confirmed"):
            assert page.value("reconciler_edit_seconds_count", step=step) == 1
            assert page.value("reconciler_edit_seconds_bucket", step=step, le="60.0") == 1


def test_every_series_is_ours_says_its_unit_and_has_bounded_labels(shell: Shell, api: ForeignApi) -> None:
    shell.write("desired_state/one.yaml", document())
    api.seed([recording()])
    with shell.start("run", *daemon_options(api, "--listen", "127.0.0.1:0")) as daemon:
        daemon.wait_for("applied")
        text = get(daemon, "/metrics")[1]
    families = Page(text).families
    for name, family in families.items():
        assert name.startswith("reconciler_"), name
        assert family.type in ("gauge", "counter", "histogram"), name
        assert family.documentation, name
        assert not name.endswith("_created"), name
        if family.type == "histogram":
            assert name.endswith("_seconds"), name
        for sample in family.samples:
            assert sample.labels.keys() <= LABELS, sample
            assert not any(secret in str(sample) for secret in (CALL, KEY, "one.yaml")), sample
    assert "_created" not in text


def test_the_buckets_of_an_edit_reach_from_ten_milliseconds_to_a_minute() -> None:
    metrics = Metrics("1")
    page = Page(metrics.render().decode())
    samples = page.families["reconciler_edit_seconds"].samples
    bounds = [
        float(sample.labels["le"]) for sample in samples if sample.labels["step"] == "sent" and "le" in sample.labels
    ]
    assert (bounds[0], bounds[-2], bounds[-1]) == (0.01, 60.0, float("inf"))
    # A reading is never wrong by more than three times, and no bucket is there without need.
    assert all(following <= 3 * bound for bound, following in itertools.pairwise(bounds[:-1]))
    assert len(bounds) < 20


def test_each_commit_of_the_state_is_measured_and_a_failed_one_is_not(tmp_path: Path) -> None:
    seconds: list[float] = []
    with open_writer(f"sqlite:///{tmp_path / 'state.db'}", holder="test", on_commit=seconds.append) as writer:
        for number in range(5):
            writer.save(record(number), Event(NOW, "applied", key(number), "n")).result()
        counted = len(seconds)
        assert counted == writer.commits >= 5
        assert all(0 < each < 60 for each in seconds)
        (tmp_path / "state.db").unlink()
        with pytest.raises(Exception, match="was removed"):
            writer.save(record(1)).result()
        assert len(seconds) == counted


def test_every_outcome_and_refusal_is_there_before_it_happens() -> None:
    """Else its first time would be no increase to whoever watches the rate."""
    page = Page(Metrics("1").render().decode())
    for outcome in Outcome:
        assert page.value("reconciler_patches_total", outcome=outcome.value) == 0
    for step in ("sent", "accepted", "confirmed"):
        assert page.value("reconciler_edit_seconds_count", step=step) == 0
