"""The measures, read back with the parser of the library that Prometheus people use."""

from __future__ import annotations

import platform

from prometheus_client.parser import text_string_to_metric_families as parse

from reconciler.model.statuses import Outcome, Phase
from reconciler.model.work import Priority
from reconciler.telemetry.metrics import CONTENT_TYPE, Metrics, Standing


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """The value of a sample, as the page shows it; None where it has no such sample."""
    for family in parse(metrics.render().decode()):
        for sample in family.samples:
            if (sample.name, sample.labels) == (name, labels):
                return float(sample.value)
    return None


def test_the_page_is_what_a_parser_understands() -> None:
    metrics = Metrics("1.2.3")
    metrics.watch_queue(lambda: {Priority.EDIT: (1, 0.5)})
    families = {family.name: family for family in parse(metrics.render().decode())}
    assert all(name.startswith("reconciler_") for name in families)
    assert all(family.documentation and family.type != "unknown" for family in families.values())
    assert "version=0.0.4" in CONTENT_TYPE
    assert {
        "reconciler_build_info",
        "reconciler_managed_recordings",
        "reconciler_invalid_files",
        "reconciler_ready",
        "reconciler_last_resync_timestamp_seconds",
        "reconciler_recordings",
        "reconciler_patches",
        "reconciler_turn_errors",
        "reconciler_limit_refusals",
        "reconciler_edit_seconds",
        "reconciler_api_request_seconds",
        "reconciler_queue_depth",
        "reconciler_queue_oldest_seconds",
    } <= families.keys()


def test_a_duration_or_an_age_says_its_unit() -> None:
    for family in parse(Metrics("1").render().decode()):
        if family.type == "histogram" or "oldest" in family.name:
            assert family.name.endswith("_seconds")


def test_every_phase_and_outcome_is_there_from_the_start() -> None:
    metrics = Metrics("1")
    assert {value(metrics, "reconciler_recordings", phase=phase) for phase in Phase} == {0.0}
    assert {value(metrics, "reconciler_patches_total", outcome=outcome) for outcome in Outcome} == {0.0}
    build = {"version": "1", "python": platform.python_version()}
    assert value(metrics, "reconciler_build_info", **build) == 1.0


def test_what_is_measured_is_shown() -> None:
    metrics = Metrics("1")
    metrics.patched(Outcome.APPLIED)
    metrics.patched(Outcome.APPLIED)
    metrics.edit_step("sent", 0.02)
    metrics.requested("PATCH", "/recordings/{id}", "202", 0.3)
    metrics.managed.set(42)
    metrics.limit_refusals.labels("resumes").inc()
    metrics.turn_errors.inc()
    assert value(metrics, "reconciler_patches_total", outcome="applied") == 2.0
    assert value(metrics, "reconciler_edit_seconds_count", step="sent") == 1.0
    assert value(metrics, "reconciler_edit_seconds_bucket", step="sent", le="0.01") == 0.0
    assert value(metrics, "reconciler_edit_seconds_bucket", step="sent", le="0.025") == 1.0
    route = {"method": "PATCH", "route": "/recordings/{id}", "status": "202"}
    assert value(metrics, "reconciler_api_request_seconds_sum", **route) == 0.3
    assert value(metrics, "reconciler_managed_recordings") == 42.0
    assert value(metrics, "reconciler_limit_refusals_total", rule="resumes") == 1.0
    assert value(metrics, "reconciler_turn_errors_total") == 1.0


def test_how_the_recordings_stand_is_asked_when_the_page_is_read() -> None:
    metrics = Metrics("1")
    assert value(metrics, "reconciler_leader") == value(metrics, "reconciler_ready") == 0.0
    standing = Standing({Phase.APPLIED: 3, Phase.DRIFTED: 1}, 4.5, 1, ready=True, leader=True, state_writable=False)
    metrics.watch_standing(lambda: standing)
    assert value(metrics, "reconciler_recordings", phase="drifted") == 1.0
    assert value(metrics, "reconciler_oldest_unmet_seconds") == 4.5
    assert value(metrics, "reconciler_resting_workspaces") == 1.0
    assert value(metrics, "reconciler_leader") == value(metrics, "reconciler_ready") == 1.0
    assert value(metrics, "reconciler_state_writable") == 0.0
    standing = Standing({Phase.APPLIED: 4}, 0.0, 0, ready=True, leader=True, state_writable=True)
    assert value(metrics, "reconciler_recordings", phase="applied") == 4.0
    assert value(metrics, "reconciler_recordings", phase="drifted") == 0.0


def test_the_queue_is_read_when_the_page_is() -> None:
    metrics = Metrics("1")
    assert value(metrics, "reconciler_queue_depth", priority="edit") is None
    depths = {Priority.EDIT: (1, 0.5), Priority.RESYNC: (20_000, 400.0)}
    metrics.watch_queue(lambda: depths)
    assert value(metrics, "reconciler_queue_depth", priority="resync") == 20_000.0
    depths[Priority.RESYNC] = (7, 1.5)
    assert value(metrics, "reconciler_queue_depth", priority="resync") == 7.0
    assert value(metrics, "reconciler_queue_oldest_seconds", priority="resync") == 1.5
    assert value(metrics, "reconciler_queue_depth", priority="edit") == 1.0


def test_two_sets_of_measures_share_nothing() -> None:
    one, other = Metrics("1"), Metrics("2")
    one.patched(Outcome.APPLIED)
    assert value(other, "reconciler_patches_total", outcome="applied") == 0.0
